"""Answer over HTTP."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from moderato.assemble import DEFAULT_POLICY
from moderato.cli._listen import listening, serve_on
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
) -> None:
    """Answer over HTTP: our own API, documented at /docs, and the dialects. Who may ask: see `moderato keys`.

    One process answers, on all cores. A second `moderato serve` takes its own port
    and its own memory: with a ViT-B/32 some 850 MB on two cores, and 580 MB on one
    (MODERATO_THREADS=1). docs/observing.md has more.
    """
    keys = Keys(Database(read_settings().database))
    _refuse_unguarded(host, open_to_all or bool(keys.all()))
    ours = listening(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{ours.getsockname()[1]}"
    message = f"moderato judges by '{policy}' on {url}; its API is described at {url}/docs"
    serve_on(
        ours,
        policy,
        encoder,
        started=lambda: typer.echo(message, err=True),
        keys=keys,
        open_to_all=open_to_all,
    )


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
