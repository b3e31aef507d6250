"""The runtime `onnx`: towers as ONNX graphs built in memory, run by ONNX Runtime on the CPU.

Weights are never copied into the graph: they stay external initializers over the file mapping, which is released once
ONNX Runtime has packed its own copy. Activations are kept as rows `(N·T, W)`, so that every linear layer is one Gemm
with the weight as the files store it, `(out, in)`. In the last vision block only the class token is computed past the
attention: nothing else of it is read (exact).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from moderato.encoders._towers import TextTower, Tower, VisionTower
from moderato.types import Embeddings, Views

_OPSET = 20  # the first with Gelu
_CONTRIB = "com.microsoft"  # fused attention and quick-gelu; part of every build of ONNX Runtime
_IR_VERSION = 10


def open_vision(tower: VisionTower, threads: int) -> Callable[[Views], Embeddings]:
    """A function from views `(N, S, S, 3)` uint8 to embeddings `(N, D)`; thread-safe.

    `threads` is how many cores one call may use.
    """
    graph = _Graph(tower)
    session = graph.session(_vision_output(graph, tower, patches=False), [_views(tower)], threads)

    def encode(views: Views) -> Embeddings:
        return Embeddings(session.run(None, {"views": views})[0])

    return encode


def open_patches(tower: VisionTower, threads: int) -> Callable[[Views], NDArray[np.float32]]:
    """A function from views to one embedding a patch, `(N, grid, grid, D)` float32, unit length, top left first.

    Patches are projected like the class token: where in the picture the tower saw what (heatmaps).
    """
    graph = _Graph(tower)
    session = graph.session(_vision_output(graph, tower, patches=True), [_views(tower)], threads)

    def encode(views: Views) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = session.run(None, {"views": views})[0]
        return rows.reshape(len(views), tower.grid, tower.grid, tower.dim)

    return encode


def open_text(tower: TextTower, threads: int) -> Callable[[NDArray[np.int64]], Embeddings]:
    """A function from token ids `(N, T)` int64, any T up to the context, to embeddings `(N, D)`; thread-safe."""
    graph = _Graph(tower)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "T"])
    pooled = helper.make_tensor_value_info("pooled", TensorProto.INT64, ["N"])
    session = graph.session(_text_output(graph, tower), [ids, pooled], threads)

    def encode(ids: NDArray[np.int64]) -> Embeddings:
        rows, length = ids.shape
        pooled = np.arange(rows) * length + tower.pool(ids)
        return Embeddings(session.run(None, {"ids": ids, "pooled": pooled})[0])

    return encode


def _views(tower: VisionTower) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("views", TensorProto.UINT8, ["N", tower.side, tower.side, 3])


class _Graph:
    """A graph being written: every method adds nodes and returns the name of their result."""

    def __init__(self, tower: Tower) -> None:
        self.tower = tower
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._weights: dict[str, NDArray[np.float32]] = {}

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        result = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [result], domain=domain, **attributes))
        return result

    def constant(self, value: Sequence[int] | int) -> str:
        """Whole numbers such as a shape or an index, held in the graph itself."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, dtype=np.int64), name))
        return name

    def weight(self, name: str, value: NDArray[np.float32] | None = None) -> str:
        """A tensor of the tower, or one made from it; it stays outside the graph."""
        self._weights[name] = self.tower.read(name) if value is None else value
        return name

    def linear(self, rows: str, name: str) -> str:
        return self.add("Gemm", rows, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), transB=1)

    def norm(self, rows: str, name: str) -> str:
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", rows, scale, shift, axis=-1, epsilon=self.tower.epsilon)

    def flat(self, tokens: str) -> str:
        """`(N, T, W)` → rows `(N·T, W)`."""
        return self.reshape(tokens, [-1, self.tower.width])

    def reshape(self, data: str, shape: Sequence[int] | str) -> str:
        return self.add("Reshape", data, shape if isinstance(shape, str) else self.constant(shape))

    def activate(self, rows: str) -> str:
        if self.tower.activation == "quick_gelu":
            return self.add("QuickGelu", rows, domain=_CONTRIB, alpha=1.702)
        return self.add("Gelu", rows, approximate="tanh" if self.tower.activation == "gelu_tanh" else "none")

    def session(self, output: str, inputs: list[onnx.ValueInfoProto], threads: int) -> onnxruntime.InferenceSession:
        """Compile what was written, with `output` as the only result."""
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, self.tower.dim])
        initializers = self._constants + [_external(*item) for item in self._weights.items()]
        graph = helper.make_graph(self._nodes, "tower", inputs, [result], initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_external_initializers(
            list(self._weights), [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self._weights.values()]
        )
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self._weights.clear()
        self.tower.tensors.release()
        return session


def _external(name: str, array: NDArray[np.float32]) -> TensorProto:
    """An initializer that holds no data; the session options bring it."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="memory")
    return tensor


def _vision_output(graph: _Graph, tower: VisionTower, *, patches: bool) -> str:
    tokens = 1 + tower.grid**2
    split = graph.constant([-1, tokens, tower.width])

    def first(rows: str) -> str:  # the class token of every view
        return graph.add("Gather", graph.reshape(rows, split), graph.constant(0), axis=1)

    def rest(rows: str) -> str:
        bounds = (graph.constant([1]), graph.constant([tokens]), graph.constant([1]))
        return graph.flat(graph.add("Slice", graph.reshape(rows, split), *bounds))

    rows = graph.norm(_embed_patches(graph, tower), "pre_norm")
    for i in range(tower.layers - 1):
        rows = _block(graph, rows, f"blocks.{i}", split)
    last = f"blocks.{tower.layers - 1}"
    rows = rest(_block(graph, rows, last, split)) if patches else _block(graph, rows, last, split, pick=first)
    return _project(graph, rows)


def _embed_patches(graph: _Graph, tower: VisionTower) -> str:
    """uint8 views → rows of a class token and patches, positions added: `(N·T, W)`.

    Pixels become `(value/255 - mean) / std` inside the weight and bias of the patch embedding.
    """
    side, patch, width = tower.grid, tower.patch, tower.width
    pixels = graph.reshape("views", [-1, side, patch, side, patch, 3])
    pixels = graph.add("Transpose", pixels, perm=[0, 1, 3, 2, 4, 5])
    pixels = graph.add("Cast", graph.reshape(pixels, [-1, patch * patch * 3]), to=TensorProto.FLOAT)
    weight = tower.read("patch.weight").transpose(0, 2, 3, 1).astype(np.float64)  # (W, P, P, 3), as pixels lie
    mean, std = np.array(tower.mean), np.array(tower.std)
    folded = (weight / (255 * std)).reshape(width, -1).astype(np.float32)
    bias = -(weight * mean / std).sum(axis=(1, 2, 3)).astype(np.float32)
    patches = graph.add(
        "Gemm", pixels, graph.weight("patch.folded", folded), graph.weight("patch.shift", bias), transB=1
    )
    patches = graph.reshape(patches, [-1, side * side, width])
    views = graph.add("Shape", patches, end=1)
    shape = graph.add("Concat", views, graph.constant([1, width]), axis=0)
    token = graph.add("Expand", graph.weight("class"), shape)
    tokens = graph.add("Concat", token, patches, axis=1)
    return graph.flat(graph.add("Add", tokens, graph.weight("positions")))


def _text_output(graph: _Graph, tower: TextTower) -> str:
    length = graph.add("Shape", "ids", start=1, end=2)
    positions = graph.add("Slice", graph.weight("positions"), graph.constant([0]), length, graph.constant([0]))
    rows = graph.flat(graph.add("Add", graph.add("Gather", graph.weight("tokens"), "ids"), positions))
    split = graph.add("Concat", graph.constant([-1]), length, graph.constant([tower.width]), axis=0)
    for i in range(tower.layers):
        rows = _block(graph, rows, f"blocks.{i}", split, causal=True)
    return _project(graph, graph.add("Gather", rows, "pooled"))


def _block(
    graph: _Graph,
    rows: str,
    name: str,
    split: str,
    *,
    causal: bool = False,
    pick: Callable[[str], str] = lambda rows: rows,
) -> str:
    """One pre-norm block over rows `(N·T, W)`; `split` is the shape `(N, T, W)`.

    Only the rows that `pick` keeps are computed past the attention; it keeps one a view, or all.
    """
    normed = graph.norm(rows, f"{name}.norm_1")
    kept = pick(normed)
    query = graph.linear(kept, f"{name}.query")
    query = graph.reshape(query, split if kept == normed else [-1, 1, graph.tower.width])
    key = graph.reshape(graph.linear(normed, f"{name}.key"), split)
    value = graph.reshape(graph.linear(normed, f"{name}.value"), split)
    mixed = graph.add(
        "MultiHeadAttention",
        *(query, key, value),
        domain=_CONTRIB,
        num_heads=graph.tower.heads,
        unidirectional=int(causal),
    )
    rows = graph.add("Add", pick(rows), graph.linear(graph.flat(mixed), f"{name}.out"))
    hidden = graph.activate(graph.linear(graph.norm(rows, f"{name}.norm_2"), f"{name}.up"))
    return graph.add("Add", rows, graph.linear(hidden, f"{name}.down"))


def _project(graph: _Graph, rows: str) -> str:
    """Rows `(M, W)` → embeddings `(M, D)` of unit length."""
    projected = graph.add("Gemm", graph.norm(rows, "post_norm"), graph.weight("projection"), transB=1)
    return graph.add("LpNormalization", projected, axis=-1, p=2)
