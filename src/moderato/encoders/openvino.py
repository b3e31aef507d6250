"""The runtime `openvino`: towers as OpenVINO graphs built in memory, run by its CPU plugin.

Weights are never copied into a graph; the plugin packs its own copy, and then the file mapping is released. One
compiled graph takes any number of views.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from moderato.encoders._blocks import write_patches, write_text, write_vision
from moderato.encoders._openvino_graph import LIBRARY, OpenVinoGraph, has_bf16
from moderato.encoders._quantise import Quantiser
from moderato.encoders._ranges import Ranges
from moderato.encoders._towers import TextTower, VisionTower
from moderato.types import Embeddings, Precision, Rows, Views

VERSION = LIBRARY


def precisions() -> tuple[Precision, ...]:
    """What `open_vision` can compute in on this CPU: bf16 only where it has instructions for it."""
    return ("fp32", "bf16", "int8") if has_bf16() else ("fp32", "int8")


def open_vision(
    tower: VisionTower, threads: int, precision: Precision = "fp32", ranges: Ranges | None = None
) -> Callable[[Views], Rows]:
    """See `onnx.open_vision`."""
    graph = OpenVinoGraph(tower, Quantiser(tower, ranges) if precision == "int8" and ranges else None)
    run = graph.compile(write_vision(graph, tower), threads, "bf16" if precision == "bf16" else "f32")
    return lambda views: Rows(run({"views": views}))


def open_patches(tower: VisionTower, threads: int) -> Callable[[Views], NDArray[np.float32]]:
    """See `onnx.open_patches`."""
    graph = OpenVinoGraph(tower)
    run = graph.compile(write_patches(graph, tower), threads, "f32")
    return lambda views: run({"views": views}).reshape(len(views), tower.grid, tower.grid, tower.dim)


def open_text(tower: TextTower, threads: int) -> Callable[[NDArray[np.int64]], Embeddings]:
    """See `onnx.open_text`."""
    graph = OpenVinoGraph(tower)
    run = graph.compile(write_text(graph, tower), threads, "f32")

    def encode(ids: NDArray[np.int64]) -> Embeddings:
        rows, length = ids.shape
        return Embeddings(run({"ids": ids, "pooled": np.arange(rows) * length + tower.pool(ids)}))

    return encode
