"""Answer over HTTP."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import partial
from socket import socket
from typing import Annotated

import typer

from moderato.assemble import DEFAULT_POLICY
from moderato.cli._listen import listening, serve_on
from moderato.cli._workers import supervise
from moderato.errors import SettingsError
from moderato.settings import read_settings
from moderato.store.database import Database
from moderato.store.keys import Keys


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    policy: Annotated[str, typer.Option(metavar="NAME|FILE", help="What judges when none is named.")] = DEFAULT_POLICY,
    encoder: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help="The encoder behind classify and embed; the policy's without it."),
    ] = None,
    open_to_all: Annotated[
        bool,
        typer.Option("--open", help="Let everyone in although there are no keys: on any address, under any name."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer, each with its own weights.")] = 1,
) -> None:
    """Answer over HTTP: our own API, documented at /docs, and the dialects. Who may ask: see `moderato keys`.

    One process answers, on all cores, which is the least memory and usually the
    fastest. Each of several --workers holds weights of its own: with a ViT-B/32
    some 500 MB more. docs/observing.md and docs/performance.md have more.
    """
    _refuse_unguarded(host, open_to_all or bool(_keys().all()))
    ours = listening(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{ours.getsockname()[1]}"
    message = f"moderato judges by '{policy}' on {url}; its API is described at {url}/docs"
    answer = partial(_answer, ours, policy, encoder, open_to_all, workers)
    if workers == 1:
        answer(1, lambda: typer.echo(message, err=True))
    else:
        supervise(workers, answer, lambda: typer.echo(message, err=True))


def _answer(
    ours: socket,
    policy: str,
    encoder: str | None,
    open_to_all: bool,
    workers: int,
    number: int,
    started: Callable[[], object],
) -> None:
    """Answer as one of so many workers, who share the cores."""
    settings = read_settings()
    settings = settings.model_copy(update={"threads": max(1, settings.threads // workers)})
    serve_on(
        ours,
        policy,
        encoder,
        started,
        keys=_keys(),
        open_to_all=open_to_all,
        settings=settings,
        worker=str(number) if workers > 1 else "",
    )


def _keys() -> Keys:
    return Keys(Database(read_settings().database))


def _refuse_unguarded(host: str, may_be_reached: bool) -> None:
    """Raise `SettingsError` unless only this machine can reach the address, or there is a reason why others may."""
    if not may_be_reached and not _is_loopback(host):
        raise SettingsError(
            f"--host {host} would let others in, and there are no keys to keep them out. "
            "Make one with 'moderato keys create --name NAME', listen on 127.0.0.1, or add --open."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
