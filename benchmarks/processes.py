"""One service or several on one machine: `python -m benchmarks.processes`.

What a second `moderato serve` takes in memory, and what two answer in the time of one: with the cores that each takes
by itself, and with half of them each. The sides take turns in one run. Weights are random, of ViT-B/32's size.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

import psutil

from benchmarks import weights
from benchmarks.load import asked
from benchmarks.path import jpeg
from benchmarks.service import memory, served, write_policy

_SIZE = (640, 480)
_FILES = 32
_WARM = 64  # pictures before memory is read: every batch has been seen, and every worker used


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="how often each side is timed")
    parser.add_argument("--pictures", type=int, default=64, help="pictures in a round")
    options = parser.parse_args()
    files = [jpeg(_SIZE, seed) for seed in range(_FILES)]
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        policy = write_policy(folder, weights.vit_b_32(folder / "vit-b-32"))
        whole: list[tuple[str, psutil.Process]] = []
        taken = []
        for number in range(2):
            whole.append(stack.enter_context(served(policy, folder / f"whole-{number}")))
            _rate(whole, files, _WARM * len(whole))
            taken.append(_megabytes(whole))
        threads = {"MODERATO_THREADS": str(max(1, cores // 2))}
        halves = [stack.enter_context(served(policy, folder / f"half-{number}", threads)) for number in range(2)]
        _rate(halves, files, _WARM * len(halves))
        sides = {"one": whole[:1], "two": whole, "two, half the cores each": halves}
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, services in sides.items():
                rates[side].append(_rate(services, files, options.pictures))
        ratios = {
            side: _quartiles([rate / one for rate, one in zip(rates[side], rates["one"], strict=True)])
            for side in rates
        }
        facts = {
            "cores": cores,
            "PSS of one, MB": taken[0],
            "PSS of two, MB": taken[1],
            "PSS of two with half the cores each, MB": _megabytes(halves),
            "pictures a second": {side: _quartiles(values) for side, values in rates.items()},
            "pictures a second, as a share of one's": ratios,
        }
    print(json.dumps(facts, indent=2))


def _rate(services: Sequence[tuple[str, psutil.Process]], files: list[bytes], pictures: int) -> float:
    """Pictures a second that all together answer, from the first request to the last answer."""
    share = pictures // len(services)
    with ThreadPoolExecutor(len(services)) as pool:
        loads = list(pool.map(lambda service: asked(service[0], files, share, None), services))
    assert all(len(load.latencies(200)) == share for load in loads)
    took = max(load.began + load.seconds for load in loads) - min(load.began for load in loads)
    return len(loads) * share / took


def _megabytes(services: Sequence[tuple[str, psutil.Process]]) -> list[int]:
    """Of each service with all of its processes; what several share counts once (PSS)."""
    return [round(memory(process)["all processes"]) for _, process in services]


def _quartiles(values: list[float]) -> list[float]:
    return [round(cut, 2) for cut in quantiles(values, n=4, method="inclusive")]


if __name__ == "__main__":
    main()
