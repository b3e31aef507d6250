"""A label's curves as SVG, drawn by matplotlib and coloured by the page: its variables stand in for colours.

No name that a person or a file gave is drawn: it would be read as mathematics, and the page can say it better.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

from moderato.evaluate.curves import Curve, Truth
from moderato.evaluate.intervals import Numbers, bounds
from moderato.evaluate.measure import LabelFigures, Point, precision_band
from moderato.evaluate.report._html import Html

_SIZE = (3.7, 2.9)  # inches; the page scales it
_FRAME = (0.155, 0.165, 0.82, 0.725)  # left, bottom, width, height: a layout worked out each time takes as long again
_POINTS = 300  # of a curve
_COLOURS = {"#010203": "--ink", "#010204": "--first", "#010205": "--second", "#010206": "--faint"}
_INK, _FIRST, _SECOND, _FAINT = _COLOURS
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "moderato",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}

Draw = Callable[[Axes], None]


def plots(figures: LabelFigures, scores: Numbers, truth: Truth, prevalence: float) -> list[tuple[str, str, Html]]:
    """Title, a sentence of explanation and SVG of every plot of one label that has both kinds of pictures."""
    curve = figures.curve.thinned(_POINTS)
    marks = figures.points
    return [
        (
            "What a threshold does",
            "Share of its pictures found, and precision in your stream, by threshold; dashed: the thresholds measured.",
            _svg(lambda axes: _sweep(axes, curve, marks, prevalence)),
        ),
        (
            "Precision and recall, in your stream",
            "Each point is a threshold. The band is the 95 % interval of the precision.",
            _svg(lambda axes: _precision_recall(axes, curve, marks, prevalence)),
        ),
        (
            "ROC",
            "Found against falsely alarmed. The band is the 95 % interval of the share found, the bars are those of "
            "the thresholds measured.",
            _svg(lambda axes: _roc(axes, curve, marks)),
        ),
        (
            "Scores",
            "How many pictures have which score.",
            _svg(lambda axes: _histogram(axes, scores, truth)),
        ),
        (
            "Calibration",
            "Among pictures of one score, how many are positives; on the diagonal a score is a probability, for a "
            "stream with as many positives as this set.",
            _svg(lambda axes: _calibration(axes, figures)),
        ),
    ]


def _svg(draw: Draw) -> Html:
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=_SIZE)
        canvas.patch.set_visible(False)
        axes = canvas.add_axes(_FRAME)
        axes.patch.set_visible(False)
        draw(axes)
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace("<svg", '<svg role="img" aria-label="the plot named above"', 1)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    return Html(text)


def _percentages(axes: Axes, x: str, y: str) -> None:
    percent = FuncFormatter(lambda value, _: f"{100 * value:g} %")
    axes.xaxis.set_major_formatter(percent)
    axes.yaxis.set_major_formatter(percent)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def _sweep(axes: Axes, curve: Curve, marks: tuple[Point, ...], prevalence: float) -> None:
    precision, low, high = precision_band(curve, prevalence)
    below, above = bounds(curve.found, curve.positives)
    _banded(axes, curve.thresholds, curve.recall, below, above, _FIRST, "found")
    _banded(axes, curve.thresholds, precision, low, high, _SECOND, "precision in your stream")
    for mark in marks:
        if mark.threshold is not None:
            axes.axvline(mark.threshold, color=_INK, linewidth=0.8, linestyle="--")
    _percentages(axes, "threshold", "")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _banded(
    axes: Axes, x: Numbers, value: Numbers, low: Numbers, high: Numbers, colour: str, name: str | None = None
) -> None:
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, step="pre")
    axes.plot(x, value, color=colour, linewidth=1.6, label=name, drawstyle="steps-pre")


def _precision_recall(axes: Axes, curve: Curve, marks: tuple[Point, ...], prevalence: float) -> None:
    precision, low, high = precision_band(curve, prevalence)
    axes.fill_between(curve.recall, low, high, color=_FIRST, alpha=0.18, linewidth=0)
    axes.plot(curve.recall, precision, color=_FIRST, linewidth=1.6, label="in your stream")
    in_set = curve.found / np.maximum(curve.found + curve.alarms, 1)
    axes.plot(curve.recall, in_set, color=_INK, linewidth=0.9, linestyle=":", label="in this set")
    for mark in marks:
        if mark.recall.value is not None and mark.precision_there.value is not None:
            axes.plot(mark.recall.value, mark.precision_there.value, "o", color=_SECOND, markersize=5)
    _percentages(axes, "found (recall)", "precision")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _roc(axes: Axes, curve: Curve, marks: tuple[Point, ...]) -> None:
    low, high = bounds(curve.found, curve.positives)
    chance = np.linspace(0, 1, 200) ** 3
    axes.plot(chance, chance, color=_FAINT, linewidth=1)
    axes.fill_between(curve.fpr, low, high, color=_FIRST, alpha=0.18, linewidth=0)
    axes.plot(np.append(0, curve.fpr), np.append(0, curve.recall), color=_FIRST, linewidth=1.6)
    for mark in marks:
        recall, fpr = mark.recall.ends, mark.fpr.ends
        if recall and fpr:
            _crossed(axes, fpr, recall)
    _percentages(axes, "falsely alarmed (FPR; stretched near 0)", "found (recall)")
    least = 10.0 ** np.floor(np.log10(1 / curve.negatives))
    axes.set_xscale("symlog", linthresh=least)
    axes.set_xlim(-0.1 * least, 1.3)
    ticks = [0, *(10.0**power for power in range(round(np.log10(least)), 1))]
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.minorticks_off()


def _crossed(axes: Axes, x: tuple[float, float, float], y: tuple[float, float, float]) -> None:
    """A point with both of its intervals."""
    axes.plot([x[1], x[2]], [y[0], y[0]], color=_SECOND, linewidth=1.2)
    axes.plot([x[0], x[0]], [y[1], y[2]], color=_SECOND, linewidth=1.2)
    axes.plot(x[0], y[0], "o", color=_SECOND, markersize=4)


def _histogram(axes: Axes, scores: Numbers, truth: Truth) -> None:
    edges = np.linspace(0, 1, 26).tolist()
    axes.hist(scores[~truth], edges, color=_FIRST, alpha=0.55, label="others")
    axes.hist(scores[truth], edges, color=_SECOND, alpha=0.75, label="its pictures")
    axes.set(xlabel="score", ylabel="pictures", xlim=(-0.02, 1.02), yscale="log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _calibration(axes: Axes, figures: LabelFigures) -> None:
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1)
    for part in figures.quality.bins:
        if ends := part.share.ends:
            axes.plot([part.mean, part.mean], ends[1:], color=_FIRST, linewidth=1.2)
            axes.plot(part.mean, ends[0], "o", color=_FIRST, markersize=4)
    _percentages(axes, "mean score", "share of its pictures")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
