"""Photographs judged in one go: how long the encoder waits, and what sharing the cores with it costs.

Preparing alone and encoding alone each use all cores. One after the other, they are what a pipeline takes at best, but
for cores that one of them leaves idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.pictures import jpeg
from benchmarks.sides import LABELS, THREADS, Side, moderator, sides
from benchmarks.timing import Result, alternating, told
from benchmarks.weights import NAMES
from moderato.media import Limits, prepare
from moderato.moderator import Moderator
from moderato.settings import Settings
from moderato.types import View, Views, ViewSpec

_SIZES = ((640, 480), (1920, 1080), (4000, 3000))
_SIDES = (("openvino", "fp32"), ("openvino", "int8"))  # that leaves preparing most time, and least
_ROWS = Settings().rows
_PICTURES = 64  # several batches, so that beginning and end weigh little
_DRAWN = 4


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Milliseconds a picture, whole and in its parts, and the share of them in which nothing is encoded."""
    return [
        result
        for side in sides(checkpoint, only=_SIDES)
        for size in _SIZES
        for result in _compare(f"{NAMES[checkpoint.name]}, {side}", side, moderator(checkpoint, side), size, rounds)
    ]


def _compare(encoder: str, side: Side, judge: Moderator, size: tuple[int, int], rounds: int) -> list[Result]:
    some = [jpeg(size, seed) for seed in range(_DRAWN)]
    files = [some[number % _DRAWN] for number in range(_PICTURES)]
    spec = side.encoder.view
    views = [view for file in files for view in _views(spec, file)]
    encoding: list[float] = []

    def together() -> None:
        before = judge.times.seconds["encode"]
        for _ in judge.classify_many(files, LABELS):
            pass
        encoding.append((judge.times.seconds["encode"] - before) / _PICTURES)

    with ThreadPoolExecutor(THREADS) as pool:
        whole, prepared, encoded = alternating(
            rounds, _PICTURES, together, lambda: [*pool.map(partial(_views, spec), files)], lambda: _encode(side, views)
        )
    idle = median(1 - busy / all_of_it for busy, all_of_it in zip(encoding[1:], whole, strict=True))
    what = f"{encoder}, JPEG of {size[0]} x {size[1]}"
    sums = [sum(parts) for parts in zip(prepared, encoded, strict=True)]
    return [
        Result(f"{what}, the encoder waits {told(idle, 'share')}", whole, "preparing, then encoding", sums),
        Result(f"{what}, preparing alone", prepared),
        Result(f"{what}, encoding alone", encoded),
    ]


def _views(spec: ViewSpec, file: bytes) -> list[View]:
    return prepare(file, [spec], Limits()).views[spec]


def _encode(side: Side, views: Sequence[View]) -> None:
    for start in range(0, len(views), _ROWS):
        side.encoder.project(Views(np.stack([view.pixels for view in views[start : start + _ROWS]])))
