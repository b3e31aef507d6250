"""Where nobody shows a key, only this machine is answered, and no web page of a stranger's that is open on it.

A service without keys listens on loopback, and so does the browser beside it whatever a page tells it to do. A page may
post to 127.0.0.1: its `Origin` then says where it is from. Or its own name is given the address 127.0.0.1 in the
meantime (DNS rebinding), so that it may read the answers too: `Host` then says that name. Neither can be left out or
forged by a page. A number in `Host` is no name that anybody could have rebound.

https://www.rfc-editor.org/rfc/rfc6454#section-7, https://www.rfc-editor.org/rfc/rfc6761#section-6.3
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from moderato.errors import Forbidden, visible
from moderato.server.paths import FOR_ALL
from moderato.server.records import current

_PLACE = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d+)?")
_LONGEST = 100  # characters of a name that are repeated in an error


class Neighbours:
    """ASGI middleware behind the `Guard`: without a key, a request must be for this machine and not from elsewhere.

    `refuse` makes the answer for the others.
    """

    def __init__(self, app: ASGIApp, refuse: Callable[[Scope, Exception], Response]) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and not _has_shown_a_key() and scope["path"] not in FOR_ALL:
            try:
                check_from_here(Headers(scope=scope))
            except Forbidden as error:
                await self._refuse(scope, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _has_shown_a_key() -> bool:
    record = current()
    return record is not None and record.key is not None


def check_from_here(headers: Headers) -> None:
    """Raise `Forbidden` for a `Host` that is another's name, and for an `Origin` that is another site."""
    host = headers.get("host", "localhost").lower()  # no browser leaves it out
    name = _name(host)
    if not (_address(name) or _is_local(name)):
        raise _forbidden(f"not '{visible(host[:_LONGEST])}', as which it was asked")
    origin = headers.get("origin", f"http://{host}").lower()
    site = origin.partition("://")[2]
    if site != host and not _is_local(_name(site)):
        raise _forbidden(f"no page of '{visible(origin[:_LONGEST])}'")


def _name(place: str) -> str:
    """The name or the number of HOST:PORT; "" where it is neither."""
    parts = _PLACE.fullmatch(place)
    return (parts[1] or parts[2]).removesuffix(".") if parts else ""


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _is_local(name: str) -> bool:
    address = _address(name)
    return address.is_loopback if address else name == "localhost" or name.endswith(".localhost")


def _forbidden(whom: str) -> Forbidden:
    return Forbidden(
        f"This service has no API keys and answers this machine alone, {whom}. Whoever runs it can make a key "
        "('moderato keys create --name NAME'), or let everyone in with 'moderato serve --open'."
    )
