"""`.npz`: an archive of arrays, of which `embeddings` is read piece by piece, be it compressed or not."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from moderato.errors import RequestError
from moderato.shards._array import Header, Stored, check_embeddings, read_header, read_rows, texts, translated

_MEMBER = "embeddings"


class _Archive(Stored):
    """See `Shard`."""

    def chunks(self, rows: int, start: int = 0) -> Iterator[NDArray[np.floating]]:
        with _opened(self.path, _MEMBER) as (stream, _):
            yield from read_rows(stream, self.header, self.path, rows, start)

    def column(self, name: str) -> list[str] | None:
        """The array of that name in the plural: `labels`, `sources`."""
        if f"{name}s" not in _members(self.path):
            return None
        with _opened(self.path, f"{name}s") as (stream, header):
            if header.shape != (self.rows,):
                raise RequestError(f"{self.path}: {name}s has the shape {header.shape}; there are {self.rows} rows.")
            stream.seek(0)
            return texts(np.lib.format.read_array(stream, allow_pickle=False))


def open_shard(path: Path) -> _Archive:
    """Read the header of `embeddings`. Raises `RequestError` when there is none, or no embeddings in it."""
    members = _members(path)
    if _MEMBER not in members:
        raise RequestError(f"{path}: there is no array '{_MEMBER}' in it; it has {', '.join(members) or 'none'}.")
    with _opened(path, _MEMBER) as (_, header):
        check_embeddings(header, path)
    return _Archive(path, header)


def _members(path: Path) -> list[str]:
    with translated(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


@contextmanager
def _opened(path: Path, member: str) -> Iterator[tuple[IO[bytes], Header]]:
    """One array's stream behind its header."""
    with translated(path), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{member}.npy")
        with archive.open(info) as stream:
            yield stream, read_header(stream, path, info.file_size)
