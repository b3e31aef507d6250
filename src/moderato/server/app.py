"""The application: routes of our own, dialects of others, and the moderator behind them all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from moderato import plugins
from moderato.server import errors
from moderato.server.auth import Guard
from moderato.server.desk import Desk
from moderato.server.dialects._meanings import read_all
from moderato.server.limits import LimitBody
from moderato.server.paths import OneSlash
from moderato.store.allowances import Allowances
from moderato.store.keyring import Keyring
from moderato.store.keys import Keys

_LOG = logging.getLogger(__name__)
_DESCRIPTION = """Decides whether a picture may be shown. Several pictures a request are answered in their order; one
that cannot be scanned is answered as `unscannable`, with its reason, beside the others."""


def create_app(desk: Desk, keys: Keys | None = None) -> FastAPI:
    """The application for one moderator. It is ready when the encoder has answered a first time.

    Once there are `keys` every request but those about its health needs one; without that argument it never asks.
    Raises `SettingsError` for a dialect's mapping that cannot be used.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(asyncio.to_thread(_warm_up, desk))
        yield
        await warming

    app = FastAPI(
        title="moderato",
        version=version("moderato"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from a CDN; routes/docs.py has one that needs no internet
        redoc_url=None,
    )
    app.state.desk = desk
    app.state.meanings = read_all(desk.dialects.meanings, desk.policies.values())
    errors.install(app)
    if keys:
        app.add_middleware(
            Guard,
            keyring=Keyring(keys),
            allowances=Allowances(keys.database),
            refuse=errors.answer,
            max_unknown=2 * desk.options.max_body,
        )
    app.add_middleware(LimitBody, max_bytes=desk.options.max_body)
    app.add_middleware(OneSlash)  # the last is the outermost: every other sees the path that is routed
    for package in ("moderato.server.routes", "moderato.server.dialects"):
        for module in plugins.modules(package).values():
            app.include_router(module.router)
    return app


def _warm_up(desk: Desk) -> None:
    if desk.answered.is_set():
        return
    try:
        desk.moderator.warm_up()
        desk.answered.set()
    except Exception:  # noqa: BLE001  whatever it is, the service must say that it is not ready
        _LOG.exception("The encoder did not answer; the service stays not ready.")
