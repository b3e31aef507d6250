"""The runtime `onnx`: towers as ONNX graphs built in memory, run by ONNX Runtime on the CPU, or written to a file.

Weights are never copied into a graph that is run: they stay external initializers over the file mapping, which is
released once ONNX Runtime has packed its own copy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from moderato.encoders._blocks import write_patches, write_text, write_vision
from moderato.encoders._onnx_graph import (
    Input,
    OnnxGraph,
    Shape,
    Weight,
    describe,
    inside,
    outside,
    text_inputs,
    vision_inputs,
    write_network,
)
from moderato.encoders._onnx_int8 import Int8Graph, WatchedGraph
from moderato.encoders._quantise import Quantiser
from moderato.encoders._ranges import Range, Ranges
from moderato.encoders._towers import TextTower, VisionTower
from moderato.errors import SettingsError, WeightsError
from moderato.layers import Network
from moderato.types import Embeddings, Precision, Rows, Views

Numbers = NDArray[np.float32]

_MOST_INSIDE = 2**31 - 2**24  # a protobuf ends at 2 GiB; the graph around the weights needs far less than 16 MiB

VERSION = f"onnxruntime {onnxruntime.__version__}"


def precisions() -> tuple[Precision, ...]:
    """What `open_vision` can compute in: ONNX Runtime has no products of bfloat16 for x86."""
    return ("fp32", "int8")


def open_vision(
    tower: VisionTower, threads: int, precision: Precision = "fp32", ranges: Ranges | None = None
) -> Callable[[Views], Rows]:
    """A function from views `(N, S, S, 3)` uint8 to rows `(N, D)`, not yet of unit length; thread-safe.

    `threads` is how many cores one call may use. `precision`: one of `precisions()`; int8 needs `ranges`.
    """
    graph = Int8Graph(tower, Quantiser(tower, ranges)) if ranges and precision == "int8" else OnnxGraph(tower)
    session = _session(graph, [write_vision(graph, tower)], vision_inputs(tower), threads)

    def project(views: Views) -> Rows:
        return Rows(session.run(None, {"views": views})[0])

    return project


def collect_ranges(tower: VisionTower, threads: int, batches: Iterable[Views], space: str) -> Ranges:
    """What the layers of a tower read, over all views of all batches; none of the batches is kept.

    Raises `SettingsError` when there is no view at all.
    """
    graph = WatchedGraph(tower)
    write_vision(graph, tower)
    session = _session(graph, graph.watched, vision_inputs(tower), threads)
    low: dict[str, Numbers] = {}
    high: dict[str, Numbers] = {}
    mean: dict[str, Numbers] = {}
    seen = 0
    for views in filter(len, batches):
        seen += len(views)
        for result, values in zip(graph.watched, session.run(None, {"views": views}), strict=True):
            kind, _, name = result.partition(" ")
            if kind == "Min":
                low[name] = np.minimum(low.get(name, values), values)
            elif kind == "Max":
                high[name] = np.maximum(high.get(name, values), values)
            else:
                share = np.float32(len(views) / seen)
                mean[name] = mean.get(name, values) * (1 - share) + values * share
    if not seen:
        raise SettingsError("There is no picture to measure ranges on; some dozens of your own are needed.")
    return Ranges(space, {name: Range(low[name], high[name], mean[name]) for name in low})


def open_patches(tower: VisionTower, threads: int) -> Callable[[Views], NDArray[np.float32]]:
    """A function from views to one row a patch, `(N, grid, grid, D)` float32, top left first; thread-safe.

    Patches go the way of the class token, or are pooled each alone: where in the picture the tower saw what (heatmaps).
    """
    graph = OnnxGraph(tower)
    session = _session(graph, [write_patches(graph, tower)], vision_inputs(tower), threads)

    def project(views: Views) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = session.run(None, {"views": views})[0]
        return rows.reshape(len(views), tower.grid, tower.grid, tower.dim)

    return project


def open_text(tower: TextTower, threads: int) -> Callable[[NDArray[np.int64]], Embeddings]:
    """A function from token ids `(N, T)` int64, any T up to the context, to embeddings `(N, D)`; thread-safe."""
    graph = OnnxGraph(tower)
    session = _session(graph, [write_text(graph, tower)], text_inputs(), threads)

    def encode(ids: NDArray[np.int64]) -> Embeddings:
        rows, length = ids.shape
        pooled = np.arange(rows) * length + tower.pool(ids)
        return Embeddings(session.run(None, {"ids": ids, "pooled": pooled})[0])

    return encode


def export(
    tower: VisionTower, network: Network | None, labels: Sequence[str], file: Path, metadata: Mapping[str, str]
) -> None:
    """Write an ONNX file that needs nothing of moderato: views in, an embedding and a head's scores out.

    Input `views`: uint8 `(N, S, S, 3)`, RGB, any N. Outputs `embedding`: float32 `(N, D)`, unit length; and with a
    `network` `scores`: float32 `(N, L)` in the order of `labels`, which the metadata hold as JSON under `labels` beside
    what `metadata` brings. Attention is ONNX Runtime's own operator (com.microsoft), so other engines may refuse the
    file. Weights of 2 GiB and more, which no ONNX file can hold, go to a second one, `FILE.data`.

    Raises `WeightsError` when the files cannot be written; what was there before is then still there.
    """
    graph = OnnxGraph(tower)
    rows = write_vision(graph, tower)
    embedding = graph.name(graph.unit(rows), "embedding")
    outputs: dict[str, Shape] = {embedding: ("N", tower.dim)}
    if network:
        scores = write_network(graph, network, embedding if network.unit else rows)
        outputs[graph.name(scores, "scores")] = ("N", len(labels))
    try:
        _save(graph, tower, outputs, file, {"labels": json.dumps([*labels]), **metadata})
    except OSError as error:
        raise WeightsError(f"{file}: the model cannot be written ({error}).") from error
    finally:
        tower.tensors.release()


def _save(
    graph: OnnxGraph, tower: VisionTower, outputs: Mapping[str, Shape], file: Path, facts: Mapping[str, str]
) -> None:
    data = file.with_name(f"{file.name}.data")
    parts = {path.with_name(f"{path.name}.{os.getpid()}.part"): path for path in (data, file)}
    data_part, file_part = parts
    try:
        if sum(array.nbytes for array in graph.weights.values()) <= _MOST_INSIDE:
            model = graph.model(vision_inputs(tower), outputs, inside)
        else:
            with data_part.open("wb") as stream:
                model = graph.model(vision_inputs(tower), outputs, partial(_append, stream, data.name))
        describe(model, facts)
        file_part.write_bytes(model.SerializeToString())
        for part, path in parts.items():
            if part.exists():
                os.replace(part, path)
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _append(stream: BinaryIO, location: str, name: str, array: NDArray[np.float32]) -> Weight:
    offset = stream.tell()
    length = stream.write(np.ascontiguousarray(array).data)
    return outside(name, array, location=location, offset=offset, length=length)


def _session(
    graph: OnnxGraph, outputs: Sequence[str], inputs: Sequence[Input], threads: int
) -> onnxruntime.InferenceSession:
    """Compile what was written, with these results."""
    model = graph.model(inputs, dict.fromkeys(outputs), outside)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_external_initializers(
        list(graph.weights), [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in graph.weights.values()]
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    graph.weights.clear()
    graph.tower.tensors.release()
    return session
