"""Look what works of this installation, and what would be unscannable here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import typer
from rich.markup import escape
from rich.table import Table

from moderato.assemble import Workshop
from moderato.cli._options import Json
from moderato.cli._output import print_json, print_line, print_table, titled
from moderato.doctor import Finding, State, examine, unscannable
from moderato.errors import visible
from moderato.settings import read_settings

_MARKS: dict[State, str] = {"well": "[green]✓[/]", "wrong": "[red]✗[/]", "note": "[dim]–[/]"}


def doctor(json: Json = False) -> None:
    """Look what works here: decoders, runtimes, weights, folders; nothing is fetched and nothing changed.

    ✓ is well, ✗ must be mended, – is a fact, or something that is not here and need not be. Exit code 2 when something
    must be mended.
    """
    found = list(examine(Workshop(read_settings())))
    if json:
        for part, finding in found:
            print_json({"part": part, **asdict(finding)})
    else:
        print_table(_table(found))
        print_line(f"\n{unscannable(found)}")
    if any(finding.state == "wrong" for _, finding in found):
        raise typer.Exit(2)


def _table(found: Iterable[tuple[str, Finding]]) -> Table:
    table = titled("", "part", "what", "here")
    for part, finding in found:
        remedy = f"→ {finding.remedy}" if finding.remedy else ""
        here = " ".join([*finding.detail.split(), remedy])
        table.add_row(_MARKS[finding.state], part, finding.name, escape(visible(here)))
    return table
