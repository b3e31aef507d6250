"""`.npy`: an array `(N, D)` and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderato.shards._array import Stored, check_embeddings, read_header, read_rows, translated


class _Array(Stored):
    """See `Shard`."""

    def chunks(self, rows: int, start: int = 0) -> Iterator[NDArray[np.floating]]:
        with translated(self.path), self.path.open("rb") as stream:
            yield from read_rows(stream, self.header, self.path, rows, start)

    def column(self, name: str) -> list[str] | None:
        return None


def open_shard(path: Path) -> _Array:
    """Read the header. Raises `RequestError` when it is not that of embeddings, or the file is cut off."""
    with translated(path), path.open("rb") as stream:
        header = read_header(stream, path, os.fstat(stream.fileno()).st_size)
    check_embeddings(header, path)
    return _Array(path, header)
