"""Houses, trees and flowers."""

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
    ngon,
    oval,
    poly,
    stroke,
    turned,
)


def _roof_paint(rng: random.Random) -> str:
    return rng.choice(("body", "body", "tone", "tone", "brown", "red", "grey", "black"))


def _door(rng: random.Random, x: float, bottom: float) -> list[Part]:
    half, top = rng.uniform(0.1, 0.18), bottom - rng.uniform(0.4, 0.65)
    shape = np.concatenate((arc(x, top, half, half, 180, 360), poly(x + half, bottom, x - half, bottom)))
    paint = rng.choice(("brown", "brown", "ink", "tone", "white", "hole"))
    return (
        []
        if rng.random() < 0.1
        else [Part(shape if rng.random() < 0.3 else box(x - half, top, x + half, bottom), paint)]
    )


def _windows(rng: random.Random, places: list[tuple[float, float]]) -> list[Part]:
    size, paint = rng.uniform(0.1, 0.17), rng.choice(("yellow", "blue", "white", "ink", "tone", "hole"))
    parts = [Part(box(x - size, y - size, x + size, y + size), paint) for x, y in places]
    if rng.random() < 0.4:
        parts += [stroke(x - size, y, x + size, y, width=0.03) for x, y in places]
        parts += [stroke(x, y - size, x, y + size, width=0.03) for x, y in places]
    return [] if rng.random() < 0.15 else parts


def _chimney(rng: random.Random) -> list[Part]:
    x = rng.choice((-1, 1)) * rng.uniform(0.3, 0.5)
    paint = rng.choice(("body", "tone", "brown", "red", "grey"))
    return [Part(box(x - 0.1, -0.95, x + 0.1, -0.3), paint)] if rng.random() < 0.4 else []


def house(rng: random.Random) -> list[Part]:
    half, eaves, top = rng.uniform(0.6, 0.8), rng.uniform(0.05, 0.25), rng.uniform(-1.0, -0.7)
    roof = Part(poly(-half - eaves, -0.1, 0, top, half + eaves, -0.1), _roof_paint(rng))
    x = rng.choice((0, -0.3, 0.3))
    return [
        *_chimney(rng),
        Part(box(-half, -0.12, half, 0.9)),
        roof,
        *_door(rng, x, 0.9),
        *_windows(rng, [(-0.38, 0.2), (0.38, 0.2)] if x == 0 else [(-x, 0.3)]),
    ]


def gable_house(rng: random.Random) -> list[Part]:
    top = rng.uniform(-1.0, -0.7)
    return [
        *_chimney(rng),
        Part(poly(-0.75, 0.9, -0.75, -0.1, 0, top, 0.75, -0.1, 0.75, 0.9)),
        *_door(rng, 0, 0.9),
        *rng.choice((_windows(rng, [(-0.4, 0.2), (0.4, 0.2)]), [Part(oval(0, -0.3, 0.13), "ink")])),
    ]


def long_house(rng: random.Random) -> list[Part]:
    inset, high = rng.uniform(0.1, 0.4), rng.uniform(-0.75, -0.5)
    roof = Part(poly(-1.1, -0.05, -1.1 + inset, high, 1.1 - inset, high, 1.1, -0.05), _roof_paint(rng))
    return [
        *_chimney(rng),
        Part(box(-1, -0.08, 1, 0.7)),
        roof,
        *_door(rng, 0, 0.7),
        *_windows(rng, [(-0.55, 0.25), (0.55, 0.25)]),
    ]


def tall_house(rng: random.Random) -> list[Part]:
    half = rng.uniform(0.45, 0.6)
    roof = Part(poly(-half - 0.12, -0.35, 0, -1, half + 0.12, -0.35), _roof_paint(rng))
    return [
        Part(box(-half, -0.36, half, 1)),
        roof,
        *_door(rng, 0, 1),
        *_windows(rng, [(-0.25, -0.1), (0.25, -0.1), (-0.25, 0.3), (0.25, 0.3)]),
    ]


def one_sloped_house(rng: random.Random) -> list[Part]:
    front = poly(-0.9, 0.8, -0.9, 0.0, -0.5, -0.6, -0.1, 0.0, -0.1, 0.8)
    roof = Part(poly(-0.5, -0.65, 0.75, -0.65, 1.05, 0.02, -0.08, 0.02), _roof_paint(rng))
    return [
        Part(front),
        Part(box(-0.1, 0, 0.95, 0.8), rng.choice(("body", "tone"))),
        roof,
        *_door(rng, -0.5, 0.8),
        *_windows(rng, [(0.45, 0.35)]),
    ]


def hut(rng: random.Random) -> list[Part]:
    overhang = Part(band(poly(-1, 0.05, 0, -0.85, 1, 0.05), rng.uniform(0.12, 0.2)), _roof_paint(rng))
    return [Part(poly(-0.75, 0.85, -0.75, -0.15, 0, -0.8, 0.75, -0.15, 0.75, 0.85)), overhang, *_door(rng, 0, 0.85)]


def _trunk(rng: random.Random, top: float, bottom: float = 1.0) -> Part:
    half = rng.uniform(0.07, 0.17)
    flare = half * rng.uniform(1.0, 1.6)
    return Part(
        poly(-half, top, half, top, flare, bottom, -flare, bottom),
        rng.choice(("brown",) * 5 + ("body", "tone", "black", "grey")),
    )


def round_tree(rng: random.Random) -> list[Part]:
    wide, high = rng.uniform(0.5, 0.75), rng.uniform(0.5, 0.75)
    return [_trunk(rng, 0), Part(oval(0, -1 + high, wide, high))]


def cloud_tree(rng: random.Random) -> list[Part]:
    count, reach = rng.choice((3, 4, 5, 6)), rng.uniform(0.3, 0.45)
    crown = [Part(oval(x * reach, y * reach - 0.4, rng.uniform(0.32, 0.48))) for x, y in ngon(count)]
    fruit = dots([(rng.uniform(-0.5, 0.5), rng.uniform(-0.8, 0)) for _ in range(5)], 0.07, "red")
    return [_trunk(rng, -0.2), *crown, Part(oval(0, -0.4, 0.4)), *(fruit if rng.random() < 0.15 else [])]


def fir(rng: random.Random) -> list[Part]:
    count, parts = rng.choice((2, 3, 3, 4)), [_trunk(rng, 0.5)]
    paints = rng.choice((("body",), ("body", "tone")))
    for k in reversed(range(count)):
        wide, bottom = 0.35 + 0.4 * (k + 1) / count, -1 + 1.7 * (k + 1) / count
        parts.append(
            Part(
                poly(-wide, bottom, 0, bottom - 1.7 / count * rng.uniform(1.2, 1.6), wide, bottom),
                paints[k % len(paints)],
            )
        )
    return parts


def plain_fir(rng: random.Random) -> list[Part]:
    wide = rng.uniform(0.5, 0.7)
    return [_trunk(rng, 0.5), Part(poly(-wide, 0.6, 0, -1, wide, 0.6))]


def oval_tree(rng: random.Random) -> list[Part]:
    wide = rng.uniform(0.35, 0.55)
    crown = curve(
        0, -1, wide * 0.8, -0.5, wide, 0.1, wide * 0.5, 0.45, -wide * 0.5, 0.45, -wide, 0.1, -wide * 0.8, -0.5
    )
    return [_trunk(rng, 0.3), Part(crown)]


def ragged_tree(rng: random.Random) -> list[Part]:
    count = rng.choice((8, 10, 13))
    crown = ngon(count) * np.array([[rng.uniform(0.5, 0.75)] for _ in range(count)]) + (0, -0.35)
    return [_trunk(rng, -0.1), Part(crown)]


def branched_tree(rng: random.Random) -> list[Part]:
    wood = rng.choice(("brown", "brown", "body"))
    parts = [Part(band(poly(0, 1, 0, 0.3, 0, -0.4), 0.26, 0.1), wood)]
    for side in (-1, 1):
        parts.append(
            Part(
                band(poly(0, rng.uniform(0.1, 0.4), side * 0.3, -0.1, side * 0.6, rng.uniform(-0.6, -0.3)), 0.12, 0.05),
                wood,
            )
        )
    leaves = [(-0.6, -0.45), (0.6, -0.45), (0, -0.65), (-0.3, -0.7), (0.3, -0.7)]
    return parts + [Part(oval(x, y, rng.uniform(0.26, 0.36))) for x, y in leaves]


def bare_tree(rng: random.Random) -> list[Part]:
    parts = [Part(band(poly(0, 1, 0.03, 0.3, 0, -0.5), 0.28, 0.1))]
    for y, side, long in ((0.3, -1, 0.7), (0.1, 1, 0.7), (-0.15, -1, 0.5), (-0.35, 1, 0.4), (-0.4, -1, 0.25)):
        end = (side * long, y - long * rng.uniform(0.6, 1.1))
        parts.append(Part(band(poly(0, y, *end), 0.13, 0.05)))
        parts.append(Part(band(poly(end[0] * 0.55, (y + end[1]) / 2, end[0] * 0.6, end[1] - 0.1), 0.07, 0.04)))
    return parts


def _stem(rng: random.Random, top: float = 0.0) -> list[Part]:
    """A stalk with up to two leaves; sometimes nothing."""
    if rng.random() < 0.3:
        return []
    bend, paint = rng.uniform(-0.15, 0.15), rng.choice(("green",) * 5 + ("body", "tone", "black"))
    low = rng.uniform(1.3, 1.8)
    parts = [Part(band(curve(0, top, bend, 0.8, 0, low, closed=False), rng.uniform(0.07, 0.16)), paint)]
    leaf = turned(oval(0.3, 0, 0.32, 0.12), rng.uniform(-50, -15))
    for side in rng.choice(((), (1,), (-1, 1))):
        parts.append(Part(moved(leaf * (side, 1), bend, low * 0.75), paint))
    return parts


def _centre(rng: random.Random, radius: float) -> Part:
    return Part(
        oval(0, 0, radius), rng.choice(("yellow", "yellow", "yellow", "orange", "brown", "white", "tone", "ink"))
    )


def daisy(rng: random.Random) -> list[Part]:
    count, inner = rng.randint(5, 12), rng.uniform(0.18, 0.32)
    petal = oval(0, -0.6, min(0.28, rng.uniform(1.2, 2.0) / count), 0.4)
    petals = [Part(turned(petal, 360 * k / count)) for k in range(count)]
    return [*_stem(rng), *petals, _centre(rng, inner)]


def round_petals(rng: random.Random) -> list[Part]:
    count, size = rng.choice((4, 5, 5, 6, 8)), rng.uniform(0.34, 0.46)
    reach = rng.uniform(0.48, 0.6)
    petals = [Part(oval(x * reach, y * reach, size)) for x, y in ngon(count)]
    return [*_stem(rng), *petals, _centre(rng, rng.uniform(0.2, 0.34))]


def rosette(rng: random.Random) -> list[Part]:
    count, depth = rng.choice((5, 6, 7, 8)), rng.uniform(0.12, 0.3)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 0.8 + depth * np.cos(count * angle)
    outline = np.stack((radius * np.sin(angle), -radius * np.cos(angle)), 1)
    return [*_stem(rng), Part(outline), _centre(rng, rng.uniform(0.2, 0.35))]


def pointed_petals(rng: random.Random) -> list[Part]:
    count, wide = rng.choice((5, 6, 8)), rng.uniform(0.2, 0.34)
    petal = poly(0, 0, wide, -0.5, 0, -1, -wide, -0.5)
    return [
        *_stem(rng),
        *(Part(turned(petal, 360 * k / count)) for k in range(count)),
        _centre(rng, rng.uniform(0.15, 0.28)),
    ]


def tulip(rng: random.Random) -> list[Part]:
    wide = rng.uniform(0.45, 0.6)
    bloom = np.concatenate(
        (poly(-wide, -0.6, -wide * 0.5, -0.15, 0, -0.7, wide * 0.5, -0.15, wide, -0.6), arc(0, 0, wide, 0.5, 0, 180))
    )
    leaf = curve(0, 1.5, 0.35, 1.0, 0.45, 0.5, 0.15, 1.0)
    leaves = [Part(leaf, "green"), Part(flipped(leaf), "green")]
    return [
        Part(band(poly(0, 0.3, 0, 1.0, 0, 1.55), rng.uniform(0.08, 0.14)), "green"),
        *(leaves if rng.random() < 0.6 else []),
        Part(bloom),
    ]


def rose(rng: random.Random) -> list[Part]:
    petals = [Part(oval(x * 0.35, y * 0.35, 0.5)) for x, y in ngon(5)]
    swirl = [Part(arc(0, 0, r, r, rng.uniform(0, 180), rng.uniform(240, 420)), "ink", 0.06) for r in (0.55, 0.35, 0.16)]
    return [*_stem(rng), *petals, Part(oval(0, 0, 0.55), "tone"), *swirl]


DESIGNS = {
    "house": (house, house, gable_house, long_house, tall_house, one_sloped_house, hut),
    "tree": (round_tree, cloud_tree, fir, plain_fir, oval_tree, ragged_tree, branched_tree, bare_tree),
    "flower": (daisy, daisy, round_petals, rosette, pointed_petals, tulip, rose),
}
