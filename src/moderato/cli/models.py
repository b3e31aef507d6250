"""List, show, pull and export encoders and heads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from moderato.assemble import Workshop
from moderato.cards import EncoderCard, Figure, HeadCard, encoder_card, encoder_names, head_card, head_names
from moderato.cli._options import Json
from moderato.cli._output import print_json, print_table, titled
from moderato.errors import CardError, RequestError, nearest
from moderato.settings import read_settings

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]


@app.command("list")
def list_models(json: Json = False) -> None:
    """All encoders and heads with a card, and which of them are on this machine."""
    workshop = Workshop(read_settings())
    encoders, heads = map(encoder_card, encoder_names()), map(head_card, head_names())
    if json:
        for kind, cards in (("encoder", encoders), ("head", heads)):
            for card in cards:
                print_json({"card": kind, **card.model_dump(), "here": workshop.present(card)})
        return
    table = titled("encoder", "here", "view", "work", "what it is")
    for encoder in encoders:
        here = workshop.present(encoder)
        work = f"{encoder.gflops:g} GFLOP" if encoder.gflops else ""
        table.add_row(encoder.name, "yes" if here else "", f"{encoder.side} px", work, encoder.description)
    print_table(table)
    Console().print()
    table = titled("head", "here", "reads", "scores", "what it is")
    for head in heads:
        here = workshop.present(head)
        table.add_row(head.name, "yes" if here else "", head.encoder, ", ".join(head.labels), head.description)
    print_table(table)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """The facts on an encoder's or a head's card, and its limits."""
    card = _card(name)
    if json:
        print_json(card.model_dump())
        return
    console = Console()
    console.print(f"[bold]{card.name}[/]: {escape(card.description)}\n", highlight=False)
    facts = Table("", Column("", overflow="fold"), box=None, show_header=False, pad_edge=False)
    known = _encoder_facts(card) if isinstance(card, EncoderCard) else _head_facts(card)
    for fact, value in (known | _figures(card.figures)).items():
        if value:
            facts.add_row(f"[dim]{escape(fact)}[/]", escape(value))
    print_table(facts)
    console.print(f"\n[bold]Limits.[/] {escape(card.limits)}", highlight=False)


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME…")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Take the files from this folder, not from the hub.")
    ] = None,
) -> None:
    """Bring encoders' and heads' files to this machine, and record what they are."""
    workshop = Workshop(read_settings())
    for card in [_card(name) for name in names]:
        if source:
            workshop.bring(card, source)
        typer.echo(f"{card.name}: {workshop.files(card)}")


@app.command()
def path(name: Name) -> None:
    """Where an encoder's or a head's files are; downloads what is missing."""
    typer.echo(Workshop(read_settings()).files(_card(name)))


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME|DIR", help="An encoder's card, or a model folder.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx")],
    head: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Scores too: a head for this encoder, or its own name.")
    ] = None,
    own: Annotated[
        str | None, typer.Option("--file", metavar="FILE|URL", help="For a head whose file you bring yourself.")
    ] = None,
) -> None:
    """Write one ONNX file that runs in any ONNX Runtime: uint8 views in, embeddings and scores out."""
    if file.suffix != ".onnx":
        raise RequestError(f"{file}: the file is written as .onnx; name it so.")
    encoder, scores = Workshop(read_settings()).export(name, file, head, own)
    side = encoder.view.side
    typer.echo(f"{file}: views uint8 (N, {side}, {side}, 3), cut as '{encoder.view}'")
    typer.echo(f"  → embedding float32 (N, {encoder.dim}), unit length")
    if scores:
        typer.echo(f"  → scores float32 (N, {len(scores.labels)}): {', '.join(scores.labels)}")


def _card(name: str) -> EncoderCard | HeadCard:
    if name in head_names():
        return head_card(name)
    if name in encoder_names():
        return encoder_card(name)
    raise CardError(f"There is no encoder or head '{name}'. {nearest(name, [*encoder_names(), *head_names()])}")


def _encoder_facts(card: EncoderCard) -> dict[str, str]:
    return {
        "identity": card.lineage,
        "files": f"huggingface.co/{card.repo}" if card.repo else "come with moderato",
        "licence": card.licence,
        "view": f"{card.side} x {card.side} pixels",
        "embedding": f"{card.dim} numbers",
        "texts": "" if card.reads_text else "none: it reads pictures only",
        "parameters": ", ".join(f"{tower} {millions:g} M" for tower, millions in card.parameters.items()),
        "work a view": f"{card.gflops:g} GFLOP" if card.gflops else "",
    }


def _head_facts(card: HeadCard) -> dict[str, str]:
    return {
        "reads embeddings of": card.encoder,
        "scores": ", ".join(card.labels),
        "file": card.url or "yours: name a path or a URL",
        "licence": card.licence,
        "evidence": card.evidence,
    }


def _figures(figures: list[Figure]) -> dict[str, str]:
    return {figure.measures: f"{figure.value:g} ({figure.source})" for figure in figures}
