"""The application: routes of our own, dialects of others, and the moderator behind them all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI

from moderato import plugins
from moderato.errors import SettingsError
from moderato.media.load import is_remote
from moderato.server import errors, logs
from moderato.server.auth import Guard
from moderato.server.description import tell_of_keys
from moderato.server.desk import Desk
from moderato.server.dialects._meanings import read_all
from moderato.server.limits import LimitBody
from moderato.server.metrics import Metrics
from moderato.server.neighbours import Neighbours
from moderato.server.paths import OneSlash
from moderato.server.records import Around, Counting, Recording
from moderato.store.allowances import Allowances
from moderato.store.keyring import Keyring
from moderato.store.keys import Keys

if TYPE_CHECKING:
    from moderato.server.traces import Traces

_LOG = logging.getLogger(__name__)
_DESCRIPTION = """Decides whether a picture may be shown. Several pictures a request are answered in their order; one
that cannot be scanned is answered as `unscannable`, with its reason, beside the others."""


def create_app(desk: Desk, keys: Keys | None = None, *, open_to_all: bool = False) -> FastAPI:
    """The application for one moderator. It is ready when the encoder has answered a first time.

    Once there are `keys` every request but those about its health needs one; without that argument it never asks.
    Who shows no key must be on this machine, unless the service is `open_to_all`.
    Raises `SettingsError` for a dialect's mapping that cannot be used, `OperatorError` when traces are asked for and
    cannot be made.
    """
    traces = _traces(desk.options.traces)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(asyncio.to_thread(_warm_up, desk))
        yield
        await warming
        if traces:
            await asyncio.to_thread(traces.close)

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
    app.state.metrics = Metrics(desk)
    errors.install(app)
    if not open_to_all:
        app.add_middleware(Neighbours, refuse=errors.answer)
    if keys:
        keyring = Keyring(keys)
        tell_of_keys(app, lambda: keyring.has_keys)
        app.add_middleware(
            Guard,
            keyring=keyring,
            allowances=Allowances(keys.database),
            refuse=errors.answer,
            max_unknown=2 * desk.options.max_body,
        )
    app.add_middleware(LimitBody, max_bytes=desk.options.max_body, seconds=desk.options.body_seconds)
    routes = [*app.routes]
    app.add_middleware(Recording, routes=routes, refuse=errors.answer, around=_watched(desk, app.state.metrics, traces))
    app.add_middleware(OneSlash)  # the last is the outermost: every other sees the path that is routed
    for package in ("moderato.server.routes", "moderato.server.dialects"):
        for module in plugins.modules(package).values():
            app.include_router(module.router)
            routes += module.router.routes
    return app


def _watched(desk: Desk, metrics: Metrics, traces: Traces | None) -> list[Around]:
    """Let metrics, logs and traces be told what happens to pictures; what they have each request answered within."""
    desk.moderator.watch(metrics)
    desk.moderator.watch(Counting({policy.fingerprint for policy in desk.policies.values()}))
    if traces is None:
        return [metrics.around, logs.around]
    desk.moderator.watch(traces)
    return [metrics.around, logs.around, traces.around]


def _traces(collector: str) -> Traces | None:
    """Raises `SettingsError` for what is no address, `MissingExtra` without OpenTelemetry."""
    if not collector:
        return None
    if not is_remote(collector):
        raise SettingsError(f"MODERATO_SERVE__TRACES is '{collector}': it must be a collector's http(s) address.")
    return cast("Traces", plugins.load("moderato.server", "traces").Traces(collector))


def _warm_up(desk: Desk) -> None:
    if desk.answered.is_set():
        return
    try:
        desk.moderator.warm_up()
        desk.answered.set()
    except Exception:  # noqa: BLE001  whatever it is, the service must say that it is not ready
        _LOG.exception("The encoder did not answer; the service stays not ready.")
