"""What every route is given."""

from __future__ import annotations

from collections.abc import Callable
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
class Service:
    """The moderator, the policies that may be asked for, the limits, and whether it is ready."""

    moderator: Moderator
    policies: dict[str, Policy]
    options: ServeOptions = field(default_factory=ServeOptions)
    answered: Event = field(default_factory=Event)
    """Set once the encoder has answered."""
    _turns: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_AT_A_TIME))

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread, a few requests at a time; the event loop stays free.

        Raises `Overloaded` when as many requests wait as may.
        """
        if self._turns.statistics().tasks_waiting >= self.options.max_waiting:
            raise Overloaded("Too many requests are waiting. Try again later.")
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


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    return cast("Service", request.app.state.service)


TheService = Annotated[Service, Depends(service_of)]
