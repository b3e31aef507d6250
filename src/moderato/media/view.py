"""A frame → views: the squares an encoder looks at. A pure function of the picture and the `ViewSpec`, nothing else."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from moderato.types import Box, Frame, Interpolation, View, ViewSpec

_FILTERS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
_SPARE = 2.0
"""A scaled JPEG keeps at least this many times the view's side: the resize after it still has pixels to average."""
_OVERLAP = 1 / 8
"""Share of a square that its neighbour repeats, so that what lies on a seam is whole in one of them."""
_STRIP = 4
"""Times as long as wide, and more than any photograph."""
_MAX_SQUARES = 8
"""Beyond it (pictures longer than 7 times their width) the squares become oblongs: squeezed, but seen."""


def reduction(size: tuple[int, int], spec: ViewSpec) -> int:
    """The fraction (1, 2, 4 or 8) at which a scalable picture of this size may be decoded for this spec."""
    room = min(size) / (_SPARE * _edge(spec))
    return max((scale for scale in (2, 4, 8) if scale <= room), default=1)


def cut(frame: Frame, spec: ViewSpec) -> list[View]:
    """The views of one frame: one for `crop` and `squash`, one to eight for `cover`."""
    if spec.fit == "crop":
        return [_centre(frame, spec)]
    width, height = frame.size
    boxes = [(0, 0, width, height)] if spec.fit == "squash" else _squares(width, height)
    return [_view(frame, spec, box) for box in boxes]


def _view(frame: Frame, spec: ViewSpec, box: Box) -> View:
    """A rectangle of the whole picture, resized to the square."""
    across, down = frame.image.width / frame.size[0], frame.image.height / frame.size[1]
    inside = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    image = frame.image.resize((spec.side, spec.side), _FILTERS[spec.interpolation], box=inside)
    return View(np.asarray(image), box, frame.time, frame.number)


def _centre(frame: Frame, spec: ViewSpec) -> View:
    """Shortest side to S (or a little more, by the spec's `share`), then the central S×S.

    To the pixel as Hugging Face's CLIP processor has it.

    Of a strip only that square and the few pixels around it that the filter reads are resized: 1 × 30,000 pixels must
    not become 224 × 6,720,000.
    """
    side, image, short = spec.side, frame.image, min(frame.size)
    width, height = (int(_edge(spec) * length / short) for length in frame.size)
    left, top = (width - side) // 2, (height - side) // 2
    columns = _window(left, side, width, image.width)
    rows = _window(top, side, height, image.height)
    box = (columns[0] * image.width / width, rows[0] * image.height / height,
           columns[1] * image.width / width, rows[1] * image.height / height)  # fmt: skip
    resized = image.resize((columns[1] - columns[0], rows[1] - rows[0]), _FILTERS[spec.interpolation], box=box)
    x, y = left - columns[0], top - rows[0]
    pixels = np.asarray(resized.crop((x, y, x + side, y + side)))
    scale = short / _edge(spec)
    return View(
        pixels,
        _rounded((left * scale, top * scale, (left + side) * scale, (top + side) * scale)),
        frame.time,
        frame.number,
    )


def _edge(spec: ViewSpec) -> int:
    """The length to which the shorter side is brought: timm rounds it down (timm/data/transforms_factory.py)."""
    return math.floor(spec.side / spec.share) if spec.fit == "crop" else spec.side


def _window(start: int, length: int, whole: int, original: int) -> tuple[int, int]:
    """Which stretch of the resized picture to make: all, or of a strip what is kept and a filter of radius 2 reads.

    The rounding of a part's coordinates may differ in a few pixels from that of the whole.
    """
    if whole <= _STRIP * length:
        return 0, whole
    margin = math.ceil(2 * max(1.0, whole / original)) + 1
    return max(0, start - margin), min(whole, start + length + margin)


def _squares(width: int, height: int) -> list[Box]:
    """Overlapping squares of whole pixels along the longer side that together show all of it."""
    short, long = min(width, height), max(width, height)
    count = min(_MAX_SQUARES, math.ceil((long / short - _OVERLAP) / (1 - _OVERLAP)))
    length = max(float(short), long / (count - (count - 1) * _OVERLAP))
    starts = np.linspace(0, long - length, count)
    if width >= height:
        return [_rounded((start, 0, start + length, height)) for start in starts]
    return [_rounded((0, start, width, start + length)) for start in starts]


def _rounded(box: tuple[float, float, float, float]) -> Box:
    return (round(box[0]), round(box[1]), round(box[2]), round(box[3]))
