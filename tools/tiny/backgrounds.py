"""Grounds to draw on: plain, two-tone, graded, striped, dotted, checked or noisy, never in an object's colour."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tools.tiny.colours import COLOURS, RGB, confusable, distance, mix, shade_of

Mask = NDArray[np.float32]  # (height, width), 0 = first colour, 1 = second
_APART = 75.0  # least RGB distance between a ground and what stands on it
_WHITE = RGB(255, 255, 255)


def _split(x: Mask, y: Mask, rng: random.Random) -> Mask:
    level = rng.uniform(0.3, 0.85)
    line = rng.choice((y, y, x, (x + y) / 2))
    return (line > level).astype(np.float32)


def _graded(x: Mask, y: Mask, rng: random.Random) -> Mask:
    radial = np.hypot(x - rng.random(), y - rng.random())
    return rng.choice((x, y, (x + y) / 2, np.minimum(radial, 1.0)))


def _stripes(x: Mask, y: Mask, rng: random.Random) -> Mask:
    slope = rng.choice(((1, 0), (0, 1), (1, 1), (1, -1)))
    wave = np.sin((slope[0] * x + slope[1] * y) * rng.uniform(12, 70))
    return (wave > rng.uniform(-0.4, 0.8)).astype(np.float32)


def _dotted(x: Mask, y: Mask, rng: random.Random) -> Mask:
    pitch, radius = rng.uniform(5, 14), rng.uniform(0.12, 0.35)
    return (np.hypot((x * pitch) % 1 - 0.5, (y * pitch) % 1 - 0.5) < radius).astype(np.float32)


def _checked(x: Mask, y: Mask, rng: random.Random) -> Mask:
    pitch = rng.uniform(3, 14)
    return ((np.floor(x * pitch) + np.floor(y * pitch)) % 2).astype(np.float32)


def _grid(x: Mask, y: Mask, rng: random.Random) -> Mask:
    pitch, width = rng.uniform(3, 12), rng.uniform(0.05, 0.2)
    return (((x * pitch) % 1 < width) | ((y * pitch) % 1 < width)).astype(np.float32)


def _clouds(x: Mask, y: Mask, rng: random.Random) -> Mask:
    waves = sum(np.sin(rng.uniform(-9, 9) * x + rng.uniform(-9, 9) * y + rng.uniform(0, 6)) for _ in range(4))
    return (waves / 8 + 0.5).astype(np.float32)


_PATTERNS = (_split, _graded, _graded, _stripes, _dotted, _checked, _grid, _clouds)


def _plain_shade(avoid: Sequence[tuple[str, RGB]], name: str, rng: random.Random) -> RGB:
    """A shade of `name` that stands off from all objects; the farthest of a few tries where none does."""
    tries = [shade_of(name, rng) for _ in range(8)]
    apart = [min((distance(shade, colour) for _, colour in avoid), default=442.0) for shade in tries]
    good = [shade for shade, gap in zip(tries, apart, strict=True) if gap >= _APART]
    return good[0] if good else tries[apart.index(max(apart))]


def _any_shade(avoid: Sequence[tuple[str, RGB]], rng: random.Random) -> RGB:
    """A light, middling or dark colour that stands off from all objects and shares no name with them."""
    for _ in range(12):
        name = rng.choice(COLOURS)
        shade = shade_of(name, rng)
        kind = rng.random()
        if kind < 0.55:
            shade = mix(shade, _WHITE, rng.uniform(0.6, 0.92))
        elif any(confusable(colour, name) for colour, _ in avoid):
            continue
        if all(distance(shade, colour) >= _APART for _, colour in avoid):
            return shade
    return _plain_shade(avoid, "grey" if any(name == "white" for name, _ in avoid) else "white", rng)


def background(
    size: tuple[int, int], ground: str | None, avoid: Sequence[tuple[str, RGB]], rng: random.Random
) -> Image.Image:
    """An RGB ground of `size` (width, height): plain in the named colour, or of two colours where that is None.

    avoid: names and shades of the objects that will stand on it.
    """
    if ground is not None:
        return Image.new("RGB", size, _plain_shade(avoid, ground, rng))
    one = _any_shade(avoid, rng)
    if rng.random() < 0.3:
        return Image.new("RGB", size, one)
    two = _any_shade(avoid, rng)
    part = rng.choice((0.15, 0.4, 1.0))
    softened = mix(one, two, part)
    if all(distance(softened, colour) >= _APART for _, colour in avoid):
        two = softened
    long = max(size)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32) / long, np.arange(size[1], dtype=np.float32) / long)
    mask = rng.choice(_PATTERNS)(x, y, rng)[..., None]
    colours = np.array((one, two), dtype=np.float32)
    return Image.fromarray((colours[0] + (colours[1] - colours[0]) * mask).astype(np.uint8))
