"""A vision tower as an ONNX graph in whole numbers, and one that measures what such a graph must know.

Rows become whole numbers where they are made, if that costs nothing: in the scale and shift of a norm, and in what the
layer `value` gives to attention, whose weights sum to 1. Only the hidden layer needs a product and a sum of its own.
"""

from __future__ import annotations

import numpy as np

from moderato.encoders._onnx_graph import CONTRIB, OnnxGraph
from moderato.encoders._quantise import Grid, Quantiser, whole
from moderato.encoders._towers import VisionTower

_READERS = {"norm_1": "query", "norm_2": "up", "value": "out"}
"""What makes rows, and the layer that reads them and nothing else does."""


class Int8Graph(OnnxGraph):
    """Linear layers as products of whole numbers, wherever the quantiser has them so."""

    def __init__(self, tower: VisionTower, quantiser: Quantiser) -> None:
        super().__init__(tower)
        self._quantiser = quantiser
        self._rounded: dict[str, str] = {}

    def norm(self, rows: str, name: str) -> str:
        """See `Graph.norm`; what a layer in whole numbers reads comes on its grid."""
        grid = self._grid_behind(name)
        if grid is None:
            return super().norm(rows, name)
        scale = self.weight(f"{name}.weight", self.tower.read(f"{name}.weight") / grid.scale)
        shift = self.weight(f"{name}.bias", (self.tower.read(f"{name}.bias") - grid.shift) / grid.scale)
        return self.node("LayerNormalization", rows, scale, shift, axis=-1, epsilon=self.tower.epsilon)

    def linear(self, rows: str, name: str) -> str:
        """See `Graph.linear`."""
        layer = self._quantiser.layer(name)
        if layer is None:
            return super().linear(rows, name)
        if name.endswith(".down"):
            factor = self.weight(f"{name}.factor", 1 / layer.grid.scale)
            rows = self.node("Mul", rows, factor)
            rows = self.add(rows, self.weight(f"{name}.moved", -layer.grid.shift / layer.grid.scale))
        step, bias = layer.step, layer.bias
        if grid := self._grid_behind(name):
            step, bias = step / grid.scale, (bias - grid.shift) / grid.scale
        return self.node(
            "MatMulIntegerToFloat",
            self._round(rows),
            self.weight(f"{name}.whole", np.ascontiguousarray(layer.weight.T)),
            self._one,
            self.weight(f"{name}.step", step),
            self._zero,
            "",
            self.weight(f"{name}.bias", bias),
            domain=CONTRIB,
        )

    def _grid_behind(self, name: str) -> Grid | None:
        """The grid of the layer in a block that reads what `name` makes."""
        block, _, maker = name.rpartition(".")
        if maker in _READERS and block.startswith("blocks."):
            return self._quantiser.grid(f"{block}.{_READERS[maker]}")
        return None

    def _round(self, rows: str) -> str:
        """Rows that are on their grid, as uint8, once however many read them."""
        if rows not in self._rounded:
            self._rounded[rows] = self.node("QuantizeLinear", rows, self._one, self._zero)
        return self._rounded[rows]

    @property
    def _one(self) -> str:
        return self.weight("one", np.array(1, np.float32))

    @property
    def _zero(self) -> str:
        return self.weight("zero", np.array(0, np.uint8))


class WatchedGraph(OnnxGraph):
    """A graph that also gives the range of what each layer reads; `watched` are those results, `KIND NAME`."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__(tower)
        self.watched: list[str] = []
        self._layers = frozenset(whole(tower))

    def linear(self, rows: str, name: str) -> str:
        """See `Graph.linear`."""
        if name in self._layers:
            for kind in ("Min", "Max", "Mean"):
                result = self.node(f"Reduce{kind}", rows, self.constant([0]), keepdims=0)
                self.watched.append(self.name(result, f"{kind} {name}"))
        return super().linear(rows, name)
