"""One worker or two: `python -m benchmarks processes`.

What `moderato serve --workers 2` takes in memory against one, and what it answers in the same time. The sides take
turns in one run. Weights are random, of ViT-B/32's size.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import asked
from benchmarks.pictures import jpeg
from benchmarks.service import memory, served, write_policy
from benchmarks.timing import Result

_SIZE = (640, 480)
_FILES = 32
_PICTURES = 64  # in a round
_WARM = 64  # pictures before anything is measured: every batch has been seen, and every worker used


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Pictures a second and MB of all processes."""
    files = [jpeg(_SIZE, seed) for seed in range(_FILES)]
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        policy = write_policy(folder, checkpoint)
        services = {
            workers: stack.enter_context(served(policy, folder / f"data-{workers}", workers=workers))
            for workers in rates
        }
        for url, _ in services.values():
            asked(url, files, _WARM)
        one, two = ([float(memory(process)["all processes"])] for _, process in services.values())
        for _ in range(max(3, rounds // 2)):
            for workers, (url, _) in services.items():
                rates[workers].append(asked(url, files, _PICTURES).rate)
    return [
        Result("two workers, pictures over HTTP", rates[2], "one worker", rates[1], unit="/s"),
        Result("two workers, memory of all processes", two, "one worker", one, unit="MB"),
    ]
