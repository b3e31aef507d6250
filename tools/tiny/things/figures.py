"""Plain figures: circle, square, triangle, star, heart, cross."""

from __future__ import annotations

import random

import numpy as np
from tools.tiny.shapes import Part, Points, arc, band, box, curve, moved, ngon, oval, poly, rounded, spiky, turned


def _framed(outer: Points, rng: random.Random, least: float = 0.45) -> list[Part]:
    """The figure with a smaller one cut out of it."""
    return [Part(outer), Part(moved(outer, 0, 0, rng.uniform(least, 0.85)), "hole")]


def _layered(outer: Points, rng: random.Random) -> list[Part]:
    """The figure with a smaller one in a related tone on it."""
    return [Part(outer), Part(moved(outer, 0, 0, rng.uniform(0.4, 0.85)), "tone")]


def disc(rng: random.Random) -> list[Part]:
    return [Part(oval(0, 0, 1, rng.uniform(0.93, 1.07), count=rng.choice((14, 20, 40))))]


def ball(rng: random.Random) -> list[Part]:
    shine = Part(oval(-0.35, -0.4, rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.25)), rng.choice(("white", "tone")))
    return [Part(oval(0, 0, 1)), shine]


def ring(rng: random.Random) -> list[Part]:
    return _framed(oval(0, 0, 1), rng, 0.4)


def rings(rng: random.Random) -> list[Part]:
    return _layered(oval(0, 0, 1), rng)


def half_lit_disc(rng: random.Random) -> list[Part]:
    start = rng.uniform(0, 360)
    return [Part(oval(0, 0, 1)), Part(arc(0, 0, 1, 1, start, start + 180), "tone")]


def plain_square(rng: random.Random) -> list[Part]:
    return [Part(box(-1, -rng.uniform(0.92, 1.08), 1, 1))]


def soft_square(rng: random.Random) -> list[Part]:
    return [Part(rounded(-1, -1, 1, 1, rng.uniform(0.05, 0.4)))]


def square_frame(rng: random.Random) -> list[Part]:
    return _framed(rounded(-1, -1, 1, 1, rng.choice((0.001, 0.2))), rng)


def square_in_square(rng: random.Random) -> list[Part]:
    return _layered(box(-1, -1, 1, 1), rng)


def divided_square(rng: random.Random) -> list[Part]:
    corner = rng.choice((box(-1, -1, 0, 1), poly(-1, -1, 1, -1, -1, 1), box(-1, 0, 1, 1)))
    return [Part(box(-1, -1, 1, 1)), Part(corner, "tone")]


def even_triangle(rng: random.Random) -> list[Part]:
    return [Part(ngon(3))]


def tall_triangle(rng: random.Random) -> list[Part]:
    return [Part(poly(rng.uniform(-0.3, 0.3), -1, rng.uniform(0.6, 1.1), 1, rng.uniform(-1.1, -0.6), 1))]


def right_triangle(rng: random.Random) -> list[Part]:
    return [Part(poly(-1, -1, 1, 1, -1, 1))]


def flat_triangle(rng: random.Random) -> list[Part]:
    return [Part(poly(rng.uniform(-0.6, 0.6), -0.4, 1, 0.6, -1, 0.6))]


def triangle_frame(rng: random.Random) -> list[Part]:
    return _framed(ngon(3), rng)


def soft_triangle(rng: random.Random) -> list[Part]:
    radius = rng.uniform(0.08, 0.22)
    corners = [arc(x, y, radius, radius, a, a + 120, 6) for (x, y), a in zip(ngon(3), (210, 330, 90), strict=True)]
    return [Part(np.concatenate(corners))]


def layered_triangle(rng: random.Random) -> list[Part]:
    return (
        _layered(ngon(3), rng) if rng.random() < 0.5 else [Part(ngon(3)), Part(poly(0, -1, 0.87, 0.5, 0, 0.5), "tone")]
    )


def five_star(rng: random.Random) -> list[Part]:
    return [Part(spiky(5, rng.uniform(0.3, 0.58)))]


def other_star(rng: random.Random) -> list[Part]:
    count = rng.choice((4, 6, 6, 7, 8))
    return [Part(spiky(count, rng.uniform(0.25, 0.45) if count == 4 else rng.uniform(0.35, 0.65)))]


def hexagram(rng: random.Random) -> list[Part]:
    return [Part(ngon(3)), Part(ngon(3, start=90))]


def faceted_star(rng: random.Random) -> list[Part]:
    points = spiky(5, rng.uniform(0.38, 0.5))
    facets = [Part(np.stack((points[i], points[i + 1], (0, 0))), "tone") for i in range(0, 10, 2)]
    return [Part(points), *facets]


def soft_star(rng: random.Random) -> list[Part]:
    return [Part(curve(*spiky(5, rng.uniform(0.5, 0.62)).ravel()))]


def star_frame(rng: random.Random) -> list[Part]:
    star = spiky(5, rng.uniform(0.38, 0.5))
    return _framed(star, rng, 0.5) if rng.random() < 0.5 else _layered(star, rng)


def _heart(width: float, count: int) -> Points:
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    return np.stack((width * np.sin(t) ** 3, y), 1)


def curved_heart(rng: random.Random) -> list[Part]:
    return [Part(_heart(rng.uniform(0.85, 1.15), rng.choice((18, 30, 44))))]


def joined_heart(rng: random.Random) -> list[Part]:
    radius, low = rng.uniform(0.48, 0.56), rng.uniform(0.9, 1.2)
    wide = 0.5 + radius * 0.8
    return [
        Part(oval(-0.5, -0.4, radius)),
        Part(oval(0.5, -0.4, radius)),
        Part(poly(-wide, -0.1, 0, -0.5, wide, -0.1, 0, low)),
    ]


def cornered_heart(rng: random.Random) -> list[Part]:
    top, dip = rng.uniform(-0.95, -0.7), rng.uniform(-0.5, -0.25)
    return [
        Part(poly(0, dip, 0.4, top, 0.75, top, 1, -0.3, 0.9, 0.1, 0, 1, -0.9, 0.1, -1, -0.3, -0.75, top, -0.4, top))
    ]


def shining_heart(rng: random.Random) -> list[Part]:
    shine = Part(
        turned(oval(-0.5, -0.45, 0.12, rng.uniform(0.15, 0.3)), 40, -0.5, -0.45), rng.choice(("white", "tone"))
    )
    return [Part(_heart(1.05, 36)), shine]


def heart_frame(rng: random.Random) -> list[Part]:
    return _framed(_heart(1.05, 36), rng, 0.6) if rng.random() < 0.5 else _layered(_heart(1.05, 36), rng)


def plump_heart(rng: random.Random) -> list[Part]:
    side = rng.uniform(0.9, 1.1)
    right = curve(0, -0.45, 0.3, -0.85, 0.75, -0.85, side, -0.4, 0.75, 0.2, 0.3, 0.65, 0, 1, closed=False)
    return [Part(np.concatenate((right, (right * (-1, 1))[::-1])))]


def _plus(arm: float, middle: float = 0.0, long: float = 1.0) -> Points:
    low, high = middle - arm, middle + arm
    return poly(
        -arm,
        -1,
        arm,
        -1,
        arm,
        low,
        long,
        low,
        long,
        high,
        arm,
        high,
        arm,
        1,
        -arm,
        1,
        -arm,
        high,
        -long,
        high,
        -long,
        low,
        -arm,
        low,
    )


def plus(rng: random.Random) -> list[Part]:
    return [Part(_plus(rng.uniform(0.15, 0.42)))]


def latin_cross(rng: random.Random) -> list[Part]:
    return [Part(_plus(rng.uniform(0.1, 0.22), rng.uniform(-0.5, -0.2), rng.uniform(0.5, 0.75)))]


def slanted_cross(rng: random.Random) -> list[Part]:
    return [Part(turned(_plus(rng.uniform(0.13, 0.3)), 45))]


def crossed_strokes(rng: random.Random) -> list[Part]:
    width = rng.uniform(0.25, 0.6)
    bars = [
        Part(rounded(-1, -width / 2, 1, width / 2, width / 2)),
        Part(rounded(-width / 2, -1, width / 2, 1, width / 2)),
    ]
    return [Part(turned(bar.points, rng.choice((0, 0, 45)))) for bar in bars] if rng.random() < 0.5 else bars


def flared_cross(rng: random.Random) -> list[Part]:
    thin, wide = rng.uniform(0.1, 0.2), rng.uniform(0.3, 0.55)
    arm = poly(-thin, 0, -wide, -1, wide, -1, thin, 0)
    return [Part(turned(arm, angle)) for angle in (0, 90, 180, 270)]


def cross_frame(rng: random.Random) -> list[Part]:
    arm = rng.uniform(0.25, 0.4)
    return [Part(_plus(arm)), Part(_plus(arm * 0.6, 0, 0.87) * (1, 0.87), rng.choice(("hole", "tone", "white")))]


def bent_strokes(rng: random.Random) -> list[Part]:
    bow = rng.uniform(-0.2, 0.2)
    path = curve(-0.9, -0.9, bow, -bow, 0.9, 0.9, closed=False)
    bar = band(path, rng.uniform(0.2, 0.45), rng.uniform(0.2, 0.45))
    return [Part(bar), Part(bar * (-1, 1))]


DESIGNS = {
    "circle": (disc, disc, ball, ring, rings, half_lit_disc),
    "square": (plain_square, plain_square, soft_square, square_frame, square_in_square, divided_square),
    "triangle": (
        even_triangle,
        tall_triangle,
        right_triangle,
        flat_triangle,
        triangle_frame,
        soft_triangle,
        layered_triangle,
    ),
    "star": (five_star, five_star, other_star, hexagram, faceted_star, soft_star, star_frame),
    "heart": (curved_heart, joined_heart, cornered_heart, shining_heart, heart_frame, plump_heart),
    "cross": (plus, plus, latin_cross, slanted_cross, crossed_strokes, flared_cross, cross_frame, bent_strokes),
}
