"""Tables of figures, each number with its interval in words and as a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from moderato.evaluate.classes import ClassFigures
from moderato.evaluate.compare import Comparison, Difference
from moderato.evaluate.evaluation import Evaluation
from moderato.evaluate.intervals import Figure, number
from moderato.evaluate.measure import Point
from moderato.evaluate.report._html import Html, element, joined

_MOST_LABELS = 40  # of a confusion matrix that a person can look at


def point_table(rows: Iterable[tuple[str, Point]]) -> Html:
    """What thresholds and actions do: one row each."""
    head = ("", "threshold", "its pictures / others", "found (recall)", "falsely alarmed (FPR)")
    return _table((*head, "right in your stream (precision)", "per 10,000"), (_point_row(name, p) for name, p in rows))


def target_table(evaluation: Evaluation) -> Html | None:
    """The thresholds that do what was asked for; None where nothing was."""
    rows = []
    for figures in evaluation.labels:
        for target in figures.targets:
            name = f"{figures.label}: {target.wanted}"
            if target.point is None:
                rows.append(element("tr", element("td", name), element("td", target.why, colspan=6)))
            else:
                rows.append(_point_row(name, target.point))
    head = ("", "threshold", "its pictures / others", "found (recall)", "falsely alarmed (FPR)")
    return _table((*head, "right in your stream (precision)", "per 10,000"), rows) if rows else None


def sweep_table(points: Sequence[Point]) -> Html:
    """A row for each threshold of the sweep."""
    head = ("threshold", "found (recall)", "falsely alarmed (FPR)", "right in your stream (precision)", "per 10,000")
    rows = (
        element(
            "tr",
            element("td", f"{point.threshold:g}", class_="number"),
            *_rates(point),
        )
        for point in points
    )
    return _table(head, rows)


def class_table(classes: ClassFigures) -> Html:
    """Precision, recall and F1 of every label, and their averages."""
    rows = [
        element(
            "tr",
            element("td", row.label),
            element("td", f"{row.pictures:,}", class_="number"),
            *map(cell, (row.precision, row.recall, row.f1)),
        )
        for row in classes.rows
    ]
    total = int(classes.confusion.sum())
    averages = (classes.precision, classes.accuracy, classes.f1)
    name = element("td", "weighted by pictures; the recall is the accuracy", class_="strong")
    rows.append(element("tr", name, element("td", f"{total:,}", class_="number"), *map(cell, averages)))
    return _table(("label", "pictures", "precision", "recall", "F1"), rows)


def matrix(classes: ClassFigures) -> Html:
    """The confusion matrix, shaded by the share of each row."""
    if len(classes.labels) > _MOST_LABELS:
        return element("p", f"{len(classes.labels)} labels are too many to draw; the JSON has the matrix.")
    shares = classes.confusion / np.maximum(classes.confusion.sum(axis=1, keepdims=True), 1)
    head = element(
        "tr",
        element("th", "is ↓  taken for →"),
        *(element("th", element("span", label)) for label in classes.labels),
    )
    rows = [
        element(
            "tr",
            element("th", label),
            *(
                element(
                    "td",
                    f"{count:,}" if count else "·",
                    class_="right" if i == j else None,
                    style=f"background: rgba(var(--heat), {0.75 * shares[i, j]:.3f})",
                )
                for j, count in enumerate(classes.confusion[i].tolist())
            ),
        )
        for i, label in enumerate(classes.labels)
    ]
    table = element("table", element("thead", head), element("tbody", *rows), class_="matrix")
    return element("div", table, class_="scroll")


def difference_table(comparison: Comparison) -> Html:
    """Both numbers and their difference, question by question."""
    rows = []
    for section in comparison.sections:
        at = f", from {section.thresholds[0]:g} / {section.thresholds[1]:g} on" if section.thresholds else ""
        title = joined(element("strong", section.label), element("small", at))
        rows.append(element("tr", element("td", title, colspan=4)))
        rows += [_difference_row(difference) for difference in section.differences]
    return _table(("", comparison.first, comparison.second, "difference"), rows)


def cell(figure: Figure, scale: float = 1, *, lined: bool = True) -> Html:
    """A number, its interval in small print, and both as a line from 0 to 1 where that tells something."""
    if figure.value is None:
        return element("td", element("small", "not measurable", title=figure.why))
    number, _, interval = figure.text(scale).partition(" ")
    line = _line(figure) if lined else None
    title = figure.why or f"95 % interval, {figure.method}" + (
        f": {figure.hits} of {figure.total}" if figure.total else ""
    )
    shown = (element("strong", number), " ", element("small", interval), line)
    return element("td", *shown, title=title, class_="lined" if line else None)


def _rates(point: Point) -> tuple[Html, ...]:
    return (
        cell(point.recall),
        cell(point.fpr, lined=False),
        cell(point.precision_there),
        cell(point.reviews, 10_000, lined=False),
    )


def _line(figure: Figure) -> Html | None:
    if figure.ends is None:
        return None
    value, low, high = (100 * min(1.0, end) for end in figure.ends)
    return element(
        "span",
        element("i", style=f"left: {low:.2f}%; width: {high - low:.2f}%"),
        element("b", style=f"left: {value:.2f}%"),
        class_="line",
    )


def _point_row(name: str, point: Point) -> Html:
    counts = point.counts
    return element(
        "tr",
        element("td", name, class_="strong"),
        element("td", f"{point.threshold:g}" if point.threshold is not None else "", class_="number"),
        element("td", f"{counts.positives:,} / {counts.negatives:,}", class_="number"),
        *_rates(point),
    )


def _difference_row(difference: Difference) -> Html:
    change = difference.difference
    text = change.text() if change.value is not None else change.why
    sure = change.ends is not None and (change.ends[1] > 0 or change.ends[2] < 0)
    values = ("–" if value is None else number(value) for value in (difference.first, difference.second))
    return element(
        "tr",
        element("td", difference.name),
        *(element("td", value) for value in values),
        element("td", element("strong", text) if sure else text, title=f"95 % interval, {change.method}"),
    )


def _table(head: Sequence[str], rows: Iterable[Html]) -> Html:
    titles = element("tr", *(element("th", title) for title in head))
    return element("div", element("table", element("thead", titles), element("tbody", *rows)), class_="scroll")
