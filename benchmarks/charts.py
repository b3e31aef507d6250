"""Drawings of results, as SVG that reads well on white and on black: no background, text of a middle grey.

Each carries the digest of the record it was drawn from, so that a test can tell when it is stale.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.records import Record
from benchmarks.timing import Result

_GREY = "#7d8590"
_COLOURS = {"thesis": "#7d8590", "batched": "#7d8590", "fp32": "#3b82c4", "bf16": "#2a9d8f", "int8": "#e07b39"}


def digest(record: Record) -> str:
    """Of what is drawn: the results."""
    return sha256(repr([result.facts() for result in record.results]).encode()).hexdigest()


def path(record: Record, encoder: str, size: str, file: Path) -> None:
    """Pictures a second, a bar for each side, the slowest at the top."""
    sides = sorted(record.find(encoder=encoder, size=size), key=lambda result: -result.median)
    figure = Figure(figsize=(7.5, 0.42 * len(sides) + 0.7), layout="constrained")
    axes = figure.add_subplot()
    rates = [1 / result.median for result in sides]
    colours = [_COLOURS[result.about.get("precision") or result.about["side"]] for result in sides]
    bars = axes.barh([_name(result) for result in sides], rates, color=colours, height=0.62)
    texts = [
        f"{rate:.3g}{f' ({result.ratio:.1f} x)' if result.ratio else ''}"
        for rate, result in zip(rates, sides, strict=True)
    ]
    axes.bar_label(bars, texts, padding=5, color=_GREY)
    axes.invert_yaxis()
    axes.set_xlim(right=1.25 * max(rates))
    axes.set_xlabel(f"pictures a second (and times the thesis's), {encoder}, JPEG of {size}")
    _save(figure, axes, record, file)


def soak(record: Record, file: Path) -> None:
    """Memory over time, of the server and of all its processes."""
    figure = Figure(figsize=(7.5, 3), layout="constrained")
    axes = figure.add_subplot()
    (clock,) = record.find(soak="clock")
    minutes = [seconds / 60 for seconds in clock.values]
    for result, colour in zip(record.find(soak="memory"), ("#3b82c4", "#e07b39"), strict=True):
        axes.plot(minutes, result.values, label=result.what, color=colour, linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes of mixed load")
    axes.set_ylabel("MB in memory")
    axes.legend(frameon=False, loc="lower right", labelcolor=_GREY)
    _save(figure, axes, record, file)


def _name(result: Result) -> str:
    match result.about.get("side"):
        case "thesis":
            return "the thesis's pipeline"
        case "batched":
            return "transformers, texts kept"
        case _:
            return f"moderato, {result.about['runtime']} {result.about['precision']}"


def _save(figure: Figure, axes: Axes, record: Record, file: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(colors=_GREY)
    axes.xaxis.label.set_color(_GREY)
    axes.yaxis.label.set_color(_GREY)
    with matplotlib.rc_context({"svg.hashsalt": "moderato", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(file, transparent=True, metadata={"Date": None, "Description": digest(record)})
