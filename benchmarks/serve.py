"""The service under load: over HTTP against in process, and what becomes of more than it can answer.

In turns: many at once, then one at a time; then several times what it can answer, for a while. The server is `moderato
serve` with its default settings. The load comes from aiohttp in a process of its own, which shares the cores with the
server; what it takes of them is measured and told. Every request is a picture of its own bytes, so that nothing can be
kept.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import psutil

from benchmarks.load import MOST, Load, asked, unique
from benchmarks.pictures import jpeg
from benchmarks.service import memory, processor, served, write_policy
from benchmarks.timing import Result
from moderato.assemble import Workshop
from moderato.moderator import Moderator
from moderato.settings import Settings

_SIZE = (640, 480)
_FILES = 32
_PICTURES = 96  # in a turn
_ALONE = 24  # of them one after another
_TIMES = 5  # what is asked of it in overload, in times of what it can answer
_OVERLOAD = 5.0  # seconds of it for each round


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Pictures a second and seconds a picture, on both sides; then latencies, refusals and memory under overload."""
    files = [jpeg(_SIZE, seed) for seed in range(_FILES)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy = write_policy(folder, checkpoint)
        library = Workshop(Settings(data=folder / "data")).moderator(policy)
        library.warm_up()
        with served(policy, folder / "data") as (url, process):
            turns = _Turns(library, url, files, process)
            pairs = [turns.together(turn) for turn in range(max(3, rounds // 3) + 1)][1:]
            alone = [turns.alone(turn) for turn in range(max(3, rounds // 3) + 1)][1:]
            rate = median(theirs.rate for _, theirs in pairs)
            return [*_compared(pairs, alone), *overload(url, files, process, rate, _OVERLOAD * rounds)]


@dataclass(frozen=True)
class _Side:
    """Pictures a second, and what one of them took of a core, which tells more where others use the machine too."""

    rate: float
    processor: float


@dataclass(frozen=True)
class _Turns:
    """Both sides, one after the other."""

    library: Moderator
    url: str
    files: list[bytes]
    process: psutil.Process

    def together(self, turn: int) -> tuple[_Side, _Side]:
        """In process and over HTTP, many pictures at once."""
        began, used = time.perf_counter(), time.process_time()
        verdicts = list(self.library.check_many(self._fresh(turn, _PICTURES)))
        own = _Side(len(verdicts) / (time.perf_counter() - began), (time.process_time() - used) / _PICTURES)
        used = processor(self.process)
        load = self._asked(_PICTURES, MOST)
        return own, _Side(load.rate, (processor(self.process) - used) / _PICTURES)

    def alone(self, turn: int) -> tuple[float, float]:
        """The same, one at a time: the median seconds of each side."""
        taken = []
        for picture in self._fresh(-1 - turn, _ALONE):
            began = time.perf_counter()
            self.library.check(picture)
            taken.append(time.perf_counter() - began)
        return median(taken), median(self._asked(_ALONE, at_a_time=1).latencies(200))

    def _fresh(self, turn: int, pictures: int) -> list[bytes]:
        return [unique(self.files, f"{turn} {n}", n) for n in range(pictures)]

    def _asked(self, pictures: int, at_a_time: int) -> Load:
        load = asked(self.url, self.files, pictures, at_a_time=at_a_time)
        assert len(load.latencies(200)) == pictures, {status for _, status in load.answers}
        return load


def _compared(pairs: list[tuple[_Side, _Side]], alone: list[tuple[float, float]]) -> list[Result]:
    own, theirs = zip(*pairs, strict=True)
    here, over = map(list, zip(*alone, strict=True))
    return [
        Result(
            f"pictures over HTTP, {MOST} connections",
            [side.rate for side in theirs],
            "in process",
            [side.rate for side in own],
            unit="/s",
            about={"serve": "rate"},
        ),
        Result(
            "a core, for a picture over HTTP",
            [side.processor for side in theirs],
            "in process",
            [side.processor for side in own],
            about={"serve": "processor"},
        ),
        Result("a picture over HTTP, one at a time", over, "in process", here, about={"serve": "alone"}),
    ]


def overload(url: str, files: list[bytes], process: psutil.Process, rate: float, seconds: float) -> list[Result]:
    """Ask for several times the rate that can be answered, and what became of it."""
    before = memory(process)
    load = asked(url, files, int(rate * _TIMES * seconds), rate * _TIMES)
    after = memory(process)
    well = asked(url, files, 2 * MOST)
    others = {status for _, status in load.answers} - {200, 429}
    assert not others, f"neither answered nor refused: {others}"
    during = f"at {_TIMES} times the rate"
    return [
        Result(f"{during}: pictures answered", [load.rate], "the rate", [rate], unit="/s", about={"overload": "rate"}),
        *_spread(f"{during}: an answer", load.latencies(200), "answer"),
        *_spread(f"{during}: a refusal", load.latencies(429), "refusal"),
        Result(
            "afterwards: pictures answered", [well.rate], "the rate", [rate], unit="/s", about={"overload": "after"}
        ),
        *(
            Result(
                f"memory of {who} after it",
                [after[who]],
                "before it",
                [before[who]],
                unit="MB",
                about={"overload": who},
            )
            for who in after
        ),
        Result(
            "all cores, for the generator of the load",
            [load.processor / load.seconds / len(os.sched_getaffinity(0))],
            unit="share",
            about={"overload": "generator"},
        ),
    ]


def _spread(what: str, seconds: list[float], kind: str) -> list[Result]:
    cuts = quantiles(seconds, n=100, method="inclusive")
    found = {"half of them within": cuts[49], "99 of 100 within": cuts[98], "all within": max(seconds)}
    return [
        Result(f"{what}, {name}", [value], note=f"{len(seconds):,} of them", about={"overload": kind, "within": name})
        for name, value in found.items()
    ]
