"""Figures of one yes/no question: scores and truths in, rates with intervals out.

At a prevalence p, the share of a stream that is what we look for, a threshold with recall r and false-positive rate f
has a precision of `r p / (r p + f (1 - p))` and sends `r p + f (1 - p)` of the stream to review. Recall and
false-positive rate do not depend on how many of a set's pictures are positives; its own precision, F1 and accuracy do,
and hold for no other stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.stats import beta

from moderato.errors import RequestError
from moderato.evaluate.curves import Curve, Quality, Truth, curve_of, quality
from moderato.evaluate.intervals import (
    LEVEL,
    Counted,
    Figure,
    Numbers,
    bounds,
    joint_level,
    proportion,
    unmeasurable,
)

SWEEP = (0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99)
"""Thresholds of the sweep."""

PREVALENCE = 0.01
"""Where nobody says one: more than most streams have, and said to be assumed wherever it is used."""

N = TypeVar("N", float, Numbers)

_FINE = 1e6  # thresholds that are proposed have six digits: fewer would part scores near 1


@dataclass(frozen=True)
class Counts:
    """Pictures by truth and answer: `tp` found, `fn` missed, `fp` false alarms, `tn` rightly passed."""

    tp: int
    fn: int
    fp: int
    tn: int

    @classmethod
    def of(cls, said: Truth, truth: Truth) -> Counts:
        """Of answers and truths, both bool `(N,)`."""
        tp, fp = int((said & truth).sum()), int((said & ~truth).sum())
        return cls(tp, int(truth.sum()) - tp, fp, int((~truth).sum()) - fp)

    @property
    def positives(self) -> int:
        """Pictures of what is looked for."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """All other pictures."""
        return self.fp + self.tn


@dataclass(frozen=True)
class Point:
    """What one threshold does, or one action of a policy, whose threshold is None.

    `precision`, `f1` and `accuracy` are those of the set; `precision_there` and `reviews` those of a stream with the
    prevalence asked about; `reviews` is the share of the stream that reaches the threshold.
    """

    name: str
    threshold: float | None
    counts: Counts
    recall: Figure
    fpr: Figure
    precision: Figure
    f1: Figure
    accuracy: Figure
    precision_there: Figure
    reviews: Figure


@dataclass(frozen=True)
class Target:
    """The threshold that does what was wanted, or why none does."""

    wanted: str
    point: Point | None
    why: str = ""


@dataclass(frozen=True)
class LabelFigures:
    """All figures of one label. `names`: the labels people gave that count as it."""

    label: str
    names: tuple[str, ...]
    points: tuple[Point, ...]
    targets: tuple[Target, ...]
    quality: Quality
    sweep: tuple[Point, ...]
    curve: Curve


@dataclass(frozen=True)
class Wanted:
    """What is asked about: the stream's `prevalence`; thresholds for a recall, or for reviews per 10,000 pictures.

    `assumed`: whether nobody said the prevalence.
    """

    prevalence: float
    assumed: bool = False
    recall: float | None = None
    reviews: float | None = None


def wanted_of(prevalence: float | None, recall: float | None, reviews: float | None) -> Wanted:
    """What people asked for, the prevalence assumed where they said none. Raises `RequestError` for impossible ones."""
    if prevalence is not None and not 0 < prevalence < 1:
        raise RequestError(f"--prevalence {prevalence:g}: it is a share between 0 and 1, such as 0.001.")
    if recall is not None and not 0 < recall <= 1:
        raise RequestError(f"--recall {recall:g}: it is a share above 0 and up to 1, such as 0.95.")
    if reviews is not None and not 0 < reviews <= 10_000:
        raise RequestError(f"--reviews {reviews:g}: it is a number of pictures in 10,000, such as 50.")
    return Wanted(PREVALENCE if prevalence is None else prevalence, prevalence is None, recall, reviews)


def measure(
    label: str,
    names: Sequence[str],
    scores: Numbers,
    truth: Truth,
    thresholds: Sequence[tuple[str, float]],
    wanted: Wanted,
) -> LabelFigures:
    """All figures of one label from scores float64 `(N,)` in 0..1 and truths bool `(N,)`.

    `thresholds`: the names and places of those to be measured; a score that equals one reaches it.
    """
    curve = curve_of(scores, truth)

    def at(name: str, threshold: float) -> Point:
        return point(name, threshold, _counts(curve, threshold), wanted.prevalence, label)

    return LabelFigures(
        label,
        tuple(names),
        tuple(at(name, threshold) for name, threshold in thresholds),
        _targets(curve, wanted, at, label),
        quality(scores, truth, label),
        tuple(at("sweep", threshold) for threshold in SWEEP),
        curve,
    )


def point(
    name: str,
    threshold: float | None,
    counts: Counts,
    prevalence: float,
    label: str,
    unscannable: tuple[int, int] | None = None,
) -> Point:
    """The figures of these counts. `unscannable`: how many of how many sources add to the reviews unscanned."""
    no_positives, no_negatives = f"There are no pictures of {label}.", f"There are no pictures without {label}."
    said = counts.tp + counts.fp
    right = counts.tp + counts.tn

    def f1(recall: float, fpr: float) -> float:
        found, alarms = recall * counts.positives, fpr * counts.negatives
        return 2 * found / (found + alarms + counts.positives)

    return Point(
        name,
        threshold,
        counts,
        recall=proportion(counts.tp, counts.positives, no_positives),
        fpr=proportion(counts.fp, counts.negatives, no_negatives),
        precision=proportion(counts.tp, said, "No picture was flagged."),
        f1=_cornered(counts, f1, falls=True, label=label),
        accuracy=proportion(right, counts.positives + counts.negatives, "There are no pictures."),
        precision_there=_precision_there(counts, prevalence, label),
        reviews=_reviews(counts, prevalence, label, unscannable),
    )


def precision_at(recall: N, fpr: N, prevalence: float) -> Numbers:
    """Share of what is flagged that is rightly flagged, in a stream; 0/0 is taken for 0."""
    right = np.asarray(recall * prevalence, np.float64)
    flagged = right + fpr * (1 - prevalence)
    return np.divide(right, flagged, out=np.zeros_like(right), where=flagged > 0)


def reviews_at(recall: N, fpr: N, prevalence: float, unscannable: float = 0.0) -> N:
    """Share of a stream that is flagged; what cannot be scanned is flagged in any case."""
    return unscannable + (1 - unscannable) * (recall * prevalence + fpr * (1 - prevalence))


def precision_band(curve: Curve, prevalence: float) -> tuple[Numbers, Numbers, Numbers]:
    """Precision at the prevalence and the ends of its interval, by threshold; needs positives and negatives."""
    level = joint_level(2)
    recalls = (curve.recall, *bounds(curve.found, curve.positives, level))
    fprs = (curve.fpr, *bounds(curve.alarms, curve.negatives, level))
    pairs = ((recalls[0], fprs[0]), (recalls[1], fprs[2]), (recalls[2], fprs[1]))
    value, low, high = (precision_at(r, f, prevalence) for r, f in pairs)
    return value, low, high


def _counts(curve: Curve, threshold: float) -> Counts:
    found, alarms = curve.counts_at(threshold)
    return Counts(found, curve.positives - found, alarms, curve.negatives - alarms)


def _cornered(counts: Counts, value: Callable[[float, float], float], *, falls: bool, label: str) -> Figure:
    """A figure of recall and false-positive rate that rises with the first, and with the second unless it `falls`."""
    if not counts.positives or not counts.negatives:
        return unmeasurable(f"There are no pictures {'of' if not counts.positives else 'without'} {label}.")
    level = joint_level(2)
    recall = [float(end[0]) for end in bounds(np.array([counts.tp]), counts.positives, level)]
    fpr = [float(end[0]) for end in bounds(np.array([counts.fp]), counts.negatives, level)]
    if falls:
        fpr.reverse()
    best = value(counts.tp / counts.positives, counts.fp / counts.negatives)
    return Figure(best, value(recall[0], fpr[0]), value(recall[1], fpr[1]), "exact")


def _precision_there(counts: Counts, prevalence: float, label: str) -> Figure:
    if counts.positives and counts.negatives and not counts.tp + counts.fp:
        return unmeasurable("No picture was flagged.")
    return _cornered(counts, lambda r, f: float(precision_at(r, f, prevalence)), falls=True, label=label)


def _reviews(counts: Counts, prevalence: float, label: str, unscannable: tuple[int, int] | None) -> Figure:
    if counts.negatives and not counts.positives:
        alarms = proportion(counts.fp, counts.negatives, "").text(10_000 * (1 - prevalence))
        return unmeasurable(f"There are no pictures of {label}; the false alarms alone are {alarms} per 10,000.")
    scanned = _cornered(counts, lambda r, f: reviews_at(r, f, prevalence), falls=False, label=label)
    if scanned.value is None or unscannable is None:
        return scanned
    return _with_unscannable(counts, prevalence, *unscannable)


def _with_unscannable(counts: Counts, prevalence: float, hits: int, total: int) -> Figure:
    """All three proportions hold together at `joint_level(3)`, and the load rises with each."""
    parts = ((counts.tp, counts.positives), (counts.fp, counts.negatives), (hits, total))
    ends = [[float(end[0]) for end in bounds(np.array([n]), of, joint_level(3))] for n, of in parts]
    value, low, high = (
        reviews_at(r, f, prevalence, u) for r, f, u in ([n / of for n, of in parts], *zip(*ends, strict=True))
    )
    return Figure(value, low, high, "exact")


def _targets(curve: Curve, wanted: Wanted, at: Callable[[str, float], Point], label: str) -> tuple[Target, ...]:
    targets = []
    if wanted.recall is not None:
        targets += _for_recall(curve, wanted.recall, at, label)
    if wanted.reviews is not None:
        targets.append(_for_reviews(curve, wanted, wanted.reviews, at, label))
    return tuple(targets)


def _for_recall(curve: Curve, recall: float, at: Callable[[str, float], Point], label: str) -> list[Target]:
    """The highest threshold that finds the wanted share of these pictures, and the highest that does so surely.

    The second is a tolerance limit (Wilks 1941): with 95 % confidence it finds that share of all such pictures.
    """
    named = (f"recall {recall:g} here", f"recall {recall:g} with {100 * LEVEL:g} % confidence")
    if not curve.positives:
        return [Target(name, None, f"There are no pictures of {label}.") for name in named]
    here = np.flatnonzero(curve.found >= recall * curve.positives - 1e-9)
    sure = np.flatnonzero(sure_recall(curve.found, curve.positives) >= recall)
    first = Target(named[0], at(named[0], _place(curve, int(here[0]))))
    if not sure.size:
        least = int(np.ceil(np.log(1 - LEVEL) / np.log(recall))) if recall < 1 else None
        needed = f"it takes at least {least}" if least else "no number of pictures is enough"
        return [first, Target(named[1], None, f"Too few pictures of {label} ({curve.positives}): {needed}.")]
    return [first, Target(named[1], at(named[1], _place(curve, int(sure[0]))))]


def sure_recall(found: Counted, positives: int) -> Numbers:
    """The recall that having found `found` of so many positives proves, with 95 % confidence, one-sided."""
    proved: Numbers = np.where(found > 0, beta.ppf(1 - LEVEL, np.maximum(found, 1), positives - found + 1), 0.0)
    return proved


def _for_reviews(curve: Curve, wanted: Wanted, reviews: float, at: Callable[[str, float], Point], label: str) -> Target:
    """The lowest threshold that sends no more to review."""
    name = f"{reviews:g} reviews per 10,000"
    if not curve.positives or not curve.negatives:
        return Target(name, None, f"There are no pictures {'of' if not curve.positives else 'without'} {label}.")
    loads = 10_000 * reviews_at(curve.recall, curve.fpr, wanted.prevalence)
    within = np.flatnonzero(loads <= reviews + 1e-9)
    if not within.size:
        return Target(name, None, f"Already the highest score of these pictures costs {loads[0]:.0f} per 10,000.")
    return Target(name, at(name, _place(curve, int(within[-1]))))


def _place(curve: Curve, index: int) -> float:
    """A threshold, rounded down where that lets no further picture in."""
    exact = float(curve.thresholds[index])
    rounded = float(np.floor(exact * _FINE) / _FINE)
    below = float(curve.thresholds[index + 1]) if index + 1 < curve.thresholds.size else -1.0
    return rounded if rounded > below else exact
