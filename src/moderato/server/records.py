"""What is known of each request while it is answered: its id, its route, what came of it.

`Recording` is the middleware that keeps it. Metrics, logs and traces are made of it; nothing in it is secret: no query,
no header but the id, no name that a caller gave a picture.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderato.errors import Unscannable
from moderato.pipeline import Watcher
from moderato.types import Embedded, Verdict

UNKNOWN_ROUTE = "none"
"""The route of a request that nothing here is for."""
_LEFT = 499  # nobody was answered: https://nginx.org/en/docs/http/ngx_http_core_module.html has the same
_HEADER = "x-request-id"
_SANE = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Those that HTTP knows."""
_LOG = logging.getLogger(__name__)


@dataclass
class Record:
    """One request. `route` is a template and `method` one of few words: both may name a time series."""

    id: str
    method: str
    route: str
    key: str | None = None
    """The name of the API key."""
    trace: str | None = None
    """The id of its trace, in hex, where one is made."""
    status: int = 0
    """Of the answer; 499 when the client left before it."""
    fault: str | None = None
    """What went wrong with it, in one of the words of `errors.py`; a dialect's status may say less."""
    seconds: float = 0.0
    pictures: int = 0
    """How many were answered."""
    actions: Counter[str] = field(default_factory=Counter)
    """Of the verdicts by a policy that is served."""
    unscannable: Counter[str] = field(default_factory=Counter)
    """Codes of pictures that could not be scanned."""


Around = Callable[[Record, Mapping[str, str]], AbstractContextManager[object]]
"""What a request, with these headers, is answered within. When the block ends the record is complete."""

Refuse = Callable[[Scope, Exception], Response]
"""The answer to an error."""

_CURRENT: ContextVar[Record | None] = ContextVar("record", default=None)


def current() -> Record | None:
    """The record of the request that the running code works for."""
    return _CURRENT.get()


class Recording:
    """ASGI middleware: gives each request a record and each answer its id. `routes` are the application's.

    Faults that nobody caught are answered here, by `refuse`: their answer has the id then, and their traceback too.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], refuse: Refuse, around: Sequence[Around]) -> None:
        self._app = app
        self._routes = routes
        self._refuse = refuse
        self._around = around

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and keep what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        record = Record(_id(headers), _method(scope), _template(self._routes, scope))
        token = _CURRENT.set(record)
        started = perf_counter()
        try:
            with ExitStack() as stack:
                for around in self._around:
                    stack.enter_context(around(record, headers))
                try:
                    await self._answered(record, scope, receive, send)
                finally:
                    record.status = record.status or _LEFT
                    record.seconds = perf_counter() - started
        finally:
            _CURRENT.reset(token)

    async def _answered(self, record: Record, scope: Scope, receive: Receive, send: Send) -> None:
        has_left = False

        async def heard() -> Message:
            nonlocal has_left
            message = await receive()
            has_left = has_left or message["type"] == "http.disconnect"
            return message

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = _LEFT if has_left else message["status"]
                MutableHeaders(scope=message)[_HEADER] = record.id
            await send(message)

        try:
            await self._app(scope, heard, stamped)
        except Exception as error:
            if record.status:  # too late to say anything
                raise
            _LOG.exception("a request could not be answered")
            await self._refuse(scope, error)(scope, heard, stamped)


class Counting(Watcher):
    """Counts in the record of its request what pictures got; `policies` are the fingerprints of those served."""

    def __init__(self, policies: Set[str]) -> None:
        self._policies = policies

    def answered(self, answer: object) -> None:
        """A picture got the answer of its task, in a thread of its request's."""
        record = current()
        if record is None:
            return
        record.pictures += 1
        if code := code_of(answer):
            record.unscannable[code] += 1
        if verdict := served(answer, self._policies):
            record.actions[verdict.action] += 1


def served(answer: object, policies: Set[str]) -> Verdict | None:
    """The answer when it is a verdict by a policy with one of these fingerprints, not by labels written on the spot."""
    return answer if isinstance(answer, Verdict) and answer.fingerprints.policy in policies else None


def code_of(answer: object) -> str | None:
    """Why a picture could not be scanned, in one word."""
    if not isinstance(answer, Verdict | Embedded) or not answer.unscannable:
        return None
    return Unscannable.read(answer.unscannable).code


def _id(headers: Headers) -> str:
    """The sender's own, so that both logs tell of the same; a new one where it has none that is short and plain."""
    sent = headers.getlist(_HEADER)
    return sent[0] if len(sent) == 1 and _SANE.fullmatch(sent[0]) else f"req_{uuid4().hex}"


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "OTHER"


def _template(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """The path of the route as it is written here: what a stranger sends must never name a time series or a log line.

    Middleware in front of the routes may refuse a request, so that it is not known from them.
    """
    matches = {match: route for route in reversed(routes) if (match := route.matches(scope)[0]) != Match.NONE}
    found = matches.get(Match.FULL) or matches.get(Match.PARTIAL)
    return str(getattr(found, "path", UNKNOWN_ROUTE))
