"""Photographs judged in one go: how long the encoder waits, and what sharing the cores with it costs.

Preparing alone and encoding alone each use all cores. One after the other, they are what a pipeline takes at best, but
for cores that one of them leaves idle.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.pictures import jpeg
from benchmarks.service import write_policy
from benchmarks.timing import Result, alternating
from moderato.assemble import Workshop
from moderato.media import Limits, prepare
from moderato.moderator import Moderator
from moderato.settings import Settings
from moderato.types import View, Views, ViewSpec

_SIZES = ((1920, 1080), (4000, 3000))
_PICTURES = 64  # several batches, so that beginning and end weigh little
_DRAWN = 4


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Milliseconds a picture, and the share of them in which nothing is encoded."""
    settings = Settings(data=checkpoint / "data")
    moderator = Workshop(settings).moderator(write_policy(checkpoint, checkpoint))
    moderator.warm_up()
    return [_compare(moderator, settings, size, max(3, rounds // 3)) for size in _SIZES]


def _compare(moderator: Moderator, settings: Settings, size: tuple[int, int], rounds: int) -> Result:
    some = [jpeg(size, seed) for seed in range(_DRAWN)]
    files = [some[number % _DRAWN] for number in range(_PICTURES)]
    (need,) = moderator.ready(moderator.policy).needs.values()
    views = [view for file in files for view in _views(need.spec, file)]
    encoding: list[float] = []

    def judge() -> None:
        before = moderator.times.seconds["encode"]
        for _ in moderator.check_many(files):
            pass
        encoding.append((moderator.times.seconds["encode"] - before) / _PICTURES)

    def encode() -> None:
        for start in range(0, len(views), settings.rows):
            some = views[start : start + settings.rows]
            need.encoder.project(Views(np.stack([view.pixels for view in some])))

    with ThreadPoolExecutor(settings.threads) as pool:
        together, prepared, encoded = alternating(
            rounds, _PICTURES, judge, lambda: [*pool.map(partial(_views, need.spec), files)], encode
        )
    idle = median(1 - busy / whole for busy, whole in zip(encoding[1:], together, strict=True))
    what = f"JPEG of {size[0]} x {size[1]} in bulk ({idle:.1%} of it the encoder waits)"
    sums = [sum(parts) for parts in zip(prepared, encoded, strict=True)]
    return Result(what, together, "preparing, then encoding", sums)


def _views(spec: ViewSpec, file: bytes) -> list[View]:
    return prepare(file, [spec], Limits()).views[spec]
