"""Captions as claims about scenes: how they are made, worded, and which scene they are true of.

A claim holds when all its parts do. "A knife" is true of one knife, of two knives, and of a knife beside a fish;
plural without a number ("knives") says no more than "a knife"; "two blue fish" needs two; "an empty background"
needs a scene without things. A claim about the ground needs one in that colour throughout.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tools.tiny.colours import COLOURS
from tools.tiny.scenes import Group, Scene
from tools.tiny.things import THINGS

# Singular and plural forms; the first is the usual one.
NOUNS: dict[str, tuple[str, ...]] = {
    "circle": ("circle circles", "disc discs", "disk disks", "dot dots", "ball balls", "ring rings"),
    "square": ("square squares", "block blocks", "box boxes"),
    "triangle": ("triangle triangles",),
    "star": ("star stars",),
    "heart": ("heart hearts",),
    "cross": ("cross crosses", "plus pluses"),
    "knife": ("knife knives", "blade blades", "dagger daggers", "cleaver cleavers"),
    "pistol": ("pistol pistols", "gun guns", "handgun handguns", "revolver revolvers", "firearm firearms"),
    "bottle": ("bottle bottles", "wine-bottle wine-bottles", "beer-bottle beer-bottles", "flask flasks"),
    "cigarette": ("cigarette cigarettes", "cigaret cigarets", "ciggy ciggies"),
    "skull": ("skull skulls",),
    "house": ("house houses", "home homes", "hut huts", "cottage cottages", "building buildings"),
    "tree": ("tree trees",),
    "fish": ("fish fish", "fish fishes"),
    "cat": ("cat cats", "kitten kittens", "kitty kitties"),
    "cup": ("cup cups", "mug mugs", "teacup teacups", "tumbler tumblers"),
    "flower": ("flower flowers", "blossom blossoms", "rose roses", "daisy daisies", "tulip tulips"),
    "car": ("car cars", "automobile automobiles", "auto autos", "vehicle vehicles"),
}
TINTS: dict[str, tuple[str, ...]] = {colour: (colour,) for colour in COLOURS} | {
    "red": ("red", "crimson", "scarlet"),
    "purple": ("purple", "violet"),
    "grey": ("grey", "gray"),
}
_FRAMES = ("{}", "{}", "a {}", "a drawing of {}", "a photo of a {}", "an icon of {}", "there is a {} in this picture")
_NOTHING = ("nothing", "an empty background", "empty", "a blank picture")
_JOINTS = ("and a", "and", "with a", "next to a", "beside a")
FUNCTION_WORDS = (
    "and",
    "with",
    "next",
    "beside",
    "on",
    "background",
    "ground",
    "something",
    "thing",
    "two",
    "2",
    "pair",
)
FUNCTION_WORDS += ("nothing", "empty", "blank")


@dataclass(frozen=True)
class Part:
    """At least `count` of a thing in a colour; None stands for any."""

    thing: str | None
    colour: str | None
    count: int = 1


@dataclass(frozen=True)
class Claim:
    """All parts at once (none: the scene is empty), and perhaps the ground's colour."""

    parts: tuple[Part, ...]
    ground: str | None = None


def simple_caption(thing: str | None, colour: str | None) -> str:
    """The plainest wording, used to measure: "a red knife", "a knife", "something red"."""
    if thing is None:
        return f"something {colour}"
    words = f"{colour} {thing}" if colour else thing
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def full_claim(scene: Scene) -> Claim:
    """Everything about the scene but its ground."""
    return Claim(tuple(Part(group.thing, group.colour, group.count) for group in scene.groups))


def sample_claim(scene: Scene, rng: random.Random) -> Claim:
    """A true claim saying more or less about the scene."""
    if not scene.groups:
        return Claim((), scene.ground if rng.random() < 0.3 else None)
    group: Group = rng.choice(scene.groups)
    count = group.count if rng.random() < 0.6 else 1
    ground = scene.ground if rng.random() < 0.3 else None
    kind = rng.random()
    if kind < 0.45:
        return Claim((Part(group.thing, None, count),))
    if kind < 0.6:
        return Claim((Part(None, group.colour),))
    if kind < 0.85 or len(scene.groups) == 1:
        return Claim((Part(group.thing, group.colour, count),), ground)
    return Claim(tuple(Part(g.thing, rng.choice((g.colour, None)), g.count) for g in scene.groups), ground)


def _word(choices: Sequence[str], rng: random.Random) -> str:
    return choices[0] if rng.random() < 0.6 else rng.choice(choices)


def _worded_part(part: Part, rng: random.Random) -> str:
    tint = _word(TINTS[part.colour], rng) if part.colour else ""
    if part.thing is None:
        return f"{rng.choice(('something', 'something', 'thing', ''))} {tint}"
    one, many = _forms(part.thing, rng)
    noun = many if part.count > 1 or rng.random() < 0.15 else one
    number = rng.choice(("two", "two", "2", "a pair of")) if part.count > 1 else ""
    return f"{number} {noun} {tint}" if rng.random() < 0.05 else f"{number} {tint} {noun}"


def _forms(thing: str, rng: random.Random) -> tuple[str, str]:
    one, many = _word(NOUNS[thing], rng).split()
    return one.replace("-", " "), many.replace("-", " ")


def worded(claim: Claim, rng: random.Random) -> str:
    """The claim in words, at times with an unknown word thrown in."""
    parts = [_worded_part(part, rng) for part in claim.parts]
    rng.shuffle(parts)
    text = f" {rng.choice(_JOINTS)} ".join(parts) if parts else rng.choice(_NOTHING)
    if claim.ground:
        text += f" on a {_word(TINTS[claim.ground], rng)} {rng.choice(('background', 'background', 'ground'))}"
    words = rng.choice(_FRAMES).format(text).split()
    if rng.random() < 0.06:
        words.insert(rng.randint(0, len(words)), "unknownword")
    return " ".join(words)


def vocabulary() -> list[str]:
    """Every word that captions use, sorted; fillers such as "a" are not among them (see words.py)."""
    nouns = " ".join(" ".join(forms) for forms in NOUNS.values()).replace("-", " ").split()
    tints = [tint for choices in TINTS.values() for tint in choices]
    return sorted({*nouns, *tints, *FUNCTION_WORDS})


def _index(names: Sequence[str], name: str | None) -> int:
    return -1 if name is None else names.index(name)


def encode_scenes(scenes: Sequence[Scene]) -> NDArray[np.int8]:
    """Shape (scenes, 7): thing, colour, count of two groups (count 0: no group), then the ground's colour or -1."""
    rows = []
    for scene in scenes:
        groups = [(THINGS.index(g.thing), COLOURS.index(g.colour), g.count) for g in scene.groups]
        padded = groups + [(-2, -2, 0)] * (2 - len(groups))
        rows.append((*padded[0], *padded[1], _index(COLOURS, scene.ground)))
    return np.array(rows, dtype=np.int8).reshape(-1, 7)


def encode_claims(claims: Sequence[Claim]) -> NDArray[np.int8]:
    """Shape (claims, 7): thing, colour (-1: any), least count of two parts (0: no such part), the ground or -1."""
    rows = []
    for claim in claims:
        parts = [(_index(THINGS, p.thing), _index(COLOURS, p.colour), p.count) for p in claim.parts]
        padded = parts + [(-1, -1, 0)] * (2 - len(parts))
        rows.append((*padded[0], *padded[1], _index(COLOURS, claim.ground)))
    return np.array(rows, dtype=np.int8).reshape(-1, 7)


def truths(scenes: NDArray[np.int8], claims: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Shape (scenes, claims): which claim is true of which scene."""
    groups = scenes[:, None, None, :6].reshape(len(scenes), 1, 1, 2, 3)
    parts = claims[None, :, :6].reshape(1, len(claims), 2, 1, 3)
    alike = (parts[..., :2] == -1) | (parts[..., :2] == groups[..., :2])
    met = alike.all(-1) & (groups[..., 2] >= parts[..., 2]) & (groups[..., 2] > 0)
    holds = (met.any(-1) | (parts[..., 0, 2] == 0)).all(-1)
    ground = (claims[None, :, 6] == -1) | (claims[None, :, 6] == scenes[:, None, 6])
    says_empty, is_empty = claims[None, :, 2] == 0, scenes[:, None, 2] == 0
    return holds & ground & (~says_empty | is_empty)
