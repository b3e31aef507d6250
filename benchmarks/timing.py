"""Timing by turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Result:
    """What was timed: seconds a piece of work, one for each round, and of what it was compared with."""

    what: str
    seconds: list[float]
    against: str = ""
    others: list[float] | None = None
    """Seconds of the other side, round for round."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times faster than the other side: the median of the rounds' ratios."""
        if self.others is None:
            return None
        return median(other / own for own, other in zip(self.seconds, self.others, strict=True))

    def row(self) -> tuple[str, ...]:
        """As cells of a table."""
        low, _, high = quantiles(self.seconds, n=4)
        milliseconds = [f"{1000 * value:.1f}" for value in (median(self.seconds), low, high)]
        spread = f"{milliseconds[1]} - {milliseconds[2]}"
        return (self.what, f"{milliseconds[0]} ms", spread, self.against, self._told())

    def _told(self) -> str:
        if self.ratio is None:
            return self.note
        return f"{self.ratio:.2f}x faster" if self.ratio >= 1 else f"takes {1 / self.ratio:.2f}x as long"

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return {"what": self.what, "seconds": self.seconds, "against": self.against, "others": self.others}


def alternating(rounds: int, pieces: int, *sides: Callable[[], object]) -> list[list[float]]:
    """Seconds a piece for each side, taken in turns; the first round warms up and does not count."""
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        for side, taken in zip(sides, seconds, strict=True):
            began = perf_counter()
            side()
            if turn:
                taken.append((perf_counter() - began) / pieces)
    return seconds
