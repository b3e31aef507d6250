"""Score embeddings that already exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from moderato.assemble import load_head
from moderato.bulk.score import Report, score_shards
from moderato.cli._output import progress_bar
from moderato.settings import read_settings
from moderato.shards import open_shards


def score(
    head: Annotated[str, typer.Option(metavar="NAME|FILE", help="A trained head: its card's name, or .safetensors.")],
    embeddings: Annotated[
        Path, typer.Option(metavar="FILE|DIR", help=".npy, .npz or .parquet, or a folder of one kind of them.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write the scores: .npy, or .parquet with a column a label.")
    ],
    mode: Annotated[
        str | None, typer.Option(help="How LAION's heads read their odd columns: smooth (the default), lookup, raw.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="For a head whose file you bring yourself.")
    ] = None,
) -> None:
    """Score embeddings that already exist, however many; what is cut off goes on when called again."""
    shards = open_shards(embeddings)
    reads = load_head(head, file=file, mode=mode)
    with progress_bar() as progress:
        task = progress.add_task("embeddings", total=None)
        report = score_shards(
            reads,
            shards,
            output,
            threads=read_settings().threads,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    Console(stderr=True).print(f"{output}: {_summary(report)}", highlight=False, markup=False, soft_wrap=True)


def _summary(report: Report) -> str:
    new = report.rows - report.resumed
    parts = [f"{report.rows} rows"]
    if report.resumed:
        parts.append(f"{report.resumed} of them from an earlier run")
    parts.append(f"{report.seconds:.1f} s")
    parts.append(f"{new / max(report.seconds, 1e-9):.0f} rows a second")
    parts.append(f"{report.not_finite} without a score (not finite)")
    return ", ".join(parts)
