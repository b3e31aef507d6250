"""Every picture of a dataset judged: scores, actions, what could not be scanned, what is there twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from moderato.errors import RequestError
from moderato.evaluate.dataset import Dataset
from moderato.evaluate.intervals import Numbers
from moderato.heads import Head
from moderato.moderator import Moderator
from moderato.policy import Policy
from moderato.types import Action, Encoded, Place, Rows, Source, Verdict

T = TypeVar("T")

Watched = Callable[[Iterable[Verdict], int], Iterable[Verdict]]
"""Hands verdicts on while a person waits for so many of them."""

_NOWHERE = (Place((0, 0, 0, 0)),)
_NOT_FINITE = "bad_embedding: not all of its numbers are finite, or all are 0."
_MIB = 2**20


@dataclass(frozen=True)
class Picture:
    """One picture of the dataset: all labels that people gave it, and where it is (None where only a row is)."""

    name: str
    truths: tuple[str, ...]
    source: Path | str | None = None


@dataclass(frozen=True)
class Unscanned:
    """A picture that could not be scanned, and why."""

    picture: Picture
    reason: str


@dataclass(frozen=True)
class Cost:
    """What judging took, on this machine.

    `seconds` from the first picture to the last; `stages` the seconds of each stage, over all threads, so that they may
    sum to more, and empty where embeddings were at hand. `memory` of the process at its largest, and by how much it
    grew, in MiB.
    """

    pictures: int
    seconds: float
    stages: dict[str, float]
    memory: float
    grown: float

    @property
    def per_picture(self) -> float:
        """Mean seconds for a picture."""
        return self.seconds / self.pictures


@dataclass(frozen=True, eq=False)
class Judged:
    """What was said about N pictures, each once, however many copies of it there are.

    `scores` float64 `(N, L)`, a column for each of `labels`; `actions`, N of them. `copies`: the names of pictures left
    out, each with the name of the one that has the same bytes. The `unscannable` are not among the N.
    """

    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]
    scores: Numbers
    actions: tuple[Action, ...]
    unscannable: tuple[Unscanned, ...] = ()
    copies: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def truth(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Whether each picture `(N,)` was given one of these labels."""
        wanted = set(names)
        return np.array([not wanted.isdisjoint(picture.truths) for picture in self.pictures], dtype=bool)

    def said(self, *actions: Action) -> NDArray[np.bool_]:
        """Whether each picture `(N,)` met one of these actions."""
        return np.array([action in actions for action in self.actions], dtype=bool)

    def taken(self, rows: Sequence[int]) -> Judged:
        """The same about some of the pictures only."""
        return replace(
            self,
            pictures=tuple(self.pictures[i] for i in rows),
            scores=self.scores[list(rows)],
            actions=tuple(self.actions[i] for i in rows),
        )


@dataclass(frozen=True)
class Answer:
    """What was said about one entry of a dataset: scores in the order of the labels, or why there are none."""

    scores: tuple[float, ...] | None
    action: Action
    unscannable: str = ""
    digest: str | None = None


def judge(moderator: Moderator, policy: Policy, data: Dataset, watched: Watched) -> tuple[Judged, Cost]:
    """Judge all pictures of a dataset by a policy.

    Raises `OperatorError` where the policy cannot be made ready, `RequestError` where embeddings do not fit it.
    """
    ready = moderator.ready(policy)  # before the clock starts: opening a model is not judging
    before = dict(moderator.times.seconds)
    meter = _Meter()
    if data.rows is None:
        verdicts = watched(moderator.check_many(data.sources or (), policy), len(data))
        answers = [_answer(verdict, verdict.fingerprints.source) for verdict in meter.watch(verdicts)]
        stages = {name: value - before[name] for name, value in moderator.times.seconds.items()}
    else:
        answers = list(meter.watch(_of_rows(moderator, policy, data, data.rows)))
        stages = {}
    return merge(data, tuple(policy.labels), answers, ready.notes), meter.cost(len(data), stages)


def judge_by_head(head: Head, threshold: float, data: Dataset) -> tuple[Judged, Cost]:
    """Score the rows of a dataset by a trained head; its encoder is not needed.

    Raises `RequestError` where the rows have another size than the head reads.
    """
    assert data.rows is not None
    _check_size(data, data.rows, head.dim, head.name)
    meter = _Meter()
    answers: list[Answer] = []
    for scores in meter.watch([head.score(np.nan_to_num(data.rows))]):
        for row, found in zip(data.rows, scores, strict=True):
            action: Action = "review" if (found >= threshold).any() else "allow"
            answers.append(_sound(row, Answer(tuple(map(float, found)), action, digest=_digest(row))))
    return merge(data, head.labels, answers), meter.cost(len(data), {})


def merge(data: Dataset, labels: tuple[str, ...], answers: Sequence[Answer], notes: tuple[str, ...] = ()) -> Judged:
    """One entry for each picture: those with the same bytes count once, with all labels they were given."""
    first: dict[str, int] = {}
    truths: dict[int, list[str]] = {}
    copies: dict[str, str] = {}
    for i, answer in enumerate(answers):
        if answer.scores is None:
            continue
        same = first.setdefault(answer.digest or f"#{i}", i)
        truths.setdefault(same, []).append(data.truths[i])
        if same != i:
            copies[data.names[i]] = data.names[same]

    def picture(i: int) -> Picture:
        given = tuple(dict.fromkeys(truths.get(i, [data.truths[i]])))
        return Picture(data.names[i], given, data.sources[i] if data.sources else None)

    kept = list(truths)
    scores = np.array([answers[i].scores for i in kept], np.float64).reshape(len(kept), len(labels))
    unscannable = tuple(Unscanned(picture(i), a.unscannable) for i, a in enumerate(answers) if a.scores is None)
    pictures = tuple(map(picture, kept))
    return Judged(labels, pictures, scores, tuple(answers[i].action for i in kept), unscannable, copies, notes)


def _answer(verdict: Verdict, digest: str | None) -> Answer:
    if verdict.unscannable:
        return Answer(None, verdict.action, verdict.unscannable)
    return Answer(tuple(verdict.scores.values()), verdict.action, digest=digest)


def _of_rows(moderator: Moderator, policy: Policy, data: Dataset, rows: NDArray[np.float32]) -> Iterator[Answer]:
    ready = moderator.ready(policy)
    if len(policy.encoders) > 1:
        raise RequestError(f"{data.place} has embeddings of one encoder; '{policy.name}' needs {policy.encoders}.")
    (name,) = policy.encoders
    _check_size(data, rows, ready.needs[name].encoder.dim, name)
    for source, row in zip(data.names, rows, strict=True):
        encoded = Encoded(_NOWHERE, Rows(np.nan_to_num(row)[None]))
        yield _sound(row, _answer(ready.finish(Source(b"", source), {name: encoded}), _digest(row)))


def _sound(row: NDArray[np.float32], answer: Answer) -> Answer:
    """The answer, unless the row is no embedding."""
    return answer if np.isfinite(row).all() and row.any() else Answer(None, "review", _NOT_FINITE)


def _check_size(data: Dataset, rows: NDArray[np.float32], dim: int, reader: str) -> None:
    if rows.shape[1] != dim:
        raise RequestError(f"{data.place} has rows of {rows.shape[1]} numbers; those of '{reader}' have {dim}.")


def _digest(row: NDArray[np.float32]) -> str:
    return sha256(row.tobytes()).hexdigest()


class _Meter:
    """Time and memory while answers come."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._first = self._most = self._process.memory_info().rss
        self._started = perf_counter()

    def watch(self, answers: Iterable[T]) -> Iterator[T]:
        for answer in answers:
            self._most = max(self._most, self._process.memory_info().rss)
            yield answer

    def cost(self, pictures: int, stages: dict[str, float]) -> Cost:
        seconds = perf_counter() - self._started
        return Cost(pictures, seconds, stages, self._most / _MIB, (self._most - self._first) / _MIB)
