"""A body that is too large is refused before it is read whole; one that does not come is waited for only so long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderato.server.errors import answer

_PATIENCE = 2.0  # seconds in which a client may finish sending what is thrown away


class _TooMuchError(Exception):
    """More bytes came, or more time passed, than may: what to answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class LimitBody:
    """ASGI middleware: 413 once a body is over `max_bytes`, by its header or by counting; 408 after `seconds` of it."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while it is small, and comes, enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            await self._refuse(self._too_large(), scope, receive, send)
            return
        received, comes, started = 0, True, False
        fault: _TooMuchError | None = None
        end = monotonic() + self._seconds

        async def counted() -> Message:
            nonlocal received, comes, fault
            try:
                async with asyncio.timeout(end - monotonic() if comes else None):
                    message = await receive()
            except TimeoutError:
                fault = _TooMuchError(408, f"The request did not come within {self._seconds:g} seconds.")
                raise fault from None
            received += len(message.get("body", b""))
            comes = bool(message.get("more_body"))
            if received > self._max_bytes:
                fault = self._too_large()
                raise fault
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if fault and not started:
                raise fault  # rather than what FastAPI makes of it: "error parsing the body"
            started = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except _TooMuchError as error:
            if started:
                raise
            await self._refuse(error, scope, receive, send)

    def _too_large(self) -> _TooMuchError:
        return _TooMuchError(413, f"The request is larger than the {self._max_bytes:,} bytes that are accepted.")

    async def _refuse(self, error: _TooMuchError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and hang up only then: a client that is still sending would see a reset and no answer."""

        async def open_ended(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        refused = answer(scope, HTTPException(error.status, str(error), {"Connection": "close"}))
        await refused(scope, receive, open_ended)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})
