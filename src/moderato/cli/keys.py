"""Make, list and revoke API keys, and see who did."""

from __future__ import annotations

import getpass
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape

from moderato.cli._options import Json
from moderato.cli._output import print_json, print_table, titled
from moderato.errors import RequestError, nearest, visible
from moderato.settings import read_settings
from moderato.store.database import Database
from moderato.store.keys import SCOPES, Key, Keys, Scope

app = typer.Typer(no_args_is_help=True)

_MOST_DAYS = 36_500
_TIMES = ("created", "expires", "revoked")
_MOST = 10**9  # requests of a limit


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who or what will use it.")],
    scope: Annotated[
        str, typer.Option(help="check, or admin: that and what only those who run the service may see.")
    ] = "check",
    expires: Annotated[
        str | None, typer.Option(metavar="30d|DATE", help="When it ends: in so many days, or at 00:00 UTC of a date.")
    ] = None,
    rate: Annotated[str | None, typer.Option(metavar="N/minute", help="Requests in each minute of the clock.")] = None,
    quota: Annotated[str | None, typer.Option(metavar="N/day", help="Requests in each day, UTC.")] = None,
) -> None:
    """Make a key. It is printed once, alone on standard output, and nobody can look it up again."""
    ends = _moment(expires) if expires else None
    limits = _limit("--rate", rate, "minute"), _limit("--quota", quota, "day")
    with _opened() as keys:
        made, key = keys.create(name, _who(), _scope(scope), ends, *limits)
    typer.echo(key)
    until = f", until {_time(made.expires)}" if made.expires is not None else ""
    typer.echo(f"'{made.name}' ({made.id}), scope {made.scope}{until}. This is the only time it is shown.", err=True)


@app.command("list")
def list_keys(json: Json = False) -> None:
    """All keys there ever were; not the keys themselves, which nobody knows."""
    now = time.time()
    with _opened() as keys:
        known = keys.all()
    if json:
        for key in known:
            print_json({**_facts(key), "state": key.state(now)})
        return
    table = titled("id", "name", "scope", "state", "created", "expires", "rate", "quota")
    for key in known:
        rate = f"{key.rate}/minute" if key.rate is not None else ""
        quota = f"{key.quota}/day" if key.quota is not None else ""
        ends = _time(key.expires)
        table.add_row(key.id, escape(key.name), key.scope, key.state(now), _time(key.created), ends, rate, quota)
    print_table(table)


@app.command()
def revoke(name: Annotated[str, typer.Argument(metavar="NAME_OR_ID")]) -> None:
    """End a key for good. Running services refuse it within a second."""
    with _opened() as keys:
        ended = keys.revoke(name, _who())
    typer.echo(f"'{ended.name}' ({ended.id}) is revoked.", err=True)


@app.command()
def log(json: Json = False) -> None:
    """What was done to keys: when, by whom, what."""
    with _opened() as keys:
        acts = keys.acts()
    if json:
        for act in acts:
            print_json({**asdict(act), "at": _time(act.at)})
        return
    table = titled("when", "who", "what", "key", "details")
    for act in acts:
        table.add_row(_time(act.at), *map(escape, (act.by, act.act, act.subject, act.details)))
    print_table(table)


@contextmanager
def _opened() -> Iterator[Keys]:
    database = Database(read_settings().database)
    try:
        yield Keys(database)
    finally:
        database.close()


def _who() -> str:
    """The user of this machine who acts."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # containers run users that have no name
        user = "a user without a name"
    return visible(f"{user}@{socket.gethostname()}")


def _scope(name: str) -> Scope:
    for scope in SCOPES:
        if name == scope:
            return scope
    raise RequestError(f"There is no scope '{visible(name)}'. {nearest(name, SCOPES)}")


def _moment(text: str) -> float:
    """Seconds since 1970 of `30d` from now or of a date. Raises `RequestError` for what is neither, or is past."""
    if (days := re.fullmatch(r"([0-9]{1,5})d", text)) and 0 < int(days[1]) <= _MOST_DAYS:
        return (datetime.now(UTC) + timedelta(days=int(days[1]))).timestamp()
    try:
        moment = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise RequestError(f"--expires is '{visible(text)}'; write 30d, or a date such as 2030-12-31.") from None
    if moment <= time.time():
        raise RequestError(f"--expires is '{text}', which has begun already: the key would never be valid.")
    return moment


def _limit(option: str, text: str | None, span: str) -> int | None:
    if text is None:
        return None
    number = re.fullmatch(rf"([0-9]{{1,10}})/{span}", text)
    if not number or not 0 < int(number[1]) <= _MOST:
        raise RequestError(f"{option} is '{visible(text)}'; write a number of requests such as 60/{span}.")
    return int(number[1])


def _facts(key: Key) -> dict[str, str | int | None]:
    times = {
        name: _time(moment) or None
        for name, moment in zip(_TIMES, (key.created, key.expires, key.revoked), strict=True)
    }
    return {"id": key.id, "name": key.name, "scope": key.scope, **times, "rate": key.rate, "quota": key.quota}


def _time(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
