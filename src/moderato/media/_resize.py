"""A rectangle of a picture → a square of pixels, filtered as Pillow does it, several times as fast.

cykooz-resizer computes with wide instructions, in one thread and without holding Python's lock. Where it has no wheels,
as for Linux on ARM, Pillow does it. Up to version 12 Pillow goes across first, then down, and rounds to whole numbers
between the two; done in this order here, all but some in a hundred values are the same, and those are a step apart.
Since version 13 it goes down first in some tall pictures, which makes a difference of that kind in every fourth value.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderato.types import Interpolation

try:
    import cykooz_resizer as simd
except ImportError:
    simd = None

Rectangle = tuple[float, float, float, float]
"""Left, top, right and bottom; edges may lie within pixels."""

_FILTERS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
_SIMD_FILTERS: dict[Interpolation, str] = {"bicubic": "catmull_rom", "bilinear": "bilinear"}
_REACH = 2
"""Pixels to either side, of the smaller of both pictures, that the wider of these filters sees."""
_STRIP = 2**16
"""Pixels that are copied at a time. Larger strips are a little faster, but each thread that ever prepared a picture
keeps the memory that they took."""


def resize(image: Image.Image, box: Rectangle, side: int, interpolation: Interpolation) -> NDArray[np.uint8]:
    """`(side, side, 3)` of a rectangle of an RGB image. What the filter sees beyond its edges, it reads."""
    if simd:
        return _resize_by_simd(image, box, side, interpolation)
    return np.asarray(image.resize((side, side), _FILTERS[interpolation], box=box))


def _resize_by_simd(image: Image.Image, box: Rectangle, side: int, name: Interpolation) -> NDArray[np.uint8]:
    """First all lines that the second pass will read, a strip at a time, then those."""
    left, top, right, bottom = box
    first, last = _read(left, right, image.width, side)
    upper, lower = _read(top, bottom, image.height, side)
    height = max(1, _STRIP // (last - first))
    strips = (image.crop((first, y, last, min(y + height, lower))) for y in range(upper, lower, height))
    lines = b"".join(
        _pass(strip.tobytes(), strip.size, (left - first, 0, right - first, strip.height), (side, strip.height), name)
        for strip in strips
    )
    square = _pass(lines, (side, lower - upper), (0, top - upper, side, bottom - upper), (side, side), name)
    return np.frombuffer(square, np.uint8).reshape(side, side, 3)


def _read(start: float, end: float, length: int, side: int) -> tuple[int, int]:
    """The pixels along an axis that a filter reads: those from start to end, and beyond them as far as it sees."""
    beyond = _REACH * max(1.0, (end - start) / side) + 1
    return max(0, math.floor(start - beyond)), min(length, math.ceil(end + beyond))


def _pass(pixels: bytes, size: tuple[int, int], box: Rectangle, wanted: tuple[int, int], name: Interpolation) -> bytes:
    """A box of RGB pixels, resized along the one axis in which `wanted` is another size."""
    source = simd.ImageData(*size, simd.PixelType.U8x3, pixels)
    target = simd.ImageData(*wanted, simd.PixelType.U8x3)
    algorithm = simd.ResizeAlg.convolution(simd.FilterType[_SIMD_FILTERS[name]])
    width, height = (min(end - start, most - start) for start, end, most in zip(box[:2], box[2:], size, strict=True))
    options = simd.ResizeOptions(algorithm, crop_box=simd.CropBox(*box[:2], width, height))
    simd.Resizer().resize(source, target, options)
    resized: bytes = target.get_buffer()
    return resized
