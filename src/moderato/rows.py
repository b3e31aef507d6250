"""Views of many callers → few calls of one encoder: whoever asks shares its rows with all who ask at the same time.

There is no thread of its own: of those that wait one leads, encodes the next batch for everybody in it, and hands over
once it has its own. A batch is what waits when the encoder is free, so nobody waits for company.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moderato.turns import Line, Ticket
from moderato.types import Rows, View, Views


@dataclass(eq=False)
class _Job:
    """The views of one caller, and the rows that they became so far."""

    views: Sequence[View]
    ticket: Ticket
    rows: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    error: BaseException | None = None
    leads: bool = False
    called: threading.Event = field(default_factory=threading.Event)
    """Set when it is done, and when it is to lead."""

    @property
    def is_done(self) -> bool:
        return self.error is not None or len(self.rows) == len(self.views)


class Queue:
    """One encoder's line; thread-safe. `project` is the encoder's, `most` how many views it takes at a time.

    The urgent go before bulk, and of each ticket one view after another: a long animation delays nobody for long.
    """

    def __init__(self, project: Callable[[Views], Rows], most: int) -> None:
        self._encode = project
        self._most = most
        self._line: Line[tuple[_Job, int]] = Line()
        self._jobs: dict[_Job, None] = {}
        """Those that wait, in the order in which they came."""
        self._is_led = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Views that wait."""
        with self._lock:
            return len(self._line)

    def project(self, views: Sequence[View], ticket: Ticket) -> Rows:
        """Rows `(N, D)` of some views, N at least 1; waits for its turn.

        Raises `CancelledError` or `Overloaded` when the ticket is of no use any more, and what the encoder raised for a
        batch in which one of these views was: other batches are not affected.
        """
        ticket.check()
        job = _Job(views, ticket)
        with self._lock:
            self._jobs[job] = None
            self._line.put(job, ((job, place) for place in range(len(views))), bulk=ticket.bulk)
            job.leads = not self._is_led
            self._is_led = True
        try:
            while not job.is_done:
                if job.leads:
                    self._serve_next()
                else:
                    self._wait(job)
        finally:
            self._leave(job)
        if job.error:
            raise job.error
        return Rows(np.stack([job.rows[place] for place in range(len(views))]))

    def _wait(self, job: _Job) -> None:
        """Until it is done or to lead, but no longer than its ticket is of use."""
        seconds = min(job.ticket.left_over, threading.TIMEOUT_MAX)
        if not job.called.wait(seconds) and not job.leads and not job.is_done:
            job.ticket.check()
        job.called.clear()

    def _leave(self, job: _Job) -> None:
        """Take a job out, done or not; whoever came first of the others leads when it led."""
        with self._lock:
            del self._jobs[job]
            if not job.is_done:
                self._line.discard(job)
            if job.leads:
                heir = next(iter(self._jobs), None)
                self._is_led = heir is not None
                if heir:
                    heir.leads = True
                    heir.called.set()

    def _serve_next(self) -> None:
        """Encode the next batch, and give everybody in it their own rows."""
        with self._lock:
            batch = self._batch()
        if not batch:
            return
        try:
            rows = self._encode(Views(np.stack([job.views[place].pixels for job, place in batch])))
        except BaseException as error:  # noqa: BLE001  it is for those in the batch; the next may go well
            self._fail({job for job, _ in batch}, error)
            return
        with self._lock:
            for (job, place), row in zip(batch, rows, strict=True):
                job.rows[place] = row
                if job.is_done:
                    job.called.set()

    def _batch(self) -> list[tuple[_Job, int]]:
        """What is encoded next: nothing of tickets that are of no use any more."""
        useless = [job for job in self._jobs if not job.is_done and not job.ticket.left_over]
        self._end(useless)
        batch: list[tuple[_Job, int]] = []
        while len(batch) < self._most and (item := self._line.take()):
            batch.append(item)
        return batch

    def _end(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._line.discard(job)
            try:
                job.ticket.check()
            except Exception as error:  # noqa: BLE001  raised where the job waits
                job.error = error
                job.called.set()

    def _fail(self, jobs: set[_Job], error: BaseException) -> None:
        with self._lock:
            for job in jobs:
                job.error = error
                self._line.discard(job)
                job.called.set()
