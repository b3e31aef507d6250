"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from moderato.errors import RequestError, nearest
from moderato.types import Fit

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

FIT_HELP = "crop (the centre), squash (distorted) or cover (overlapping squares); the encoder's own way without it."


def fit_named(name: str | None) -> Fit | None:
    """The fit of this name. Raises `RequestError` listing what there is."""
    fits: dict[str, Fit] = {fit: fit for fit in get_args(Fit)}
    if name is not None and name not in fits:
        raise RequestError(f"There is no fit '{name}'. {nearest(name, fits)}")
    return fits[name] if name else None
