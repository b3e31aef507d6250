"""Figures of labels of which exactly one is true: the highest score is the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderato.evaluate.intervals import ROUNDS, SEED, Counted, Figure, Numbers, proportion, resampled, unmeasurable

_AT_ONCE = 4_000_000  # cells of resampled tables held in memory at a time


@dataclass(frozen=True)
class ClassRow:
    """One label's row: `pictures` of it, and how its predictions did."""

    label: str
    pictures: int
    precision: Figure
    recall: Figure
    f1: Figure


@dataclass(frozen=True, eq=False)
class ClassFigures:
    """Accuracy, the averages weighted by pictures, each label's row, and the confusion matrix.

    `confusion` int64 `(L, L)`: pictures of the row's label that were taken for the column's. The weighted recall is the
    accuracy.
    """

    labels: tuple[str, ...]
    confusion: Counted
    accuracy: Figure
    precision: Figure
    f1: Figure
    rows: tuple[ClassRow, ...]


def measure_classes(labels: Sequence[str], truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> ClassFigures:
    """The figures of predictions `(N,)` for truths `(N,)`, both numbers of labels.

    As scikit-learn computes them, a label that was never predicted having a precision of 0 in the weighted averages.
    Intervals: exact for accuracy, precision and recall; of averages and F1 by resampling each label's pictures.
    """
    size = len(labels)
    confusion = np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)
    pictures = confusion.sum(axis=1)
    if not pictures.sum():
        nothing = unmeasurable("No picture has one of these labels.")
        rows = tuple(ClassRow(label, 0, nothing, nothing, nothing) for label in labels)
        return ClassFigures(tuple(labels), confusion, nothing, nothing, nothing, rows)
    values, rounds = _averages(confusion[None])[0], _resampled_averages(confusion)
    averages = [resampled(float(value), rounds[:, i]) for i, value in enumerate(values)]
    rows = tuple(_row(label, confusion, i, averages[2 + i]) for i, label in enumerate(labels))
    accuracy = proportion(int(np.trace(confusion)), int(pictures.sum()), "")
    return ClassFigures(tuple(labels), confusion, accuracy, averages[0], averages[1], rows)


def _row(label: str, confusion: Counted, i: int, f1: Figure) -> ClassRow:
    pictures, said, right = int(confusion[i].sum()), int(confusion[:, i].sum()), int(confusion[i, i])
    missing = f"There are no pictures of {label}."
    return ClassRow(
        label,
        pictures,
        proportion(right, said, f"Nothing was taken for {label}."),
        proportion(right, pictures, missing),
        f1 if pictures else unmeasurable(missing),
    )


def _averages(tables: NDArray[np.integer]) -> Numbers:
    """Weighted precision, weighted F1, then each label's F1 `(B, 2 + L)`, of B confusion matrices `(B, L, L)`."""
    right = np.diagonal(tables, axis1=1, axis2=2).astype(np.float64)
    pictures, said = tables.sum(axis=2), tables.sum(axis=1)
    precision = np.divide(right, said, out=np.zeros_like(right), where=said > 0)
    f1 = np.divide(2 * right, pictures + said, out=np.zeros_like(right), where=pictures + said > 0)
    weights = pictures / pictures.sum(axis=1, keepdims=True)
    return np.column_stack([(weights * precision).sum(axis=1), (weights * f1).sum(axis=1), f1])


def _resampled_averages(confusion: Counted) -> Numbers:
    """The averages of ROUNDS tables whose rows are drawn anew, each row with as many pictures as it has."""
    rng = np.random.default_rng(SEED)
    pictures = confusion.sum(axis=1)
    step = max(1, _AT_ONCE // confusion.size)
    rounds = []
    for done in range(0, ROUNDS, step):
        tables = np.zeros((min(step, ROUNDS - done), *confusion.shape), np.int64)
        for i in np.flatnonzero(pictures):
            tables[:, i] = rng.multinomial(pictures[i], confusion[i] / pictures[i], size=tables.shape[0])
        rounds.append(_averages(tables))
    return np.concatenate(rounds)
