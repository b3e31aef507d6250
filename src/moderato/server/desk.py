"""What every route is given, and how its work is admitted, done and given up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import CancelledError
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event
from time import monotonic
from typing import Annotated, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from moderato.errors import Overloaded, RequestError, nearest
from moderato.moderator import Moderator
from moderato.policy import Policy
from moderato.settings import DialectOptions, ServeOptions
from moderato.turns import Ticket, on_behalf_of

T = TypeVar("T")

_AT_A_TIME = 16  # pictures in hand beside those that wait: enough that slow downloads do not keep the encoder waiting
_THREADS = 64  # requests in the middle of their work, most of them waiting for rows
_URGENCY = re.compile(r"(?:^|,)\s*u=([0-7])")  # RFC 9218, 4.1: 3 unless stated, 7 the least
_USUAL = 3


@dataclass
class _Visit:
    """One request with work, from when it was admitted until it is answered."""

    request: Request
    seconds: float
    pictures: int = 1
    """How many it counts as; one until its body was read."""

    @cached_property
    def ticket(self) -> Ticket:
        """Made when its work begins: the time that a body takes to come is its sender's."""
        return Ticket(self.is_bulk, monotonic() + self.seconds)

    @property
    def is_bulk(self) -> bool:
        """Whether its sender says that it is in no hurry."""
        urgency = _URGENCY.search(self.request.headers.get("priority", ""))
        return urgency is not None and int(urgency[1]) > _USUAL

    async def leave(self) -> None:
        """Wait until the client is gone, and say so. The body must have been read."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass
        self.ticket.left = True


_VISIT: ContextVar[_Visit | None] = ContextVar("visit", default=None)


@dataclass
class Desk:
    """The moderator, the policies that may be asked for, the limits, and whether it is ready."""

    moderator: Moderator
    policies: dict[str, Policy]
    options: ServeOptions = field(default_factory=ServeOptions)
    dialects: DialectOptions = field(default_factory=DialectOptions)
    worker: str = ""
    """Which of several processes this is."""
    answered: Event = field(default_factory=Event)
    """Set once the encoder has answered."""
    in_hand: int = 0
    """Pictures of requests that are being read, waiting or answered."""
    _turns: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_THREADS))

    @property
    def room(self) -> int:
        """How much may be in hand."""
        return _AT_A_TIME + self.options.max_waiting

    @property
    def waiting(self) -> dict[str, int]:
        """What is in hand and waits for its turn: requests to begin, and then as `Moderator.waiting`."""
        return {"begin": self._turns.statistics().tasks_waiting, **self.moderator.waiting}

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread; the event loop stays free. Call it once the body was read.

        What is done for a request ends when its client leaves (`ClientDisconnect`) or its time is over (`Overloaded`).
        """
        visit = _VISIT.get()
        if visit is None:
            return await to_thread.run_sync(work, limiter=self._turns)
        ticket = visit.ticket

        def done() -> T:
            ticket.check()
            with on_behalf_of(ticket):
                return work()

        leaving = asyncio.create_task(visit.leave())
        try:
            return await to_thread.run_sync(done, limiter=self._turns)
        except CancelledError as error:
            raise ClientDisconnect from error
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)  # what watching came to is no matter of the answer

    def expect(self, pictures: int) -> None:
        """Count the current request as so many pictures. Raises `Overloaded` when there is no room for them."""
        if visit := _VISIT.get():
            self._make_room(pictures - visit.pictures, visit)
            visit.pictures = pictures

    def _make_room(self, more: int, visit: _Visit) -> None:
        """Bulk may fill half of the room; a service without other work takes any request."""
        others = self.in_hand - visit.pictures
        if more > 0 and others > 0 and self.in_hand + more > (self.room // 2 if visit.is_bulk else self.room):
            raise Overloaded("Too many pictures are waiting. Try again later.")
        self.in_hand += more

    def policy(self, name: str | None) -> Policy:
        """A served policy, the service's own without a name. Raises `RequestError` listing them.

        Only those whose encoder is on this machine are served: a request never starts a download.
        """
        if name is None:
            return self.moderator.policy
        if name not in self.policies:
            raise RequestError(f"There is no policy '{name}' here. {nearest(name, self.policies)}")
        return self.policies[name]

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise `RequestError` when there are more, or longer ones, than are accepted."""
        most, longest = self.options.max_labels, self.options.max_label
        if len(labels) > most:
            raise RequestError(f"{len(labels)} labels or texts in one request; the limit is {most}.")
        if any(len(label) > longest for label in labels):
            raise RequestError(f"A label or text is longer than the limit of {longest} characters.")


def desk_of(request: Request) -> Desk:
    """The service that a request came to."""
    return cast("Desk", request.app.state.desk)


async def admitted(request: Request) -> AsyncIterator[Desk]:
    """The same, for a request that brings work. Raises `Overloaded`, before its body is read, when there is enough."""
    desk = desk_of(request)
    visit = _Visit(request, desk.options.deadline, pictures=0)
    desk._make_room(1, visit)
    visit.pictures = 1
    _VISIT.set(visit)  # a request has a task of its own, so that nobody else ever sees it
    try:
        yield desk
    finally:
        desk.in_hand -= visit.pictures


TheDesk = Annotated[Desk, Depends(desk_of)]
BusyDesk = Annotated[Desk, Depends(admitted)]
