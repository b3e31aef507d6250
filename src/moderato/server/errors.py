"""Errors → HTTP answers: one table by class. The body is `{"detail": …}`, FastAPI's own."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from moderato.errors import ModeratoError, OperatorError, RequestError, Unscannable

STATUS: dict[type[ModeratoError], int] = {
    RequestError: 400,
    Unscannable: 400,  # only where a contract has no place for it beside other pictures
    OperatorError: 503,
}


def install(app: FastAPI) -> None:
    """Answer every error raised on purpose by the table."""
    for kind in STATUS:
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    return JSONResponse({"detail": str(error)}, status)
