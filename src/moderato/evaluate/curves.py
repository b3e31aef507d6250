"""What scores are worth, whatever the threshold: curves, the areas under them, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderato.evaluate.intervals import (
    Counted,
    Figure,
    Numbers,
    proportion,
    resample,
    resampled,
    unmeasurable,
)

Truth = NDArray[np.bool_]
"""`(N,)`: whether a picture is one of those that are looked for."""

BINS = 10
"""Of a calibration curve, of equal width: where scores are high there are few pictures, but they matter most."""


@dataclass(frozen=True, eq=False)
class Curve:
    """All thresholds that tell pictures apart, from the highest down, and what reaches them.

    `thresholds` float64 `(T,)`, every score that occurs; `found` and `alarms` int64 `(T,)`, how many of the `positives`
    and of the `negatives` score as high or higher.
    """

    thresholds: Numbers
    found: Counted
    alarms: Counted
    positives: int
    negatives: int

    @property
    def recall(self) -> Numbers:
        """Share of the positives found, by threshold. There must be positives."""
        return self.found / self.positives

    @property
    def fpr(self) -> Numbers:
        """Share of the negatives that raise a false alarm, by threshold. There must be negatives."""
        return self.alarms / self.negatives

    def counts_at(self, threshold: float) -> tuple[int, int]:
        """How many positives and negatives reach any threshold."""
        at = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        return (int(self.found[at - 1]), int(self.alarms[at - 1])) if at else (0, 0)

    def thinned(self, most: int) -> Curve:
        """The same curve with at most so many thresholds, its ends kept."""
        if self.thresholds.size <= most:
            return self
        kept = np.unique(np.linspace(0, self.thresholds.size - 1, most).round().astype(int))
        return Curve(self.thresholds[kept], self.found[kept], self.alarms[kept], self.positives, self.negatives)


@dataclass(frozen=True)
class Bin:
    """Pictures of similar score: their mean score, how many they are, and how many of them are positives."""

    mean: float
    share: Figure


@dataclass(frozen=True)
class Quality:
    """What does not depend on one threshold.

    `auc`: area under the ROC curve. `average_precision`: that of the precision-recall curve, as a sum of steps, at the
    set's own share of positives. `calibration_error`: how far scores are from the share of positives among pictures of
    such scores, on average over pictures (Naeini et al. 2015; Guo et al. 2017); it errs on the high side in small sets.
    `bins`: the calibration curve.
    """

    auc: Figure
    average_precision: Figure
    calibration_error: Figure
    bins: tuple[Bin, ...]


def curve_of(scores: Numbers, truth: Truth) -> Curve:
    """The curve of scores `(N,)`."""
    order = np.argsort(-scores, kind="stable")
    ends = _ends(scores[order])
    found = np.cumsum(truth[order], dtype=np.int64)[ends]
    alarms = np.cumsum(~truth[order], dtype=np.int64)[ends]
    return Curve(scores[order][ends], found, alarms, int(truth.sum()), int((~truth).sum()))


def quality(scores: Numbers, truth: Truth, label: str) -> Quality:
    """AUC, average precision and calibration of scores `(N,)`, with bootstrap intervals."""
    if not truth.any() or truth.all():
        missing = f"no pictures of {label}" if not truth.any() else f"all pictures are of {label}"
        nothing = unmeasurable(f"There are {missing}.")
        return Quality(nothing, nothing, nothing, ())
    order = np.argsort(-scores, kind="stable")
    judged, true = scores[order], truth[order]
    members = bins_of(judged)

    def statistics(weights: Numbers) -> Numbers:
        areas = area_statistics(judged, true, weights)
        return np.column_stack([areas, calibration_errors(judged, true, members, weights)])

    values = statistics(np.ones((1, scores.size)))[0]
    rounds = resample(true, statistics)
    auc, average, error = (resampled(float(v), rounds[:, i]) for i, v in enumerate(values))
    return Quality(auc, average, error, _bins(judged, true, members))


def area_statistics(scores: Numbers, truth: Truth, weights: Numbers) -> Numbers:
    """AUC and average precision `(B, 2)` of scores `(N,)` in descending order, for B rounds of weights `(B, N)`."""
    ends = _ends(scores)
    found = np.cumsum(weights * truth, axis=1)[:, ends]  # (B, T)
    alarms = np.cumsum(weights * ~truth, axis=1)[:, ends]
    recall = _from_zero(found / found[:, -1:])
    fpr = _from_zero(alarms / alarms[:, -1:])
    auc = ((recall[:, 1:] + recall[:, :-1]) / 2 * np.diff(fpr, axis=1)).sum(axis=1)
    reached = found + alarms
    precision = np.divide(found, reached, out=np.ones_like(found), where=reached > 0)
    average = (np.diff(recall, axis=1) * precision).sum(axis=1)
    return np.column_stack([auc, average])


def calibration_errors(scores: Numbers, truth: Truth, members: Counted, weights: Numbers) -> Numbers:
    """Calibration error `(B,)` over the bins `members` `(N,)`, for B rounds of weights `(B, N)`."""
    one_hot = np.eye(int(members.max()) + 1)[members]  # (N, bins)
    gaps = np.abs(weights @ (one_hot * (scores - truth)[:, None]))
    result: Numbers = gaps.sum(axis=1) / weights.sum(axis=1)
    return result


def bins_of(scores: Numbers) -> Counted:
    """The bin `(N,)` of every score in 0..1: BINS of equal width, numbered without those that are empty."""
    _, members = np.unique(np.minimum(scores * BINS, BINS - 1).astype(np.int64), return_inverse=True)
    return members.astype(np.int64)


def _bins(scores: Numbers, truth: Truth, members: Counted) -> tuple[Bin, ...]:
    chosen = [members == number for number in range(int(members.max()) + 1)]
    return tuple(
        Bin(float(scores[mine].mean()), proportion(int(truth[mine].sum()), int(mine.sum()), "")) for mine in chosen
    )


def _ends(descending: Numbers) -> NDArray[np.int64]:
    """Where each run of equal scores ends."""
    last = [descending.size - 1] if descending.size else []
    return np.append(np.flatnonzero(np.diff(descending)), np.array(last, np.int64))


def _from_zero(shares: Numbers) -> Numbers:
    return np.concatenate([np.zeros((shares.shape[0], 1)), shares], axis=1)
