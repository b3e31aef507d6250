"""Colour names and the shades people mean by them."""

from __future__ import annotations

import random
from typing import NamedTuple


class RGB(NamedTuple):
    """A colour, each channel 0..255."""

    r: int
    g: int
    b: int


SHADES: dict[str, str] = {
    "red": "ff0000 e60026 dc143c b22222 c0392b 8b0000 ed1c24 ee204d cc0000 a80000 ff3b30 d62828",
    "orange": "ffa500 ff8c00 ff7f00 f57c00 e67e22 ff7538 fb8500 ff9800 ee7600 f28c28",
    "yellow": "ffff00 ffd700 fce883 fde910 f1c40f ffeb3b ffe135 fff44f edd000 f7dc6f",
    "green": "008000 00ff00 228b22 32cd32 006400 2ecc71 1cac78 27ae60 4caf50 6b8e23 90ee90 3cb371 00a550 7cb342",
    "blue": "0000ff 1f75fe 4169e1 1e90ff 000080 00008b 87ceeb 3498db 2980b9 6495ed 9cc8f0 0047ab 4682b4 00bfff",
    "purple": "800080 551a9b 8a2be2 9370db 9b59b6 663399 7851a9 926eae 9400d3 ba55d3 6a0dad 8e44ad 5b2c8a",
    "pink": "ffc0cb ff69b4 ff1493 ffb6c1 fc89ac f78fa7 ff85a2 e75480 ff9ecb ffa6c9 f06292",
    "brown": "8b4513 a0522d a52a2a 654321 7b3f00 795548 6f4e37 a9611f 964b00 5c4033 8b5a2b af593e",
    "black": "000000 101010 1a1a1a 222222 2b2b2b 111122 0d0d0d",
    "grey": "808080 a9a9a9 696969 778899 95a5a6 7f8c8d 9e9e9e b0b0b0 c0c0c0 707070 95918c 708090",
    "white": "ffffff fafafa f5f5f5 fffff0 f8f8ff fffaf0 f0f0f0 eeeeee",
}
COLOURS: tuple[str, ...] = tuple(SHADES)
_ANCHORS = {name: tuple(bytes.fromhex(code) for code in codes.split()) for name, codes in SHADES.items()}
_NEIGHBOURS = {
    "red": {"red", "brown", "pink", "orange"},
    "orange": {"orange", "yellow", "brown", "red"},
    "yellow": {"yellow", "orange"},
    "purple": {"purple", "pink", "blue"},
    "pink": {"pink", "purple", "red"},
    "brown": {"brown", "red", "orange"},
    "blue": {"blue", "purple"},
}


def _channel(value: float) -> int:
    return max(0, min(255, round(value)))


def mix(one: RGB, two: RGB, part: float) -> RGB:
    """The colour `part` of the way from `one` to `two` (part may lie outside 0..1)."""
    return RGB(*(_channel(a + (b - a) * part) for a, b in zip(one, two, strict=True)))


def shade_of(name: str, rng: random.Random) -> RGB:
    """A shade that people would call `name`: between two well-known ones, often exactly one of them."""
    one, two = rng.choice(_ANCHORS[name]), rng.choice(_ANCHORS[name])
    jitter = 0.0 if rng.random() < 0.5 else 6.0
    part = rng.choice((0.0, rng.random()))
    return RGB(*(_channel(a + (b - a) * part + rng.gauss(0, jitter)) for a, b in zip(one, two, strict=True)))


def lightness(colour: RGB) -> float:
    """Perceived lightness, 0 (black) to 255 (white)."""
    return 0.3 * colour.r + 0.59 * colour.g + 0.11 * colour.b


def distance(one: RGB, two: RGB) -> float:
    """Euclidean distance in RGB, 0 to 442."""
    return sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) ** 0.5


def confusable(one: str, two: str) -> bool:
    """Whether shades of the two names lie so near each other that one could pass for the other."""
    return one == two or two in _NEIGHBOURS.get(one, ())
