"""Towers and heads as nodes of an ONNX graph; `onnx.py` runs it or writes it to a file.

Every linear layer is one Gemm with the weight as the files store it, `(out, in)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from moderato.encoders._towers import Tower, VisionTower
from moderato.layers import Affine, Curves, Layer, Linear, Network, Relu

_OPSET = 20  # the first with Gelu
CONTRIB = "com.microsoft"
"""Fused attention, quick-gelu and products of whole numbers: part of every build of ONNX Runtime."""
_IR_VERSION = 10

Array = NDArray[Any]
"""float32 everywhere, but for layers in whole numbers."""
Shape = tuple[str | None, int]
Input = onnx.ValueInfoProto
Weight = TensorProto
Hold = Callable[[str, Array], Weight]
"""Declares a weight by its name, and says where it lies."""


class OnnxGraph:
    """A graph being written: the operations of `_blocks.Graph`, whose handles are the names of results.

    `weights` are the tensors that it needs and does not hold: views of the model's files, or made from them.
    """

    def __init__(self, tower: Tower) -> None:
        self.tower = tower
        self.weights: dict[str, Array] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
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

    def reshape(self, data: str, shape: Sequence[int] | str) -> str:
        """Data in another shape: numbers, or the result that holds them."""
        return self.node("Reshape", data, shape if isinstance(shape, str) else self.constant(shape))

    def pixels(self) -> str:
        """See `Graph.pixels`."""
        tower = self._vision
        side, patch = tower.grid, tower.patch
        lines = self.reshape("views", [-1, side, patch, side, patch * 3])
        pixels = self.node("Transpose", lines, perm=[0, 1, 3, 2, 4])
        return self.node("Cast", self.reshape(pixels, [-1, patch * patch * 3]), to=TensorProto.FLOAT)

    def place(self, patches: str) -> str:
        """See `Graph.place`."""
        tokens = self.split(patches, self._vision.grid**2)
        if self.tower.has("class"):
            tokens = self.node("Concat", self.repeat(self.weight("class"), tokens), tokens, axis=1)
        return self.flat(self.node("Add", tokens, self.weight("positions")))

    def words(self) -> str:
        """See `Graph.words`."""
        bounds = (self.constant([0]), self._length, self.constant([0]))
        positions = self.node("Slice", self.weight("positions"), *bounds)
        return self.flat(self.node("Add", self.node("Gather", self.weight("tokens"), "ids"), positions))

    def pooled(self, rows: str) -> str:
        """See `Graph.pooled`."""
        return self.node("Gather", rows, "pooled")

    def linear(self, rows: str, name: str) -> str:
        """See `Graph.linear`."""
        bias = [self.weight(f"{name}.bias")] if self.tower.has(f"{name}.bias") else []
        return self.node("Gemm", rows, self.weight(f"{name}.weight"), *bias, transB=1)

    def norm(self, rows: str, name: str) -> str:
        """See `Graph.norm`."""
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", rows, scale, shift, axis=-1, epsilon=self.tower.epsilon)

    def activate(self, rows: str) -> str:
        """See `Graph.activate`."""
        if self.tower.activation == "quick_gelu":
            return self.node("QuickGelu", rows, domain=CONTRIB, alpha=1.702)
        return self.node("Gelu", rows, approximate="tanh" if self.tower.activation == "gelu_tanh" else "none")

    def add(self, left: str, right: str) -> str:
        """See `Graph.add`."""
        return self.node("Add", left, right)

    def unit(self, rows: str) -> str:
        """See `Graph.unit`."""
        return self.node("LpNormalization", rows, axis=-1, p=2)

    def split(self, rows: str, each: int | None = None) -> str:
        """See `Graph.split`."""
        return self.reshape(rows, [-1, each, self.tower.width] if each else self._tokens)

    def flat(self, tokens: str) -> str:
        """See `Graph.flat`."""
        return self.reshape(tokens, [-1, self.tower.width])

    def attend(self, query: str, key: str, value: str, *, causal: bool) -> str:
        """See `Graph.attend`."""
        facts = {"num_heads": self.tower.heads, "unidirectional": int(causal)}
        return self.node("MultiHeadAttention", query, key, value, domain=CONTRIB, **facts)

    def first(self, rows: str) -> str:
        """See `Graph.first`."""
        return self.node("Gather", self.split(rows), self.constant(0), axis=1)

    def others(self, rows: str) -> str:
        """See `Graph.others`."""
        bounds = (self.constant([1]), self.constant([self._vision.tokens]), self.constant([1]))
        return self.flat(self.node("Slice", self.split(rows), *bounds))

    def row(self, name: str) -> str:
        """See `Graph.row`."""
        return self.reshape(self.weight(name), [1, self.tower.width])

    def repeat(self, row: str, tokens: str) -> str:
        """See `Graph.repeat`."""
        views = self.node("Shape", tokens, end=1)
        return self.node("Expand", row, self.node("Concat", views, self.constant([1, self.tower.width]), axis=0))

    def model(self, inputs: Sequence[Input], outputs: Mapping[str, Shape | None], hold: Hold) -> onnx.ModelProto:
        """What was written, with these results and their shapes, where known; `hold` says where each weight lies."""
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        initializers = self._constants + [hold(name, array) for name, array in self.weights.items()]
        graph = helper.make_graph(self._nodes, "tower", inputs, results, initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    @property
    def _vision(self) -> VisionTower:
        assert isinstance(self.tower, VisionTower)
        return self.tower

    @cached_property
    def _length(self) -> str:
        """The length T of texts, `(1,)`."""
        return self.node("Shape", "ids", start=1, end=2)

    @cached_property
    def _tokens(self) -> str:
        """The shape `(N, T, W)`."""
        if isinstance(self.tower, VisionTower):
            return self.constant([-1, self.tower.tokens, self.tower.width])
        return self.node("Concat", self.constant([-1]), self._length, self.constant([self.tower.width]), axis=0)


def inside(name: str, array: Array) -> Weight:
    """A weight in the model itself."""
    return numpy_helper.from_array(array, name)


def outside(name: str, array: Array, **place: str | int) -> Weight:
    """A weight outside the model: in a file at this `location`, `offset` and `length`, or given when it is opened."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
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


def write_network(graph: OnnxGraph, network: Network, rows: str) -> str:
    """Rows `(N, D)` → scores `(N, L)`. The rows should be of unit length where the network says so."""
    for i, layer in enumerate(network):
        rows = _layer(graph, layer, rows, f"head.{i}")
    if network.output == "softmax":
        return graph.node("Softmax", rows, axis=1)
    if network.output == "sigmoid":
        return graph.node("Sigmoid", rows)
    return _cut(graph, rows, "head")


def _layer(graph: OnnxGraph, layer: Layer, rows: str, name: str) -> str:
    match layer:
        case Linear(weight, bias):
            parts = graph.weight(f"{name}.weight", weight), graph.weight(f"{name}.bias", bias)
            return graph.node("Gemm", rows, *parts, transB=1)
        case Affine(scale, shift):
            scaled = graph.node("Mul", rows, graph.weight(f"{name}.scale", scale))
            return graph.node("Add", scaled, graph.weight(f"{name}.shift", shift))
        case Relu():
            return graph.node("Relu", rows)
        case Curves():
            return _curves(graph, layer, rows, name)
    raise TypeError(f"There is no graph for a layer of the kind {type(layer).__name__}.")


def _curves(graph: OnnxGraph, curves: Curves, rows: str, name: str) -> str:
    """Each curve as its first value and a climb between each two knots, of which every row has a share from 0 to 1.

    A sum of ReLUs would be the same on paper; but its slopes reach millions, and float32 loses their differences.
    """
    left, right = curves.x[:, :-1], curves.x[:, 1:]
    left = np.where(left == right, np.nextafter(left, np.float32(-np.inf)), left)  # a step, taken at its knot
    columns = graph.constant(curves.columns.tolist())
    column = graph.node("Gather", rows, columns, axis=1)
    passed = graph.node("Sub", graph.node("Unsqueeze", column, graph.constant([2])), graph.weight(f"{name}.left", left))
    share = _cut(graph, graph.node("Div", passed, graph.weight(f"{name}.width", right - left)), name)
    climbs = graph.node("Mul", share, graph.weight(f"{name}.climb", np.diff(curves.y)))
    climbed = graph.node("ReduceSum", climbs, graph.constant([2]), keepdims=0)
    curved = graph.node("Add", climbed, graph.weight(f"{name}.start", curves.y[:, 0]))
    places = graph.node("Expand", columns, graph.node("Shape", column))
    return graph.node("ScatterElements", rows, places, curved, axis=1)


def _cut(graph: OnnxGraph, rows: str, name: str) -> str:
    bounds = (graph.weight(f"{name}.{i}", np.array(i, np.float32)) for i in (0, 1))
    return graph.node("Clip", rows, *bounds)
