"""One page that holds everything an evaluation found: no network, no script, pictures blurred until they are looked at.

Every name that comes from a file or a person is text (`_html.py`), and the page forbids itself to load or run anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice

from moderato.evaluate.compare import Comparison, Flip
from moderato.evaluate.evaluation import Evaluation, Kind, Mistake
from moderato.evaluate.judging import Cost, Picture
from moderato.evaluate.measure import LabelFigures
from moderato.evaluate.report import _tables as tables
from moderato.evaluate.report._html import Html, element, joined, void
from moderato.evaluate.report.plots import plots
from moderato.evaluate.report.thumbnails import thumbnail
from moderato.evaluate.words import load_of_unscannable, one_in, stream_of, summary, unasked
from moderato.media import Limits

_SHOWN = 12
"""Pictures of each kind."""
_NAMED = 100
_OPEN = 3  # labels whose plots are in sight at once

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_KINDS: tuple[tuple[Kind, str], ...] = (
    ("missed", "Missed: the label is true and the score below its threshold"),
    ("false alarm", "False alarms: the score reaches the threshold and the label is not true"),
    ("confused", "Taken for another label"),
    ("below threshold", "Unsure: no label scores above the threshold"),
)


def evaluation_page(evaluation: Evaluation, limits: Limits) -> str:
    """The page about one evaluation, as HTML."""
    return _page(
        f"How {evaluation.subject.name} does on {evaluation.place}",
        element("div", *(element("p", sentence) for sentence in summary(evaluation)), class_="summary"),
        _warnings(evaluation),
        _classes(evaluation),
        _at_your_prevalence(evaluation),
        _targets(evaluation),
        _labels(evaluation),
        _mistakes(evaluation.mistakes, limits),
        _unscannable(evaluation),
        _cost(evaluation.cost),
        _how_to_read(evaluation),
    )


def comparison_page(comparison: Comparison, evaluations: Sequence[Evaluation], limits: Limits) -> str:
    """The page about two evaluations of the same data, as HTML."""
    flips = comparison.flips
    better = {side: sum(flip.right == side for flip in flips) for side in ("first", "second")}
    return _page(
        f"{comparison.first} and {comparison.second} on {evaluations[0].place}",
        element(
            "div",
            element(
                "p",
                f"On {comparison.pictures:,} pictures they differ on {len(flips):,}: "
                f"{comparison.first} is right on {better['first']:,} of these, "
                f"{comparison.second} on {better['second']:,}.",
            ),
            *(element("p", summary(evaluation)[0]) for evaluation in evaluations),
            class_="summary",
        ),
        *map(_warnings, evaluations[:1]),
        element("h2", "Differences"),
        element(
            "p",
            "Paired: both looked at the same pictures. Second minus first, with 95 % intervals; in bold where they "
            f"leave out 0. The stream: {one_in(evaluations[0].wanted.prevalence)} is such a picture.",
            class_="quiet",
        ),
        element("div", tables.difference_table(comparison), class_="card"),
        _flips(comparison, limits),
        _cost(evaluations[0].cost),
    )


def _page(title: str, *parts: Html | None) -> str:
    style = (files(__package__) / "style.css").read_text("utf-8")
    made = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    head = element(
        "head",
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(style)),
    )
    note = element("footer", element("p", f"Written by moderato, {made}.", class_="quiet"))
    return f"<!doctype html>\n{element('html', head, element('body', element('h1', title), *parts, note), lang='en')}\n"


def _warnings(evaluation: Evaluation) -> Html | None:
    """What a person should know before reading any number."""
    lines: list[Html] = []
    if evaluation.unmatched:
        names = ", ".join(f"{name} ({count:,})" for name, count in evaluation.unmatched.items())
        lines.append(element("li", f"{unasked(evaluation)}: {names}."))
    if evaluation.judged.copies:
        lines.append(element("li", f"Copies of other pictures, counted once: {len(evaluation.judged.copies):,}."))
    if evaluation.several:
        lines.append(element("li", f"Pictures with several labels: {len(evaluation.several):,}."))
    lines += [element("li", note) for note in evaluation.notes]
    return element("div", element("ul", *lines), class_="card warning") if lines else None


def _at_your_prevalence(evaluation: Evaluation) -> Html | None:
    if evaluation.subject.mode == "labels":
        return None
    rows = [(point.name, point) for point in evaluation.overall]
    rows += [(f"{f.label}: {p.name}", p) for f in evaluation.labels for p in f.points]
    return joined(
        element("h2", "In your stream"),
        element("p", f"{stream_of(evaluation)} and all others are like the others here:"),
        element("div", tables.point_table(rows), class_="card"),
        element(
            "p",
            "Recall and false-positive rate hold for any stream of such pictures; the last two columns follow from "
            "them and the prevalence. 'per 10,000': pictures that reach the threshold"
            + (", and all that cannot be scanned" if _counts_unscannable(evaluation) else "")
            + ". Each number with its 95 % interval.",
            class_="note",
        ),
    )


def _counts_unscannable(evaluation: Evaluation) -> bool:
    return bool(evaluation.judged.unscannable and evaluation.overall) and evaluation.subject.unscannable != "allow"


def _targets(evaluation: Evaluation) -> Html | None:
    table = tables.target_table(evaluation)
    return joined(element("h2", "Thresholds that would do"), element("div", table, class_="card")) if table else None


def _classes(evaluation: Evaluation) -> Html | None:
    if evaluation.classes is None:
        return None
    return joined(
        element("h2", "Which label"),
        element("p", "The highest score is the prediction; pictures with exactly one of the labels count."),
        element("div", tables.class_table(evaluation.classes), class_="card"),
        element("div", tables.matrix(evaluation.classes), class_="card"),
    )


def _labels(evaluation: Evaluation) -> Html:
    cards = [
        _label(evaluation, figures, column, is_open=column < _OPEN) for column, figures in enumerate(evaluation.labels)
    ]
    return joined(element("h2", "Label by label"), *cards)


def _label(evaluation: Evaluation, figures: LabelFigures, column: int, *, is_open: bool) -> Html:
    counts = figures.points[0].counts
    name = element("summary", figures.label, element("span", f" — {counts.positives:,} of its pictures"))
    body: Html
    if counts.positives and counts.negatives:
        truth, scores = evaluation.judged.truth(figures.names), evaluation.judged.scores[:, column]
        drawn = [
            element("figure", element("h3", title), svg, element("figcaption", words))
            for title, words, svg in plots(figures, scores, truth, evaluation.wanted.prevalence)
        ]
        sweep = element("details", element("summary", "Every threshold"), tables.sweep_table(figures.sweep))
        body = joined(element("div", *drawn, _quality(figures), class_="plots"), sweep)
    else:
        body = element("p", figures.quality.auc.why + " No curve can be drawn.", class_="quiet")
    return element("details", name, body, class_="card", open="" if is_open else None)


def _quality(figures: LabelFigures) -> Html:
    first, quality = figures.points[0], figures.quality
    rows = (
        ("area under ROC", quality.auc),
        ("average precision", quality.average_precision),
        ("calibration error", quality.calibration_error),
        (f"F1 at {first.threshold:g}", first.f1),
        ("precision in this set", first.precision),
        ("accuracy in this set", first.accuracy),
    )
    facts = joined(*(joined(element("dt", n), element("dd", str(f), title=f.why or f.method)) for n, f in rows))
    counted = f"Counted as '{figures.label}': {', '.join(figures.names)}."
    return element("figure", element("h3", "In numbers"), element("dl", facts), element("figcaption", counted))


def _mistakes(mistakes: Sequence[Mistake], limits: Limits) -> Html | None:
    """The worst of each kind. The pictures may be what nobody should have to see: they are blurred."""
    groups = []
    for kind, title in _KINDS:
        mine = [mistake for mistake in mistakes if mistake.kind == kind]
        if mine:
            shown = (_picture(m.picture, _about(m), limits) for m in mine[:_SHOWN])
            more = f" ({_SHOWN} of {len(mine):,}, the worst first)" if len(mine) > _SHOWN else f" ({len(mine):,})"
            groups.append(joined(element("h3", title + more), element("div", *shown, class_="pictures")))
    if not groups:
        return joined(element("h2", "Mistakes"), element("p", "There is none."))
    hint = element("p", "Blurred until you point at one, or reach it with the Tab key.", class_="note")
    return joined(element("h2", "Mistakes"), hint, *groups)


def _about(mistake: Mistake) -> Html:
    said = {"missed": f"{mistake.label} missed", "false alarm": f"taken for {mistake.label}"}
    line = said.get(mistake.kind, f"taken for {mistake.label}")
    is_what = ", ".join(mistake.picture.truths)
    return joined(element("strong", f"{line}, {mistake.score:.3f}"), void("br"), f"is {is_what}")


def _picture(picture: Picture, words: Html, limits: Limits) -> Html:
    small = thumbnail(picture, limits)
    inside: Html
    if small is None:
        inside = element("div", element("span", "no picture at hand", class_="quiet"), class_="frame")
    else:
        data, (width, height) = small
        shape = f"aspect-ratio: {width} / {height}; " + ("width: 100%" if width >= height else "height: 100%")
        image = void("img", src=data, alt="", style=shape)
        inside = element("div", image, class_="frame", tabindex=0, role="img", aria_label=f"picture {picture.name}")
    return element("figure", inside, element("figcaption", words, void("br"), picture.name))


def _flips(comparison: Comparison, limits: Limits) -> Html | None:
    if not comparison.flips:
        return None
    order = sorted(comparison.flips, key=lambda flip: not flip.right)
    shown = (_picture(flip.picture, _flip(flip, comparison), limits) for flip in islice(order, 2 * _SHOWN))
    names = (f"{flip.picture.name}: {flip.label} {flip.first} → {flip.second}" for flip in order[2 * _SHOWN :][:_NAMED])
    return joined(
        element("h2", f"What flipped ({len(order):,})"),
        element("p", "Blurred until you point at one, or reach it with the Tab key.", class_="note"),
        element("div", *shown, class_="pictures"),
        _names(names),
    )


def _flip(flip: Flip, comparison: Comparison) -> Html:
    right = {"first": comparison.first, "second": comparison.second}.get(flip.right)
    judged = element("span", f"{right} is right", class_="better") if right else element("span", "no gain, no loss")
    line = element("strong", f"{flip.label}: {flip.first} → {flip.second}")
    return joined(line, void("br"), judged, void("br"), f"is {', '.join(flip.picture.truths)}")


def _unscannable(evaluation: Evaluation) -> Html | None:
    found = evaluation.judged.unscannable
    if not found:
        return None
    told = f"Counted {load_of_unscannable(evaluation)}."
    names = (f"{item.picture.name} (is {', '.join(item.picture.truths)}): {item.reason}" for item in found)
    return joined(element("h2", f"Unscannable ({len(found):,})"), element("p", told), _names(islice(names, _NAMED)))


def _names(lines: Iterable[str]) -> Html | None:
    listed = [element("li", line) for line in lines]
    return element("ul", *listed, class_="names") if listed else None


def _cost(cost: Cost) -> Html:
    spent = {
        "decode": cost.stages.get("load", 0) + cost.stages.get("prepare", 0),
        "encode": cost.stages.get("encode", 0),
        "score": cost.stages.get("score", 0),
    }
    total = sum(spent.values())
    facts = [
        ("mean time per picture", f"{1000 * cost.per_picture:.1f} ms ({cost.pictures / cost.seconds:,.0f} a second)"),
        ("memory at its largest", f"{cost.memory:,.0f} MiB ({cost.grown:+,.0f} while judging)"),
    ]
    colours = dict(zip(spent, ("--first", "--second", "--good"), strict=True))
    bar = [
        element("span", style=f"width: {100 * value / total:.2f}%; background: var({colours[name]})", title=name)
        for name, value in spent.items()
        if total
    ]
    key = [
        joined(
            element("dt", element("i", class_="dot", style=f"background: var({colours[name]})"), name),
            element("dd", f"{1000 * value / cost.pictures:.2f} ms a picture"),
        )
        for name, value in spent.items()
        if total
    ]
    return joined(
        element("h2", "Time and memory"),
        element("div", *bar, class_="share") if total else None,
        element("dl", *(joined(element("dt", name), element("dd", value)) for name, value in facts), *key),
        element(
            "p",
            "On this machine. Stages are summed over threads; embeddings kept from an earlier run are not made again."
            if total
            else "Embeddings were at hand: nothing was decoded or encoded.",
            class_="note",
        ),
    )


def _how_to_read(evaluation: Evaluation) -> Html:
    prevalence = one_in(evaluation.wanted.prevalence)
    lines = (
        "The label that a person gave is taken for the truth, and for the whole truth.",
        "Intervals hold the true value 95 times in 100, were the pictures drawn at random from those it will meet. "
        "Single proportions: exact (Clopper and Pearson). Precision in a stream, reviews per 10,000 and F1: from the "
        "exact intervals of recall and false-positive rate, rather too wide than too narrow. Areas, averages and the "
        "calibration error: bootstrap, 1,000 rounds, positives and negatives apart.",
        f"At a prevalence of {prevalence}, precision = r p / (r p + f (1 - p)) for recall r and false-positive rate f.",
        "A threshold chosen on these pictures looks better on them than on others. The one given 'with 95 % "
        "confidence' does not.",
        "Pictures with the same bytes count once. What cannot be scanned has no score and is in no rate of scores.",
    )
    return element("section", element("h2", "How to read this"), *(element("p", line) for line in lines))
