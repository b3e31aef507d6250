"""Fish and cats, facing left where they are seen from the side."""

from __future__ import annotations

import random

import numpy as np
from tools.tiny.shapes import (
    Part,
    arc,
    band,
    box,
    curve,
    dots,
    flipped,
    moved,
    oval,
    poly,
    rounded,
    stroke,
)


def _eye(rng: random.Random, x: float, y: float) -> list[Part]:
    size = rng.uniform(0.06, 0.12)
    white = dots([(x, y)], size * 1.6, "white") if rng.random() < 0.5 else []
    return [*white, *dots([(x, y)], size)] if rng.random() < 0.9 else []


def _tail(rng: random.Random, x: float) -> Part:
    high, end = rng.uniform(0.35, 0.6), rng.uniform(0.95, 1.25)
    notch = rng.choice((end, end - rng.uniform(0.1, 0.25)))
    return Part(poly(x, 0, end, -high, notch, 0, end, high), rng.choice(("body", "body", "body", "tone")))


def _fins(rng: random.Random, top: float) -> list[Part]:
    paint = rng.choice(("body", "tone", "tone"))
    upper = poly(-0.25, -top * 0.85, 0.15, -top - rng.uniform(0.15, 0.4), 0.35, -top * 0.7)
    lower, side = upper * (0.7, -0.9), poly(-0.1, 0.05, 0.25, -0.08, 0.2, 0.25)
    return [part for part in (Part(upper, paint), Part(lower, paint), Part(side, "tone")) if rng.random() < 0.55]


def _marks(rng: random.Random, high: float) -> list[Part]:
    """Stripes, a gill or scales; mostly nothing."""
    kind = rng.random()
    if kind < 0.2:
        return [
            stroke(x, -high * 0.7, x + 0.05, high * 0.7, width=0.1, paint=rng.choice(("tone", "white")))
            for x in (-0.15, 0.15)
        ]
    if kind < 0.4:
        return [Part(arc(-0.5, 0, 0.15, high * 0.6, -60, 60, 8), "ink", 0.05)]
    return []


def oval_fish(rng: random.Random) -> list[Part]:
    high = rng.uniform(0.35, 0.6)
    return [
        _tail(rng, 0.4),
        *_fins(rng, high),
        Part(oval(-0.2, 0, 0.8, high)),
        *_marks(rng, high),
        *_eye(rng, -0.62, -high * 0.25),
    ]


def lens_fish(rng: random.Random) -> list[Part]:
    high = rng.uniform(0.35, 0.55)
    body = curve(
        -1, 0, -0.5, -high * 0.8, 0, -high, 0.5, -high * 0.4, 0.75, 0, 0.5, high * 0.4, 0, high, -0.5, high * 0.8
    )
    mouth = [stroke(-0.97, 0.08, -0.75, 0.1, width=0.04)] if rng.random() < 0.4 else []
    return [
        _tail(rng, 0.55),
        *_fins(rng, high),
        Part(body),
        *_marks(rng, high * 0.8),
        *mouth,
        *_eye(rng, -0.6, -high * 0.2),
    ]


def crossing_fish(rng: random.Random) -> list[Part]:
    high, end = rng.uniform(0.35, 0.55), rng.uniform(0.25, 0.45)
    upper = curve(-1, 0, -0.4, -high, 0.3, -high * 0.4, 1, end, closed=False)
    outline = np.concatenate((upper, poly(0.85, 0), (upper * (1, -1))[::-1]))
    return [Part(outline), *_eye(rng, -0.6, -0.08)]


def cornered_fish(rng: random.Random) -> list[Part]:
    high = rng.uniform(0.35, 0.6)
    body = rng.choice(
        (
            poly(-1, 0, -0.3, -high, 0.5, 0, -0.3, high),
            poly(-1, 0, -0.5, -high, 0.2, -high, 0.6, 0, 0.2, high, -0.5, high),
        )
    )
    return [_tail(rng, 0.35), *_fins(rng, high * 0.8), Part(body), *_eye(rng, -0.6, -0.06)]


def tall_fish(rng: random.Random) -> list[Part]:
    high = rng.uniform(0.65, 0.85)
    fins = poly(-0.3, -high * 0.6, 0.45, -high - 0.35, 0.3, -0.2)
    return [
        _tail(rng, 0.35),
        Part(fins),
        Part(fins * (1, -1)),
        Part(oval(-0.15, 0, 0.65, high)),
        *_marks(rng, high),
        *_eye(rng, -0.5, -0.12),
    ]


def slim_fish(rng: random.Random) -> list[Part]:
    high = rng.uniform(0.2, 0.3)
    body = curve(-1.2, 0, -0.8, -high, 0, -high, 0.8, -0.06, 0.8, 0.06, 0, high, -0.8, high)
    return [
        Part(poly(0.7, 0, 1.2, -0.35, 1.05, 0, 1.2, 0.35)),
        *_fins(rng, high),
        Part(body),
        *_eye(rng, -0.85, -high * 0.2),
    ]


def _ears(rng: random.Random, half: float, base: float, top: float, inner: bool) -> list[Part]:
    wide = rng.uniform(0.45, 0.6) * half
    ear = poly(half * 0.95, base, half * rng.uniform(0.75, 1.0), top, half - wide * 1.4, base - 0.15 * half)
    middle = ear.mean(0)
    lining = moved(ear - middle, *middle, 0.5)
    sides = [Part(ear), Part(flipped(ear))]
    return sides + ([Part(lining, "pink"), Part(flipped(lining), "pink")] if inner else [])


def _cat_face(rng: random.Random, size: float = 1.0, x: float = 0.0, y: float = 0.0) -> list[Part]:
    """Eyes, nose, mouth and whiskers for a head of radius `size` around (x, y)."""
    apart, eye = rng.uniform(0.28, 0.42), rng.uniform(0.09, 0.17)
    iris = rng.choice(("ink", "ink", "green", "yellow", "white"))
    parts = [Part(oval(s * apart, -0.15, eye, eye * rng.uniform(1, 1.4)), iris) for s in (-1, 1)]
    if iris != "ink":
        parts += [Part(oval(s * apart, -0.15, eye * 0.4, eye * 0.9), "ink") for s in (-1, 1)]
    parts.append(Part(poly(-0.1, 0.15, 0.1, 0.15, 0, 0.28), rng.choice(("ink", "pink"))))
    if rng.random() < 0.6:
        parts.append(stroke(-0.2, 0.42, 0, 0.28, 0.2, 0.42, width=0.05))
    if rng.random() < 0.8:
        reach, width = rng.uniform(0.8, 1.25), rng.uniform(0.025, 0.06)
        parts += [
            stroke(s * 0.3, 0.22 + dy * 0.5, s * reach, 0.2 + dy * 1.6, width=width)
            for s in (-1, 1)
            for dy in rng.choice(((-0.1, 0.1), (-0.1, 0, 0.1)))
        ]
    return [Part(moved(p.points, x, y, size), p.paint, p.width and p.width * size) for p in parts]


def cat_face(rng: random.Random) -> list[Part]:
    high = rng.uniform(0.7, 0.95)
    return [
        *_ears(rng, 0.85, -0.3, -rng.uniform(1.0, 1.3), rng.random() < 0.5),
        Part(oval(0, 0, 0.9, high)),
        *_cat_face(rng, 0.9),
    ]


def cornered_cat_face(rng: random.Random) -> list[Part]:
    chin, cheek = rng.uniform(0.3, 0.5), rng.uniform(0.75, 0.95)
    outline = poly(-0.75, -1, -0.3, -0.6, 0.3, -0.6, 0.75, -1, cheek, 0.2, chin, 0.75, -chin, 0.75, -cheek, 0.2)
    return [Part(outline), *_cat_face(rng, 0.85)]


def _curled_tail(rng: random.Random, x: float, y: float) -> Part:
    reach, width = rng.uniform(0.35, 0.6), rng.uniform(0.12, 0.2)
    path = rng.choice(
        (
            curve(x, y, x + reach, y, x + reach, y - 0.6, x + reach * 0.8, y - 0.9, closed=False),
            curve(x, y, x + reach * 0.8, y - 0.1, x + reach, y - 0.5, x + reach * 0.6, y - 0.6, closed=False),
            curve(x, y - 0.05, x + reach * 0.5, y + 0.05, x + reach, y - 0.15, closed=False),
        )
    )
    return Part(band(path, width, width * rng.uniform(0.5, 1)))


def sitting_cat(rng: random.Random) -> list[Part]:
    head, wide = rng.uniform(0.32, 0.42), rng.uniform(0.4, 0.55)
    y = -0.65
    ears = [Part(moved(p.points, 0, y, head), p.paint) for p in _ears(rng, 0.85, -0.3, -1.3, False)]
    body = rng.choice(
        (
            oval(0, 0.35, wide, 0.75),
            poly(-0.2, -0.5, 0.2, -0.5, wide, 1, -wide, 1),
            curve(-0.22, -0.5, 0.22, -0.5, wide, 0.4, wide * 0.95, 1, -wide * 0.95, 1, -wide, 0.4),
        )
    )
    face = _cat_face(rng, head, 0, y) if rng.random() < 0.6 else []
    return [_curled_tail(rng, wide * 0.7, 0.85), Part(body), *ears, Part(oval(0, y, head, head * 0.9)), *face]


def _side_head(rng: random.Random, x: float, y: float, size: float) -> list[Part]:
    """A head at (x, y) with both ears up; with a face, an eye or neither."""
    ears = [
        Part(poly(x - size * 0.9, y - size * 0.2, x - size * 0.75, y - size * 1.6, x - size * 0.05, y - size * 0.8)),
        Part(poly(x + size * 0.9, y - size * 0.2, x + size * 0.75, y - size * 1.6, x + size * 0.05, y - size * 0.8)),
    ]
    face = rng.choice(([], _cat_face(rng, size, x, y), _eye(rng, x - size * 0.4, y)))
    return [*ears, Part(oval(x, y, size, size * 0.88)), *face]


def standing_cat(rng: random.Random) -> list[Part]:
    back, low = rng.uniform(-0.15, 0.0), rng.uniform(0.8, 1.0)
    legs = [Part(box(x, 0.2, x + 0.15, low)) for x in (-0.6, -0.4, 0.35, 0.55)]
    tail = rng.choice(
        (
            curve(0.6, 0.1, 0.95, -0.1, 0.9, -0.6, 1.05, -0.85, closed=False),
            curve(0.6, 0.1, 1, 0.0, 1.2, 0.4, closed=False),
        )
    )
    torso = rng.choice((rounded(-0.7, back, 0.72, 0.45, 0.25), oval(0, 0.18, 0.78, 0.33)))
    return [*legs, Part(band(tail, 0.15, 0.1)), Part(torso), *_side_head(rng, -0.75, -0.3, rng.uniform(0.28, 0.38))]


def side_sitting_cat(rng: random.Random) -> list[Part]:
    body = curve(-0.45, -0.3, -0.1, -0.3, 0.4, 0.3, 0.55, 0.95, -0.5, 1, -0.45, 0.5)
    return [_curled_tail(rng, 0.45, 0.88), Part(body), *_side_head(rng, -0.35, -0.55, rng.uniform(0.32, 0.42))]


def lying_cat(rng: random.Random) -> list[Part]:
    tail = curve(0.8, 0.35, 1.15, 0.3, 1.2, 0.0, 1.0, -0.1, closed=False)
    return [
        Part(band(tail, 0.15, 0.1)),
        Part(oval(0.2, 0.2, 0.8, rng.uniform(0.32, 0.45))),
        *_side_head(rng, -0.6, -0.05, rng.uniform(0.33, 0.42)),
    ]


DESIGNS = {
    "fish": (oval_fish, oval_fish, lens_fish, crossing_fish, cornered_fish, tall_fish, slim_fish),
    "cat": (cat_face, cat_face, cornered_cat_face, sitting_cat, standing_cat, side_sitting_cat, lying_cat),
}
