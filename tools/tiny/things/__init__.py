"""Every thing that can be drawn, each in several structurally different designs."""

from __future__ import annotations

import random
from collections.abc import Callable

from tools.tiny.shapes import Part
from tools.tiny.things import animals, figures, objects, scenery, vessels, weapons

Design = Callable[[random.Random], list[Part]]

DESIGNS: dict[str, tuple[Design, ...]] = {
    **figures.DESIGNS,
    **weapons.DESIGNS,
    **vessels.DESIGNS,
    **objects.DESIGNS,
    **scenery.DESIGNS,
    **animals.DESIGNS,
}
THINGS: tuple[str, ...] = tuple(DESIGNS)
# Things drawn lying, standing or aslant as often as not; all others mostly stay upright.
FREELY_TURNED = frozenset({"circle", "triangle", "star", "knife", "cigarette"})

__all__ = ["DESIGNS", "FREELY_TURNED", "THINGS", "Design"]
