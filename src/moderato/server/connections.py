"""Connections on which no request comes are closed: uvicorn waits for the head of one for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def prompt(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol for clients who send the head of a request within so many seconds of its beginning.

    The first begins with the connection, a further one with its first byte: until then uvicorn's own time for idle
    connections holds. Once the head has come, `LimitBody` looks after the body.
    """

    class Prompt(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            awaits_head = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
            if awaits_head and self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.close)
            elif not awaits_head:
                self._cancel()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._cancel()

        def _cancel(self) -> None:
            if self._late:
                self._late.cancel()
                self._late = None

    return Prompt
