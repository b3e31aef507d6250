"""Towers as nodes of an OpenVINO graph; `openvino.py` runs it.

Norms are a normalisation, a product and a sum, which the CPU plugin fuses. A layer in whole numbers is a
`FakeQuantize` before a product with int8 weights; the plugin computes the two in int8.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderato.encoders._quantise import Grid, Int8, Quantiser
from moderato.encoders._towers import Tower, VisionTower

# Importing openvino reports the import to its makers wherever this package can be imported; it does without.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

Output = Any
"""An output of a node; the bindings are not typed well enough to say so."""

Run = Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]
"""Inputs by name → the one result; thread-safe."""


LIBRARY = f"openvino {openvino.__version__}"


def has_bf16() -> bool:
    """Whether the CPU has instructions for products of bfloat16: the plugin would then take them unasked."""
    return bool(openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT") == openvino.Type.bf16)


def hints(threads: int, between: str) -> dict[str, Any]:
    """What the plugin is told; see `OpenVinoGraph.compile`."""
    return {
        "INFERENCE_PRECISION_HINT": between,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",  # one call at a time, which uses all threads
        "ENABLE_CPU_PINNING": False,  # the cores are shared with those who prepare pictures
    }


class OpenVinoGraph:
    """A graph being written: the operations of `_blocks.Graph`, whose handles are outputs of nodes.

    Weights are views of the model's files: the tower must outlive what is compiled from the graph.
    """

    def __init__(self, tower: Tower, quantiser: Quantiser | None = None) -> None:
        self.tower = tower
        self._quantiser = quantiser
        self._rounded: dict[str, Output] = {}
        self._kept: list[NDArray[np.float32]] = []

    @cached_property
    def inputs(self) -> dict[str, Output]:
        """`views`: uint8 `(N, S, S, 3)`; or `ids`: int64 `(N, T)`, and `pooled`: int64 `(N,)`."""
        if isinstance(self.tower, VisionTower):
            return {"views": _parameter("views", np.uint8, [-1, self.tower.side, self.tower.side, 3])}
        return {"ids": _parameter("ids", np.int64, [-1, -1]), "pooled": _parameter("pooled", np.int64, [-1])}

    def compile(self, output: Output, threads: int, between: str) -> Run:
        """What was written, with one result; `between`, f32 or bf16, is what is computed in where nothing is int8."""
        compiled = openvino.Core().compile_model(self.model(output), "CPU", hints(threads, between))
        tower, kept, met = self.tower, self._kept, set[int]()
        tower.tensors.release()

        def run(inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
            assert kept, "a number of rows that it meets for the first time makes it read the weights again"
            result: NDArray[np.float32] = compiled.create_infer_request().infer(inputs)[0]
            if (count := len(result)) not in met:
                met.add(count)
                tower.tensors.release()  # but not each time: some products read the mapped weights themselves
            return result

        return run

    def model(self, output: Output) -> openvino.Model:
        """What was written, with one result, not compiled yet."""
        return openvino.Model([ops.result(output)], list(self.inputs.values()), "tower")

    def pixels(self) -> Output:
        """See `Graph.pixels`."""
        tower = self._vision
        side, patch = tower.grid, tower.patch
        lines = _reshape(self.inputs["views"], [-1, side, patch, side, patch * 3])  # whole ones move faster than pixels
        pixels = ops.transpose(lines, _whole([0, 1, 3, 2, 4]))
        return ops.convert(_reshape(pixels, [-1, patch * patch * 3]), "f32").output(0)

    def place(self, patches: Output) -> Output:
        """See `Graph.place`."""
        tokens = self.split(patches, self._vision.grid**2)
        if self.tower.has("class"):
            tokens = ops.concat([self.repeat(self.row("class"), tokens), tokens], 1)
        return self.flat(ops.add(tokens, self._weight("positions")))

    def words(self) -> Output:
        """See `Graph.words`."""
        positions = ops.slice(
            self._weight("positions"), _whole([0]), ops.unsqueeze(self._length, _whole(0)), _whole([1]), _whole([0])
        )
        return self.flat(ops.add(ops.gather(self._weight("tokens"), self.inputs["ids"], _whole(0)), positions))

    def pooled(self, rows: Output) -> Output:
        """See `Graph.pooled`."""
        return ops.gather(rows, self.inputs["pooled"], _whole(0)).output(0)

    def linear(self, rows: Output, name: str) -> Output:
        """See `Graph.linear`."""
        layer = self._quantiser.layer(name) if self._quantiser else None
        if layer:
            return self._linear_int8(rows, layer)
        product = ops.matmul(rows, self._weight(f"{name}.weight"), False, True)
        if self.tower.has(f"{name}.bias"):
            product = ops.add(product, self._weight(f"{name}.bias"))
        return product.output(0)

    def norm(self, rows: Output, name: str) -> Output:
        """See `Graph.norm`."""
        normal = ops.mvn(rows, _whole([-1]), True, self.tower.epsilon, "inside_sqrt")
        scaled = ops.multiply(normal, self._weight(f"{name}.weight"))
        return ops.add(scaled, self._weight(f"{name}.bias")).output(0)

    def activate(self, rows: Output) -> Output:
        """See `Graph.activate`."""
        if self.tower.activation == "quick_gelu":
            return ops.swish(rows, _number(1.702)).output(0)
        return ops.gelu(rows, "tanh" if self.tower.activation == "gelu_tanh" else "erf").output(0)

    def add(self, left: Output, right: Output) -> Output:
        """See `Graph.add`."""
        return ops.add(left, right).output(0)

    def unit(self, rows: Output) -> Output:
        """See `Graph.unit`."""
        length = ops.sqrt(ops.reduce_sum(ops.multiply(rows, rows), _whole([-1]), True))
        return ops.divide(rows, length).output(0)

    def split(self, rows: Output, each: int | None = None) -> Output:
        """See `Graph.split`."""
        length = _whole(each) if each else self._length
        shape = ops.concat([_whole([-1]), ops.unsqueeze(length, _whole(0)), _whole([self.tower.width])], 0)
        return ops.reshape(rows, shape, False).output(0)

    def flat(self, tokens: Output) -> Output:
        """See `Graph.flat`."""
        return _reshape(tokens, [-1, self.tower.width])

    def attend(self, query: Output, key: Output, value: Output, *, causal: bool) -> Output:
        """See `Graph.attend`."""
        heads = [self._heads(tokens) for tokens in (query, key, value)]
        mixed = ops.transpose(ops.scaled_dot_product_attention(*heads, causal=causal), _whole([0, 2, 1, 3]))
        return ops.reshape(mixed, _whole([0, 0, self.tower.width]), True).output(0)

    def first(self, rows: Output) -> Output:
        """See `Graph.first`."""
        # Not by way of `split`: before int8 the plugin moves the product of a norm past that, and where a view has more
        # tokens than a token has numbers it takes the one for the other and fails.
        count = ops.gather(ops.shape_of(rows), _whole(0), _whole(0))
        return ops.gather(rows, ops.range(_whole(0), count, self._length, "i64"), _whole(0)).output(0)

    def others(self, rows: Output) -> Output:
        """See `Graph.others`."""
        bounds = (_whole([1]), _whole([self._vision.tokens]), _whole([1]), _whole([1]))
        return self.flat(ops.slice(self.split(rows), *bounds))

    def row(self, name: str) -> Output:
        """See `Graph.row`."""
        return _reshape(self._weight(name), [1, self.tower.width])

    def repeat(self, row: Output, tokens: Output) -> Output:
        """See `Graph.repeat`."""
        count = ops.gather(ops.shape_of(self.inputs["views"]), _whole([0]), _whole(0))
        return ops.broadcast(row, ops.concat([count, _whole([1, self.tower.width])], 0)).output(0)

    def _linear_int8(self, rows: Output, layer: Int8) -> Output:
        weight = ops.multiply(ops.convert(ops.constant(layer.weight), "f32"), ops.constant(layer.step[:, None]))
        product = ops.matmul(self._round(rows, layer.grid), weight, False, True)
        return ops.add(product, ops.constant(layer.bias)).output(0)

    def _round(self, rows: Output, grid: Grid) -> Output:
        """Rows on their grid, 0..255, once however many layers read them."""
        name = rows.get_node().get_friendly_name()
        if name not in self._rounded:
            bounds = (ops.constant(bound[None]) for bound in (grid.shift, grid.shift + 255 * grid.scale))
            self._rounded[name] = ops.fake_quantize(rows, *bounds, _number(0), _number(255), 256).output(0)
        return self._rounded[name]

    def _heads(self, tokens: Output) -> Output:
        """`(N, T, W)` → `(N, heads, T, W/heads)`."""
        heads = self.tower.heads
        split = ops.reshape(tokens, _whole([0, 0, heads, self.tower.width // heads]), True)
        return ops.transpose(split, _whole([0, 2, 1, 3])).output(0)

    def _weight(self, name: str) -> Output:
        array = self.tower.read(name)
        if array.ndim == 1:
            return ops.constant(array).output(0)
        self._kept.append(array)
        # OpenVINO shares arrays that can be written alone, and writes to none; those of a mapped file cannot.
        shared = np.ctypeslib.as_array((ctypes.c_float * array.size).from_address(array.ctypes.data))
        return ops.constant(shared.reshape(array.shape), shared_memory=True).output(0)

    @cached_property
    def _length(self) -> Output:
        """How many tokens each view or text has: T."""
        if isinstance(self.tower, VisionTower):
            return _whole(self.tower.tokens)
        return ops.gather(ops.shape_of(self.inputs["ids"]), _whole(1), _whole(0))

    @property
    def _vision(self) -> VisionTower:
        assert isinstance(self.tower, VisionTower)
        return self.tower


def _parameter(name: str, kind: type[np.generic], shape: list[int]) -> Output:
    return ops.parameter(openvino.PartialShape(shape), openvino.Type(kind), name=name)


def _reshape(data: Output, shape: list[int]) -> Output:
    return ops.reshape(data, _whole(shape), False).output(0)


def _whole(value: int | Sequence[int]) -> Output:
    return ops.constant(np.array(value, np.int64))


def _number(value: float) -> Output:
    return ops.constant(np.array(value, np.float32))
