"""Whose turn it is when many ask at once: the urgent before bulk, and one piece of work of each asker after another."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from moderato.errors import Overloaded

T = TypeVar("T")


@dataclass(eq=False)
class Ticket:
    """On whose behalf work is done: how urgent it is, until when it is of use, and whether anybody still waits."""

    bulk: bool = False
    """Done only when nothing urgent waits."""
    deadline: float = math.inf
    """As `time.monotonic` tells it."""
    left: bool = False
    """Whoever asked has gone."""

    @property
    def left_over(self) -> float:
        """Seconds in which the work is still of use; none when whoever asked has gone."""
        return 0.0 if self.left else max(0.0, self.deadline - monotonic())

    def check(self) -> None:
        """Raise `CancelledError` when whoever asked has gone, `Overloaded` when the deadline has passed."""
        if self.left:
            raise CancelledError
        if not self.left_over:
            raise Overloaded("The answer could not be had in time. Try again later.")


_CURRENT: ContextVar[Ticket | None] = ContextVar("ticket", default=None)


@contextmanager
def on_behalf_of(ticket: Ticket) -> Iterator[None]:
    """What runs in the block, and in threads that inherit its context, is done for this ticket."""
    token = _CURRENT.set(ticket)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_ticket() -> Ticket:
    """The ticket that the running code works for; without one a new one, urgent and without a deadline."""
    return _CURRENT.get() or Ticket()


class Line(Generic[T]):
    """What waits for its turn. Not thread-safe: its owner has a lock."""

    def __init__(self) -> None:
        self._urgent: dict[object, deque[T]] = {}
        self._bulk: dict[object, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, (*self._urgent.values(), *self._bulk.values())))

    def put(self, asker: object, items: Iterable[T], *, bulk: bool) -> None:
        """Add what is done for an asker, behind what waits for it already."""
        waiting = self._bulk if bulk else self._urgent
        waiting.setdefault(asker, deque()).extend(items)

    def take(self) -> T | None:
        """The next item; its asker goes to the end of the line with the rest. None when nothing waits."""
        for waiting in (self._urgent, self._bulk):
            for asker, items in waiting.items():
                del waiting[asker]
                item = items.popleft()
                if items:
                    waiting[asker] = items
                return item
        return None

    def discard(self, asker: object) -> None:
        """Forget what waits for an asker."""
        self._urgent.pop(asker, None)
        self._bulk.pop(asker, None)


class FairPool:
    """Threads that do the work of many tickets in turn, not in the order in which it came; thread-safe."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._line: Line[Callable[[], None]] = Line()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Work that waits for a thread."""
        with self._lock:
            return len(self._line)

    def submit(self, ticket: Ticket, work: Callable[[], T]) -> Future[T]:
        """Do the work when it is the ticket's turn; a future that was cancelled by then is passed over."""
        future: Future[T] = Future()

        def done() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001  it is for whoever asks for the result
                    future.set_exception(error)

        with self._lock:
            self._line.put(ticket, [done], bulk=ticket.bulk)
        self._threads.submit(self._do_next)
        return future

    def _do_next(self) -> None:
        with self._lock:
            done = self._line.take()
        assert done, "one call for each that waits"
        done()
