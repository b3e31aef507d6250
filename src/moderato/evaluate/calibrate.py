"""Platt's calibration: scores become probabilities, by a slope and a shift for each label.

`p = sigmoid(a · logit(score) + b)`, fitted to labelled pictures with Platt's smoothed targets (Platt 1999,
"Probabilistic Outputs for Support Vector Machines", section 2.2: `(P + 1) / (P + 2)` for P positives, `1 / (N + 2)` for
N negatives), which keep the slope finite where a label's pictures are separated perfectly. p is the probability in
streams with the set's own share of positives; for another prevalence the shift is moved by the difference of the logits
of both shares (Saerens, Latinne and Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori
Probabilities"), which is exact where pictures of a label, and others, are like those of the set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from moderato.evaluate.curves import Truth, bins_of, calibration_errors
from moderato.evaluate.intervals import SEED, Figure, Numbers, resample, resampled
from moderato.evaluate.judging import Judged
from moderato.evaluate.subjects import Question
from moderato.layers import logit, sigmoid
from moderato.policy import Label, Policy

LEAST = 30
"""Positives, and negatives, below which no label is calibrated: two numbers are fitted, and their error measured."""

_FOLDS = 5
_DIGITS = 4


@dataclass(frozen=True)
class Calibration:
    """What was fitted for one label, on how many pictures, and whether it helps.

    `platt`: slope and shift. `before`, `after`: calibration error of scores as they were, and of scores calibrated with
    what the other four fifths of the pictures taught. `change`: their difference, below 0 where it helps. `moved`: each
    threshold, where it is and where the same decisions are after calibration.
    """

    label: str
    platt: tuple[float, float]
    share: float
    """Of positives in the stream for which it gives probabilities."""
    positives: int
    negatives: int
    before: Figure
    after: Figure
    change: Figure
    moved: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Refusal:
    """A label that is not calibrated, and why."""

    label: str
    why: str


def uncalibrated(policy: Policy) -> Policy:
    """The same policy without any `platt`: what is fitted starts from the bare scores."""
    labels = {name: label.model_copy(update={"platt": None}) for name, label in policy.labels.items()}
    return policy.model_copy(update={"labels": labels})


def calibrate(
    policy: Policy, questions: tuple[Question, ...], judged: Judged, prevalence: float | None = None
) -> list[Calibration | Refusal]:
    """Fit every label of a policy whose pictures suffice. `judged`: by the `uncalibrated` policy.

    `prevalence`: each label's share of the stream that the probabilities are to hold for; the set's own without it.
    """
    grouped = {name for group in policy.exclusive for name in group}
    results: list[Calibration | Refusal] = []
    for column, question in enumerate(questions):
        if question.label in grouped:
            why = "It stands in an exclusive group, whose scores sum to 1: calibrated alone they would not."
            results.append(Refusal(question.label, why))
        else:
            truth = judged.truth(question.names)
            label = policy.labels[question.label]
            results.append(calibrate_label(question.label, label, judged.scores[:, column], truth, prevalence))
    return results


def calibrate_label(
    name: str, label: Label, scores: Numbers, truth: Truth, prevalence: float | None = None
) -> Calibration | Refusal:
    """Fit one label on bare scores float64 `(N,)` and truths `(N,)`."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if min(positives, negatives) < LEAST:
        return Refusal(
            name, f"It takes {LEAST} pictures of it and {LEAST} others; there are {positives} and {negatives}."
        )
    slope, shift = (round(value, _DIGITS) for value in fit_platt(scores, truth))
    if slope <= 0:
        return Refusal(
            name, f"Its scores are no higher for its own pictures (slope {slope:g}): mend what describes it."
        )
    before, after, change = _errors(scores, _held_out(scores, truth), truth)
    least = change.value if change.low is None else change.low
    if least is not None and least > 0:
        return Refusal(
            name, f"It is better as it is: calibration error {before}, {after} calibrated, on held-out pictures."
        )
    own = positives / (positives + negatives)
    share = own if prevalence is None else prevalence
    platt = (slope, round(shift + _logit_of(share) - _logit_of(own), _DIGITS))
    return Calibration(name, platt, share, positives, negatives, before, after, change, _moved(label, platt))


def fit_platt(scores: Numbers, truth: Truth) -> tuple[float, float]:
    """Slope and shift for scores `(N,)` of pictures of which some, not all, are positives."""
    positives, negatives = truth.sum(), (~truth).sum()
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    logits = logit(scores)[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.concatenate([logits, logits]),  # each picture is a positive to the degree of its target, and a negative
        np.repeat([1, 0], truth.size),
        np.concatenate([target, 1 - target]),
    )
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def apply_platt(platt: tuple[float, float], scores: Numbers) -> Numbers:
    """Probabilities of scores."""
    slope, shift = platt
    probabilities: Numbers = sigmoid(slope * logit(scores) + shift)
    return probabilities


def _logit_of(share: float) -> float:
    return math.log(share / (1 - share))


def _held_out(scores: Numbers, truth: Truth) -> Numbers:
    """Each picture's probability by what the folds without it taught."""
    found = np.empty_like(scores)
    for learned, left in _folds(scores, truth):
        found[left] = apply_platt(fit_platt(scores[learned], truth[learned]), scores[left])
    return found


def _folds(scores: Numbers, truth: Truth) -> Iterator[tuple[Truth, Truth]]:
    yield from StratifiedKFold(_FOLDS, shuffle=True, random_state=SEED).split(scores, truth)


def _errors(before: Numbers, after: Numbers, truth: Truth) -> tuple[Figure, Figure, Figure]:
    """Calibration errors before and after, and their difference, with paired bootstrap intervals."""
    members = [bins_of(scores) for scores in (before, after)]

    def statistics(weights: Numbers) -> Numbers:
        errors = [
            calibration_errors(scores, truth, mine, weights)
            for scores, mine in zip((before, after), members, strict=True)
        ]
        return np.column_stack([*errors, errors[1] - errors[0]])

    values, rounds = statistics(np.ones((1, truth.size)))[0], resample(truth, statistics)
    first, second, change = (resampled(float(value), rounds[:, i]) for i, value in enumerate(values))
    return first, second, change


def _moved(label: Label, platt: tuple[float, float]) -> tuple[tuple[str, float, float], ...]:
    """A label's thresholds: the name, where each is, and the calibrated score of pictures that now stand there."""
    named = ((name, at) for name, at in (("review", label.review), ("block", label.block)) if at is not None)
    return tuple((name, at, _place(label, at, platt)) for name, at in named)


def _place(label: Label, threshold: float, platt: tuple[float, float]) -> float:
    """Where a threshold on present scores lies on calibrated ones."""
    bare = np.array([threshold])
    if label.platt:
        slope, shift = label.platt
        bare = apply_platt((1 / slope, -shift / slope), bare)
    return float(apply_platt(platt, bare)[0])
