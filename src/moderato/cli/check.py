"""Judge pictures by a policy."""

from __future__ import annotations

from time import perf_counter
from typing import Annotated

import typer

from moderato.assemble import DEFAULT_POLICY, load
from moderato.cli._options import Json
from moderato.cli._output import print_json, print_notes, print_summary, print_table, verdict_table, watched
from moderato.cli._sources import expand
from moderato.errors import RequestError, nearest
from moderato.types import ACTIONS


def check(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Files, folders, globs, URLs, or - (stdin).")],
    policy: Annotated[str, typer.Option(metavar="NAME|FILE", help="A policy, or a .toml file.")] = DEFAULT_POLICY,
    fail_on: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Exit with 1 when a picture meets this action or a harder one.")
    ] = None,
    json: Json = False,
) -> None:
    """Judge pictures by a policy: allow, review or block, and why."""
    if fail_on is not None and fail_on not in ACTIONS:
        raise RequestError(f"--fail-on takes an action. {nearest(fail_on, ACTIONS)}")
    found = expand(sources)
    moderator = load(policy)
    started = perf_counter()
    verdicts = []
    for verdict in watched(moderator.check_many(found), len(found)):
        if json:
            print_json(verdict.to_dict())
        verdicts.append(verdict)
    if not json:
        print_table(verdict_table(verdicts))
        print_notes(verdict.notes for verdict in verdicts)
        print_summary((verdict.action for verdict in verdicts), started)
    if fail_on and any(ACTIONS.index(verdict.action) >= ACTIONS.index(fail_on) for verdict in verdicts):
        raise typer.Exit(1)
