"""List, show and pull encoders' files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from moderato.assemble import Workshop, hub_files
from moderato.cards import EncoderCard, encoder_card, encoder_names
from moderato.cli._options import Json
from moderato.cli._output import print_json, print_table
from moderato.settings import read_settings

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]


@app.command("list")
def list_models(json: Json = False) -> None:
    """All encoders with a card, and which of them are on this machine."""
    workshop = Workshop(read_settings())
    cards = [encoder_card(name) for name in encoder_names()]
    here = [workshop.present(card) for card in cards]
    if json:
        for card, present in zip(cards, here, strict=True):
            print_json({**card.model_dump(), "here": present})
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("encoder", "here", "view", "work", "what it is"):
        table.add_column(title, overflow="fold")
    for card, present in zip(cards, here, strict=True):
        work = f"{card.gflops:g} GFLOP" if card.gflops else ""
        table.add_row(card.name, "yes" if present else "", f"{card.side} px", work, card.description)
    print_table(table)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """The facts on an encoder's card, and its limits."""
    card = encoder_card(name)
    if json:
        print_json(card.model_dump())
        return
    console = Console()
    console.print(f"[bold]{card.name}[/]: {escape(card.description)}\n", highlight=False)
    facts = Table("", Column("", overflow="fold"), box=None, show_header=False, pad_edge=False)
    for fact, value in _facts(card).items():
        facts.add_row(f"[dim]{fact}[/]", escape(value))
    print_table(facts)
    console.print(f"\n[bold]Limits.[/] {escape(card.limits)}", highlight=False)


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME…")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Take the files from this folder, not from the hub.")
    ] = None,
) -> None:
    """Bring encoders' files to this machine, and record what they are."""
    workshop = Workshop(read_settings())
    for card in [encoder_card(name) for name in names]:
        if source and card.folder is None:
            workshop.store.bring(card.name, hub_files(card), source)
        typer.echo(f"{card.name}: {workshop.files(card)}")


@app.command()
def path(name: Name) -> None:
    """The folder of an encoder's files; downloads what is missing."""
    typer.echo(Workshop(read_settings()).files(encoder_card(name)))


def _facts(card: EncoderCard) -> dict[str, str]:
    parameters = ", ".join(f"{tower} {millions:g} M" for tower, millions in card.parameters.items())
    facts = {
        "identity": card.lineage,
        "files": f"huggingface.co/{card.repo}" if card.repo else "come with moderato",
        "licence": card.licence,
        "view": f"{card.side} x {card.side} pixels",
        "embedding": f"{card.dim} numbers",
        "parameters": parameters,
        "work a view": f"{card.gflops:g} GFLOP" if card.gflops else "",
    }
    figures = {figure.measures: f"{figure.value:g} ({figure.source})" for figure in card.figures}
    return {fact: value for fact, value in (facts | figures).items() if value}
