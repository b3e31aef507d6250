"""Bytes → views against Pillow's decoder alone, at the scale that the view allows: what is left is ours to save.

Drawn pictures with the spectrum of photographs: octaves of noise, shapes with edges, grain.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

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


def drawn(size: tuple[int, int], seed: int) -> Image.Image:
    """A picture of octaves of noise, each half as strong as the one twice as coarse, with ellipses and grain."""
    random, (width, height) = np.random.default_rng(seed), size
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 8):
        noise = random.normal(0, 120 / 2**octave * 2, (2**octave * 3 // 4, 2**octave, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(noise[..., channel]).resize(size, Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(layer)
    image = Image.fromarray((total + 128).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(24):
        x, y, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(0.01, 0.15) * height
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), tuple(random.integers(0, 256, 3).tolist()))
    grain = random.normal(0, 5, (height, width, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def written(image: Image.Image, name: str, *, progressive: bool = False) -> bytes:
    """As a file: JPEG and WebP as cameras and sites write them, at quality 87 with halved colours."""
    stream = io.BytesIO()
    options = {"progressive": progressive, "subsampling": "4:2:0"} if name == "JPEG" else {}
    image.save(stream, name, quality=87, **options)
    return stream.getvalue()
