"""Knives (point to the right) and pistols (muzzle to the left)."""

from __future__ import annotations

import random

import numpy as np
from tools.tiny.shapes import Part, Points, arc, band, box, curve, dots, moved, oval, poly, rounded, stroke, turned


def _handle(rng: random.Random, left: float, top: float, bottom: float, right: float = 0.0) -> list[Part]:
    """A grip between x = left and right, straight, round or swelling, sometimes with rivets or a butt."""
    middle = (top + bottom) / 2
    swell = (bottom - top) * rng.uniform(0.05, 0.3)
    shape = rng.choice(
        (
            box(left, top, right, bottom),
            rounded(left, top, right, bottom, (bottom - top) * rng.uniform(0.2, 0.5)),
            poly(left, top - swell, right, top, right, bottom, left, bottom + swell),
            curve(
                left,
                middle,
                left + 0.15,
                top - swell,
                (left + right) / 2,
                top + swell / 2,
                right,
                top,
                right,
                bottom,
                (left + right) / 2,
                bottom + swell / 2,
                left + 0.15,
                bottom + swell,
            ),
        )
    )
    paint = rng.choice(("brown", "brown", "black", "grey", "body", "body", "tone", "tone"))
    rivets = dots([(left * k + right * (1 - k), middle) for k in (0.25, 0.5, 0.75)], (bottom - top) * 0.13)
    return [Part(shape, paint), *(rivets if rng.random() < 0.35 else [])]


def _guard(rng: random.Random, reach: float, x: float = 0.0) -> list[Part]:
    thick = rng.uniform(0.05, 0.1)
    shape = rounded(x - thick, -reach, x + thick, reach, rng.choice((0.001, thick)))
    return [Part(shape, rng.choice(("body", "tone", "black", "grey", "yellow")))]


def kitchen_knife(rng: random.Random) -> list[Part]:
    wide, tip = rng.uniform(0.2, 0.42), rng.uniform(1.0, 1.7)
    belly = curve(
        0.0, wide, tip * 0.45, wide * 0.95, tip * 0.8, wide * 0.45, tip, rng.uniform(-0.18, 0.1), closed=False
    )
    blade = (
        np.concatenate((poly(0, -0.18), belly[::-1]))[::-1]
        if rng.random() < 0.5
        else poly(0, -0.18, tip * 0.85, -0.16, tip, rng.uniform(-0.1, 0.1), tip * 0.75, wide * 0.8, 0, wide)
    )
    return [Part(blade), *_handle(rng, -rng.uniform(0.6, 1.0), -0.17, rng.uniform(0.03, 0.16))]


def plain_knife(rng: random.Random) -> list[Part]:
    high, tip, grip = rng.uniform(0.12, 0.25), rng.uniform(1.0, 1.6), rng.uniform(0.08, 0.16)
    blade = rng.choice(
        (
            poly(0, -high, tip, high, 0, high),
            poly(0, -high, tip, -high, 0, high),
            poly(0, -high, tip * 0.7, -high, tip, high, 0, high),
            poly(0, -high, tip, 0, 0, high),
        )
    )
    return [Part(blade), *_handle(rng, -rng.uniform(0.5, 1.0), -grip, grip)]


def dagger(rng: random.Random) -> list[Part]:
    half, tip = rng.uniform(0.1, 0.22), rng.uniform(1.1, 1.7)
    shoulder = tip * rng.uniform(0.4, 0.85)
    parts = [Part(poly(0, -half, shoulder, -half, tip, 0, shoulder, half, 0, half))]
    if rng.random() < 0.5:
        parts.append(Part(poly(0, 0, tip, 0, shoulder, half, 0, half), "tone"))
    left = -rng.uniform(0.45, 0.75)
    parts += _handle(rng, left, -half * 0.6, half * 0.6) + _guard(rng, rng.uniform(0.25, 0.5))
    if rng.random() < 0.5:
        parts.append(Part(oval(left, 0, rng.uniform(0.09, 0.15)), rng.choice(("body", "tone", "yellow"))))
    return parts


def table_knife(rng: random.Random) -> list[Part]:
    half, grip, tip = rng.uniform(0.1, 0.17), rng.uniform(0.06, 0.12), rng.uniform(0.8, 1.2)
    blade = curve(
        0,
        -half * 0.5,
        0.15,
        -half,
        tip * 0.7,
        -half,
        tip * 0.97,
        -half * 0.5,
        tip,
        half * 0.4,
        tip * 0.9,
        half,
        0.15,
        half,
        0,
        half * 0.6,
    )
    left = -rng.uniform(0.7, 1.0)
    handle = rng.choice(
        (rounded(left, -grip, 0.05, grip, grip), poly(left, -grip, 0.05, -grip * 0.5, 0.05, grip * 0.5, left, grip))
    )
    return [Part(handle, rng.choice(("body", "body", "tone", "brown", "black"))), Part(blade)]


def cleaver(rng: random.Random) -> list[Part]:
    low, tip = rng.uniform(0.4, 0.65), rng.uniform(0.9, 1.25)
    blade = rng.choice(
        (
            box(0, -0.2, tip, low),
            poly(0, -0.2, tip, -0.25, tip + 0.06, low, 0.06, low * 0.9),
            rounded(0, -0.2, tip, low, 0.1),
        )
    )
    hole = [Part(oval(tip - 0.15, -0.02, 0.07), rng.choice(("hole", "ink")))] if rng.random() < 0.6 else []
    return [Part(blade), *hole, *_handle(rng, -rng.uniform(0.55, 0.8), -0.17, rng.uniform(0.0, 0.08))]


def pocket_knife(rng: random.Random) -> list[Part]:
    half, tip = rng.uniform(0.1, 0.16), rng.uniform(0.8, 1.0)
    blade = poly(0, -half, tip * 0.75, -half, tip, half * 0.5, tip * 0.8, half, 0, half)
    grip = rounded(-1, -half * 1.4, 0.1, half * 1.4, half)
    shut = rng.uniform(-70, 15)
    return [
        Part(turned(blade, shut)),
        Part(grip, rng.choice(("body", "tone", "brown", "black"))),
        *dots([(0, 0)], half * 0.5),
    ]


def bowie_knife(rng: random.Random) -> list[Part]:
    half, tip = rng.uniform(0.16, 0.26), rng.uniform(1.1, 1.5)
    blade = curve(0, half, tip * 0.6, half * 1.05, tip * 0.88, half * 0.6, tip, -half * 0.6, closed=False)
    clip = poly(tip * 0.85, -half * 0.5, tip * 0.62, -half, 0, -half)
    parts = [Part(np.concatenate((blade, clip)))]
    if rng.random() < 0.4:
        parts.append(stroke(0.1, -half * 0.4, tip * 0.6, -half * 0.4, width=0.05, paint="tone"))
    return (
        parts
        + _handle(rng, -rng.uniform(0.55, 0.85), -half * 0.75, half * 0.75)
        + _guard(rng, half * rng.uniform(1.1, 1.6))
    )


def curved_knife(rng: random.Random) -> list[Part]:
    bow = rng.uniform(0.15, 0.45)
    blade = band(curve(0, 0, 0.6, -bow * 0.25, 1.3, -bow, closed=False), rng.uniform(0.25, 0.4), 0.01)
    return [Part(blade), *_handle(rng, -rng.uniform(0.5, 0.8), -0.12, 0.12)]


def _grip(rng: random.Random, left: float, right: float, top: float) -> Points:
    """A pistol's grip, hanging from y = top and leaning backwards."""
    low, lean = rng.uniform(0.75, 1.1), rng.uniform(0.0, 0.35)
    bow = rng.uniform(-0.04, 0.08)
    return poly(
        left,
        top,
        right,
        top,
        right + lean * 0.5 + bow,
        (top + low) / 2,
        right + lean,
        low,
        left + lean,
        low,
        left + lean * 0.5 + bow,
        (top + low) / 2,
    )


def _trigger(rng: random.Random, grip_left: float, top: float) -> list[Part]:
    """A guard ring in front of the grip with or without a trigger; sometimes nothing at all."""
    kind = rng.random()
    if kind < 0.2:
        return []
    wide, deep = rng.uniform(0.16, 0.24), rng.uniform(0.28, 0.42)
    left = grip_left - 2 * wide + 0.08
    hook = stroke(grip_left - wide, top, grip_left - wide * 1.2, top + deep * 0.6, width=0.06, paint="body")
    if kind < 0.35:
        return [hook]
    outer = rng.choice((arc(left + wide, top, wide, deep, 0, 180), box(left, top, left + 2 * wide, top + deep)))
    inner = moved(outer - (left + wide, top), left + wide, top, rng.uniform(0.55, 0.8))
    return [Part(outer), Part(inner, "hole"), *([hook] if rng.random() < 0.7 else [])]


def blocky_pistol(rng: random.Random) -> list[Part]:
    low, right = rng.uniform(-0.2, 0.05), rng.uniform(0.75, 1.0)
    grip = _grip(rng, right - rng.uniform(0.4, 0.6), right - 0.05, low - 0.02)
    return [*_trigger(rng, grip[0, 0], low - 0.01), Part(box(-1, -0.55, right, low)), Part(grip)]


def automatic(rng: random.Random) -> list[Part]:
    low, right = rng.uniform(-0.1, 0.05), rng.uniform(0.8, 1.0)
    grip = _grip(rng, right - rng.uniform(0.42, 0.58), right - 0.08, low)
    paint = rng.choice(("body", "tone", "brown", "black", "grey"))
    parts = [
        *_trigger(rng, grip[0, 0], low),
        Part(grip, paint),
        Part(box(-0.9, -0.3, right, low)),
        Part(poly(-1, -0.55, right, -0.55, right + 0.05, -0.25, -1, -0.25), rng.choice(("body", "body", "tone"))),
    ]
    if rng.random() < 0.6:
        parts += [stroke(x, -0.5, x, -0.3, width=0.03) for x in (0.6, 0.68, 0.76)]
    if rng.random() < 0.6:
        parts += [Part(box(-0.95, -0.63, -0.87, -0.55)), Part(box(right - 0.1, -0.63, right - 0.02, -0.55))]
    return parts


def revolver(rng: random.Random) -> list[Part]:
    thin = rng.uniform(0.08, 0.14)
    grip = curve(0.45, -0.2, 0.8, -0.25, 0.85, 0.2, 1.1, rng.uniform(0.7, 0.95), 0.75, 0.95, 0.55, 0.35)
    drum = rounded(-0.1, -0.5, 0.4, -0.05, rng.choice((0.02, 0.12)))
    parts = [
        Part(box(-rng.uniform(0.9, 1.3), -0.45, 0, -0.45 + 2 * thin)),
        *_trigger(rng, 0.5, -0.08),
        Part(box(-0.15, -0.5, 0.65, -0.02)),
        Part(grip, rng.choice(("brown", "brown", "body", "tone", "black"))),
        Part(drum, rng.choice(("tone", "tone", "body", "grey"))),
        Part(poly(0.6, -0.45, 0.85, -0.7, 0.75, -0.3)),
    ]
    if rng.random() < 0.5:
        parts += [stroke(-0.05, y, 0.35, y, width=0.04) for y in (-0.38, -0.2)]
    return parts


def flintlock(rng: random.Random) -> list[Part]:
    bend = rng.uniform(0.5, 0.85)
    stock = band(curve(-0.5, -0.2, 0.3, -0.2, 0.75, 0.0, 1.0, bend, closed=False), 0.22, rng.uniform(0.25, 0.4))
    return [
        *_trigger(rng, 0.5, -0.12),
        Part(stock, rng.choice(("body", "brown", "tone"))),
        Part(box(-1.2, -0.42, 0.45, -0.18)),
        Part(poly(0.2, -0.4, 0.35, -0.65, 0.45, -0.62, 0.4, -0.35)),
    ]


def one_piece_pistol(rng: random.Random) -> list[Part]:
    thick, right, low = rng.uniform(0.4, 0.55), rng.uniform(0.7, 0.95), rng.uniform(0.6, 0.95)
    lean, wide = rng.uniform(0, 0.35), rng.uniform(0.38, 0.55)
    outline = poly(
        -1, -0.5, right, -0.5, right + lean, low, right + lean - wide, low, right - wide, thick - 0.5, -1, thick - 0.5
    )
    return [Part(outline), *_trigger(rng, right - wide, thick - 0.51)]


def long_pistol(rng: random.Random) -> list[Part]:
    right = rng.uniform(0.7, 0.95)
    grip = _grip(rng, right - 0.45, right - 0.05, -0.05)
    return [
        Part(box(-rng.uniform(1.2, 1.6), -0.42, -0.3, -0.22)),
        *_trigger(rng, right - 0.45, -0.06),
        Part(rounded(-0.45, -0.5, right, -0.02, 0.06)),
        Part(grip, rng.choice(("body", "tone", "brown", "black"))),
    ]


DESIGNS = {
    "knife": (
        kitchen_knife,
        kitchen_knife,
        plain_knife,
        dagger,
        table_knife,
        cleaver,
        pocket_knife,
        bowie_knife,
        curved_knife,
    ),
    "pistol": (blocky_pistol, automatic, revolver, flintlock, one_piece_pistol, long_pistol),
}
