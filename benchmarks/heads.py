"""Embeddings in a file → scores: the streaming path against the plainest numpy, and against a copy of the same bytes.

Heads in the shapes of LAION's, of random numbers: speed does not depend on them. The file lies in the system's cache.
"""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import Result, alternating
from moderato.bulk.score import score_shards
from moderato.heads import Head
from moderato.layers import Affine, Curves, Layer, Linear, Network, Relu
from moderato.shards import open_shards

_SHAPES = {"B/32": ((512, 32, 32, 1), (92, 133, 312)), "L/14": ((768, 64, 512, 256, 1), (180, 316, 413, 440, 644))}
_ROWS = {"B/32": 200_000, "L/14": 60_000}
_KNOTS = 64
_THOUSAND = 1000


def measure(_: Path, rounds: int) -> list[Result]:
    """Milliseconds a thousand embeddings, stored as float16 and float32."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (widths, columns) in _SHAPES.items():
            head = Head(name, "bench", ("nsfw",), _network(widths, columns))
            for dtype in ("float16", "float32"):
                file = _embeddings(Path(folder) / f"{dtype}.npy", _ROWS[name], widths[0], dtype)
                results += _compare(head, file, rounds)
    return results


def _compare(head: Head, file: Path, rounds: int) -> list[Result]:
    stored = np.load(file)
    copy = np.empty_like(stored)
    output, cores = file.with_name("scores.npy"), len(os.sched_getaffinity(0))
    own, plain, copied = alternating(
        rounds,
        len(stored) // _THOUSAND,
        lambda: score_shards(head, open_shards(file), output, threads=cores),
        lambda: _plain(head.network, np.load(file)),
        lambda: np.copyto(copy, stored),
    )
    rate, share = _THOUSAND / median(own) / 1e6, median(copied) / median(own)
    what = f"1000 embeddings of {head.dim} {stored.dtype}"
    return [
        Result(f"{what}, a head like LAION's {head.name}", own, "numpy, whole array", plain),
        Result(
            f"{what}, copied", copied, note=f"{rate:.2f} million scores a second on {cores} cores; {share:.0%} of it"
        ),
    ]


def _plain(network: Network, rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """The formula as one would write it down."""
    rows = rows.astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for layer in network:
        match layer:
            case Curves():
                for column, x, y in zip(layer.columns, layer.x, layer.y, strict=True):
                    rows[:, column] = np.interp(rows[:, column], x, y)
            case Affine():
                rows = rows * layer.scale + layer.shift
            case Linear():
                rows = rows @ layer.weight.T + layer.bias
            case Relu():
                rows = np.maximum(rows, 0)
    return 1 / (1 + np.exp(-rows))


def _network(widths: tuple[int, ...], columns: tuple[int, ...]) -> Network:
    random = np.random.default_rng(0)
    x = np.sort(random.standard_normal((len(columns), _KNOTS), np.float32), axis=1)
    layers: list[Layer] = [
        Curves(np.array(columns), x, random.standard_normal(x.shape, np.float32)),
        Affine(*random.standard_normal((2, widths[0]), np.float32)),
    ]
    for reads, gives in pairwise(widths):
        weight = random.standard_normal((gives, reads), np.float32) / np.float32(reads) ** 0.5
        layers += [Linear(weight, random.standard_normal(gives, np.float32)), Relu()]
    return Network(tuple(layers[:-1]), "sigmoid")


def _embeddings(file: Path, rows: int, dim: int, dtype: str) -> Path:
    found = np.random.default_rng(1).standard_normal((rows, dim), np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.save(file, found.astype(dtype))
    return file
