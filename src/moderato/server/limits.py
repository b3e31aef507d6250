"""A body that is too large is refused before it is read whole."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderato.server.errors import answer

_PATIENCE = 2.0  # seconds in which a client may finish sending what is thrown away


class _TooLargeError(Exception):
    """More bytes came than may."""


class LimitBody:
    """ASGI middleware: 413 once a request's body is over `max_bytes`, by its header or by counting."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while it is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if received > self._max_bytes and not started:
                raise _TooLargeError  # rather than what FastAPI makes of it: "error parsing the body"
            started = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except _TooLargeError:
            if started:
                raise
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and hang up only then: a client that is still sending would see a reset and no answer."""
        detail = f"The request is larger than the {self._max_bytes:,} bytes that are accepted."

        async def open_ended(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        refused = answer(scope, HTTPException(413, detail, {"Connection": "close"}))
        await refused(scope, receive, open_ended)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})
