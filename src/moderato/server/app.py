"""The application: routes of our own, dialects of others, and the moderator behind them all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from moderato import plugins
from moderato.server import errors, logs
from moderato.server.desk import Desk
from moderato.server.limits import LimitBody
from moderato.server.metrics import Metrics
from moderato.server.records import Around, Counting, Recording

_LOG = logging.getLogger(__name__)
_DESCRIPTION = """Decides whether a picture may be shown. Several pictures a request are answered in their order; one
that cannot be scanned is answered as `unscannable`, with its reason, beside the others."""


def create_app(desk: Desk) -> FastAPI:
    """The application for one moderator. It is ready when the encoder has answered a first time."""

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
    errors.install(app)
    app.add_middleware(LimitBody, max_bytes=desk.options.max_body)
    routes = [*app.routes]
    for package in ("moderato.server.routes", "moderato.server.dialects"):
        for module in plugins.modules(package).values():
            app.include_router(module.router)
            routes += module.router.routes
    app.add_middleware(Recording, routes=routes, around=_watched(app, desk))
    return app


def _watched(app: FastAPI, desk: Desk) -> list[Around]:
    """Let metrics, logs and traces be told what happens; what each request is answered within."""
    app.state.metrics = Metrics(desk)
    desk.moderator.watch(app.state.metrics)
    desk.moderator.watch(Counting({policy.fingerprint for policy in desk.policies.values()}))
    return [app.state.metrics.around, logs.around]


def _warm_up(desk: Desk) -> None:
    if desk.answered.is_set():
        return
    try:
        desk.moderator.warm_up()
        desk.answered.set()
    except Exception:  # noqa: BLE001  whatever it is, the service must say that it is not ready
        _LOG.exception("The encoder did not answer; the service stays not ready.")
