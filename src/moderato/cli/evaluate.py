"""Measure a policy, labels or a head on labelled pictures."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moderato.assemble import DEFAULT_POLICY, Workshop
from moderato.cards import encoder_card, encoder_names, head_names
from moderato.cli._output import print_line, print_table, titled, watched
from moderato.errors import RequestError, nearest, visible
from moderato.evaluate._plain import comparison_values, evaluation_values
from moderato.evaluate.classes import ClassFigures
from moderato.evaluate.compare import Comparison
from moderato.evaluate.compare import compare as compared
from moderato.evaluate.copies import check_folder, copy_pictures
from moderato.evaluate.dataset import Dataset, open_dataset
from moderato.evaluate.evaluation import Evaluation
from moderato.evaluate.evaluation import evaluate as evaluated
from moderato.evaluate.intervals import Figure, number
from moderato.evaluate.judging import judge, judge_by_head
from moderato.evaluate.measure import Point, Wanted, wanted_of
from moderato.evaluate.subjects import (
    ASSUMED,
    Subject,
    check_names,
    policy_of_head,
    read_positive,
    subject_of_head,
    subject_of_labels,
    subject_of_policy,
)
from moderato.evaluate.words import summary, unasked
from moderato.heads import Head
from moderato.policy import Policy, policy_of_labels, read_policy, shipped_policies
from moderato.settings import read_settings

_SHOWN = 10  # lines of a list; the files have all
_MOST_LABELS = 12  # of a confusion matrix in a terminal
_WIDE = 130  # columns that hold a number beside its interval

_DATA = "A folder per label, a .csv or .parquet of source and label, or embeddings with labels (.npy per label, .npz)."
_POSITIVE = "Names in DATA that count as a label; may be given again."
_THRESHOLD = "For --head: yes from here on. For --labels: unsure below it."
_REVIEWS = "Find the threshold with so many reviews per 10,000 pictures."
_INTERVALS = (
    "95 % intervals: exact for rates and what follows from them; bootstrap for areas, averages and calibration."
)
_PAIRED = "95 % intervals of paired differences: exact for rates and reviews; bootstrap for precision and areas."


@dataclass(frozen=True)
class Asked:
    """The options that say what is to be measured."""

    policy: str | None
    labels: str | None
    head: str | None
    file: str | None
    encoder: str | None
    positive: Mapping[str, Sequence[str]]
    threshold: float


@dataclass(frozen=True)
class Side:
    """What is to be measured: the subject, and the policy, or the head of embeddings at hand, that judges for it."""

    subject: Subject
    judge: Policy | Head


def evaluate(
    data: Annotated[str, typer.Argument(metavar="DATA", help=_DATA)],
    policy: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="A policy, or a .toml file.")] = None,
    labels: Annotated[str | None, typer.Option(metavar='"A, B, C"', help="Labels of which one is true.")] = None,
    head: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="A trained head.")] = None,
    file: Annotated[str | None, typer.Option(metavar="FILE|URL", help="The file of a head that you bring.")] = None,
    encoder: Annotated[str | None, typer.Option(metavar="NAME|DIR", help="Another encoder than is named.")] = None,
    positive: Annotated[list[str] | None, typer.Option(metavar="LABEL=NAME,NAME", help=_POSITIVE)] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help=_THRESHOLD)] = ASSUMED,
    prevalence: Annotated[float | None, typer.Option(help="How much of your stream is looked for: 0.001.")] = None,
    recall: Annotated[float | None, typer.Option(help="Find the threshold with this recall: 0.95.")] = None,
    reviews: Annotated[float | None, typer.Option(help=_REVIEWS)] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Policies, heads, or encoders for the question asked.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE|-", help="Write all figures as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write one page with plots.")] = None,
    copy_to: Annotated[Path | None, typer.Option(metavar="DIR", help="Copy wrongly answered pictures here.")] = None,
) -> None:
    """Measure a policy, labels or a head on labelled pictures: every rate with its interval, and at your prevalence."""
    wanted = wanted_of(prevalence, recall, reviews)
    asked = Asked(policy, labels, head, file, encoder, read_positive(positive or []), threshold)
    found = open_dataset(data)
    if copy_to:
        _check_copies(copy_to, found, is_comparison=compare is not None)
    workshop = Workshop(read_settings())
    if compare:
        _compare(workshop, asked, compare, found, wanted, json, report)
        return
    evaluation = _evaluated(workshop, _side(workshop, asked, found), found, wanted)
    if json:
        _write_json(json, evaluation_values(evaluation))
    if str(json) != "-":
        _print_evaluation(evaluation)
    if report:
        from moderato.evaluate.report import evaluation_page  # matplotlib, which takes its time

        _write(report, evaluation_page(evaluation, workshop.settings.media))
    if copy_to:
        copied, failed = copy_pictures(evaluation, copy_to)
        _say(f"{copy_to}: {copied} pictures copied" + (f"; {failed} are no readable files." if failed else "."))


def _check_copies(folder: Path, data: Dataset, *, is_comparison: bool) -> None:
    if is_comparison:
        raise RequestError("--copy-to goes with one evaluation, not with --compare.")
    if data.rows is not None:
        raise RequestError(f"--copy-to {folder}: embeddings hold no pictures that could be copied.")
    check_folder(folder, Path(data.place))


def _compare(
    workshop: Workshop,
    asked: Asked,
    names: tuple[str, str],
    data: Dataset,
    wanted: Wanted,
    json: Path | None,
    report: Path | None,
) -> None:
    sides = [_named(workshop, asked, name, data) for name in names]
    first, second = evaluations = [_evaluated(workshop, side, data, wanted) for side in sides]
    comparison = compared((first.subject, second.subject), (first.judged, second.judged), wanted)
    if json:
        _write_json(json, {**comparison_values(comparison), "evaluations": [*map(evaluation_values, evaluations)]})
    if str(json) != "-":
        _print_comparison(comparison, first)
    if report:
        from moderato.evaluate.report import comparison_page  # matplotlib, which takes its time

        _write(report, comparison_page(comparison, evaluations, workshop.settings.media))


def _evaluated(workshop: Workshop, side: Side, data: Dataset, wanted: Wanted) -> Evaluation:
    check_names(side.subject, data.labels)
    if isinstance(side.judge, Head):
        judged, cost = judge_by_head(side.judge, side.subject.questions[0].thresholds[0][1], data)
    else:
        judged, cost = judge(workshop.moderator(side.judge, keep=True), side.judge, data, watched)
    return evaluated(data.place, side.subject, judged, cost, wanted, data.notes)


def _side(workshop: Workshop, asked: Asked, data: Dataset) -> Side:
    """What the options name; the default policy when they name nothing."""
    if sum(option is not None for option in (asked.policy, asked.labels, asked.head)) > 1:
        raise RequestError("--policy, --labels and --head: one of the three.")
    if asked.head:
        return _of_head(workshop, asked, asked.head, data)
    return _of_labels(asked, asked.encoder) if asked.labels else _of_policy(asked, asked.policy, asked.encoder)


def _named(workshop: Workshop, asked: Asked, name: str, data: Dataset) -> Side:
    """One of the two of `--compare`: a policy, a head, or an encoder for the labels or the policy asked about."""
    if asked.head:
        raise RequestError("--compare names the heads itself; leave --head out.")
    if name.endswith(".toml") or name in shipped_policies():
        return _of_policy(asked, name, None, called=name)
    if name in head_names() or name.endswith(".safetensors"):
        return _of_head(workshop, asked, name, data)
    if name in encoder_names() or Path(name).is_dir():
        if asked.labels:
            return _of_labels(asked, name)
        return _of_policy(asked, asked.policy, name) if asked.policy else _of_head(workshop, asked, name, data)
    known = [*shipped_policies(), *head_names(), *encoder_names()]
    raise RequestError(f"--compare {name}: there is no such policy, head or encoder. {nearest(name, known)}")


def _of_policy(asked: Asked, name: str | None, encoder: str | None, called: str | None = None) -> Side:
    policy = read_policy(name or DEFAULT_POLICY)
    if encoder:
        policy = policy.model_copy(update={"encoder": encoder})
        called = f"{policy.name} with {encoder}"
    return Side(subject_of_policy(policy, asked.positive, called), policy)


def _of_labels(asked: Asked, encoder: str | None) -> Side:
    names = [label.strip() for label in (asked.labels or "").split(",") if label.strip()]
    policy = policy_of_labels(names, encoder or read_policy(DEFAULT_POLICY).encoder)
    return Side(subject_of_labels(policy, asked.positive, asked.threshold, policy.encoder), policy)


def _of_head(workshop: Workshop, asked: Asked, name: str, data: Dataset) -> Side:
    head = workshop.head(name, asked.file)
    subject = subject_of_head(name, head.labels, asked.positive, asked.threshold)
    if data.rows is not None:
        return Side(subject, head)
    encoder = asked.encoder or _encoder_of(head, name)
    return Side(subject, policy_of_head(name, head.labels, encoder, asked.file, asked.threshold))


def _encoder_of(head: Head, name: str) -> str:
    """The encoder with a card whose embeddings a head reads."""
    if name in encoder_names() or Path(name).is_dir():
        return name
    for encoder in encoder_names():
        if encoder_card(encoder).lineage == head.encoder:
            return encoder
    raise RequestError(f"'{name}' reads embeddings of {head.encoder}: name the encoder's folder with --encoder.")


def _print_evaluation(evaluation: Evaluation) -> None:
    for sentence in summary(evaluation):
        print_line(visible(sentence))
    _print_classes(evaluation.classes)
    rows = [(point.name, point) for point in evaluation.overall]
    rows += [(f"{f.label}: {p.name}", p) for f in evaluation.labels for p in f.points]
    if evaluation.subject.mode != "labels":
        _print_under(f"At a prevalence of {evaluation.wanted.prevalence:g}:", _points(rows))
    targets = [(f"{f.label}: {t.wanted}", t) for f in evaluation.labels for t in f.targets]
    if targets:
        _print_under("Thresholds that would do:", _points([(name, t.point) for name, t in targets if t.point]))
        for name, target in targets:
            if target.point is None:
                print_line(f"{visible(name)}: {target.why}")
    _print_under("On this set:", _qualities(evaluation))
    print_line("\n" + _INTERVALS)
    _print_lists(evaluation)
    _print_cost(evaluation)


def _points(rows: Iterable[tuple[str, Point]]) -> Table:
    titles = (
        "",
        "threshold",
        "its pictures / others",
        "recall",
        "false alarms",
        "precision there",
        "per 10,000",
    )
    table = titled(*titles, whole_words=True)
    for name, point in rows:
        at = "" if point.threshold is None else f"{point.threshold:g}"
        counted = f"{point.counts.positives:,} / {point.counts.negatives:,}"
        figures = (point.recall, point.fpr, point.precision_there)
        table.add_row(escape(visible(name)), at, counted, *map(_shown, figures), _shown(point.reviews, 10_000))
    return table


def _qualities(evaluation: Evaluation) -> Table:
    table = titled("", "precision", "F1", "accuracy", "ROC AUC", "average precision", "calib. error", whole_words=True)
    for point in evaluation.overall:
        table.add_row(point.name, *map(_shown, (point.precision, point.f1, point.accuracy)), "", "", "")
    for figures in evaluation.labels:
        first, quality = figures.points[0], figures.quality
        rates = (first.precision, first.f1, first.accuracy)
        areas = (quality.auc, quality.average_precision, quality.calibration_error)
        table.add_row(f"{escape(visible(figures.label))}, {first.threshold:g}", *map(_shown, (*rates, *areas)))
    return table


def _print_classes(classes: ClassFigures | None) -> None:
    if classes is None:
        return
    table = titled("label", "pictures", "precision", "recall", "F1", whole_words=True)
    for row in classes.rows:
        figures = map(_shown, (row.precision, row.recall, row.f1))
        table.add_row(escape(visible(row.label)), f"{row.pictures:,}", *figures)
    averages = map(_shown, (classes.precision, classes.accuracy, classes.f1))
    table.add_row("weighted; recall = accuracy", f"{int(classes.confusion.sum()):,}", *averages)
    _print_under("The highest score is the prediction:", table)
    if len(classes.labels) <= _MOST_LABELS:
        labels = (escape(visible(label)) for label in classes.labels)
        table = titled("is ↓ taken for →", *labels, whole_words=True)
        for label, counts in zip(classes.labels, classes.confusion.tolist(), strict=True):
            table.add_row(escape(visible(label)), *(f"{count:,}" if count else "·" for count in counts))
        _print_under("", table)


def _print_lists(evaluation: Evaluation) -> None:
    for kind in dict.fromkeys(mistake.kind for mistake in evaluation.mistakes):
        mine = [mistake for mistake in evaluation.mistakes if mistake.kind == kind]
        lines = (f"{m.picture.name} (is {', '.join(m.picture.truths)}): {m.label} {m.score:.3f}" for m in mine)
        _listed(f"{kind}: {len(mine):,}, the worst first", lines)
    failed = evaluation.judged.unscannable
    _listed(f"unscannable: {len(failed):,}", (f"{item.picture.name}: {item.reason}" for item in failed))
    copies = evaluation.judged.copies
    _listed(f"copies, counted once: {len(copies):,}", (f"{name} = {first}" for name, first in copies.items()))
    several = evaluation.several
    _listed(f"pictures with several labels: {len(several):,}", (f"{p.name}: {', '.join(p.truths)}" for p in several))
    if evaluation.unmatched:
        names = ", ".join(f"{name} ({count:,})" for name, count in evaluation.unmatched.items())
        print_line(f"\n{unasked(evaluation)}: {visible(names)}.")
    for note in evaluation.notes:
        print_line(f"Note: {visible(note)}")


def _print_cost(evaluation: Evaluation) -> None:
    cost = evaluation.cost
    decode = cost.stages.get("load", 0) + cost.stages.get("prepare", 0)
    spent = {"decode": decode, "encode": cost.stages.get("encode", 0), "score": cost.stages.get("score", 0)}
    split = ", ".join(f"{name} {1000 * seconds / cost.pictures:.2f} ms" for name, seconds in spent.items())
    stages = f" ({split}; summed over threads)" if cost.stages else ""
    memory = f"{cost.memory:,.0f} MiB of memory at most, {cost.grown:+,.0f} while judging"
    print_line(f"\n{1000 * cost.per_picture:.2f} ms a picture{stages}; {memory}.")


def _print_comparison(comparison: Comparison, evaluation: Evaluation) -> None:
    names = [visible(name) for name in (comparison.first, comparison.second)]
    print_line(f"{names[0]} and {names[1]} differ on {len(comparison.flips):,} of {comparison.pictures:,} pictures.")
    table = titled("", *map(escape, names), "difference (second - first)", whole_words=True)
    for section in comparison.sections:
        table.add_row(f"[bold]{escape(visible(section.label))}[/]", "", "", "")
        for row in section.differences:
            values = ("–" if value is None else number(value) for value in (row.first, row.second))
            table.add_row(row.name, *values, _shown(row.difference))
    _print_under(f"At a prevalence of {evaluation.wanted.prevalence:g}:", table)
    right = {"first": f", {names[0]} is right", "second": f", {names[1]} is right", "": ""}
    lines = (
        f"{flip.picture.name} (is {', '.join(flip.picture.truths)}): {flip.label} {flip.first} → {flip.second}"
        f"{right[flip.right]}"
        for flip in comparison.flips
    )
    print_line("\n" + _PAIRED)
    _listed("flipped", lines)


def _listed(title: str, lines: Iterable[str]) -> None:
    every = list(lines)
    if every:
        print_line(f"\n{title}")
    for line in every[:_SHOWN]:
        print_line(f"  {visible(line)}")
    if len(every) > _SHOWN:
        print_line(f"  … and {len(every) - _SHOWN:,} more: --json or --report")


def _print_under(title: str, table: Table) -> None:
    if table.row_count:
        print_line(f"\n{title}" if title else "")
        print_table(table)


def _shown(figure: Figure, scale: float = 1) -> str:
    """The number bold, its interval not."""
    if figure.value is None:
        return "[dim]not measurable[/]"
    number, _, interval = figure.text(scale).partition(" ")
    between = " " if Console().width >= _WIDE else "\n"
    return f"[bold]{number}[/]{between}{escape(interval)}"


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False).print(text)


def _write_json(file: Path, values: Mapping[str, Any]) -> None:
    text = json_format.dumps(values, indent=2, allow_nan=False) + "\n"
    if str(file) == "-":
        sys.stdout.write(text)
    else:
        _write(file, text)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise RequestError(f"{file} cannot be written ({error.strerror}).") from error
    _say(f"{file} is written.")
