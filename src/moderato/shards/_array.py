"""numpy's own format in a stream: a header, then rows. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from moderato.errors import RequestError


@dataclass(frozen=True)
class Header:
    """What stands before the numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool
    bytes: int
    """Its own size: where the numbers begin."""

    @property
    def needed(self) -> int:
        """Bytes of header and numbers."""
        return self.bytes + math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], where: Path, size: int) -> Header:
    """The header at the beginning of a stream of `size` bytes.

    Raises `RequestError` when it is none, or speaks of pickled objects or of more numbers than there are.
    """
    try:
        version = np.lib.format.read_magic(stream)
        parse = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, by_columns, dtype = parse(stream)
        if min(shape, default=0) < 0:
            raise ValueError(f"the shape {shape}")
    except Exception as error:  # it is parsed as Python, and raises what Python's parser raises
        raise RequestError(f"{where}: not an array in numpy's format ({error}).") from error
    if dtype.hasobject:
        raise RequestError(f"{where}: holds pickled objects, which are never read; save numbers.")
    header = Header(shape, dtype, by_columns, stream.tell())
    if header.needed > size:
        raise RequestError(f"{where}: cut off: {size} of {header.needed} bytes are there.")
    return header


@dataclass(frozen=True)
class Stored:
    """Embeddings of which a file's header tells how many there are, and of what size. See `Shard`."""

    path: Path
    header: Header

    @property
    def rows(self) -> int:
        """N."""
        return self.header.shape[0]

    @property
    def dim(self) -> int:
        """D."""
        return self.header.shape[1]


def check_embeddings(header: Header, where: Path) -> None:
    """Raises `RequestError` unless it is of `(N, D)` floating-point numbers, row by row."""
    if header.dtype.kind != "f" or header.dtype.itemsize not in (2, 4, 8):
        raise RequestError(f"{where}: holds {header.dtype}; embeddings are float16, float32 or float64.")
    if len(header.shape) != 2 or not header.shape[1]:
        raise RequestError(f"{where}: has the shape {header.shape}; embeddings have (rows, numbers in a row).")
    if header.by_columns:
        raise RequestError(f"{where}: is stored column by column; save np.ascontiguousarray of it.")


def read_rows(stream: IO[bytes], header: Header, where: Path, rows: int, start: int) -> Iterator[NDArray[np.floating]]:
    """The rows from `start` on, in arrays of at most `rows`."""
    total, dim = header.shape
    stream.seek(header.bytes + start * dim * header.dtype.itemsize)
    for at in range(start, total, rows):
        chunk = np.empty((min(rows, total - at), dim), header.dtype)
        rest = chunk.reshape(-1).view(np.uint8).data
        while rest:
            count = stream.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise RequestError(f"{where}: cut off in row {at + (chunk.nbytes - len(rest)) // chunk[0].nbytes}.")
            rest = rest[count:]
        yield chunk


@contextmanager
def translated(where: Path) -> Iterator[None]:
    """What files and archives raise becomes a `RequestError`."""
    try:
        yield
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RequestError(f"{where}: cannot be read ({reason or error}).") from error


def texts(array: NDArray[Any]) -> list[str]:
    """Each entry as text; bytes are taken for UTF-8."""
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in array.tolist()]
