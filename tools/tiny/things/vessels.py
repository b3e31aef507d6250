"""Bottles and cups."""

from __future__ import annotations

import random

import numpy as np
from tools.tiny.shapes import Part, Points, arc, band, box, curve, flipped, oval, poly, rounded, stroke


def _both_sides(right: Points) -> Points:
    """A closed outline from its right half, listed from top to bottom."""
    return np.concatenate((right, flipped(right)[::-1]))


def _cap(rng: random.Random, half: float, top: float, bottom: float) -> list[Part]:
    """A stopper over the neck, or nothing."""
    if rng.random() < 0.3:
        return []
    wide = half * rng.uniform(1.0, 1.3)
    return [
        Part(
            box(-wide, top, wide, bottom),
            rng.choice(("body", "tone", "tone", "black", "grey", "brown", "white", "red")),
        )
    ]


def _label(rng: random.Random, half: float, top: float, bottom: float) -> list[Part]:
    """A sticker, in a light colour or a tone of the glass, sometimes with writing; or nothing."""
    if rng.random() < 0.4:
        return []
    wide = half * rng.choice((1.0, 0.85, 0.7))
    shape = rng.choice((box(-wide, top, wide, bottom), oval(0, (top + bottom) / 2, wide * 0.9, (bottom - top) / 2)))
    lines = [stroke(-wide * 0.6, y, wide * 0.6, y, width=0.03) for y in (top + 0.15, bottom - 0.15)]
    return [Part(shape, rng.choice(("white", "white", "tone", "yellow"))), *(lines if rng.random() < 0.3 else [])]


def wine_bottle(rng: random.Random) -> list[Part]:
    half, neck, shoulder = rng.uniform(0.28, 0.42), rng.uniform(0.1, 0.15), rng.uniform(-0.4, -0.05)
    side = curve(
        neck, -1, neck, shoulder - 0.4, neck * 1.3, shoulder - 0.2, half, shoulder, half, 0.4, half, 0.95, closed=False
    )
    return [
        Part(_both_sides(np.concatenate((side, poly(half * 0.95, 1))))),
        *_cap(rng, neck, -1.05, -0.85),
        *_label(rng, half, shoulder + 0.15, 0.7),
    ]


def straight_bottle(rng: random.Random) -> list[Part]:
    half, neck = rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.2)
    shoulder = rng.uniform(-0.4, 0.1)
    slope = rng.uniform(0.0, 0.4)
    side = poly(neck, -1, neck, shoulder - slope, half, shoulder, half, 1)
    return [Part(_both_sides(side)), *_cap(rng, neck, -1.12, -0.92), *_label(rng, half, shoulder + 0.15, 0.75)]


def beer_bottle(rng: random.Random) -> list[Part]:
    half, neck = rng.uniform(0.3, 0.4), rng.uniform(0.11, 0.16)
    parts = [
        Part(rounded(-half, -0.15, half, 1, 0.1)),
        Part(poly(-half, -0.05, -neck, -0.5, neck, -0.5, half, -0.05)),
        Part(box(-neck, -1, neck, -0.45)),
    ]
    return parts + _cap(rng, neck * 1.15, -1.08, -0.94) + _label(rng, half, 0.1, 0.7)


def round_flask(rng: random.Random) -> list[Part]:
    half, neck = rng.uniform(0.5, 0.7), rng.uniform(0.12, 0.2)
    parts = [Part(box(-neck, -1, neck, -0.1)), Part(oval(0, 0.35, half, 0.65))]
    lip = [Part(box(-neck * 1.4, -1.05, neck * 1.4, -0.93))] if rng.random() < 0.5 else _cap(rng, neck, -1.15, -0.95)
    return parts + lip


def water_bottle(rng: random.Random) -> list[Part]:
    half, neck = rng.uniform(0.3, 0.42), rng.uniform(0.15, 0.22)
    side = curve(
        neck, -0.9, half * 0.8, -0.65, half, -0.4, half * rng.uniform(0.82, 1), 0.1, half, 0.5, half, 1, closed=False
    )
    ribs = [stroke(-half * 0.9, y, half * 0.9, y, width=0.04, paint="tone") for y in (0.3, 0.5, 0.7)]
    cap = Part(box(-neck, -1.1, neck, -0.88), rng.choice(("body", "tone", "white", "blue", "black", "red")))
    return [Part(_both_sides(side)), cap, *(ribs if rng.random() < 0.6 else _label(rng, half, -0.1, 0.5))]


def stout_bottle(rng: random.Random) -> list[Part]:
    half, neck, top = rng.uniform(0.45, 0.6), rng.uniform(0.14, 0.22), rng.uniform(-0.35, -0.1)
    return [
        Part(box(-neck, -0.8, neck, top + 0.1)),
        Part(rounded(-half, top, half, 1, rng.uniform(0.02, 0.35))),
        *_cap(rng, neck, -0.95, -0.7),
        *_label(rng, half, top + 0.3, 0.7),
    ]


def _shine(rng: random.Random, x: float, top: float, bottom: float) -> list[Part]:
    return [stroke(x, top, x, bottom, width=0.07, paint="white")] if rng.random() < 0.5 else []


def glossy_bottle(rng: random.Random) -> list[Part]:
    base = rng.choice((wine_bottle, beer_bottle, straight_bottle))(rng)
    return base + _shine(rng, -rng.uniform(0.12, 0.2), 0.0, 0.8)


def _ear(rng: random.Random, x: float, top: float, bottom: float) -> list[Part]:
    """A cup's handle on the right, from y = top to bottom."""
    reach, width, middle = rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.2), (top + bottom) / 2
    if rng.random() < 0.5:
        high = (bottom - top) / 2
        outer, inner = oval(x, middle, reach, high), oval(x, middle, reach - width, max(high - width, 0.08))
        return [Part(outer), Part(inner, "hole")]
    path = rng.choice(
        (
            poly(x - 0.1, top, x + reach, top, x + reach, bottom, x - 0.1, bottom),
            curve(
                x - 0.1,
                top,
                x + reach * 0.8,
                top,
                x + reach,
                middle,
                x + reach * 0.5,
                bottom,
                x - 0.1,
                bottom,
                closed=False,
            ),
        )
    )
    return [Part(band(path, width))]


def _steam(rng: random.Random, top: float) -> list[Part]:
    if rng.random() < 0.75:
        return []
    return [
        stroke(
            x,
            top - 0.15,
            x + 0.1,
            top - 0.35,
            x - 0.05,
            top - 0.5,
            x + 0.05,
            top - 0.7,
            width=0.06,
            paint="grey",
            smooth=True,
        )
        for x in (-0.35, 0.0, 0.35)
    ]


def _pattern(rng: random.Random, half: float) -> list[Part]:
    """A stripe or spot on the cup's side; mostly nothing."""
    kind = rng.random()
    if kind < 0.6:
        return []
    if kind < 0.8:
        return [Part(box(-half, -0.1, half, 0.15), rng.choice(("tone", "white")))]
    return [Part(oval(0, 0.1, 0.22), rng.choice(("tone", "white", "yellow")))]


def mug(rng: random.Random) -> list[Part]:
    half, foot = rng.uniform(0.55, 0.75), rng.uniform(0.85, 1.02)
    wall = rng.choice(
        (poly(-half, -0.8, half, -0.8, half * foot, 0.8, -half * foot, 0.8), rounded(-half, -0.8, half, 0.8, 0.15))
    )
    return [
        *_ear(rng, half * 0.95, rng.uniform(-0.6, -0.4), rng.uniform(0.25, 0.55)),
        Part(wall),
        *_pattern(rng, half),
        *_steam(rng, -0.8),
    ]


def open_mug(rng: random.Random) -> list[Part]:
    half, rim = rng.uniform(0.6, 0.75), rng.uniform(0.12, 0.22)
    wall = np.concatenate((poly(half, -0.7), arc(0, 0.65, half * rng.uniform(0.8, 1), rim, 0, 180), poly(-half, -0.7)))
    inside = rng.choice(("tone", "brown", "white", "black"))
    return [
        *_ear(rng, half * 0.95, -0.45, 0.4),
        Part(wall),
        Part(oval(0, -0.7, half, rim)),
        Part(oval(0, -0.69, half * 0.87, rim * 0.72), inside),
        *_steam(rng, -0.8),
    ]


def teacup(rng: random.Random) -> list[Part]:
    half, deep = rng.uniform(0.65, 0.8), rng.uniform(0.7, 1.0)
    bowl = arc(0, -0.4, half, deep, 0, 180)
    saucer = [
        Part(
            oval(0, deep - 0.42, half * rng.uniform(1.2, 1.5), rng.uniform(0.08, 0.16)),
            rng.choice(("body", "body", "tone")),
        )
    ]
    return [
        *(saucer if rng.random() < 0.65 else [Part(box(-0.3, deep - 0.5, 0.3, deep - 0.38))]),
        *_ear(rng, half * 0.9, -0.32, rng.uniform(0.0, 0.2)),
        Part(bowl),
        *_steam(rng, -0.4),
    ]


def tumbler(rng: random.Random) -> list[Part]:
    half, foot = rng.uniform(0.5, 0.7), rng.uniform(0.6, 0.85)
    wall = poly(-half, -0.85, half, -0.85, half * foot, 0.85, -half * foot, 0.85)
    rim = [Part(oval(0, -0.85, half, 0.12), "tone")] if rng.random() < 0.4 else []
    return [Part(wall), *rim, *_pattern(rng, half * 0.8)]


def lidded_cup(rng: random.Random) -> list[Part]:
    half, lid = rng.uniform(0.45, 0.6), rng.choice(("tone", "white", "body", "black"))
    parts = [
        Part(poly(-half, -0.65, half, -0.65, half * 0.75, 1, -half * 0.75, 1)),
        Part(rounded(-half * 1.12, -0.8, half * 1.12, -0.6, 0.08), lid),
    ]
    if rng.random() < 0.5:
        parts.append(Part(poly(-half * 0.75, -0.8, half * 0.75, -0.8, half * 0.65, -0.95, -half * 0.65, -0.95), lid))
    if rng.random() < 0.4:
        parts.append(stroke(0.1, -0.9, 0.3, -1.4, width=0.07, paint="tone"))
    if rng.random() < 0.5:
        parts.append(
            Part(
                poly(-half * 0.93, -0.2, half * 0.93, -0.2, half * 0.84, 0.4, -half * 0.84, 0.4),
                rng.choice(("tone", "brown")),
            )
        )
    return parts


def round_cup(rng: random.Random) -> list[Part]:
    half = rng.uniform(0.65, 0.8)
    wall = curve(
        -half, -0.6, 0, -0.62, half, -0.6, half * 0.98, 0.1, half * 0.5, 0.65, -half * 0.5, 0.65, -half * 0.98, 0.1
    )
    return [*_ear(rng, half * 0.9, -0.4, 0.25), Part(wall), *_pattern(rng, half * 0.8), *_steam(rng, -0.6)]


DESIGNS = {
    "bottle": (wine_bottle, straight_bottle, beer_bottle, round_flask, water_bottle, stout_bottle, glossy_bottle),
    "cup": (mug, mug, open_mug, teacup, tumbler, lidded_cup, round_cup),
}
