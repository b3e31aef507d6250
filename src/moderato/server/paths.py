"""Paths as routes know them: `//v1/images:annotate` is `/v1/images:annotate`.

Vendors' clients are often given an address that ends in a slash.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

FOR_ALL = frozenset({"/healthz", "/readyz"})
"""What anybody may ask."""


def with_one_slash(path: str) -> str:
    """The path as routes know it."""
    return re.sub("//+", "/", path)


class OneSlash:
    """ASGI middleware: repeated slashes in the routed path are one. `raw_path` stays as it came: AWS signs it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its plain path; in the same scope, which whoever answers a crash looks at."""
        if scope["type"] == "http":
            scope["path"] = with_one_slash(scope["path"])
        await self._app(scope, receive, send)
