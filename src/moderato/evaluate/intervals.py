"""Numbers with 95 % intervals.

Single proportions have the exact binomial interval (Clopper and Pearson 1934). What rises and falls with several
proportions of independent samples (precision at a prevalence, F1, reviews per 10,000) takes its ends at the corners of
their exact intervals, each at a level so that all hold together: exact too, rather too wide than too narrow, and
honest where no error was seen at all. The rest is resampled: 1000 rounds, positives and negatives apart, one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

LEVEL = 0.95
ROUNDS = 1000

Numbers = NDArray[np.float64]
Counted = NDArray[np.int64]

_ROUNDING = 1e-9
SEED = 20260101
"""Of everything that is resampled."""
_AT_ONCE = 2_000_000  # weights held in memory at a time


@dataclass(frozen=True)
class Figure:
    """A number with its interval, or why there is none.

    `method` says where `low` and `high` come from: "exact" or "bootstrap"; "none" when both are None. `value` is None
    when it cannot be measured; `why` is then a sentence. `hits` of `total` are what a single proportion rests on.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: Literal["exact", "bootstrap", "none"] = "none"
    why: str = ""
    hits: int | None = None
    total: int | None = None

    @property
    def ends(self) -> tuple[float, float, float] | None:
        """Value, low and high, where there are all three."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return self.value, self.low, self.high

    def __str__(self) -> str:
        """`0.93 [0.88, 0.97]`; more digits near 0 and 1; `not measurable` without a value."""
        return self.text()

    def text(self, scale: float = 1.0) -> str:
        """The number and its interval, times `scale`."""
        if self.value is None:
            return "not measurable"
        if self.low is None or self.high is None:
            return f"{number(self.value * scale)} [no interval]"
        near = _room(self.low * scale, self.high * scale)
        return " ".join(
            (
                _shown(self.value * scale, near),
                f"[{_shown(self.low * scale, near)}, {_shown(self.high * scale, near)}]",
            )
        )


def number(value: float) -> str:
    """A number alone, with the digits that tell something."""
    return _shown(value, abs(value))


def unmeasurable(why: str) -> Figure:
    """No number, and the sentence that says why."""
    return Figure(None, why=why)


def bounds(hits: Counted, total: int, level: float = LEVEL) -> tuple[Numbers, Numbers]:
    """Clopper-Pearson ends of `hits` of `total` (above 0), element by element."""
    tail = (1 - level) / 2
    low = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1), total - hits + 1), 0.0)
    high = np.where(hits < total, beta.ppf(1 - tail, hits + 1, np.maximum(total - hits, 1)), 1.0)
    return low, high


def proportion(hits: int, total: int, nothing: str) -> Figure:
    """`hits` of `total` with its exact interval; `nothing` is the sentence for a total of 0."""
    if total == 0:
        return unmeasurable(nothing)
    low, high = bounds(np.array([hits]), total)
    return Figure(hits / total, float(low[0]), float(high[0]), "exact", hits=hits, total=total)


def joint_level(parts: int) -> float:
    """The level at which each of some independent intervals must hold so that all of them do together."""
    return float(LEVEL ** (1 / parts))


def resampled(values: float, rounds: Numbers) -> Figure:
    """A number with the percentile interval of its resampled values `(ROUNDS,)`; NaN ones are left out.

    Where resampling moves nothing, there is no interval: a sample cannot tell of errors that it does not hold.
    """
    kept = rounds[np.isfinite(rounds)]
    if kept.size == 0 or np.ptp(kept) < _ROUNDING:
        return Figure(values, why="No interval: resampling these pictures moves nothing.")
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(values, min(float(low), values), max(float(high), values), "bootstrap")


def resample(truth: NDArray[np.bool_], statistics: Callable[[Numbers], Numbers], rounds: int = ROUNDS) -> Numbers:
    """`statistics` of resampled pictures.

    `truth` `(N,)` divides the pictures into two strata that are drawn from apart; `statistics` makes `(B, K)` numbers
    of B rounds of weights `(B, N)`, how often each picture was drawn. Returns `(rounds, K)`.
    """
    rng = np.random.default_rng(SEED)
    step = max(1, _AT_ONCE // max(1, truth.size))
    return np.concatenate([statistics(_weights(truth, size, rng)) for size in _steps(rounds, step)])


def _steps(total: int, step: int) -> Iterator[int]:
    for done in range(0, total, step):
        yield min(step, total - done)


def _weights(truth: NDArray[np.bool_], rounds: int, rng: np.random.Generator) -> Numbers:
    weights = np.empty((rounds, truth.size))
    for stratum in (truth, ~truth):
        n = int(stratum.sum())
        if n:
            drawn = rng.integers(0, n, (rounds, n)) + n * np.arange(rounds)[:, None]
            weights[:, stratum] = np.bincount(drawn.ravel(), minlength=rounds * n).reshape(rounds, n)
    return weights


def _room(low: float, high: float) -> float:
    """How near an interval comes to 0, or, within 0..1, to 1: what decides how many digits tell something."""
    near = min(high, 1 - low) if low >= 0 and high <= 1 else max(-low, high)
    return round(near, 9)  # 1 - 0.9 is a little less than 0.1


def _shown(value: float, near: float) -> str:
    for least, digits in ((100, 0), (10, 1), (0.1, 2), (0.01, 3)):
        if near >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.4f}"
