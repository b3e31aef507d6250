"""`.parquet`: a column of lists of numbers. Needs pyarrow, which comes with the extra `evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from moderato.errors import RequestError
from moderato.shards._array import translated

_COLUMN = "embedding"
_BUFFER = 1 << 20


@dataclass(frozen=True)
class _Table:
    """See `Shard`."""

    path: Path
    rows: int
    dim: int
    name: str
    """Of the column of embeddings."""

    def chunks(self, rows: int, start: int = 0) -> Iterator[NDArray[np.floating]]:
        with _opened(self.path) as file:
            at, groups = _groups_from(file, start)
            for batch in file.iter_batches(rows, groups, [self.name], use_threads=False):
                lists = batch.column(0).slice(max(0, start - at))
                if len(lists):
                    yield self._matrix(lists, at + max(0, start - at))
                at += len(batch)

    def column(self, name: str) -> list[str] | None:
        return read_column(self.path, name)

    def _matrix(self, lists: Any, at: int) -> NDArray[np.floating]:
        """Lists as an array `(n, D)`; NaN for a list or a number that is missing."""
        there = lists.is_valid().to_numpy(zero_copy_only=False)
        filled = lists.drop_null()
        lengths = pc.list_value_length(filled).to_numpy(zero_copy_only=False)
        if (lengths != self.dim).any():
            row = at + int(np.flatnonzero(there)[np.argmax(lengths != self.dim)])
            length = lengths[lengths != self.dim][0]
            raise RequestError(f"{self.path}: row {row} has {length} numbers in {self.name}, the first has {self.dim}.")
        numbers: NDArray[np.floating] = filled.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.dim)
        if there.all():
            return numbers
        matrix = np.full((len(there), self.dim), np.nan, numbers.dtype)
        matrix[there] = numbers
        return matrix


def open_shard(path: Path) -> _Table:
    """Read the header. Raises `RequestError` when the file is damaged, or has no column of embeddings or several."""
    with _opened(path) as file:
        schema = file.schema_arrow
        found = [field.name for field in schema if _holds_floats(field.type)]
        name = _COLUMN if _COLUMN in found else found[0] if len(found) == 1 else None
        if name is None:
            columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
            raise RequestError(
                f"{path}: it should have a column '{_COLUMN}' of lists of numbers, or one such column in all; "
                f"its columns are {columns}."
            )
        return _Table(path, file.metadata.num_rows, _dim(file, name), name)


def read_column(path: Path, name: str) -> list[str] | None:
    """A column as texts, "" for what is missing in a row; None where there is no such column."""
    with _opened(path) as file:
        if name not in file.schema_arrow.names:
            return None
        values = file.read([name]).column(0).to_pylist()
    return ["" if value is None else str(value) for value in values]


def write(path: Path, names: Sequence[str], chunks: Iterable[NDArray[np.float32]]) -> None:
    """Write arrays `(n, L)`, piece by piece, as L columns of float32."""
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        for chunk in chunks:
            columns = [pa.array(np.ascontiguousarray(column)) for column in chunk.T]
            writer.write_batch(pa.record_batch(columns, schema=schema))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A buffered file, not pre-read: a group of rows may be larger than memory."""
    with translated(path):
        try:
            with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
                yield file
        except pa.ArrowException as error:
            raise RequestError(f"{path}: not a whole Parquet file ({error}).") from error


def _holds_floats(kind: Any) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _dim(file: Any, name: str) -> int:
    """D: of the lists' type, or of the first list there is."""
    kind = file.schema_arrow.field(name).type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    for batch in file.iter_batches(1024, columns=[name], use_threads=False):
        for length in pc.list_value_length(batch.column(0).drop_null()):
            return int(length.as_py())
    return 0


def _groups_from(file: Any, start: int) -> tuple[int, list[int]]:
    """The groups of rows that a row lies in or before, and the first row of these."""
    at, first = 0, 0
    while first < file.num_row_groups and at + file.metadata.row_group(first).num_rows <= start:
        at += file.metadata.row_group(first).num_rows
        first += 1
    return at, list(range(first, file.num_row_groups))
