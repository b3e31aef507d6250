"""What a picture shows: which things, in which colours, on what ground; and which pairs are kept from training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tools.tiny.colours import COLOURS
from tools.tiny.things import THINGS

Pair = tuple[str, str]  # (thing, colour)

PAIRS: tuple[Pair, ...] = tuple((thing, colour) for thing in THINGS for colour in COLOURS)
_GROUNDS = (("white", 10), *((colour, 1) for colour in COLOURS))


@dataclass(frozen=True)
class Group:
    """One thing, or two alike."""

    thing: str
    colour: str
    count: int = 1


@dataclass(frozen=True)
class Scene:
    """Groups in one picture (none: it is empty) and the name of the ground's colour, None where it has several."""

    groups: tuple[Group, ...]
    ground: str | None = None


def held_out_pairs(rng: random.Random) -> frozenset[Pair]:
    """About one pair in seven, evenly over things and colours: every thing lacks one or two colours."""
    things, colours = list(THINGS), list(COLOURS)
    rng.shuffle(things)
    rng.shuffle(colours)
    once = {(thing, colours[i % len(colours)]) for i, thing in enumerate(things)}
    again = {(thing, colours[(i + 5) % len(colours)]) for i, thing in enumerate(things) if i % 2}
    return frozenset(once | again)


def sample_scene(pairs: Sequence[Pair], rng: random.Random) -> Scene:
    """A scene made of allowed pairs: mostly one thing, else two alike, two different ones or none."""
    kind = rng.random()
    count = 2 if kind < 0.1 else 1
    groups = [Group(*rng.choice(pairs), count)]
    if 0.1 <= kind < 0.25:
        others = [pair for pair in rng.choices(pairs, k=8) if pair[0] != groups[0].thing]
        groups += [Group(*pair) for pair in others[:1]]
    elif kind > 0.98:
        groups = []
    taken = {group.colour for group in groups}
    names, weights = zip(*(ground for ground in _GROUNDS if ground[0] not in taken), strict=True)
    plain = rng.random() < 0.6
    return Scene(tuple(groups), rng.choices(names, weights)[0] if plain else None)
