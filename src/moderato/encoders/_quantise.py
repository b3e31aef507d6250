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

from moderato.encoders._ranges import Range, Ranges
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
        for name in whole(tower):
            found = self._ranges.get(name)
            if found is None or found.low.shape != (tower.read(f"{name}.weight").shape[1],):
                raise WeightsError(f"{tower.files}: the ranges are those of another encoder: '{name}' does not fit.")

    def layer(self, name: str) -> Int8 | None:
        """A layer by its name; None for one that stays as it is."""
        if name not in self._ranges:
            return None
        grid, mean = self.grid(name), self._ranges[name].mean.astype(np.float64)
        weight = self._tower.read(f"{name}.weight").astype(np.float64)
        scaled = weight * grid.scale
        step = np.maximum(np.abs(scaled).max(axis=1), np.finfo(np.float32).tiny) / _LARGEST
        rounded = np.rint(scaled / step[:, None])
        bias = weight @ mean - step * (rounded @ ((mean - grid.shift) / grid.scale))
        if self._tower.has(f"{name}.bias"):
            bias += self._tower.read(f"{name}.bias")
        return Int8(grid, rounded.astype(np.int8), step.astype(np.float32), bias.astype(np.float32))

    def grid(self, name: str) -> Grid:
        """How the rows that a layer reads become whole numbers; the same for all that read the same rows."""
        if name == "pixels":  # these are whole numbers
            size = len(self._ranges[name].low)
            return Grid(np.zeros(size, np.float32), np.ones(size, np.float32))
        block, _, layer = name.rpartition(".")
        names = [f"{block}.{shared}" for shared in _SHARED.get(layer, (layer,))]
        low, high = _widest([self._ranges[name] for name in names])
        half = _floored((high - low) / 2)
        weights = _floored(np.max([np.abs(self._tower.read(f"{name}.weight")).max(axis=0) for name in names], axis=0))
        smooth = np.sqrt(half / weights)
        scale = smooth * (half / smooth).max() * 2 / _STEPS
        shift = (low + high) / 2 - scale * _STEPS / 2
        return Grid(shift.astype(np.float32), scale.astype(np.float32))


def whole(tower: VisionTower) -> list[str]:
    """The linear layers that can be done in whole numbers, by name."""
    layers = ("query", "key", "value", "out", "up", "down")
    return ["pixels", *(f"blocks.{i}.{layer}" for i in range(tower.layers) for layer in layers)]


def _widest(ranges: list[Range]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low = np.min([of.low for of in ranges], axis=0)
    return low.astype(np.float64), np.max([of.high for of in ranges], axis=0).astype(np.float64)


def _floored(sizes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sizes, none of them 0."""
    largest = float(sizes.max()) or 1.0
    floored: NDArray[np.float64] = np.maximum(sizes.astype(np.float64), _SMALLEST * largest)
    return floored
