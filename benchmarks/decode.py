"""Bytes → views against Pillow's decoder alone, at the scale that the view allows: what is left is ours to save.

Drawn pictures with the spectrum of photographs: octaves of noise, shapes with edges, grain.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.pictures import drawn, written
from benchmarks.timing import Result, alternating
from moderato.media import Limits, prepare
from moderato.media.view import reduction
from moderato.types import Fit, ViewSpec

_SMALL, _SCREEN, _CAMERA = (640, 480), (1920, 1080), (4000, 3000)
_FITS: tuple[Fit, ...] = ("crop", "cover")
_SIDE = 224
_LIMITS = Limits()


@dataclass(frozen=True)
class _Kind:
    """A kind of file: Pillow's name of the format, its size and how it is written."""

    name: str
    size: tuple[int, int]
    progressive: bool = False

    def __str__(self) -> str:
        return f"{self.name}{', progressive,' if self.progressive else ''} of {self.size[0]} x {self.size[1]}"


_KINDS = (
    *(_Kind("JPEG", size, progressive) for progressive in (False, True) for size in (_SMALL, _SCREEN, _CAMERA)),
    *(_Kind(name, size) for name in ("PNG", "WEBP") for size in (_SMALL, _SCREEN)),
)


def measure(_: Path, rounds: int) -> list[Result]:
    """Milliseconds a picture, by kind of file and by the way it is cut."""
    return [result for kind in _KINDS for result in _compare(kind, rounds)]


def _compare(kind: _Kind, rounds: int) -> list[Result]:
    data = written(drawn(kind.size, seed=0), kind.name, progressive=kind.progressive)
    specs = [ViewSpec(_SIDE, fit) for fit in _FITS]
    *ours, floor = alternating(
        rounds,
        1,
        *(lambda spec=spec: prepare(data, [spec], _LIMITS) for spec in specs),
        lambda: _decode(data, specs[0]),
    )
    return [
        Result(f"{kind} ({len(data) // 1000} kB) to views, {spec.fit}", own, "Pillow's decoder alone", floor)
        for spec, own in zip(specs, ours, strict=True)
    ]


def _decode(data: bytes, spec: ViewSpec) -> None:
    with Image.open(io.BytesIO(data)) as image:
        scale = reduction(image.size, spec)
        image.draft("RGB", (image.width // scale, image.height // scale))
        image.load()
