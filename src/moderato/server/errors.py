"""Errors → HTTP answers: one table by class. The body is `{"detail": …}`, FastAPI's own."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from moderato.errors import ModeratoError, OperatorError, Overloaded, RequestError, Unscannable
from moderato.server.records import current

_KINDS: dict[type[Exception], tuple[str, int]] = {
    RequestError: ("wrong", 400),
    Unscannable: ("unscannable", 400),  # only where a contract has no place for it beside other pictures
    Overloaded: ("full", 429),
    OperatorError: ("unavailable", 503),
    Exception: ("crashed", 500),
}

_LOG = logging.getLogger(__name__)
_RETRY_AFTER = 1  # seconds


def install(app: FastAPI) -> None:
    """Answer every error raised on purpose by the table."""
    app.add_exception_handler(ModeratoError, _answer)
    app.add_exception_handler(ClientDisconnect, _leave)


def answer(request: Request | Scope, error: Exception) -> Response:
    """The answer to an error. Middleware gives its scope."""
    kind, status = next(found for known, found in _KINDS.items() if isinstance(error, known))
    if record := current():
        record.fault = kind
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return JSONResponse({"detail": "Something went wrong here; the log of the service says what."}, status)
    if isinstance(error, OperatorError):  # it may name files: that is for the log
        _LOG.error("%s", error)
        return JSONResponse({"detail": "The service is not set up for this; its log says why."}, status)
    headers = {"Retry-After": str(_RETRY_AFTER)} if isinstance(error, Overloaded) else None
    return JSONResponse({"detail": str(error)}, status, headers)


async def _answer(request: Request, error: Exception) -> Response:
    return answer(request, error)


async def _leave(request: Request, error: Exception) -> Response:
    """Nobody reads this any more."""
    return Response(status_code=400)
