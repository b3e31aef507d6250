"""Who may come in: the key of a request, in whichever way its family sends it, and what that key may do.

=====================================  ==========================================================================
`Authorization: Bearer KEY`            our own API, OpenAI, Google
`Authorization: AWS4-HMAC-SHA256 …`    AWS: the access key id and the secret access key are both KEY (`_sigv4.py`)
`x-goog-api-key: KEY`, `?key=KEY`      Google
`Ocp-Apim-Subscription-Key: KEY`       Azure
`api_secret=KEY`                       Sightengine: in the query, or in a form; `api_user` may be anything
=====================================  ==========================================================================

Each is taken on every path. Without any key in the store everyone is let in: `moderato serve` then listens on loopback
only, and `Neighbours` keeps strangers' web pages out. What goes on to the application no longer has keys in its query,
so that nothing behind can write them anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote_plus

from anyio import to_thread
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderato.errors import Forbidden, ModeratoError, Overloaded, Unauthenticated
from moderato.server import _sigv4
from moderato.server.paths import FOR_ALL, with_one_slash
from moderato.server.records import current
from moderato.store.allowances import Allowances
from moderato.store.keyring import Keyring
from moderato.store.keys import Key

Refuse = Callable[[Scope, Exception], Response]
"""How a refusal looks to whom: by the path, in the shape of its family."""

_LOG = logging.getLogger(__name__)
_FOR_ADMINS = ("/metrics", "/admin")
_IN_QUERY = ("key", "api_secret")
_IN_FORM = "/1.0/check.json"
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


class Guard:
    """ASGI middleware: lets a request pass with a key that is valid, may do this, and has some of its allowance left.

    `refuse` makes the answer for the others. `max_unknown` bytes of forms are held at once, of all requests whose key
    can only be in there; beyond that they are refused as overload. Signed bodies are read only for keys that are valid,
    and how large they may be is `LimitBody`'s to say.
    """

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keyring,
        allowances: Allowances,
        refuse: Refuse,
        max_unknown: int = 2**27,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._allowances = allowances
        self._refuse = refuse
        self._max_unknown = max_unknown
        self._now = now
        self._unknown = 0
        self._reading = asyncio.Lock()
        self._leasing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, without its secrets, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            receive = await self._admitted(scope, receive)
        except ModeratoError as error:
            await self._refuse(scope, error)(scope, receive, send)
            return
        except ClientDisconnect:  # nobody is there to be answered
            return
        finally:  # in the very scope that those before and behind look at
            scope["query_string"] = _without_keys(scope["query_string"])
        await self._app(scope, receive, send)

    async def _admitted(self, scope: Scope, receive: Receive) -> Receive:
        """Where to receive the request's body from. Raises what it is refused with."""
        path = with_one_slash(scope["path"])  # doubled ones must not lead past a check
        if path in FOR_ALL:
            return receive
        await self._refresh()
        if not self._keyring.has_keys:
            return receive
        key, receive = await self._identified(scope, receive)
        if record := current():
            record.key = key.name
        if key.scope != "admin" and any(path == place or path.startswith(f"{place}/") for place in _FOR_ADMINS):
            raise Forbidden(f"The API key '{key.name}' has the scope '{key.scope}'; this needs 'admin'.")
        if self._allowances.spend(key):
            return receive
        async with self._leasing:  # one worker's requests together need one lease
            while not self._allowances.spend(key):
                await to_thread.run_sync(self._allowances.lease, key)
        return receive

    async def _refresh(self) -> None:
        if self._keyring.is_fresh:
            return
        async with self._reading:
            if not self._keyring.is_fresh:  # while we waited for whoever read
                await to_thread.run_sync(self._keyring.refresh)

    async def _identified(self, scope: Scope, receive: Receive) -> tuple[Key, Receive]:
        """The key. Raises `Unauthenticated`."""
        headers = _headers(scope)
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        if scheme == _sigv4.ALGORITHM:
            return await self._signed(headers["authorization"], scope, receive)
        if scheme.lower() == "bearer" and rest.strip():
            return self._keyring.find(rest.strip()), receive
        presented = headers.get("x-goog-api-key") or headers.get("ocp-apim-subscription-key") or _in_query(scope)
        if not presented and _may_be_in_form(scope, headers):
            presented, receive = await self._in_form(scope, receive)
        if not presented:
            raise Unauthenticated("This service needs an API key: send it as 'Authorization: Bearer KEY'.")
        return self._keyring.find(presented), receive

    async def _signed(self, header: str, scope: Scope, receive: Receive) -> tuple[Key, Receive]:
        signed = _sigv4.read_authorization(header)
        key = self._keyring.find(signed.key)  # before anything is read for it
        body = await _read(receive)
        path = scope.get("raw_path") or scope["path"].encode()
        sent = _sigv4.Sent(scope["method"], path, scope["query_string"], scope["headers"], body)
        await to_thread.run_sync(_sigv4.verify, signed, sent, self._now())
        return key, _again(body, receive)

    async def _in_form(self, scope: Scope, receive: Receive) -> tuple[str, Receive]:
        """What a form says, and the form once more. It is parsed as it comes, so that others can go on meanwhile."""
        parts: list[bytes] = []

        async def kept() -> Message:
            message = await receive()
            part = message.get("body", b"")
            if self._unknown + len(part) > self._max_unknown:
                raise Overloaded("Too many forms are being read. Send the API key in the query, or try again later.")
            parts.append(part)
            self._unknown += len(part)
            return message

        try:
            async with Request(scope, kept).form() as form:
                return str(form.get("api_secret") or ""), _again(b"".join(parts), receive)
        except (
            MultiPartException,
            HTTPException,
        ):  # no form, whatever it says; the second is the first within an application
            return "", receive
        finally:
            self._unknown -= sum(map(len, parts))


def _may_be_in_form(scope: Scope, headers: dict[str, str]) -> bool:
    is_form = headers.get("content-type", "").lower().startswith(_FORMS)
    return is_form and with_one_slash(scope["path"]) == _IN_FORM


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _in_query(scope: Scope) -> str:
    pairs = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    return next((pairs[name] for name in _IN_QUERY if name in pairs), "")


def _without_keys(query: bytes) -> bytes:
    pairs = query.split(b"&")
    return b"&".join(pair for pair in pairs if unquote_plus(pair.partition(b"=")[0].decode("latin-1")) not in _IN_QUERY)


async def _read(receive: Receive) -> bytes:
    """The whole body. Raises `ClientDisconnect`."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that was read, once more; and then what comes after it."""
    rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return rest.pop() if rest else await receive()

    return replayed
