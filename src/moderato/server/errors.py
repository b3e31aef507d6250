"""Errors → HTTP answers: one table by class, and the shape that the dialect which owns the request gives it.

A dialect's module may have two functions: `owns(scope) -> bool`, whether a request is meant for it, found or not; and
`refuse(fault, request) -> Response`, its own body for what went wrong. All else is answered as FastAPI does,
`{"detail": …}`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from moderato import plugins
from moderato.errors import (
    Forbidden,
    ModeratoError,
    OperatorError,
    Overloaded,
    RateLimited,
    RequestError,
    Unauthenticated,
    Unscannable,
)
from moderato.server.description import refuses
from moderato.server.records import METHODS, current

Kind = Literal[
    "wrong",  # the request as a whole
    "ill_typed",  # a form that FastAPI refused
    "unscannable",  # the picture; `code` says why, in our words
    "unauthenticated",  # `given`: whether a key was sent
    "forbidden",
    "not_found",
    "not_allowed",  # this method, here
    "too_large",
    "limited",  # by the rate or quota of a key
    "full",  # the service is
    "unavailable",  # it is not set up for this
    "crashed",
]

_KINDS: dict[type[Exception], tuple[Kind, int]] = {
    RequestError: ("wrong", 400),
    Unscannable: ("unscannable", 400),  # only where a contract has no place for it beside other pictures
    Unauthenticated: ("unauthenticated", 401),
    Forbidden: ("forbidden", 403),
    RateLimited: ("limited", 429),
    Overloaded: ("full", 429),
    OperatorError: ("unavailable", 503),
    RequestValidationError: ("ill_typed", 422),
}
_BY_STATUS: dict[int, Kind] = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "not_allowed",
    413: "too_large",
    422: "ill_typed",
    429: "full",
    500: "crashed",
    503: "unavailable",
}
_LOG = logging.getLogger(__name__)


class Problem(BaseModel):
    """What every error of ours is answered with."""

    detail: str


class Refused(RequestError):
    """A wrong request that a dialect has its own word for: `code`, and the field that is wrong in `where`."""

    def __init__(self, message: str, code: str, where: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.where = where


@dataclass(frozen=True)
class Fault:
    """What went wrong with a request, before a dialect gives it its shape.

    `status` is ours and the dialect's to change; `sentence` is for people and holds nothing of ours that is secret;
    `code` is a `Refused`'s or an `Unscannable`'s. `headers` are to be passed on, `retry_after` is in seconds.
    """

    kind: Kind
    status: int
    sentence: str
    code: str | None = None
    where: str | None = None
    given: bool = False
    retry_after: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: Any = None
    """What FastAPI says, where it says more than a sentence."""


def fault_of(error: Exception) -> Fault:
    """What an error means to whoever sent the request. The log keeps what is none of their business."""
    if isinstance(error, HTTPException):
        usual: Kind = "wrong" if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else "crashed"
        kind = _BY_STATUS.get(error.status_code, usual)
        return Fault(kind, error.status_code, str(error.detail), headers=error.headers or {}, detail=error.detail)
    found = next((found for known, found in _KINDS.items() if isinstance(error, known)), None)
    if found is None:
        return Fault("crashed", 500, "Something went wrong here; the log of the service says what.")
    if isinstance(error, OperatorError):  # it may name files: that is for the log
        _LOG.error("%s", error)
        return Fault(*found, "The service is not set up for this; its log says why.")
    if isinstance(error, RequestValidationError):
        return Fault(*found, _problems(error), detail=jsonable_encoder(error.errors()))
    return Fault(
        *found,
        str(error),
        code=getattr(error, "code", None),
        where=getattr(error, "where", None),
        given=getattr(error, "given", False),
        retry_after=getattr(error, "retry_after", None),
    )


def _problems(error: RequestValidationError) -> str:
    problems = ((".".join(map(str, problem["loc"][1:])), problem["msg"]) for problem in error.errors())
    return "; ".join(f"{where or 'the body'}: {message}" for where, message in problems)


def answer(request: Request | Scope, error: Exception) -> Response:
    """The answer to an error, in the shape of the dialect that owns the request. Middleware gives its scope."""
    asked = request if isinstance(request, Request) else Request(request)
    fault = fault_of(error)
    if record := current():
        record.fault = fault.kind
    response = _shaped(asked, fault)
    if fault.kind == "not_allowed":
        response.headers["Allow"] = _allowed(asked)
    if fault.kind == "crashed":
        response.headers["Connection"] = "close"  # uvicorn hangs up after a fault of ours: a client must know
    return response


def _allowed(asked: Request) -> str:
    """Every method that the path takes, whichever of its routes does: a router names those of the first alone."""

    def is_taken(method: str) -> bool:
        scope = {**asked.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in asked.app.routes)

    return ", ".join(filter(is_taken, METHODS))


def _shaped(asked: Request, fault: Fault) -> Response:
    for dialect in plugins.modules("moderato.server.dialects").values():
        owns: Callable[[Scope], bool] | None = getattr(dialect, "owns", None)
        if owns and owns(asked.scope):
            refused: Response = dialect.refuse(fault, asked)
            return refused
    return _ours(fault)


def _ours(fault: Fault) -> Response:
    retry = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    known = {"WWW-Authenticate": "Bearer"} if fault.kind == "unauthenticated" else {}
    detail = fault.sentence if fault.detail is None else fault.detail
    return JSONResponse({"detail": detail}, fault.status, {**known, **retry, **fault.headers})


REFUSALS = refuses(Problem, 400, 401, 403, 408, 413, 429, 500, 503)
"""Of a route of our own, for OpenAPI."""


def install(app: FastAPI) -> None:
    """Answer every error, wherever it is raised."""
    for kind in (ModeratoError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(ClientDisconnect, _leave)


async def _answer(request: Request, error: Exception) -> Response:
    return answer(request, error)


async def _leave(request: Request, error: Exception) -> Response:
    """Nobody reads this any more."""
    return Response(status_code=400)
