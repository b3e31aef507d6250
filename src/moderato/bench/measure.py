"""Measures every way of running an encoder, in turns with the exact one: speed, memory, and what the gate asks.

Only two encoders are in memory at a time, each in a process of its own: the exact one, and the one measured beside it.
They take turns in every round, so that whatever else the machine does meets both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from moderato.bench.gate import Comparison, compare, refusal
from moderato.bench.pictures import Album, batches
from moderato.bench.record import MADE, Entry, Machine, Row, Speed
from moderato.bench.worker import Open, Worker
from moderato.encoders import Ranges
from moderato.errors import ExecutionError
from moderato.tasks import Judge
from moderato.types import Precision, Rows, Views

ROUNDS = 5
"""Turns for each cell: enough for quartiles."""
_ROWS = 8  # views a call where nothing is timed
_FITTED = "int8"
"""The precision that has to be calibrated."""

Tell = Callable[[int, str], object]
"""Is told how many of the `steps` are done, and what comes next."""


@dataclass(frozen=True)
class Candidate:
    """One way of running an encoder: by which runtime, in which precision, and how to open it so."""

    runtime: str
    precision: Precision
    open: Open


@dataclass(frozen=True)
class Subject:
    """An encoder to measure: how the policy calls it, what its caches know it by, and all ways of running it.

    The first candidate is the exact one. `absent`: runtimes that cannot be used here, and why. `keep_ranges` puts what
    was calibrated where the candidates find it.
    """

    encoder: str
    space: str
    candidates: tuple[Candidate, ...]
    absent: Mapping[str, str]
    keep_ranges: Callable[[Ranges], object]


@dataclass(frozen=True)
class Plan:
    """What is measured: views a call, and seconds for each cell."""

    batches: tuple[int, ...]
    seconds: float
    machine: Machine

    @property
    def each(self) -> int:
        """Steps of one candidate."""
        return 1 + len(self.batches)


def steps(subjects: Sequence[Subject], others: Mapping[str, Open], plan: Plan) -> int:
    """What there is to do: to see all pictures exactly, and for each candidate to see them and to be timed."""
    return len(others) + sum(1 + len(subject.candidates) * plan.each for subject in subjects)


def measure(
    subjects: Sequence[Subject], others: Mapping[str, Open], album: Album, judge: Judge, plan: Plan, tell: Tell
) -> Iterator[Entry]:
    """An entry for each subject, decided.

    `others` opens the policy's other encoders, exactly: their rows are needed for its verdicts. Raises `ExecutionError`
    when an exact one cannot be opened or run; of any other way a row says so.
    """
    exact: dict[str, Rows] = {}
    for encoder, opened in {**others, **{subject.encoder: subject.candidates[0].open for subject in subjects}}.items():
        tell(len(exact), f"{encoder}: pictures, exactly")
        try:
            with _opened(opened, album.views(encoder)) as (worker, _):
                exact[encoder] = _project(worker, album.views(encoder))
        except ExecutionError as error:
            raise ExecutionError(f"'{encoder}' cannot be run, not even exactly: {error}") from error
    done = len(exact)
    for subject in subjects:
        yield _Turns(subject, album, judge, plan, partial(_told_from, tell, done), exact).entry()
        done += plan.each * len(subject.candidates)


def _told_from(tell: Tell, done: int, further: int, what: str) -> None:
    tell(done + further, what)


@dataclass(frozen=True)
class _Turns:
    """One subject, measured."""

    subject: Subject
    album: Album
    judge: Judge
    plan: Plan
    tell: Tell
    exact: Mapping[str, Rows]

    @property
    def views(self) -> Views:
        return self.album.views(self.subject.encoder)

    def entry(self) -> Entry:
        exact, *others = self.subject.candidates
        with _opened(exact.open, self.views) as (reference, version):
            fitted = self._calibrate(reference) if any(one.precision == _FITTED for one in others) else ""
            rows = [self._row(i, candidate, reference) for i, candidate in enumerate(others)]
            speeds = self._speeds(len(others), exact, reference, reference)
            seen = self._compared(self.exact[self.subject.encoder])
            first = Row(exact.runtime, exact.precision, version, speeds, reference.memory(), seen)
        return Entry(
            encoder=self.subject.encoder,
            space=self.subject.space,
            machine=self.plan.machine,
            made=MADE,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            policy=self.judge.policy.name,
            place=str(self.album.place) if self.album.place else None,
            pictures=len(self.album.judged),
            calibrated_by=len(self.album.calibrating),
            ranges=fitted,
            rows=(first, *rows),
            absent=dict(self.subject.absent),
        ).decided()

    def _calibrate(self, reference: Worker) -> str:
        """Keep the ranges that pictures of the user's give, where there are any; returns their digest."""
        if not self.album.place:
            return ""
        ranges = reference.ranges(self.album.part(self.subject.encoder, self.album.calibrating), _ROWS)
        self.subject.keep_ranges(ranges)
        return ranges.digest

    def _row(self, number: int, candidate: Candidate, reference: Worker) -> Row:
        """One way beside the exact one; whatever fails there is its own affair."""
        row = Row(candidate.runtime, candidate.precision)
        if candidate.precision == _FITTED and not self.album.place:
            return replace(row, why_not="it is calibrated on pictures of yours: --pictures FOLDER.")
        self.tell(number * self.plan.each, f"{self.subject.encoder}: {row.name}")
        try:
            with _opened(candidate.open, self.views) as (worker, version):
                compared = self._compared(_project(worker, self.views))
                speeds = self._speeds(number, candidate, worker, reference)
                row = replace(row, version=version, speeds=speeds, memory=worker.memory(), compared=compared)
            return replace(row, why_not=refusal(candidate.precision, compared, self.album.place is not None))
        except ExecutionError as error:
            return replace(row, why_not=f"it cannot be run here: {error}")

    def _compared(self, rows: Rows) -> Comparison:
        return compare(self.subject.encoder, rows, self.exact, self.album.judged, self.judge)

    def _speeds(self, number: int, candidate: Candidate, worker: Worker, reference: Worker) -> tuple[Speed, ...]:
        """Every cell of a candidate."""
        found = []
        for done, batch in enumerate(self.plan.batches, number * self.plan.each + 1):
            self.tell(done, f"{self.subject.encoder}: {candidate.runtime} {candidate.precision}, {batch} views a call")
            found.append(self._speed(worker, reference, batch))
        return tuple(found)

    def _speed(self, worker: Worker, reference: Worker, batch: int) -> Speed:
        """One cell, in turns; who begins changes every round. A first call each, so that nothing is new."""
        views = Views(np.resize(self.views[:batch], (batch, *self.views.shape[1:])))
        sides = [worker] if worker is reference else [worker, reference]
        for side in sides:
            side.time(views, 0)
        taken: dict[Worker, list[float]] = {side: [] for side in sides}
        for turn in range(ROUNDS):
            for side in sides if turn % 2 else reversed(sides):
                taken[side].append(side.time(views, self.plan.seconds / ROUNDS))
        own = np.array(taken[worker])
        low, middle, high = np.quantile(own, (0.25, 0.5, 0.75))
        ratio = np.median(np.array(taken[reference]) / own)
        return Speed(batch, float(middle), float(low), float(high), float(ratio))


@contextmanager
def _opened(opened: Open, views: Views) -> Iterator[tuple[Worker, str]]:
    """A worker whose encoder is open, and the version of what runs it."""
    with Worker(opened) as worker:
        yield worker, worker.open(Views(np.ascontiguousarray(views[:1])))


def _project(worker: Worker, views: Views) -> Rows:
    return Rows(np.concatenate([worker.project(batch) for batch in batches(views, _ROWS)]))
