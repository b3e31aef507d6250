"""One worker or two: `python -m benchmarks.processes`.

What `moderato serve --workers 2` takes in memory against one, and what it answers in the same time. The sides take
turns in one run. Weights are random, of ViT-B/32's size.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

from benchmarks import weights
from benchmarks.load import asked
from benchmarks.path import jpeg
from benchmarks.service import memory, served, write_policy

_SIZE = (640, 480)
_FILES = 32
_WARM = 64  # pictures before anything is measured: every batch has been seen, and every worker used


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is timed")
    parser.add_argument("--pictures", type=int, default=64, help="pictures in a round")
    options = parser.parse_args()
    files = [jpeg(_SIZE, seed) for seed in range(_FILES)]
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        policy = write_policy(folder, weights.vit_b_32(folder / "vit-b-32"))
        services = {
            workers: stack.enter_context(served(policy, folder / f"data-{workers}", workers=workers))
            for workers in rates
        }
        for url, _ in services.values():
            asked(url, files, _WARM, None)
        taken = {workers: round(memory(process)["all processes"]) for workers, (_, process) in services.items()}
        for _ in range(options.rounds):
            for workers, (url, _) in services.items():
                rates[workers].append(asked(url, files, options.pictures, None).rate)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    facts = {
        "cores": len(os.sched_getaffinity(0)),
        "workers, and MB of all processes (PSS)": taken,
        "workers, and pictures a second": {workers: round(median(values), 1) for workers, values in rates.items()},
        "two against one, quartiles": [round(cut, 2) for cut in quantiles(ratios, n=4, method="inclusive")],
    }
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
