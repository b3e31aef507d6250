"""Turn pictures or texts into embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from moderato.assemble import DEFAULT_POLICY, Workshop
from moderato.cli._options import FIT_HELP, fit_named
from moderato.cli._output import print_json, watched
from moderato.cli._sources import expand
from moderato.errors import RequestError
from moderato.moderator import Moderator
from moderato.settings import read_settings
from moderato.types import Embedded, Fit


def embed(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE…", help="Files, folders, globs, URLs, or - (stdin).")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="A text instead of pictures; may be given again.")] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="An encoder's name or a model folder.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Where to write; without it, one JSON object a line.")
    ] = None,
    fit: Annotated[str | None, typer.Option(metavar="FIT", help=FIT_HELP)] = None,
) -> None:
    """Turn pictures or texts into embeddings: float32 rows of unit length."""
    if bool(sources) == bool(text):
        raise RequestError("Name pictures, or texts with --text: one of the two.")
    if output and output.suffix != ".npz":
        raise RequestError(f"--output {output}: the file is written as .npz; name it so.")
    moderator = Workshop(read_settings()).moderator(DEFAULT_POLICY, encoder)
    if text:
        rows = moderator.embed_texts(text)
        _write(output, {"embeddings": rows, "texts": np.array(text)})
    else:
        _write(output, _pictures(moderator, sources or [], fit_named(fit)))


def _pictures(moderator: Moderator, names: list[str], fit: Fit | None) -> dict[str, np.ndarray[Any, Any]]:
    found = expand(names)
    answers = list(watched(moderator.embed_many(found, fit=fit), len(found)))
    failed = [answer for answer in answers if answer.embedding is None]
    _list_failed(failed)
    rows = [answer.embedding for answer in answers if answer.embedding is not None]
    dim = moderator.encoder(moderator.default_encoder).dim
    return {
        "embeddings": np.stack(rows) if rows else np.empty((0, dim), np.float32),
        "sources": np.array([answer.source for answer in answers if answer.embedding is not None], dtype=np.str_),
        "failed": np.array([answer.source for answer in failed], dtype=np.str_),
        "reasons": np.array([answer.unscannable for answer in failed], dtype=np.str_),
    }


def _list_failed(failed: list[Embedded]) -> None:
    for answer in failed:
        line = f"{answer.source}: unscannable: {answer.unscannable}"
        Console(stderr=True, soft_wrap=True).print(escape(line), highlight=False)


def _write(output: Path | None, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    if output is None:
        key = "texts" if "texts" in arrays else "sources"
        for name, row in zip(arrays[key], arrays["embeddings"], strict=True):
            print_json({key.removesuffix("s"): str(name), "embedding": row.tolist()})
        for name, reason in zip(arrays.get("failed", ()), arrays.get("reasons", ()), strict=True):
            print_json({"source": str(name), "unscannable": str(reason)})
        return
    try:
        with output.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise RequestError(f"{output} cannot be written ({error.strerror}).") from error
    rows = arrays["embeddings"].shape
    Console(stderr=True, markup=False).print(f"{output}: {rows[0]} embeddings of {rows[1]} numbers.", highlight=False)
