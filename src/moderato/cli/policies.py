"""List, show and check policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moderato.cards import encoder_card, encoder_names
from moderato.cli._options import Json
from moderato.cli._output import print_json, print_table
from moderato.policy import Policy, read_policy, shipped_policies

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_policies(json: Json = False) -> None:
    """The policies that come with moderato."""
    policies = [read_policy(name) for name in shipped_policies()]
    if json:
        for policy in policies:
            print_json(policy.model_dump())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("policy", "encoder", "labels", "what it is for"):
        table.add_column(title, overflow="fold")
    for policy in policies:
        table.add_row(policy.name, policy.encoder, str(len(policy.labels)), policy.description)
    print_table(table)


@app.command()
def show(policy: Annotated[str, typer.Argument(metavar="NAME|FILE")], json: Json = False) -> None:
    """What a policy looks for, from which score it acts, and what is known about that."""
    read = read_policy(policy)
    if json:
        print_json(read.model_dump())
        return
    console = Console()
    console.print(f"[bold]{escape(read.name)}[/]: {escape(read.description)}", highlight=False)
    console.print(f"encoder {escape(read.encoder)}, fit {read.fit or 'its own'}, unscannable: {read.unscannable}\n")
    print_table(_labels(read))
    if read.anchors:
        console.print(f"\nWhere nothing else is said: rather than {escape(', '.join(read.anchors))}.", style="dim")
    if read.encoder in encoder_names():
        limits = encoder_card(read.encoder).limits
        console.print(f"\n[bold]{read.encoder}[/]: {escape(limits)}", highlight=False)


@app.command()
def check(file: Annotated[str, typer.Argument(metavar="FILE")]) -> None:
    """Read a policy file and say whether it holds."""
    read = read_policy(file)
    if not Path(read.encoder).is_dir():
        encoder_card(read.encoder)
    Console().print(f"{escape(file)} holds: {len(read.labels)} labels for {escape(read.encoder)}.", highlight=False)


def _labels(policy: Policy) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("label", "review", "block", "evidence", "looks for"):
        table.add_column(title, overflow="fold")
    for name, label in policy.labels.items():
        thresholds = ["" if value is None else f"≥ {value:.2f}" for value in (label.review, label.block)]
        prompts, anchors = (", ".join(texts) for texts in (policy.prompts_of(name), label.anchors))
        words = escape(prompts) + (f"\n[dim]rather than {escape(anchors)}[/]" if anchors else "")
        table.add_row(escape(name), *thresholds, escape(label.evidence), words)
    return table
