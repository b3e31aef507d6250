"""Timing by turns, and how what was measured is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles
from time import perf_counter, sleep
from typing import Any

_REST = 0.1  # seconds
_DIGITS = 5  # of a measured value that are kept


@dataclass(frozen=True)
class Result:
    """What was measured, one value a round, and what it was compared with in the same rounds."""

    what: str
    values: list[float]
    """Seconds a piece of work, where `unit` says nothing else."""
    against: str = ""
    others: list[float] | None = None
    """The other side, round for round."""
    note: str = ""
    unit: str = "s"
    """`s`, `MB`: less is better; `/s`, `GFLOP/s`, `share` (of something, 1 is all of it): more is."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the report finds it by: encoder, runtime, precision, batch, side."""

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """How many times better than the other side: the median of the rounds' ratios."""
        if self.others is None:
            return None
        own, others = (self.values, self.others) if self.unit == "/s" else (self.others, self.values)
        return median(mine / other for mine, other in zip(own, others, strict=True))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which half of the rounds lie."""
        low, _, high = quantiles(self.values, n=4) if len(self.values) > 1 else self.values * 3
        return low, high

    def row(self) -> tuple[str, ...]:
        """As cells of a table: what, the median, the quartiles, against what, and how it compares."""
        spread = " - ".join(told(value, self.unit) for value in self.quartiles) if len(self.values) > 1 else ""
        return (self.what, told(self.median, self.unit), spread, self.against, self.compared or self.note)

    @property
    def compared(self) -> str:
        """The ratio in words, or nothing."""
        if self.ratio is None:
            return ""
        if self.unit == "s":
            return f"{self.ratio:.2f} x faster" if self.ratio >= 1 else f"takes {1 / self.ratio:.2f} x as long"
        return f"{self.ratio if self.unit == '/s' else 1 / self.ratio:.2f} of it"

    def facts(self) -> dict[str, Any]:
        """As plain values; `Result(**facts)` is the way back."""
        kept = {key: value for key, value in asdict(self).items() if value or key in ("what", "values")}
        for key in ("values", "others"):
            if key in kept:
                kept[key] = [float(f"{value:.{_DIGITS}g}") for value in kept[key]]
        return kept


def told(value: float, unit: str) -> str:
    """A value as one says it: `41.3 ms`, `1.25 s`, `24.2 /s`, `83 %`, `410 MB`."""
    match unit:
        case "s" if value < 1:
            return f"{three(1000 * value)} ms"
        case "share":
            return f"{value:.0%}".replace("%", " %")
        case "x":
            return f"{three(value)} x"
        case _:
            return f"{three(value)} {unit}".rstrip()


def three(value: float) -> str:
    """With three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def alternating(rounds: int, pieces: int, *sides: Callable[[], object]) -> list[list[float]]:
    """Seconds a piece for each side, taken in turns; the first round warms up and does not count."""
    return alternating_each(rounds, *((pieces, side) for side in sides))


def alternating_each(rounds: int, *sides: tuple[int, Callable[[], object]]) -> list[list[float]]:
    """The same where each side does so many pieces of its own.

    Before each there is a rest, because threads of the one before spin for a while before they sleep, and would keep a
    core from it.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        for (pieces, side), taken in zip(sides, seconds, strict=True):
            sleep(_REST)
            began = perf_counter()
            side()
            if turn:
                taken.append((perf_counter() - began) / pieces)
    return seconds
