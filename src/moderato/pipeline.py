"""Sources in, answers out, in order: threads prepare pictures, encoders see rows of many, each task finishes its own.

Views of all pictures, whatever is asked of them and in whichever run, share the rows that an encoder takes: a picture
is prepared once for a task and each encoder sees each of its views once. What encoders saw before is not encoded again.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property, partial
from time import perf_counter
from typing import Generic, Literal, TypeVar, get_args

import numpy as np

from moderato.encoders import Encoder
from moderato.errors import DecodeError, Overloaded, Unscannable
from moderato.media import Limits, Prepared
from moderato.media.fetch import FetchOptions
from moderato.media.load import Sendable, is_remote, load, name_of
from moderato.rows import Queue
from moderato.store.embeddings import EmbeddingCache, key_of
from moderato.tasks import Task
from moderato.turns import FairPool, Ticket, current_ticket
from moderato.types import Encoded, Place, Rows, Source, View, Views, ViewSpec

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

Prepare = Callable[[bytes, Iterable[ViewSpec], Limits], Prepared]
"""`media.prepare`, or one that does the same elsewhere."""

_AHEAD = 16  # pictures on their way for one run: most wait for a network or a disk, `threads` of them decode


Stage = Literal["load", "prepare", "encode", "score"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class Watcher:
    """Is told what happens on the way of pictures, from the threads in which it happens. This one heeds nothing.

    Those threads see the context variables of whoever asked.
    """

    def during(self, stage: Stage) -> AbstractContextManager[object]:
        """What a stage is done within: of one picture, or, when encoding, of the views that go together."""
        return nullcontext()

    def encoding(self, encoder: str, views: int) -> None:
        """So many views go through an encoder together."""

    def looked_up(self, known: int, missing: int) -> None:
        """Of what encoders were to see of a picture, so much was kept from before, and so much was not."""

    def answered(self, answer: object) -> None:
        """A picture got the answer of its task."""


class Times(Watcher):
    """Seconds spent in each stage, over all threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def during(self, stage: Stage) -> Iterator[None]:
        """Add the time of the block to a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += perf_counter() - started


@dataclass
class _Prepared:
    """A source made ready for its task: what encoders are still to see, and what is already known of it."""

    source: Source
    size: tuple[int, int] | None
    views: dict[str, list[View]]
    """By need; those that are known have none."""
    known: dict[str, Encoded]
    keys: dict[str, str]
    """What its rows are kept by, by need; none where nothing is kept."""


@dataclass
class _Item(Generic[T]):
    """One source on its way: what it became, or why it could not be scanned."""

    name: str
    task: Task[T]
    future: Future[_Prepared]

    @cached_property
    def views(self) -> dict[str, list[View]]:
        """Its views by need, none when it is unscannable."""
        return {} if isinstance(self.future.exception(), Unscannable) else self.future.result().views

    def answer(self, fresh: Mapping[str, Encoded]) -> T:
        """What the task makes of it."""
        reason = self.future.exception()
        if isinstance(reason, Unscannable):
            return self.task.refuse(self.name, reason)
        prepared = self.future.result()
        try:
            return self.task.finish(prepared.source, {**prepared.known, **fresh})
        except Unscannable as reason:
            return self.task.refuse(self.name, reason)


class Pipeline:
    """Runs tasks on sources; thread-safe. See `Moderator` for the arguments."""

    def __init__(
        self,
        limits: Limits,
        fetching: FetchOptions,
        threads: int,
        rows: int,
        seen: EmbeddingCache | None,
        prepare: Prepare,
    ) -> None:
        self.times = Times()
        self.watchers: list[Watcher] = [self.times]
        self._limits = limits
        self._fetching = fetching
        self._rows = rows
        self._seen = seen
        self._prepare_bytes = prepare
        self._cores = threading.Semaphore(threads)
        self._pools = {remote: FairPool(_AHEAD, "prepare") for remote in (False, True)}
        self._queues: dict[int, Queue] = {}
        self._opening = threading.Lock()

    @property
    def waiting(self) -> dict[str, int]:
        """What waits for its turn: pictures to be loaded and prepared, views to be encoded."""
        with self._opening:
            queues = [*self._queues.values()]
        return {"prepare": sum(map(len, self._pools.values())), "encode": sum(map(len, queues))}

    def run(self, asked: Iterable[tuple[Sendable, Task[T]]]) -> Iterator[T]:
        """Answers in the order of the questions; those about one encoder share its rows, whatever they ask.

        It is done for the current ticket; raises what that does once it is of no use any more.
        """
        ticket = current_ticket()
        batch: list[_Item[T]] = []
        waiting = 0
        for item in self._prepared(asked, ticket):
            batch.append(item)
            waiting += max([1, *map(len, item.views.values())])  # the unscannable are answered too
            if waiting >= self._rows:
                yield from self._answers(batch, ticket)
                batch, waiting = [], 0
        yield from self._answers(batch, ticket)

    def _prepared(self, asked: Iterable[tuple[Sendable, Task[T]]], ticket: Ticket) -> Iterator[_Item[T]]:
        """Items in order. Threads prepare ahead, a bounded number of pictures."""
        ahead: deque[_Item[T]] = deque()
        try:
            for source, task in asked:
                pool = self._pools[is_remote(source)]  # a network that does not answer holds up no upload
                work = partial(copy_context().run, self._prepare, source, task, ticket)
                ahead.append(_Item(name_of(source), task, pool.submit(ticket, work)))
                if len(ahead) > _AHEAD:
                    yield _when_prepared(ahead.popleft(), ticket)
            while ahead:
                yield _when_prepared(ahead.popleft(), ticket)
        finally:
            for item in ahead:  # nobody waits for them any more
                item.future.cancel()

    def _prepare(self, sent: Sendable, task: Task[T], ticket: Ticket) -> _Prepared:
        try:
            ticket.check()
            with self._during("load"):
                source = load(sent, self._limits, self._fetching)
                keys = self._keys(source, task)
                known = self._known(keys)
            missing = {name: need.spec for name, need in task.needs.items() if name not in known}
            if not missing:
                return _Prepared(source, next(iter(known.values())).size, {}, known, keys)
            with self._cores:
                ticket.check()
                with self._during("prepare"):
                    prepared = self._prepare_bytes(source.data, missing.values(), self._limits)
            views = {name: prepared.views[spec] for name, spec in missing.items()}
            return _Prepared(source, prepared.size, views, known, keys)
        except (Unscannable, CancelledError, Overloaded):
            raise
        except Exception as error:  # a fault of ours with one picture must not take the others with it
            _LOG.exception("a picture could not be prepared")
            raise DecodeError(
                "fault", f"moderato failed on it ({type(error).__name__}); its log says where."
            ) from error

    def _keys(self, source: Source, task: Task[T]) -> dict[str, str]:
        """What is kept of this source for a task, if anything is."""
        if self._seen is None:
            return {}
        return {
            name: key_of(source.digest, self._limits, need.spec, need.encoder.space)
            for name, need in task.needs.items()
        }

    def _known(self, keys: Mapping[str, str]) -> dict[str, Encoded]:
        """What encoders made of this source before."""
        if self._seen is None:
            return {}
        found = self._seen.get(keys.values())
        for watcher in self.watchers:
            watcher.looked_up(len(found), len(keys) - len(found))
        return {name: found[key] for name, key in keys.items() if key in found}

    def _answers(self, batch: Sequence[_Item[T]], ticket: Ticket) -> Iterator[T]:
        """Encode all views of a batch, each encoder's together, then let every item take its own rows back."""
        waiting: dict[int, tuple[Encoder, list[View]]] = {}
        for item in batch:
            for name, views in item.views.items():
                encoder = item.task.needs[name].encoder
                waiting.setdefault(id(encoder), (encoder, []))[1].extend(views)
        rows = {key: iter(self._queue(encoder).project(views, ticket)) for key, (encoder, views) in waiting.items()}
        fresh = [self._taken(item, rows) for item in batch]
        if self._seen is not None:
            self._seen.put(
                {
                    item.future.result().keys[name]: encoded
                    for item, mine in zip(batch, fresh, strict=True)
                    for name, encoded in mine.items()
                }
            )
        for item, mine in zip(batch, fresh, strict=True):
            with self._during("score"):
                answer = item.answer(mine)
            for watcher in self.watchers:
                watcher.answered(answer)
            yield answer

    def _taken(self, item: _Item[T], rows: Mapping[int, Iterator[np.ndarray]]) -> dict[str, Encoded]:
        """An item's own rows, by need, from those of its whole batch."""
        taken = {}
        for name, views in item.views.items():
            own = rows[id(item.task.needs[name].encoder)]
            places = tuple(Place(view.box, view.time, view.frame) for view in views)
            taken[name] = Encoded(places, Rows(np.stack([next(own) for _ in views])), item.future.result().size)
        return taken

    def _queue(self, encoder: Encoder) -> Queue:
        """The one line before this encoder."""
        with self._opening:
            if id(encoder) not in self._queues:
                self._queues[id(encoder)] = Queue(partial(self._project, encoder), self._rows)
            return self._queues[id(encoder)]

    def _project(self, encoder: Encoder, views: Views) -> Rows:
        for watcher in self.watchers:
            watcher.encoding(encoder.name, len(views))
        with self._during("encode"):
            return encoder.project(views)

    @contextmanager
    def _during(self, stage: Stage) -> Iterator[None]:
        with ExitStack() as stack:
            for watcher in self.watchers:
                stack.enter_context(watcher.during(stage))
            yield


def _when_prepared(item: _Item[T], ticket: Ticket) -> _Item[T]:
    """The item, once it was prepared or could not be; raises when that takes longer than the ticket is of use."""
    wait([item.future], min(ticket.left_over, threading.TIMEOUT_MAX))
    if not item.future.done():
        item.future.cancel()
        ticket.check()
    return item
