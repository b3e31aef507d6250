"""Cigarettes (burning end to the right), skulls, cars (facing left)."""

from __future__ import annotations

import random

import numpy as np
from tools.tiny.shapes import Part, Points, arc, box, curve, dots, flipped, oval, poly, rounded, stroke


def _smoke(rng: random.Random, x: float, y: float) -> list[Part]:
    """A wavy thread or a few puffs rising from (x, y); often nothing."""
    kind, wave = rng.random(), rng.uniform(0.06, 0.16)
    if kind < 0.45:
        return []
    if kind < 0.85:
        rise = rng.uniform(0.4, 0.9)
        return [
            stroke(
                x + dx,
                y,
                x + dx + wave,
                y - rise / 3,
                x + dx - wave,
                y - rise * 2 / 3,
                x + dx + wave,
                y - rise,
                width=rng.uniform(0.03, 0.07),
                paint="grey",
                smooth=True,
            )
            for dx in rng.choice(((0,), (0,), (-0.08, 0.08)))
        ]
    return [Part(oval(x + wave * k, y - 0.14 * k, 0.05 + 0.03 * k), "grey") for k in (1, 2, 3)]


def _tip(rng: random.Random, x: float, half: float) -> list[Part]:
    """Ash and ember at the burning end; sometimes nothing."""
    kind, long = rng.random(), rng.uniform(0.05, 0.14)
    if kind < 0.25:
        return []
    ember = Part(rng.choice((box(x - long, -half, x, half), oval(x, 0, long, half))), rng.choice(("red", "orange")))
    ash = Part(box(x, -half, x + long * 1.5, half * 0.8), "grey")
    return [ember] if kind < 0.65 else [ash] if kind < 0.8 else [ember, ash]


def _cigarette(rng: random.Random, half: float, right: float, shape: Points) -> list[Part]:
    share = rng.uniform(-0.75, -0.4)
    paint = rng.choice(("orange", "orange", "brown", "yellow", "tone", "body"))
    parts = [Part(shape), Part(box(-1, -half, share, half), paint)]
    if rng.random() < 0.5 or paint == "body":
        parts.append(stroke(share, -half, share, half, width=0.04))
    if rng.random() < 0.15:
        parts += dots([(rng.uniform(-0.95, share), rng.uniform(-half, half) * 0.6) for _ in range(4)], half * 0.15)
    return parts + _tip(rng, right, half) + _smoke(rng, right, -half - 0.05)


def plain_cigarette(rng: random.Random) -> list[Part]:
    half, right = rng.uniform(0.07, 0.14), rng.uniform(0.8, 1.1)
    return _cigarette(rng, half, right, box(-1, -half, right, half))


def soft_cigarette(rng: random.Random) -> list[Part]:
    half, right = rng.uniform(0.07, 0.15), rng.uniform(0.7, 1.0)
    return _cigarette(rng, half, right, rounded(-1.03, -half, right, half, half))


def stout_cigarette(rng: random.Random) -> list[Part]:
    half, right = rng.uniform(0.13, 0.2), rng.uniform(0.6, 1.0)
    return _cigarette(rng, half, right, box(-1, -half, right, half))


def conical_cigarette(rng: random.Random) -> list[Part]:
    half = rng.uniform(0.08, 0.14)
    return _cigarette(
        rng, half, 0.9, poly(-1, -half, 0.9, -half * rng.uniform(1, 1.2), 0.9, half * rng.uniform(1, 1.2), -1, half)
    )


def bare_cigarette(rng: random.Random) -> list[Part]:
    half = rng.uniform(0.06, 0.12)
    return [Part(box(-1, -half, 1, half)), *_tip(rng, 1, half), *_smoke(rng, 1, -half - 0.05)]


def shaded_cigarette(rng: random.Random) -> list[Part]:
    half = rng.uniform(0.09, 0.16)
    return [
        *_cigarette(rng, half, 1, box(-1, -half, 1, half))[:2],
        Part(box(-1, half * 0.3, 1, half), "tone"),
        *_tip(rng, 1, half),
    ]


def _eyes(rng: random.Random, y: float) -> list[Part]:
    apart, wide, high = rng.uniform(0.28, 0.42), rng.uniform(0.18, 0.28), rng.uniform(0.18, 0.32)
    eye = rng.choice(
        (
            oval(apart, y, wide, high),
            oval(apart, y, wide, high),
            poly(
                apart - wide,
                y - high * 0.6,
                apart + wide,
                y - high,
                apart + wide * 0.8,
                y + high,
                apart - wide * 0.7,
                y + high * 0.7,
            ),
        )
    )
    return [Part(eye, "ink"), Part(flipped(eye), "ink")]


def _nose(rng: random.Random, y: float) -> list[Part]:
    size = rng.uniform(0.08, 0.16)
    up = poly(0, y - size, size, y + size, -size, y + size)
    shape = rng.choice(
        (up, poly(0, y - size, size, y + size, 0, y + size * 0.5, -size, y + size), oval(0, y, size * 0.7, size))
    )
    return [] if rng.random() < 0.1 else [Part(shape, "ink")]


def _teeth(rng: random.Random, half: float, top: float, bottom: float) -> list[Part]:
    """Upright lines, with or without a line between the rows; sometimes nothing."""
    if rng.random() < 0.15:
        return []
    width, count = rng.uniform(0.03, 0.06), rng.choice((2, 3, 4, 5))
    lines = [stroke(x, top, x, bottom, width=width) for x in np.linspace(-half * 0.6, half * 0.6, count)]
    across = [stroke(-half * 0.8, (top + bottom) / 2, half * 0.8, (top + bottom) / 2, width=width)]
    return lines + (across if rng.random() < 0.4 else [])


def skull(rng: random.Random) -> list[Part]:
    wide, jaw, low = rng.uniform(0.75, 0.95), rng.uniform(0.35, 0.55), rng.uniform(0.8, 1.05)
    chin = rng.choice((box(-jaw, 0.3, jaw, low), rounded(-jaw, 0.3, jaw, low, 0.18)))
    return [
        Part(chin),
        Part(oval(0, -0.2, wide, rng.uniform(0.7, 0.85))),
        *_eyes(rng, -0.1),
        *_nose(rng, 0.28),
        *_teeth(rng, jaw, 0.62, low),
    ]


def smooth_skull(rng: random.Random) -> list[Part]:
    jaw, cheek = rng.uniform(0.35, 0.5), rng.uniform(0.7, 0.9)
    outline = curve(
        0,
        -1,
        0.65,
        -0.8,
        cheek,
        -0.2,
        cheek * 0.8,
        0.35,
        jaw,
        0.5,
        jaw,
        0.95,
        0,
        1,
        -jaw,
        0.95,
        -jaw,
        0.5,
        -cheek * 0.8,
        0.35,
        -cheek,
        -0.2,
        -0.65,
        -0.8,
    )
    return [Part(outline), *_eyes(rng, -0.1), *_nose(rng, 0.28), *_teeth(rng, jaw, 0.6, 0.95)]


def cornered_skull(rng: random.Random) -> list[Part]:
    jaw = rng.uniform(0.35, 0.5)
    outline = poly(
        -0.5, -1, 0.5, -1, 0.85, -0.6, 0.85, 0.1, jaw, 0.45, jaw, 0.95, -jaw, 0.95, -jaw, 0.45, -0.85, 0.1, -0.85, -0.6
    )
    return [Part(outline), *_eyes(rng, -0.2), *_nose(rng, 0.2), *_teeth(rng, jaw, 0.55, 0.95)]


def jawless_skull(rng: random.Random) -> list[Part]:
    wide = rng.uniform(0.8, 0.95)
    count, size = rng.choice((3, 4, 5)), rng.uniform(0.1, 0.15)
    teeth = [Part(rounded(x - size, 0.4, x + size, 0.85, 0.06)) for x in np.linspace(-0.45, 0.45, count)]
    return [*teeth, Part(oval(0, -0.15, wide, 0.75)), *_eyes(rng, -0.05), *_nose(rng, 0.32)]


def split_skull(rng: random.Random) -> list[Part]:
    wide, jaw = rng.uniform(0.75, 0.9), rng.uniform(0.4, 0.55)
    top = np.concatenate((arc(0, -0.15, wide, 0.8, 150, 390), poly(jaw, 0.5, -jaw, 0.5)))
    chin = poly(-jaw, 0.6, jaw, 0.6, jaw * 0.8, 1, -jaw * 0.8, 1)
    return [Part(top), Part(chin), *_eyes(rng, -0.05), *_nose(rng, 0.28), *_teeth(rng, jaw, 0.42, 0.75)]


def skull_and_bones(rng: random.Random) -> list[Part]:
    low = rng.uniform(0.75, 1.0)
    bones = []
    for side in (-1, 1):
        ends = [(side * -1.1, low - 0.35), (side * 1.1, low + 0.35)]
        bones += [stroke(*ends[0], *ends[1], width=0.18, paint="body")]
        bones += dots([(x + dx, y + dx * side * -0.8) for x, y in ends for dx in (-0.1, 0.1)], 0.13, "body")
    return bones + rng.choice((skull, smooth_skull, jawless_skull))(rng)


def _wheels(rng: random.Random, left: float, right: float, y: float) -> list[Part]:
    radius = rng.uniform(0.17, 0.27)
    tyre = rng.choice(("black", "black", "black", "body", "tone", "grey"))
    rims = dots([(left, y), (right, y)], radius * rng.uniform(0.35, 0.6), rng.choice(("grey", "white", "tone", "hole")))
    return [*dots([(left, y), (right, y)], radius, tyre), *(rims if rng.random() < 0.6 or tyre == "body" else [])]


def _glass(rng: random.Random) -> str:
    return rng.choice(("blue", "white", "grey", "ink", "tone", "hole", "yellow"))


def _lamps(rng: random.Random, y: float) -> list[Part]:
    front, rear = Part(oval(-0.97, y, 0.07, 0.08), "yellow"), Part(box(0.93, y - 0.06, 1.0, y + 0.06), "red")
    return rng.choice(([], [], [front], [front, rear]))


def saloon(rng: random.Random) -> list[Part]:
    top, glass = rng.uniform(-0.6, -0.4), _glass(rng)
    left, right = rng.uniform(-0.65, -0.4), rng.uniform(0.5, 0.8)
    cabin = poly(left, 0, left + 0.25, top, right - 0.22, top, right, 0)
    front = poly(left + 0.12, -0.04, left + 0.3, top + 0.09, -0.02, top + 0.09, -0.02, -0.04)
    rear = poly(0.06, -0.04, 0.06, top + 0.09, right - 0.26, top + 0.09, right - 0.12, -0.04)
    shell = rng.choice((box(-1, -0.05, 1, 0.35), rounded(-1, -0.08, 1, 0.35, rng.uniform(0.05, 0.2))))
    return [
        Part(cabin),
        Part(shell),
        Part(front, glass),
        Part(rear, glass),
        *_lamps(rng, 0.1),
        *_wheels(rng, -0.55, 0.55, 0.38),
    ]


def beetle(rng: random.Random) -> list[Part]:
    glass = _glass(rng)
    dome = arc(rng.uniform(-0.1, 0.1), 0.1, rng.uniform(0.55, 0.8), rng.uniform(0.5, 0.7), 180, 360)
    panes = [
        Part(poly(-0.38, -0.08, -0.25, -0.35, -0.04, -0.35, -0.04, -0.08), glass),
        Part(poly(0.04, -0.08, 0.04, -0.35, 0.25, -0.35, 0.4, -0.08), glass),
    ]
    return [
        Part(dome),
        Part(rounded(-1, 0, 1, 0.38, 0.18)),
        *(panes if rng.random() < 0.8 else []),
        *_lamps(rng, 0.15),
        *_wheels(rng, -0.52, 0.55, 0.4),
    ]


def smooth_car(rng: random.Random) -> list[Part]:
    top = rng.uniform(-0.5, -0.35)
    outline = curve(
        -1, 0.3, -1, 0.05, -0.6, -0.05, -0.3, top, 0.3, top, 0.65, -0.05, 0.98, 0.05, 1, 0.3, 0.4, 0.33, -0.4, 0.33
    )
    pane = Part(curve(-0.4, -0.02, -0.22, top + 0.1, 0.28, top + 0.1, 0.5, -0.02), _glass(rng))
    return [
        Part(outline),
        *([pane] if rng.random() < 0.8 else []),
        *_lamps(rng, 0.12),
        *_wheels(rng, -0.55, 0.55, 0.33),
    ]


def van(rng: random.Random) -> list[Part]:
    nose, top, glass = rng.uniform(-0.85, -0.6), rng.uniform(-0.65, -0.45), _glass(rng)
    outline = poly(-1, 0.35, -1, -0.05, nose, top, 0.95, top, 1, 0.35)
    panes = [Part(box(x, top + 0.1, x + 0.35, -0.08), glass) for x in (-0.55, -0.1, 0.4)[: rng.choice((1, 2, 3))]]
    return [Part(outline), *panes, *_lamps(rng, 0.15), *_wheels(rng, -0.55, 0.6, 0.38)]


def cornered_car(rng: random.Random) -> list[Part]:
    top = rng.uniform(-0.55, -0.3)
    outline = poly(-1, 0.35, -1, 0.02, -0.5, -0.05, -0.25, top, 0.45, top, 0.72, -0.05, 1, 0, 1, 0.35)
    pane = Part(poly(-0.34, -0.05, -0.18, top + 0.08, 0.38, top + 0.08, 0.55, -0.05), _glass(rng))
    return [Part(outline), *([pane] if rng.random() < 0.8 else []), *_wheels(rng, -0.55, 0.55, 0.36)]


def pickup(rng: random.Random) -> list[Part]:
    cab = poly(-0.5, 0, -0.3, -0.5, 0.15, -0.5, 0.15, 0)
    pane = Part(poly(-0.36, -0.05, -0.23, -0.4, 0.05, -0.4, 0.05, -0.05), _glass(rng))
    return [Part(cab), Part(box(-1, -0.05, 1, 0.33)), pane, *_lamps(rng, 0.1), *_wheels(rng, -0.58, 0.58, 0.36)]


def front_car(rng: random.Random) -> list[Part]:
    tyre = rng.choice(("black", "black", "tone"))
    lamps = dots([(-0.62, 0.15), (0.62, 0.15)], rng.uniform(0.1, 0.15), rng.choice(("yellow", "white")))
    return [
        Part(box(-0.8, 0.4, -0.5, 0.75), tyre),
        Part(box(0.5, 0.4, 0.8, 0.75), tyre),
        Part(poly(-0.7, -0.1, -0.5, -0.65, 0.5, -0.65, 0.7, -0.1)),
        Part(rounded(-0.9, -0.12, 0.9, 0.5, 0.15)),
        Part(poly(-0.55, -0.12, -0.42, -0.52, 0.42, -0.52, 0.55, -0.12), _glass(rng)),
        *lamps,
        Part(box(-0.3, 0.1, 0.3, 0.28), "ink"),
    ]


DESIGNS = {
    "cigarette": (
        plain_cigarette,
        plain_cigarette,
        soft_cigarette,
        stout_cigarette,
        conical_cigarette,
        bare_cigarette,
        shaded_cigarette,
    ),
    "skull": (skull, skull, smooth_skull, cornered_skull, jawless_skull, split_skull, skull_and_bones),
    "car": (saloon, saloon, beetle, smooth_car, van, cornered_car, pickup, front_car),
}
