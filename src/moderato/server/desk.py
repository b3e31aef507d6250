"""What every route is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Annotated, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from moderato.errors import Overloaded, RequestError, nearest
from moderato.moderator import Moderator
from moderato.policy import Policy
from moderato.settings import ServeOptions

T = TypeVar("T")

_AT_A_TIME = 16  # requests in hand: enough that some slow downloads do not keep the encoder waiting


@dataclass
class Desk:
    """The moderator, the policies that may be asked for, the limits, and whether it is ready."""

    moderator: Moderator
    policies: dict[str, Policy]
    options: ServeOptions = field(default_factory=ServeOptions)
    answered: Event = field(default_factory=Event)
    """Set once the encoder has answered."""
    in_hand: int = 0
    """Requests that are being read, waiting or answered."""
    _turns: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_AT_A_TIME))

    @property
    def room(self) -> int:
        """How much may be in hand."""
        return _AT_A_TIME + self.options.max_waiting

    @property
    def waiting(self) -> int:
        """How much of what is in hand waits for its turn."""
        return self._turns.statistics().tasks_waiting

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread, a few requests at a time; the event loop stays free."""
        return await to_thread.run_sync(work, limiter=self._turns)

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
    """The same, for a request that brings work. Raises `Overloaded`, before its body is read, when there are enough."""
    desk = desk_of(request)
    if desk.in_hand >= desk.room:
        raise Overloaded("Too many requests are waiting. Try again later.")
    desk.in_hand += 1
    try:
        yield desk
    finally:
        desk.in_hand -= 1


TheDesk = Annotated[Desk, Depends(desk_of)]
BusyDesk = Annotated[Desk, Depends(admitted)]
