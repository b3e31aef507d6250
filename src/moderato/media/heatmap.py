"""Where in a picture something was seen, drawn over it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderato.media.decode import Limits, Picture
from moderato.types import Box

_LONGEST = 1024  # pixels of the drawing's longer side
_COLD, _HOT = (255, 215, 0), (215, 0, 0)
_OPACITY = 0.72  # of the hottest place: what lies under it is still seen

Heat = NDArray[np.float32]
"""float32 `(grid, grid)`, any range: the higher, the more a patch looks like the label."""


def draw_heat(data: bytes, number: int, heats: Sequence[tuple[Box, Heat]], limits: Limits) -> bytes:
    """A PNG: the frame of this number, grey, and over it the heat of its views, from none (lowest) to red (highest).

    Colours are relative to this picture: they say where, not how much. Raises `DecodeError` or `LimitError`.
    """
    picture = Picture(data, limits)
    frame = next(frame for frame in picture.frames() if frame.number == number)
    shrink = min(1.0, _LONGEST / max(frame.size))
    size = (max(1, round(frame.size[0] * shrink)), max(1, round(frame.size[1] * shrink)))
    share = _on_canvas(heats, shrink, size)[..., None]
    grey = np.asarray(frame.image.resize(size).convert("L").convert("RGB"), np.float32)
    colour = (1 - share) * np.array(_COLD, np.float32) + share * np.array(_HOT, np.float32)
    opacity = _OPACITY * share
    blended = Image.fromarray((grey * (1 - opacity) + colour * opacity).round().astype(np.uint8), "RGB")
    stream = io.BytesIO()
    blended.save(stream, "PNG")
    return stream.getvalue()


def _on_canvas(heats: Sequence[tuple[Box, Heat]], shrink: float, size: tuple[int, int]) -> Heat:
    """Heat for each pixel in 0..1: the mean of the views that show it, stretched from the lowest to the highest."""
    total, seen = (np.zeros((size[1], size[0]), np.float32) for _ in range(2))
    for box, heat in heats:
        left, top, right, bottom = (round(edge * shrink) for edge in box)
        left, top = min(left, size[0] - 1), min(top, size[1] - 1)
        right, bottom = max(left + 1, min(right, size[0])), max(top + 1, min(bottom, size[1]))
        patch = Image.fromarray(heat.astype(np.float32)).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        total[top:bottom, left:right] += np.asarray(patch)
        seen[top:bottom, left:right] += 1
    mean = total / np.maximum(seen, 1)
    low, high = mean[seen > 0].min(), mean[seen > 0].max()
    stretched: Heat = np.where(seen > 0, (mean - low) / max(high - low, 1e-12), 0).clip(0, 1)
    return stretched
