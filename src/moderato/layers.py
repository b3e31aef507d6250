"""What a trained head is made of: a few kinds of layer, as numbers.

A head's file is read into a `Network` (`heads/`), which runs here in plain numpy; a runtime that writes graphs
emits the same layers in its own form (`encoders/_onnx_graph.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from moderato.types import Scores

Floats = NDArray[np.float32]
"""float32 of any shape."""

Float = TypeVar("Float", np.float32, np.float64)
"""Either is kept as it is."""

Output = Literal["sigmoid", "softmax", "raw"]
"""What makes scores of the last layer's numbers; `raw` ones are only cut to 0..1."""

_SURE = 1e-7
_ROUGHLY_ONE = 1e-3
"""How far from 1 the length of a unit row may be: float16 storage moves it by some 2e-4."""


class Layer(Protocol):
    """Floats `(N, D)` → rows `(N, D')`; never writes to its argument."""

    def __call__(self, rows: Floats) -> Floats: ...

    @property
    def arrays(self) -> Sequence[NDArray[np.generic]]:
        """The numbers it is made of."""


@dataclass(frozen=True, eq=False)
class Linear:
    """`rows @ weight.T + bias`: weight float32 `(D', D)`, bias float32 `(D',)`."""

    weight: Floats
    bias: Floats

    def __call__(self, rows: Floats) -> Floats:
        result: Floats = rows @ self.weight.T
        result += self.bias
        return result

    @property
    def arrays(self) -> Sequence[NDArray[np.generic]]:
        """See `Layer`."""
        return (self.weight, self.bias)


@dataclass(frozen=True, eq=False)
class Affine:
    """`rows * scale + shift`, column by column: a normalisation or a batch norm at rest. Both float32 `(D,)`."""

    scale: Floats
    shift: Floats

    def __call__(self, rows: Floats) -> Floats:
        result: Floats = rows * self.scale
        result += self.shift
        return result

    @property
    def arrays(self) -> Sequence[NDArray[np.generic]]:
        """See `Layer`."""
        return (self.scale, self.shift)


@dataclass(frozen=True, eq=False)
class Curves:
    """C columns, each sent through a piecewise linear curve of K knots, constant beyond its ends.

    `columns` int64 `(C,)`; `x`, ascending along each row, and `y`: float32 `(C, K)`. All other columns pass unchanged.
    """

    columns: NDArray[np.int64]
    x: Floats
    y: Floats

    def __call__(self, rows: Floats) -> Floats:
        result: Floats = rows.copy()
        for column, x, y in zip(self.columns, self.x, self.y, strict=True):
            result[:, column] = np.interp(rows[:, column], x, y)
        return result

    @property
    def arrays(self) -> Sequence[NDArray[np.generic]]:
        """See `Layer`."""
        return (self.columns, self.x, self.y)


@dataclass(frozen=True)
class Relu:
    """`max(rows, 0)`."""

    def __call__(self, rows: Floats) -> Floats:
        result: Floats = np.maximum(rows, 0)
        return result

    @property
    def arrays(self) -> Sequence[NDArray[np.generic]]:
        """See `Layer`."""
        return ()


@dataclass(frozen=True)
class Network:
    """Layers one after another, then `output`. `unit`: whether it was trained on rows of unit length."""

    layers: tuple[Layer, ...]
    output: Output
    unit: bool = True

    def __call__(self, rows: NDArray[np.floating]) -> Scores:
        """Scores `(N, L)` in 0..1 for rows `(N, D)` of any float type.

        A network trained on unit rows gets them so: longer or shorter rows are brought to unit length first. Those that
        already have it up to rounding stay to the bit what they are.

        A row with a number that is not finite, or too large to be squared in float32, gets NaN, and so does a row of
        zeros where a unit row is wanted: nothing that could pass for a score. NaN is also what numbers become that
        overflow on the way.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            found = _widened(rows)
            lengths = np.sqrt(np.einsum("nd,nd->n", found, found))
            if self.unit:
                found = _to_unit(found, lengths)
            for layer in self._run:
                found = layer(found)
            scores = _OUTPUTS[self.output](found)
        scores[~np.isfinite(lengths) | (self.unit & (lengths == 0))] = np.nan
        return Scores(scores)

    @cached_property
    def _run(self) -> Sequence[Layer]:
        """The layers as they are run: a normalisation melts into the linear layer behind it, which saves a pass."""
        run: list[Layer] = []
        for layer in self.layers:
            if isinstance(layer, Linear) and run and isinstance(before := run[-1], Affine):
                run[-1] = _melted(before, layer)
            else:
                run.append(layer)
        return run

    @property
    def dim(self) -> int:
        """D, the size of the embeddings it reads."""
        return int(next(layer.weight.shape[1] for layer in self.layers if isinstance(layer, Linear)))

    @property
    def fingerprint(self) -> str:
        """sha256 over everything that decides its scores."""
        digest = sha256(f"{self.output} {self.unit}".encode())
        for layer in self.layers:
            digest.update(f"{type(layer).__name__}{[array.shape for array in layer.arrays]}".encode())
            for array in layer.arrays:
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)


def sigmoid(logits: NDArray[Float]) -> NDArray[Float]:
    """`1 / (1 + exp(-x))`, in a form that never overflows."""
    score: NDArray[Float] = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * logits))
    return score


def logit(scores: NDArray[Float]) -> NDArray[Float]:
    """The inverse of `sigmoid`, for scores of any shape and float type; 0 and 1 are taken for 1e-7 and 1 - 1e-7."""
    sure = np.clip(scores.astype(np.float64), _SURE, 1 - _SURE)
    logits: NDArray[Float] = np.log(sure / (1 - sure)).astype(scores.dtype)
    return logits


def unit_lengths(lengths: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which lengths `(N,)` are 1 but for the rounding of float16 storage."""
    close: NDArray[np.bool_] = np.abs(lengths - 1) <= _ROUGHLY_ONE
    return close


def softmax(logits: Floats) -> Floats:
    """Shares `(N, L)` that sum to 1 along each row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    share: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return share


def _cut(rows: Floats) -> Floats:
    cut: Floats = np.clip(rows, 0, 1)
    return cut


_OUTPUTS: dict[Output, Callable[[Floats], Floats]] = {"sigmoid": sigmoid, "softmax": softmax, "raw": _cut}


def _melted(affine: Affine, linear: Linear) -> Linear:
    """`linear` after `affine`, as one."""
    weight = linear.weight.astype(np.float64)
    bias: NDArray[np.float64] = linear.bias + weight @ affine.shift
    return Linear((weight * affine.scale).astype(np.float32), bias.astype(np.float32))


def _to_unit(rows: Floats, lengths: Floats) -> Floats:
    wrong = ~unit_lengths(lengths)
    if not wrong.any():
        return rows
    divisors: Floats = np.where(wrong & (lengths > 0), lengths, np.float32(1))
    unit: Floats = rows / divisors[:, None]
    return unit


def _widened(rows: NDArray[np.floating]) -> Floats:
    """As float32. NumPy widens float16 number by number; on its bits it takes a fifth of that time, and is as exact."""
    bits = rows.view(np.int16) if rows.dtype == np.float16 else None
    if bits is None or _has_special(bits):
        return np.asarray(rows, np.float32)
    wide = bits.astype(np.int32)  # the sign fills the upper half
    np.left_shift(wide, 13, out=wide)  # the mantissa is where float32 has it, and the exponent's lowest bit
    np.bitwise_and(wide, _SIGN_AND_SIZE, out=wide)
    floats: Floats = wide.view(np.float32)
    floats *= np.float32(2.0**112)  # the difference of the exponents' biases, 127 - 15
    return floats


def _has_special(bits: NDArray[np.int16]) -> bool:
    """Whether float16 numbers, seen as bits, hold an infinity or NaN: those have all bits of the exponent set."""
    if not bits.size:
        return False
    return bool(bits.max() >= _INFINITE or bits.view(np.uint16).max() >= _INFINITE | _SIGN)


_INFINITE, _SIGN = 0x7C00, 0x8000
_SIGN_AND_SIZE = np.int32(0x8FFFFFFF - 2**32)
