"""Scores for embeddings that already exist: any number of shards → one file.

The output is float32, one row for each embedding, in the order of the shards: a `.npy` of shape `(N,)` for a head with
one label and `(N, L)` otherwise, or a `.parquet` with a column for each label. A row that is not finite, or missing,
gets NaN and is counted: it has no score, and 0 would be one.

Scores are appended to `OUTPUT.part`; how many rows are safely in it, of which head and which files, stands in
`OUTPUT.part.json`. It becomes OUTPUT when all are there. So what is cut off, at whatever moment, goes on where it was.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from moderato import plugins
from moderato.bulk._part import Write, open_part
from moderato.errors import RequestError
from moderato.heads import Head
from moderato.layers import unit_lengths
from moderato.shards import Shard
from moderato.types import Scores

Progress = Callable[[int, int], object]
"""Called now and then with the rows that are done and all there are."""

_PIECE = 1 << 21
"""Bytes of float32 rows that are scored at once: beyond it they leave the caches, and malloc asks for pages."""
_TOLD_EVERY_S = 0.1
_SAVED_EVERY_S = 2.0
_FEW = 256


@dataclass(frozen=True)
class Report:
    """What was done. `resumed` of the rows had been done by an earlier run; `seconds` are this one's."""

    rows: int
    resumed: int
    not_finite: int
    """Rows that have no score."""
    seconds: float


def score_shards(
    head: Head,
    shards: Sequence[Shard],
    output: Path,
    *,
    rows: int | None = None,
    threads: int = 1,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Score all embeddings and write `output`, a `.npy` or `.parquet`; goes on where an earlier run was cut off.

    `rows`: how many embeddings a thread scores at once; without it, as many as a core's cache holds.
    Raises `RequestError` when the embeddings are not the head's or cannot be read, or the output cannot be written.
    """
    _check(head, shards, output)
    total = sum(shard.rows for shard in shards)
    write = _table_writer(head, output)
    shape = (total, len(head.labels)) if write or len(head.labels) > 1 else (total,)
    with open_part(output, shape, _job(head, shards)) as part:
        resumed, began = part.done, perf_counter()
        told = saved = began
        pieces = _pieces(shards, rows or max(1, _PIECE // (4 * head.dim)), start=part.done)
        for scores in _scored(head, pieces, threads):
            part.add(scores)
            now = perf_counter()
            if now - told > _TOLD_EVERY_S:
                progress(part.done, total)
                told = now
            if now - saved > _SAVED_EVERY_S:
                part.save()
                saved = now
        part.finish(write)
    progress(total, total)
    return Report(total, resumed, part.not_finite, perf_counter() - began)


def _table_writer(head: Head, output: Path) -> Write | None:
    if output.suffix != ".parquet":
        return None
    parquet = plugins.load("moderato.shards", "parquet")  # which may need a package: better said now than at the end
    return lambda file, chunks: parquet.write(file, head.labels, chunks)


def _check(head: Head, shards: Sequence[Shard], output: Path) -> None:
    if output.suffix not in (".npy", ".parquet"):
        raise RequestError(f"{output}: scores are written as .npy or .parquet; name it so.")
    for shard in shards:
        if shard.rows and shard.dim != head.dim:
            raise RequestError(
                f"{shard.path} holds embeddings of {shard.dim} numbers, '{head.name}' reads {head.dim}: "
                f"it was made for {head.encoder}."
            )
        if output.exists() and output.samefile(shard.path):
            raise RequestError(f"{output} is one of the files to score; name another.")
    first = next((shard for shard in shards if shard.rows), None)
    if first and not head.network.unit and _is_unit(next(first.chunks(_FEW))):
        raise RequestError(
            f"'{head.name}' reads embeddings as the encoder's projection gives them; those in {first.path} were "
            "brought to unit length."
        )


def _is_unit(rows: NDArray[np.floating]) -> bool:
    return bool(unit_lengths(np.linalg.norm(rows.astype(np.float64), axis=1)).all())


def _job(head: Head, shards: Sequence[Shard]) -> dict[str, str]:
    """What tells one job from another: the head, and the files as they are now."""
    files = []
    for shard in shards:
        status = shard.path.stat()
        files.append([str(shard.path.resolve()), status.st_size, status.st_mtime_ns, shard.rows])
    return {"head": head.fingerprint, "embeddings": sha256(json.dumps(files).encode()).hexdigest()}


def _scored(head: Head, pieces: Iterable[NDArray[np.floating]], threads: int) -> Iterator[Scores]:
    """Scores in the order of the pieces, each of which one thread takes the whole way.

    The linear algebra library's own threads would wait for one another at every layer: measured, that is slower by a
    quarter on idle cores and by far more where they are shared.
    """
    ahead: deque[Future[Scores]] = deque()
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        for piece in pieces:
            ahead.append(pool.submit(head.score, piece))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _pieces(shards: Sequence[Shard], rows: int, start: int) -> Iterator[NDArray[np.floating]]:
    """All rows of all shards from the `start`-th on."""
    for shard in shards:
        if start < shard.rows:
            yield from shard.chunks(rows, start)
        start = max(0, start - shard.rows)
