"""Two judgements of the same pictures: paired differences, and what flipped.

Differences are second minus first. Those of single proportions have exact intervals from the pictures on which the two
disagree (both kinds of disagreement, Clopper-Pearson, Bonferroni); areas, precision and F1 are resampled, both
judgements on the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderato.errors import RequestError
from moderato.evaluate.curves import Truth, area_statistics
from moderato.evaluate.intervals import LEVEL, Figure, Numbers, bounds, joint_level, resample, resampled, unmeasurable
from moderato.evaluate.judging import Judged, Picture
from moderato.evaluate.measure import Wanted, precision_at, reviews_at
from moderato.evaluate.subjects import Question, Subject

_Statistics = Callable[[Numbers], Numbers]


@dataclass(frozen=True)
class Difference:
    """One number of both, and how far the second lies above the first; None where it cannot be measured."""

    name: str
    first: float | None
    second: float | None
    difference: Figure


@dataclass(frozen=True)
class Section:
    """The differences in one question, at `threshold` of each (None for an action)."""

    label: str
    thresholds: tuple[float, float] | None
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Flip:
    """A picture of which the two say different things. `right` is "first", "second", or "" for neither or both."""

    picture: Picture
    label: str
    first: str
    second: str
    right: str


@dataclass(frozen=True)
class Comparison:
    """Everything that was found about two subjects on `pictures` pictures that both could scan."""

    first: str
    second: str
    pictures: int
    sections: tuple[Section, ...]
    flips: tuple[Flip, ...]


def compare(subjects: tuple[Subject, Subject], judged: tuple[Judged, Judged], wanted: Wanted) -> Comparison:
    """Compare two judgements of one dataset.

    Raises `RequestError` where they have no label in common, or no picture that both could scan.
    """
    first, second = _shared(*judged)
    if not first.pictures:
        raise RequestError("There is no picture that both could scan.")
    pairs = _common(subjects)
    if not pairs:
        ours, theirs = (", ".join(q.label for q in subject.questions) for subject in subjects)
        raise RequestError(
            f"They have no label in common: {subjects[0].name} has {ours}; {subjects[1].name}, {theirs}."
        )
    sections = [_section(a, b, first, second, wanted) for a, b in pairs]
    if all(subject.exclusive for subject in subjects) and len(pairs) == first.scores.shape[1] == second.scores.shape[1]:
        accuracy, flips = _predictions(subjects, first, second)
        sections.insert(0, accuracy)
    elif all(subject.mode == "policy" for subject in subjects):
        flagged, flips = _actions(subjects, first, second, wanted)
        sections.insert(0, flagged)
    else:
        flips = [flip for a, b in pairs for flip in _crossings(a, b, first, second)]
    return Comparison(subjects[0].name, subjects[1].name, len(first.pictures), tuple(sections), tuple(flips))


def paired(first: Truth, second: Truth) -> Figure:
    """Share of pictures for which `second` `(N,)` holds minus that for `first` `(N,)`; exact, rather too wide."""
    return _paired(first, second, LEVEL)


def _paired(first: Truth, second: Truth, level: float) -> Figure:
    total = first.size
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    each = 1 - (1 - level) / 2
    (more_low, less_low), (more_high, less_high) = bounds(np.array([gained, lost]), total, each)
    return Figure((gained - lost) / total, float(more_low - less_high), float(more_high - less_low), "exact")


def _shared(first: Judged, second: Judged) -> tuple[Judged, Judged]:
    """Both cut down to the pictures that both could scan, in the same order."""
    places = {picture.name: i for i, picture in enumerate(second.pictures)}
    both = [(i, places[picture.name]) for i, picture in enumerate(first.pictures) if picture.name in places]
    return first.taken([i for i, _ in both]), second.taken([i for _, i in both])


def _common(subjects: tuple[Subject, Subject]) -> list[tuple[Question, Question]]:
    """Questions of the same label, whatever its case: heads write NSFW and nsfw."""
    theirs = {question.label.lower(): question for question in subjects[1].questions}
    return [(q, theirs[q.label.lower()]) for q in subjects[0].questions if q.label.lower() in theirs]


def _scores(judged: Judged, question: Question) -> Numbers:
    scores: Numbers = judged.scores[:, judged.labels.index(question.label)]
    return scores


def _mildest(question: Question) -> float:
    return min(at for _, at in question.thresholds)


def _section(a: Question, b: Question, first: Judged, second: Judged, wanted: Wanted) -> Section:
    truth = first.truth({*a.names, *b.names})
    scores = (_scores(first, a), _scores(second, b))
    said = (scores[0] >= _mildest(a), scores[1] >= _mildest(b))
    rates = _rates(truth, said, wanted, a.label)
    return Section(a.label, (_mildest(a), _mildest(b)), (*rates, *_areas(truth, scores, a.label)))


def _rates(truth: Truth, said: tuple[Truth, Truth], wanted: Wanted, label: str) -> list[Difference]:
    """Recall, false-positive rate, precision and reviews at the prevalence."""
    found, alarms = ([answer[part] for answer in said] for part in (truth, ~truth))
    rows = [
        _proportions("recall", found, f"There are no pictures of {label}."),
        _proportions("false-positive rate", alarms, f"There are no pictures without {label}."),
    ]
    names = ("precision at the prevalence", "reviews per 10,000")
    if not truth.any() or truth.all():
        return [
            *rows,
            *(Difference(name, None, None, unmeasurable(rows[int(truth.all())].difference.why)) for name in names),
        ]
    rates = [(float(f.mean()), float(a.mean())) for f, a in zip(found, alarms, strict=True)]
    loads = [10_000 * reviews_at(r, f, wanted.prevalence) for r, f in rates]
    return [
        *rows,
        _precisions(names[0], rates, truth, said, wanted.prevalence),
        Difference(names[1], loads[0], loads[1], _load_change(found, alarms, wanted.prevalence)),
    ]


def _proportions(name: str, answers: Sequence[Truth], nothing: str) -> Difference:
    if not answers[0].size:
        return Difference(name, None, None, unmeasurable(nothing))
    return Difference(name, float(answers[0].mean()), float(answers[1].mean()), paired(answers[0], answers[1]))


def _load_change(found: Sequence[Truth], alarms: Sequence[Truth], prevalence: float) -> Figure:
    """Linear in the changes of both rates, which are of independent samples."""
    recall, fpr = (_paired(pair[0], pair[1], joint_level(2)) for pair in (found, alarms))

    def load(end: str) -> float:
        return 10_000 * (prevalence * float(getattr(recall, end)) + (1 - prevalence) * float(getattr(fpr, end)))

    return Figure(load("value"), load("low"), load("high"), "exact")


def _precisions(
    name: str, rates: Sequence[tuple[float, float]], truth: Truth, said: tuple[Truth, Truth], prevalence: float
) -> Difference:
    values = [float(precision_at(r, f, prevalence)) if r or f else None for r, f in rates]
    if None in values:
        return Difference(name, values[0], values[1], unmeasurable("One of them flags no picture."))

    def statistics(weights: Numbers) -> Numbers:
        rates = [
            (weights @ (answer & truth) / truth.sum(), weights @ (answer & ~truth) / (~truth).sum()) for answer in said
        ]
        first, second = (precision_at(recall, fpr, prevalence) for recall, fpr in rates)
        return (second - first)[:, None]

    return Difference(name, values[0], values[1], _resampled(truth, statistics)[0])


def _areas(truth: Truth, scores: tuple[Numbers, Numbers], label: str) -> list[Difference]:
    """Area under the ROC curve and average precision."""
    names = ("ROC AUC", "average precision")
    if not truth.any() or truth.all():
        why = f"There are no pictures {'without' if truth.any() else 'of'} {label}."
        return [Difference(name, None, None, unmeasurable(why)) for name in names]
    orders = [np.argsort(-values, kind="stable") for values in scores]

    def areas(weights: Numbers) -> list[Numbers]:
        return [
            area_statistics(values[order], truth[order], weights[:, order])
            for values, order in zip(scores, orders, strict=True)
        ]

    def statistics(weights: Numbers) -> Numbers:
        first, second = areas(weights)
        change: Numbers = second - first
        return change

    first, second = (found[0].tolist() for found in areas(np.ones((1, truth.size))))
    changes = _resampled(truth, statistics)
    return [Difference(name, first[i], second[i], changes[i]) for i, name in enumerate(names)]


def _resampled(truth: Truth, statistics: _Statistics) -> list[Figure]:
    values, rounds = statistics(np.ones((1, truth.size)))[0], resample(truth, statistics)
    return [resampled(float(value), rounds[:, i]) for i, value in enumerate(values)]


def _actions(
    subjects: tuple[Subject, Subject], first: Judged, second: Judged, wanted: Wanted
) -> tuple[Section, list[Flip]]:
    """What the policies flag, against all labels that either acts on, and the pictures whose action changed."""
    truth = first.truth(name for subject in subjects for q in subject.questions if q.acts for name in q.names)
    said = (first.said("review", "block"), second.said("review", "block"))
    flips = [
        Flip(picture, "action", a, b, _right(bool(true), a != "allow", b != "allow"))
        for picture, a, b, true in zip(first.pictures, first.actions, second.actions, truth, strict=True)
        if a != b
    ]
    return Section("flagged", None, tuple(_rates(truth, said, wanted, "what they look for"))), flips


def _crossings(a: Question, b: Question, first: Judged, second: Judged) -> list[Flip]:
    """Pictures on different sides of the two thresholds."""
    truth = first.truth({*a.names, *b.names})
    said = (_scores(first, a) >= _mildest(a), _scores(second, b) >= _mildest(b))
    words = {True: "yes", False: "no"}
    return [
        Flip(picture, a.label, words[bool(x)], words[bool(y)], _right(bool(true), bool(x), bool(y)))
        for picture, x, y, true in zip(first.pictures, *said, truth, strict=True)
        if x != y
    ]


def _predictions(subjects: tuple[Subject, Subject], first: Judged, second: Judged) -> tuple[Section, list[Flip]]:
    """Accuracy over the pictures with exactly one of the labels, and the pictures whose prediction changed."""
    labels = [question.label for question in subjects[0].questions]
    true = np.stack([first.truth(q.names) for q in subjects[0].questions], axis=1)
    said = (_predicted(first, labels), _predicted(second, labels))
    one, truth = true.sum(axis=1) == 1, true.argmax(axis=1)
    right = [answer == truth for answer in said]
    flips = [
        Flip(
            first.pictures[i],
            "prediction",
            labels[said[0][i]],
            labels[said[1][i]],
            ("first" if right[0][i] else "second" if right[1][i] else "") if one[i] else "",
        )
        for i in np.flatnonzero(said[0] != said[1])
    ]
    nothing = "No picture has exactly one of these labels."
    accuracy = _proportions("accuracy", [answer[one] for answer in right], nothing)
    return Section("prediction", None, (accuracy,)), flips


def _predicted(judged: Judged, labels: Sequence[str]) -> NDArray[np.int64]:
    """The number in `labels` of each picture's highest score."""
    lowered = [label.lower() for label in judged.labels]
    columns = [lowered.index(label.lower()) for label in labels]
    predicted: NDArray[np.int64] = judged.scores[:, columns].argmax(axis=1)
    return predicted


def _right(true: bool, first: bool, second: bool) -> str:
    """Which of two answers is right, where they differ."""
    if first == second:
        return ""
    return "first" if first == true else "second"
