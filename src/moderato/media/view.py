"""A frame → views: the squares an encoder looks at. A pure function of the picture and the `ViewSpec`, nothing else."""

from __future__ import annotations

import math

import numpy as np

from moderato.media._resize import Rectangle, resize
from moderato.types import Box, Frame, View, ViewSpec

_SPARE = 1.6
"""A scaled JPEG keeps at least this many times the view's side: the resize after it still has pixels to average. On
pictures with the spectrum of photographs values then differ by some 1.1 of 255 in the mean, at every scale; with 1.2
it would be 2.8, as much as from bicubic views to bilinear ones."""
_LEAST = 128
"""Pixels of the shorter side that a scaled JPEG keeps: fewer save hardly any time and cost small encoders detail."""
_OVERLAP = 1 / 8
"""Share of a square that its neighbour repeats, so that what lies on a seam is whole in one of them."""
_MAX_SQUARES = 8
"""Beyond it (pictures longer than 7 times their width) the squares become oblongs: squeezed, but seen."""


def reduction(size: tuple[int, int], spec: ViewSpec) -> int:
    """The fraction (1, 2, 4 or 8) at which a scalable picture of this size may be decoded for this spec."""
    edge = _edge(spec)
    return max((scale for scale in (2, 4, 8) if min(size) / scale >= max(_SPARE * edge, _LEAST)), default=1)


def cut(frame: Frame, spec: ViewSpec) -> list[View]:
    """The views of one frame: one for `crop` and `squash`, one to eight for `cover`."""
    width, height = frame.size
    match spec.fit:
        case "crop":
            return [_view(frame, spec, _centre(width, height, spec))]
        case "squash":
            return [_view(frame, spec, (0, 0, width, height))]
        case "cover":
            return [_view(frame, spec, square) for square in _squares(width, height)]


def _view(frame: Frame, spec: ViewSpec, box: Rectangle) -> View:
    """A rectangle of the whole picture, resized to the square. What the filter reads beyond its edges is read."""
    (x, y), scale = frame.corner, frame.reduction
    inside = (x + box[0] / scale, y + box[1] / scale, x + box[2] / scale, y + box[3] / scale)
    pixels = resize(frame.image, inside, spec.side, spec.interpolation)
    return View(pixels, _rounded(box), frame.time, frame.number)


def _centre(width: int, height: int, spec: ViewSpec) -> Rectangle:
    """What is left when the shortest side is brought to S (or a little more, by the spec's `share`), then cut to S×S.

    As Hugging Face's CLIP processor has it, rounded as there. Cutting first saves the resizing of all the rest, and
    differs by roundings.
    """
    short = min(width, height)
    across, down = (int(_edge(spec) * length / short) for length in (width, height))
    left, top = (across - spec.side) // 2, (down - spec.side) // 2
    x, y = width / across, height / down
    return (left * x, top * y, (left + spec.side) * x, (top + spec.side) * y)


def _edge(spec: ViewSpec) -> int:
    """The length to which the shorter side is brought: timm rounds it down (timm/data/transforms_factory.py)."""
    return math.floor(spec.side / spec.share) if spec.fit == "crop" else spec.side


def _squares(width: int, height: int) -> list[Box]:
    """Overlapping squares of whole pixels along the longer side that together show all of it."""
    short, long = min(width, height), max(width, height)
    count = min(_MAX_SQUARES, math.ceil((long / short - _OVERLAP) / (1 - _OVERLAP)))
    length = max(float(short), long / (count - (count - 1) * _OVERLAP))
    starts = np.linspace(0, long - length, count)
    if width >= height:
        return [_rounded((start, 0, start + length, height)) for start in starts]
    return [_rounded((0, start, width, start + length)) for start in starts]


def _rounded(box: Rectangle) -> Box:
    return (round(box[0]), round(box[1]), round(box[2]), round(box[3]))
