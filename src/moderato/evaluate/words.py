"""What was found, in sentences for people."""

from __future__ import annotations

from moderato.evaluate.evaluation import Evaluation
from moderato.evaluate.intervals import Figure
from moderato.evaluate.measure import Point


def summary(evaluation: Evaluation) -> list[str]:
    """The whole in a few sentences, the most important first."""
    sentences = [*_head(evaluation), *_stream(evaluation)]
    failed = len(evaluation.judged.unscannable)
    if failed:
        what = "1 picture" if failed == 1 else f"{failed:,} pictures"
        sentences.append(f"{what} could not be scanned: {load_of_unscannable(evaluation)}.")
    return sentences


def stream_of(evaluation: Evaluation) -> str:
    """The stream that figures are about, as the beginning of a sentence, and whether that was assumed."""
    wanted = evaluation.wanted
    assumed = " (which is assumed; --prevalence says yours)" if wanted.assumed else ""
    return f"In a stream where {one_in(wanted.prevalence)} is such a picture{assumed}"


def load_of_unscannable(evaluation: Evaluation) -> str:
    """Where pictures that could not be scanned are counted."""
    flagged = evaluation.subject.unscannable != "allow"
    return "in no rate, but in the number of flagged pictures" if flagged else "in no rate"


def unasked(evaluation: Evaluation) -> str:
    """What happens to pictures whose labels match nothing."""
    effect = "left out" if evaluation.subject.mode == "labels" else "taken for harmless"
    return f"Labels that nothing here asks for, their pictures {effect}"


def one_in(share: float) -> str:
    """A share as people say it: `1 in 1,000`."""
    return f"1 in {1 / share:,.0f}" if abs(1 / share - round(1 / share)) < 0.01 / share else percent(share)


def percent(share: float) -> str:
    """`93 %`, with the digits that tell something."""
    return f"{_percents(share, _digits(share, share))} %"


def percents(figure: Figure) -> str:
    """`93 % [88 to 97]`."""
    if figure.value is None:
        return "an unmeasurable share"
    if figure.low is None or figure.high is None:
        return percent(figure.value)
    digits = _digits(figure.low, figure.high)
    value, low, high = (_percents(share, digits) for share in (figure.value, figure.low, figure.high))
    return f"{value} % [{low} to {high}]"


def leading(evaluation: Evaluation) -> tuple[str, Point] | None:
    """The point that a summary is about: what is flagged, or the first label with both kinds of pictures."""
    if evaluation.overall:
        return "what it looks for", evaluation.overall[0]
    for figures in evaluation.labels:
        first = figures.points[0]
        if first.counts.positives and first.counts.negatives:
            return figures.label, first
    return (evaluation.labels[0].label, evaluation.labels[0].points[0]) if evaluation.labels else None


def _digits(low: float, high: float) -> int:
    near = min(high, 1 - low)
    return 0 if near >= 0.1 or near == 0 else 1 if near >= 0.01 else 2


def _percents(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f}"


def _head(evaluation: Evaluation) -> list[str]:
    name, count = evaluation.subject.name, len(evaluation.judged.pictures)
    if evaluation.classes is not None and evaluation.subject.mode == "labels":
        accuracy = evaluation.classes.accuracy
        judged = accuracy.total or 0
        return [f"{name} names {percents(accuracy)} of {judged:,} pictures rightly."]
    lead = leading(evaluation)
    if lead is None:
        return []
    label, point = lead
    parts = []
    if point.recall.value is not None:
        parts.append(f"finds {percents(point.recall)} of {_of(label)}")
    if point.fpr.value is not None:
        parts.append(f"raises a false alarm on {percents(point.fpr)} of the rest")
    return [f"On {count:,} pictures, {name} " + " and ".join(parts) + "."] if parts else []


def _of(label: str) -> str:
    return label if label == "what it looks for" else f"the pictures of '{label}'"


def _stream(evaluation: Evaluation) -> list[str]:
    lead = leading(evaluation)
    if lead is None or evaluation.subject.mode == "labels":
        return []
    point = lead[1]
    where = stream_of(evaluation)
    if point.precision_there.value is None:
        return [f"{where}: {point.precision_there.why}"]
    return [
        f"{where}, {percents(point.precision_there)} of what it flags is right, "
        f"and {point.reviews.text(10_000)} of 10,000 pictures are flagged."
    ]
