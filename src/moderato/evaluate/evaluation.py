"""From judged pictures to figures, and the pictures that were answered wrongly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moderato.evaluate.classes import ClassFigures, measure_classes
from moderato.evaluate.judging import Cost, Judged, Picture
from moderato.evaluate.measure import Counts, LabelFigures, Point, Wanted, measure, point
from moderato.evaluate.subjects import Subject

Kind = Literal["missed", "false alarm", "confused", "below threshold"]


@dataclass(frozen=True)
class Mistake:
    """A picture that was answered wrongly, or unsurely.

    `label` is the one that was missed or raised the alarm, or what the picture was taken for; `score` that label's;
    `by` how far, 0..1, it stands on the wrong side.
    """

    kind: Kind
    picture: Picture
    label: str
    score: float
    by: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was found. `overall` are the points `flagged` and `blocked` of a policy.

    `unmatched`: labels that people gave and no question asks for, with their number of pictures. `several`: pictures
    with more than one label.
    """

    place: str
    subject: Subject
    wanted: Wanted
    judged: Judged
    cost: Cost
    overall: tuple[Point, ...]
    labels: tuple[LabelFigures, ...]
    classes: ClassFigures | None
    mistakes: tuple[Mistake, ...]
    unmatched: dict[str, int]
    several: tuple[Picture, ...]
    notes: tuple[str, ...]


def evaluate(
    place: str, subject: Subject, judged: Judged, cost: Cost, wanted: Wanted, notes: Sequence[str] = ()
) -> Evaluation:
    """All figures of what was judged; for labels written on the spot, of the pictures with exactly one of them."""
    everything = [*judged.pictures, *(item.picture for item in judged.unscannable)]
    given = Counter(name for picture in everything for name in picture.truths)
    several = tuple(picture for picture in judged.pictures if len(picture.truths) > 1)
    if subject.mode == "labels":
        judged = judged.taken(np.flatnonzero(_true(subject, judged).sum(axis=1) == 1).tolist())
    labels = tuple(
        measure(q.label, q.names, judged.scores[:, i], judged.truth(q.names), q.thresholds, wanted)
        for i, q in enumerate(subject.questions)
    )
    asked = {name for question in subject.questions for name in question.names}
    classes, confused = _classes(subject, judged) if subject.exclusive else (None, [])
    acts = any(question.acts for question in subject.questions)
    mistakes = confused if subject.exclusive and not acts else [*confused, *_mistakes(subject, judged)]
    return Evaluation(
        place,
        subject,
        wanted,
        judged,
        cost,
        _overall(subject, judged, wanted) if subject.mode == "policy" else (),
        labels,
        classes,
        tuple(sorted(mistakes, key=lambda mistake: -mistake.by)),
        {name: count for name, count in sorted(given.items()) if name not in asked},
        several,
        (*notes, *judged.notes),
    )


def _true(subject: Subject, judged: Judged) -> NDArray[np.bool_]:
    """Whether each label is true of each picture, `(N, L)`."""
    return np.stack([judged.truth(question.names) for question in subject.questions], axis=1)


def _overall(subject: Subject, judged: Judged, wanted: Wanted) -> tuple[Point, ...]:
    """What the policy flags, against the labels it acts on; what it blocks, against those it blocks."""
    acting = [q for q in subject.questions if q.acts]
    blocking = [q for q in acting if any(name == "block" for name, _ in q.thresholds)]
    failed = len(judged.unscannable)
    unscanned = (failed, failed + len(judged.pictures)) if failed else None
    points = []
    for name, questions, said, adds in (
        ("flagged", acting, judged.said("review", "block"), subject.unscannable != "allow"),
        ("blocked", blocking, judged.said("block"), subject.unscannable == "block"),
    ):
        if questions:
            counts = Counts.of(said, judged.truth(name for q in questions for name in q.names))
            extra = unscanned if adds else None
            points.append(point(name, None, counts, wanted.prevalence, "what it looks for", extra))
    return tuple(points)


def _mistakes(subject: Subject, judged: Judged) -> list[Mistake]:
    """What each acting label missed and wrongly raised, at its mildest threshold; of all labels where none acts."""
    acting = any(q.acts for q in subject.questions)
    found = []
    for column, question in enumerate(subject.questions):
        if acting and not question.acts:
            continue
        at = min(threshold for _, threshold in question.thresholds)
        for picture, score, true in zip(
            judged.pictures, judged.scores[:, column].tolist(), judged.truth(question.names).tolist(), strict=True
        ):
            if true and score < at:
                found.append(Mistake("missed", picture, question.label, score, at - score))
            elif score >= at and not true:
                found.append(Mistake("false alarm", picture, question.label, score, score - at))
    return found


def _classes(subject: Subject, judged: Judged) -> tuple[ClassFigures, list[Mistake]]:
    """Figures of predictions, for the pictures that have exactly one of the labels; what was confused or unsure."""
    labels = [question.label for question in subject.questions]
    true = _true(subject, judged)
    one = true.sum(axis=1) == 1
    predicted = judged.scores.argmax(axis=1) if len(judged.pictures) else np.empty(0, np.int64)
    truth = true.argmax(axis=1)
    confused: list[Mistake] = []
    for i in np.flatnonzero(one & (predicted != truth)):
        scores = judged.scores[i]
        said, right = int(predicted[i]), int(truth[i])
        by = float(scores[said] - scores[right])
        confused.append(Mistake("confused", judged.pictures[i], labels[said], float(scores[said]), by))
    unsure = _unsure(subject, judged, labels, predicted)
    return measure_classes(labels, truth[one], predicted[one]), [*confused, *unsure]


def _unsure(subject: Subject, judged: Judged, labels: Sequence[str], predicted: NDArray[np.int64]) -> list[Mistake]:
    """Pictures whose highest score is below the threshold."""
    if subject.below is None:
        return []
    highest = judged.scores.max(axis=1, initial=0)
    return [
        Mistake(
            "below threshold",
            judged.pictures[i],
            labels[predicted[i]],
            float(highest[i]),
            subject.below - float(highest[i]),
        )
        for i in np.flatnonzero(highest < subject.below)
    ]
