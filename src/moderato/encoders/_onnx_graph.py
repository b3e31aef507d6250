"""Towers and heads as nodes of an ONNX graph; `onnx.py` runs it or writes it to a file.

Activations are kept as rows `(N·T, W)`, so that every linear layer is one Gemm with the weight as the files store it,
`(out, in)`. In the last vision block of a tower with a class token only that token is computed past the attention:
nothing else of it is read (exact).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from moderato.encoders._towers import TextTower, Tower, VisionTower
from moderato.layers import Affine, Curves, Layer, Linear, Network, Relu

_OPSET = 20  # the first with Gelu
_CONTRIB = "com.microsoft"  # fused attention and quick-gelu; part of every build of ONNX Runtime
_IR_VERSION = 10

Array = NDArray[np.float32]
Shape = tuple[str | None, int]
Input = onnx.ValueInfoProto
Weight = TensorProto
Hold = Callable[[str, Array], Weight]
"""Declares a weight by its name, and says where it lies."""


class Graph:
    """A graph being written: every method adds nodes and returns the name of their result.

    `weights` are the tensors that it needs and does not hold: views of the model's files, or made from them.
    """

    def __init__(self, tower: Tower) -> None:
        self.tower = tower
        self.weights: dict[str, Array] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one result."""
        result = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [result], domain=domain, **attributes))
        return result

    def name(self, result: str, name: str) -> str:
        """A result under a name of its own, for an output."""
        self._nodes.append(helper.make_node("Identity", [result], [name]))
        return name

    def constant(self, value: Sequence[int] | int) -> str:
        """Whole numbers such as a shape or an index, held in the graph itself."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, dtype=np.int64), name))
        return name

    def weight(self, name: str, value: Array | None = None) -> str:
        """A tensor of the tower, or the given one under a name that the tower does not use."""
        self.weights[name] = self.tower.read(name) if value is None else value
        return name

    def linear(self, rows: str, name: str) -> str:
        """`rows @ weight.T + bias`, without the bias where the tower has none."""
        bias = [self.weight(f"{name}.bias")] if self.tower.has(f"{name}.bias") else []
        return self.add("Gemm", rows, self.weight(f"{name}.weight"), *bias, transB=1)

    def norm(self, rows: str, name: str) -> str:
        """A layer norm along each row."""
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", rows, scale, shift, axis=-1, epsilon=self.tower.epsilon)

    def unit(self, rows: str) -> str:
        """Rows at unit length."""
        return self.add("LpNormalization", rows, axis=-1, p=2)

    def flat(self, tokens: str) -> str:
        """`(N, T, W)` → rows `(N·T, W)`."""
        return self.reshape(tokens, [-1, self.tower.width])

    def reshape(self, data: str, shape: Sequence[int] | str) -> str:
        """Data in another shape: numbers, or the result that holds them."""
        return self.add("Reshape", data, shape if isinstance(shape, str) else self.constant(shape))

    def pick(self, rows: str, split: str, token: int) -> str:
        """One token of every view, by its place: rows `(N, W)`."""
        return self.add("Gather", self.reshape(rows, split), self.constant(token), axis=1)

    def repeat(self, token: str, tokens: str) -> str:
        """One token `(W,)` for each of N views, as `(N, 1, W)`; `tokens` is anything `(N, ...)`."""
        views = self.add("Shape", tokens, end=1)
        return self.add("Expand", token, self.add("Concat", views, self.constant([1, self.tower.width]), axis=0))

    def activate(self, rows: str) -> str:
        """The tower's activation."""
        if self.tower.activation == "quick_gelu":
            return self.add("QuickGelu", rows, domain=_CONTRIB, alpha=1.702)
        return self.add("Gelu", rows, approximate="tanh" if self.tower.activation == "gelu_tanh" else "none")

    def model(self, inputs: Sequence[Input], outputs: Mapping[str, Shape], hold: Hold) -> onnx.ModelProto:
        """What was written, with these results and their shapes; `hold` says where each weight lies."""
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        initializers = self._constants + [hold(name, array) for name, array in self.weights.items()]
        graph = helper.make_graph(self._nodes, "tower", inputs, results, initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def inside(name: str, array: Array) -> Weight:
    """A weight in the model itself."""
    return numpy_helper.from_array(array, name)


def outside(name: str, array: Array, **place: str | int) -> Weight:
    """A weight outside the model: in a file at this `location`, `offset` and `length`, or given when it is opened."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": "memory"} | place).items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def describe(model: onnx.ModelProto, facts: Mapping[str, str]) -> None:
    """Put facts into the model's metadata."""
    helper.set_model_props(model, dict(facts))


def vision_inputs(tower: VisionTower) -> list[Input]:
    """`views`: uint8 `(N, S, S, 3)`."""
    return [helper.make_tensor_value_info("views", TensorProto.UINT8, ["N", tower.side, tower.side, 3])]


def text_inputs() -> list[Input]:
    """`ids`: int64 `(N, T)`, and `pooled`: int64 `(N,)`, which of all N·T rows stand for their texts."""
    return [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "T"]),
        helper.make_tensor_value_info("pooled", TensorProto.INT64, ["N"]),
    ]


def write_vision(graph: Graph, tower: VisionTower) -> str:
    """`views` → rows `(N, D)`."""
    split = _split(graph, tower)
    if tower.has("class"):
        rows = _see(graph, tower, split, pick=lambda rows: graph.pick(rows, split, 0))
        return _project(graph, graph.norm(rows, "post_norm"))
    patches = graph.norm(_see(graph, tower, split), "post_norm")
    query = graph.linear(graph.reshape(graph.weight("pool.probe"), [1, tower.width]), "pool.query")
    attended = _attend(graph, "pool", graph.repeat(query, graph.reshape(patches, split)), patches, split)
    return _project(graph, _widen(graph, "pool", attended))


def write_patches(graph: Graph, tower: VisionTower) -> str:
    """`views` → one row a patch, `(N·grid², D)`: treated like the class token, or pooled as if it alone were seen.

    In the last block each patch attends to itself alone, as MaskCLIP does it (Zhou, Loy and Dai 2022,
    https://arxiv.org/abs/2112.01071): otherwise it has gathered there what the whole picture shows.
    """
    split = _split(graph, tower)
    rows = _see(graph, tower, split, alone=True)
    if tower.has("class"):
        bounds = (graph.constant([1]), graph.constant([1 + tower.grid**2]), graph.constant([1]))
        rows = graph.flat(graph.add("Slice", graph.reshape(rows, split), *bounds))
        return _project(graph, graph.norm(rows, "post_norm"))
    rows = graph.linear(graph.norm(rows, "post_norm"), "pool.value")  # all attention goes to the one there is
    return _project(graph, _widen(graph, "pool", graph.linear(rows, "pool.out")))


def write_text(graph: Graph, tower: TextTower) -> str:
    """`ids` and `pooled` → rows `(N, D)`."""
    length = graph.add("Shape", "ids", start=1, end=2)
    positions = graph.add("Slice", graph.weight("positions"), graph.constant([0]), length, graph.constant([0]))
    rows = graph.flat(graph.add("Add", graph.add("Gather", graph.weight("tokens"), "ids"), positions))
    split = graph.add("Concat", graph.constant([-1]), length, graph.constant([tower.width]), axis=0)
    for i in range(tower.layers):
        rows = _block(graph, f"blocks.{i}", rows, split, causal=tower.causal)
    return _project(graph, graph.norm(graph.add("Gather", rows, "pooled"), "post_norm"))


def write_network(graph: Graph, network: Network, rows: str) -> str:
    """Rows `(N, D)` → scores `(N, L)`. The rows should be of unit length where the network says so."""
    for i, layer in enumerate(network):
        rows = _layer(graph, layer, rows, f"head.{i}")
    if network.output == "softmax":
        return graph.add("Softmax", rows, axis=1)
    if network.output == "sigmoid":
        return graph.add("Sigmoid", rows)
    return _cut(graph, rows, "head")


def _split(graph: Graph, tower: VisionTower) -> str:
    """The shape `(N, T, W)`."""
    return graph.constant([-1, tower.shapes()["positions"][0], tower.width])


Pick = Callable[[str], str]


def _see(graph: Graph, tower: VisionTower, split: str, pick: Pick | None = None, alone: bool = False) -> str:
    """`views` → rows `(N·T, W)` after the last block, or of these those that `pick` keeps.

    `alone`: in the last block each attends to itself only.
    """
    rows = _embed_patches(graph, tower)
    if tower.has("pre_norm.weight"):
        rows = graph.norm(rows, "pre_norm")
    for i in range(tower.layers - 1):
        rows = _block(graph, f"blocks.{i}", rows, split)
    last = f"blocks.{tower.layers - 1}"
    return _block_alone(graph, last, rows) if alone else _block(graph, last, rows, split, pick=pick)


def _embed_patches(graph: Graph, tower: VisionTower) -> str:
    """uint8 views → rows of patches, after a class token if there is one, positions added: `(N·T, W)`.

    Pixels become `(value/255 - mean) / std` inside the weight and bias of the patch embedding.
    """
    side, patch, width = tower.grid, tower.patch, tower.width
    pixels = graph.reshape("views", [-1, side, patch, side, patch, 3])
    pixels = graph.add("Transpose", pixels, perm=[0, 1, 3, 2, 4, 5])
    pixels = graph.add("Cast", graph.reshape(pixels, [-1, patch * patch * 3]), to=TensorProto.FLOAT)
    weight = tower.read("patch.weight").transpose(0, 2, 3, 1).astype(np.float64)  # (W, P, P, 3), as pixels lie
    mean, std = np.array(tower.mean), np.array(tower.std)
    folded = (weight / (255 * std)).reshape(width, -1).astype(np.float32)
    shift = (weight * -mean / std).sum(axis=(1, 2, 3))
    if tower.has("patch.bias"):
        shift += tower.read("patch.bias")
    bias = graph.weight("patch.shift", shift.astype(np.float32))
    patches = graph.add("Gemm", pixels, graph.weight("patch.folded", folded), bias, transB=1)
    tokens = graph.reshape(patches, [-1, side * side, width])
    if tower.has("class"):
        tokens = graph.add("Concat", graph.repeat(graph.weight("class"), tokens), tokens, axis=1)
    return graph.flat(graph.add("Add", tokens, graph.weight("positions")))


def _block(graph: Graph, name: str, rows: str, split: str, *, causal: bool = False, pick: Pick | None = None) -> str:
    """One pre-norm block over rows `(N·T, W)`; `split` is the shape `(N, T, W)`.

    Only the rows that `pick` keeps are computed past the attention; it keeps one a view.
    """
    normed = graph.norm(rows, f"{name}.norm_1")
    kept = pick(normed) if pick else normed
    query = graph.reshape(graph.linear(kept, f"{name}.query"), [-1, 1, graph.tower.width] if pick else split)
    attended = _attend(graph, name, query, normed, split, causal=causal)
    return _widen(graph, name, graph.add("Add", pick(rows) if pick else rows, attended))


def _block_alone(graph: Graph, name: str, rows: str) -> str:
    """The same where every row attends to itself alone."""
    attended = graph.linear(graph.linear(graph.norm(rows, f"{name}.norm_1"), f"{name}.value"), f"{name}.out")
    return _widen(graph, name, graph.add("Add", rows, attended))


def _attend(graph: Graph, name: str, query: str, rows: str, split: str, *, causal: bool = False) -> str:
    """What queries `(N, Q, W)` gather from rows `(N·T, W)`: rows `(N·Q, W)`."""
    key = graph.reshape(graph.linear(rows, f"{name}.key"), split)
    value = graph.reshape(graph.linear(rows, f"{name}.value"), split)
    heads, unidirectional = graph.tower.heads, int(causal)
    mixed = graph.add(
        "MultiHeadAttention", query, key, value, domain=_CONTRIB, num_heads=heads, unidirectional=unidirectional
    )
    return graph.linear(graph.flat(mixed), f"{name}.out")


def _widen(graph: Graph, name: str, rows: str) -> str:
    """The hidden layer of a block, added to its rows."""
    hidden = graph.activate(graph.linear(graph.norm(rows, f"{name}.norm_2"), f"{name}.up"))
    return graph.add("Add", rows, graph.linear(hidden, f"{name}.down"))


def _project(graph: Graph, rows: str) -> str:
    return graph.linear(rows, "projection") if graph.tower.has("projection.weight") else rows


def _layer(graph: Graph, layer: Layer, rows: str, name: str) -> str:
    match layer:
        case Linear(weight, bias):
            parts = graph.weight(f"{name}.weight", weight), graph.weight(f"{name}.bias", bias)
            return graph.add("Gemm", rows, *parts, transB=1)
        case Affine(scale, shift):
            scaled = graph.add("Mul", rows, graph.weight(f"{name}.scale", scale))
            return graph.add("Add", scaled, graph.weight(f"{name}.shift", shift))
        case Relu():
            return graph.add("Relu", rows)
        case Curves():
            return _curves(graph, layer, rows, name)
    raise TypeError(f"There is no graph for a layer of the kind {type(layer).__name__}.")


def _curves(graph: Graph, curves: Curves, rows: str, name: str) -> str:
    """Each curve as its first value and a climb between each two knots, of which every row has a share from 0 to 1.

    A sum of ReLUs would be the same on paper; but its slopes reach millions, and float32 loses their differences.
    """
    left, right = curves.x[:, :-1], curves.x[:, 1:]
    left = np.where(left == right, np.nextafter(left, np.float32(-np.inf)), left)  # a step, taken at its knot
    columns = graph.constant(curves.columns.tolist())
    column = graph.add("Gather", rows, columns, axis=1)
    passed = graph.add("Sub", graph.add("Unsqueeze", column, graph.constant([2])), graph.weight(f"{name}.left", left))
    share = _cut(graph, graph.add("Div", passed, graph.weight(f"{name}.width", right - left)), name)
    climbs = graph.add("Mul", share, graph.weight(f"{name}.climb", np.diff(curves.y)))
    climbed = graph.add("ReduceSum", climbs, graph.constant([2]), keepdims=0)
    curved = graph.add("Add", climbed, graph.weight(f"{name}.start", curves.y[:, 0]))
    places = graph.add("Expand", columns, graph.add("Shape", column))
    return graph.add("ScatterElements", rows, places, curved, axis=1)


def _cut(graph: Graph, rows: str, name: str) -> str:
    bounds = (graph.weight(f"{name}.{i}", np.array(i, np.float32)) for i in (0, 1))
    return graph.add("Clip", rows, *bounds)
