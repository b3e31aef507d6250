"""Outlines in a unit plane: x to the right, y down, things about 2 wide and 2 high around the origin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # shape (n, 2)


@dataclass(frozen=True)
class Part:
    """One painted outline.

    paint: "body" (the caption's colour), "tone" (a lighter or darker body), "ink" (features such as eyes),
    "hole" (nothing: the background shows) or the name of a colour (an accent such as a brown handle).
    width: None for a filled outline; otherwise an open stroke this wide.
    """

    points: Points
    paint: str = "body"
    width: float | None = None


def poly(*xy: float) -> Points:
    """Corners given as x0, y0, x1, y1, ..."""
    return np.array(xy, dtype=np.float64).reshape(-1, 2)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """An upright rectangle."""
    return poly(left, top, right, top, right, bottom, left, bottom)


def arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float, count: int = 16) -> Points:
    """Points along an ellipse from `start` to `end` degrees (0 = right, 90 = down)."""
    angle = np.radians(np.linspace(start, end, count))
    return np.stack((cx + rx * np.cos(angle), cy + ry * np.sin(angle)), 1)


def oval(cx: float, cy: float, rx: float, ry: float | None = None, count: int = 28) -> Points:
    """A full ellipse; a circle when `ry` is left out."""
    return arc(cx, cy, rx, rx if ry is None else ry, 0, 360 - 360 / count, count)


def rounded(left: float, top: float, right: float, bottom: float, radius: float) -> Points:
    """A rectangle with round corners."""
    radius = min(radius, (right - left) / 2, (bottom - top) / 2)
    corners = (
        (right - radius, top + radius, -90),
        (right - radius, bottom - radius, 0),
        (left + radius, bottom - radius, 90),
        (left + radius, top + radius, 180),
    )
    return np.concatenate([arc(x, y, radius, radius, a, a + 90, 5) for x, y, a in corners])


def ngon(count: int, radius: float = 1.0, start: float = -90.0) -> Points:
    """A regular polygon, its first corner at `start` degrees."""
    return arc(0, 0, radius, radius, start, start + 360 - 360 / count, count)


def spiky(count: int, inner: float, start: float = -90.0) -> Points:
    """A star of `count` tips; `inner` is the radius of its notches (tips have 1)."""
    points = ngon(2 * count, 1.0, start)
    points[1::2] *= inner
    return points


def curve(*xy: float, closed: bool = True, steps: int = 6) -> Points:
    """A smooth (Catmull-Rom) line through the given points."""
    knots = poly(*xy)
    if closed:
        padded = np.concatenate((knots[-1:], knots, knots[:2]))
    else:
        padded = np.concatenate((knots[:1], knots, knots[-1:]))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    smooth = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    smooth = smooth.reshape(-1, 2)
    return smooth if closed else np.concatenate((smooth, knots[-1:]))


def band(path: Points, width: float, end_width: float | None = None) -> Points:
    """The filled outline of a stroke along `path`, its width going from `width` to `end_width`."""
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack((-along[:, 1], along[:, 0]), 1)
    half = np.linspace(width, width if end_width is None else end_width, len(path))[:, None] / 2
    return np.concatenate((path + across * half, (path - across * half)[::-1]))


def turned(points: Points, degrees: float, cx: float = 0.0, cy: float = 0.0) -> Points:
    """Points turned clockwise (as seen) about (cx, cy)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - (cx, cy)) @ np.array([[c, s], [-s, c]]) + (cx, cy)


def moved(points: Points, dx: float, dy: float, scale: float = 1.0) -> Points:
    """Points scaled about the origin, then shifted."""
    return points * scale + (dx, dy)


def flipped(points: Points) -> Points:
    """Points mirrored left to right."""
    return points * (-1.0, 1.0)


def stroke(*xy: float, width: float, paint: str = "ink", smooth: bool = False) -> Part:
    """An open line through the given points."""
    return Part(curve(*xy, closed=False) if smooth else poly(*xy), paint, width)


def dots(places: Sequence[tuple[float, float]], radius: float, paint: str = "ink") -> list[Part]:
    """Small discs, as eyes, rivets or buttons."""
    return [Part(oval(x, y, radius, count=14), paint) for x, y in places]
