"""Score pictures on labels written on the spot."""

from __future__ import annotations

from typing import Annotated

import typer

from moderato.assemble import DEFAULT_POLICY, Workshop
from moderato.cli._options import FIT_HELP, Json, fit_named
from moderato.cli._output import classification_table, print_json, print_notes, print_table, watched
from moderato.cli._sources import expand
from moderato.settings import read_settings


def classify(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Files, folders, globs, URLs, or - (stdin).")],
    labels: Annotated[str, typer.Option(metavar='"A, B, C"', help="Labels, divided by commas.")],
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="An encoder's name or a model folder.")
    ] = None,
    independent: Annotated[bool, typer.Option("--independent", help="Each label for itself, not one of them.")] = False,
    fit: Annotated[str | None, typer.Option(metavar="FIT", help=FIT_HELP)] = None,
    json: Json = False,
) -> None:
    """Say which of some labels a picture shows, with a probability for each."""
    names = [label.strip() for label in labels.split(",") if label.strip()]
    found = expand(sources)
    moderator = Workshop(read_settings()).moderator(DEFAULT_POLICY, encoder)
    answers = []
    for answer in watched(
        moderator.classify_many(found, names, independent=independent, fit=fit_named(fit)), len(found)
    ):
        if json:
            print_json(answer.to_dict())
        answers.append(answer)
    if not json:
        print_table(classification_table(answers))
        print_notes(answer.notes for answer in answers)
