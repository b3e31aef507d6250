"""Embeddings that already exist, in files too large for memory: read in pieces.

A shard is one file. What a file is, its ending tells, and the module of that name here reads it:

`.npy`       an array `(N, D)`, as LAION and clip-retrieval store them
`.npz`       an array `embeddings`, and perhaps `sources` and `labels`: what `moderato embed --output` writes
`.parquet`   a column of lists of numbers, called `embedding` or the only one, and perhaps `source` and `label`

A folder is all of its files of one kind, in natural order: `img_emb_2` before `img_emb_10`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from moderato import plugins
from moderato.errors import RequestError

_PACKAGE = "moderato.shards"


class Shard(Protocol):
    """One file of N embeddings of D numbers, of which only a header was read."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def rows(self) -> int:
        """N."""

    @property
    def dim(self) -> int:
        """D; 0 where a file without rows does not say."""

    def chunks(self, rows: int, start: int = 0) -> Iterator[NDArray[np.floating]]:
        """All embeddings from row `start` on, in order: arrays `(n, D)`, n at most `rows`, of the file's float type.

        Takes memory for a piece or two, whatever the size of the file. A row that the file leaves out is NaN.
        Raises `RequestError` when the file turns out to be damaged or cut off.
        """

    def column(self, name: str) -> list[str] | None:
        """One text for each row, such as its `source` or `label`; None where the file has no such column."""


def open_shards(path: Path) -> list[Shard]:
    """The shards that a file or a folder holds, in order.

    Raises `RequestError` when there are none, or one cannot be read, or they are not of one kind and size;
    `MissingExtra` when a package is needed for their kind.
    """
    kinds = {f".{name}": name for name in plugins.names(_PACKAGE)}
    if not path.exists():
        raise RequestError(f"{path}: there is no such file or folder.")
    files = _files(path, kinds) if path.is_dir() else [path]
    if files[0].suffix.lower() not in kinds:
        raise RequestError(f"{path}: embeddings are read from {', '.join(sorted(kinds))}.")
    kind = plugins.load(_PACKAGE, kinds[files[0].suffix.lower()])
    shards = [cast("Shard", kind.open_shard(file)) for file in files]
    full = [shard for shard in shards if shard.rows]
    for shard in full:
        if shard.dim != full[0].dim:
            raise RequestError(
                f"{shard.path} holds embeddings of {shard.dim} numbers, {full[0].path} of {full[0].dim}: "
                "they are not of one encoder."
            )
    return shards


def read_table(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """Columns of a `.parquet` that need not hold embeddings, as texts; what is missing in a row is "".

    Raises `RequestError` when the file is damaged or lacks a column, `MissingExtra` when a package is needed.
    """
    kind = plugins.load(_PACKAGE, "parquet")
    found = {name: cast("list[str] | None", kind.read_column(path, name)) for name in columns}
    for name, texts in found.items():
        if texts is None:
            raise RequestError(f"{path}: there is no column '{name}' in it.")
    return {name: texts or [] for name, texts in found.items()}


def _files(folder: Path, kinds: dict[str, str]) -> list[Path]:
    """A folder's shards; whatever else lies in it is not looked at."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in kinds and file.name[0] != "."]
    found = sorted({file.suffix.lower() for file in files})
    if not found:
        raise RequestError(f"{folder}: there is no file of embeddings in it ({', '.join(sorted(kinds))}).")
    if len(found) > 1:
        raise RequestError(f"{folder} holds files of several kinds ({', '.join(found)}); name a folder with one.")
    return sorted(files, key=_natural)


def _natural(file: Path) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]
