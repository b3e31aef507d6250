"""Linear layers in whole numbers, 8 bits each, worked out from the weights and the measured ranges alone.

What a layer reads becomes 0..255: `q = round((rows - shift) / scale)`, with a `shift` and a `scale` of its own for each
number in a row. Trained transformers need that: a few of these numbers are tens of times larger than the others, and
one scale for all would leave those a handful of steps. How much of a number's size its scale takes up, and how much is
left to the weights, is SmoothQuant's compromise (Xiao et al. 2022, https://arxiv.org/abs/2211.10438); that numbers are
also shifted to the middle of their range is from Outlier Suppression+ (Wei et al. 2023,
https://arxiv.org/abs/2304.09145). Weights get one step for each output. The bias takes back what rounding the weights
adds on average (Nagel et al. 2019, https://arxiv.org/abs/1906.04721).

The blocks and the patch embedding, more than 99 % of the work, are done so. The pool, the projection and everything
between the linear layers stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderato.encoders._ranges import Ranges
from moderato.encoders._towers import VisionTower
from moderato.errors import WeightsError

Array = NDArray[np.float32]

_STEPS = 255
_LARGEST = 127  # of a weight; -128 is left out, so that both signs are alike
_SMALLEST = 1e-4  # of a number's range, relative to the widest: what never moved in measuring may move later

_SHARED = {"query": ("query", "key", "value"), "key": ("query", "key", "value"), "value": ("query", "key", "value")}
"""Layers that read the same rows."""


@dataclass(frozen=True)
class Grid:
    """`(in,)` float32 each: `q = round((rows - shift) / scale)`, 0..255."""

    shift: Array
    scale: Array


@dataclass(frozen=True)
class Int8:
    """A layer: `rows @ W.T + b` is nearly `(q @ weight.T) * step + bias`, with q by `grid`."""

    grid: Grid
    weight: NDArray[np.int8]
    """(out, in), -127..127"""
    step: Array
    """(out,)"""
    bias: Array
    """(out,)"""


class Quantiser:
    """The layers of a tower in whole numbers, each worked out when it is asked for.

    Raises `WeightsError` when the ranges are those of another tower.
    """

    def __init__(self, tower: VisionTower, ranges: Ranges) -> None:
        self._tower = tower
        self._ranges = ranges.layers
        self._grids: dict[tuple[str, ...], Grid] = {}
        for name in whole(tower):
            found = self._ranges.get(name)
            if found is None or found.low.shape != (tower.read(f"{name}.weight").shape[1],):
                raise WeightsError(f"{tower.files}: the ranges are those of another encoder: '{name}' does not fit.")

    def layer(self, name: str) -> Int8 | None:
        """A layer by its name; None for one that stays as it is."""
        if name not in self._ranges:
            return None
        grid, mean, weight = self.grid(name), self._ranges[name].mean, self._tower.read(f"{name}.weight")
        scaled = weight * grid.scale
        step = np.maximum(np.abs(scaled).max(axis=1), np.finfo(np.float32).tiny) / _LARGEST
        rounded = np.rint(scaled / step[:, None])
        bias = weight @ mean - step * (rounded @ ((mean - grid.shift) / grid.scale))
        if self._tower.has(f"{name}.bias"):
            bias += self._tower.read(f"{name}.bias")
        return Int8(grid, rounded.astype(np.int8), step, bias)

    def grid(self, name: str) -> Grid:
        """How the rows that a layer reads become whole numbers; the same for all that read the same rows."""
        if name == "pixels":  # these are whole numbers
            size = len(self._ranges[name].low)
            return Grid(np.zeros(size, np.float32), np.ones(size, np.float32))
        block, _, layer = name.rpartition(".")
        names = tuple(f"{block}.{shared}" for shared in _SHARED.get(layer, (layer,)))
        if names not in self._grids:
            self._grids[names] = self._grid(names)
        return self._grids[names]

    def _grid(self, names: tuple[str, ...]) -> Grid:
        """The grid of layers that read the same rows."""
        low = np.min([self._ranges[name].low for name in names], axis=0)
        high = np.max([self._ranges[name].high for name in names], axis=0)
        half = _floored((high - low) / 2)
        weights = _floored(np.max([_columns(self._tower.read(f"{name}.weight")) for name in names], axis=0))
        smooth = np.sqrt(half / weights)
        scale = smooth * (half / smooth).max() * 2 / _STEPS
        return Grid((low + high) / 2 - scale * _STEPS / 2, scale)


def whole(tower: VisionTower) -> list[str]:
    """The linear layers that can be done in whole numbers, by name."""
    layers = ("query", "key", "value", "out", "up", "down")
    return ["pixels", *(f"blocks.{i}.{layer}" for i in range(tower.layers) for layer in layers)]


def _columns(weight: Array) -> Array:
    """The largest magnitude in each column."""
    largest: Array = np.maximum(weight.max(axis=0), -weight.min(axis=0))
    return largest


def _floored(sizes: Array) -> Array:
    """Sizes, none of them 0."""
    floored: Array = np.maximum(sizes, np.float32(_SMALLEST) * (sizes.max() or np.float32(1)))
    return floored
