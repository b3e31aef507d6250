"""Q16 (Schramowski, Tauchmann, Kersting 2022, https://arxiv.org/abs/2202.06675): two learned prompts for a CLIP.

The scores are a softmax over `100 · cosine` with each prompt, which is a linear layer on embeddings of unit length.
LAION's "violence" detectors are the same prompts, brought to unit length.

The prompts are two rows: in a `.npy`, in a `.safetensors` as the tensor `prompts`, or in Q16's own `prompts.p`. That is
a Python pickle, and reading one with `pickle` runs whatever its writer wanted run. Here it names things and none is
ever called: each name that a pickled numpy array needs becomes a mere record of what it was to be called with, every
other name is refused, and the array is then made from the records, of numbers and bytes that are checked first. numpy's
own functions are kept away from it too: they trust the state they are given.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from pickletools import genops
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderato.cards import HeadCard
from moderato.errors import WeightsError
from moderato.heads import Head
from moderato.heads._tensors import checked, read_safetensors
from moderato.layers import Linear, Network

_SCALE = 100  # of CLIP's cosines before a softmax, which Q16 keeps fixed
_MOST_BYTES = 1 << 20  # of a pickle; Q16's have a few thousand
_DTYPES = ("f2", "f4", "f8")
_PICKLED_ARRAY = 5
"""Parts of a pickled array's state: version, shape, dtype, whether columns come first, bytes."""


def read(file: Path, card: HeadCard) -> Head:
    """The head of two prompts, `(2, D)`, in a file.

    Raises `WeightsError` when it holds anything else.
    """
    prompts = checked(file, "prompts", _READERS.get(file.suffix, _read_pickle)(file)).astype(np.float64)
    if prompts.shape[:1] == (1,):
        prompts = prompts[0]  # Q16's own have a batch of one
    if prompts.ndim != 2 or len(prompts) != len(card.labels):
        raise WeightsError(
            f"{file}: it should hold {len(card.labels)} prompts (rows), found the shape {prompts.shape}."
        )
    if not np.linalg.norm(prompts, axis=1).all():
        raise WeightsError(f"{file}: one of the prompts is zero and has no direction.")
    directions = prompts / np.linalg.norm(prompts, axis=1, keepdims=True)
    linear = Linear((_SCALE * directions).astype(np.float32), np.zeros(len(prompts), np.float32))
    network = Network((linear,), "softmax", unit=True)
    return Head(card.name, card.encoder, tuple(card.labels), network, card.licence, card.evidence)


def _read_npy(file: Path) -> NDArray[Any]:
    try:
        # A mapping, because that is refused where the header speaks of more bytes than there are.
        return np.array(np.lib.format.open_memmap(file, mode="r"))
    except Exception as error:  # its header is parsed as Python, and raises what Python's parser raises
        raise WeightsError(f"{file}: not a whole .npy file of numbers ({error}).") from error


def _read_safetensors(file: Path) -> NDArray[Any]:
    tensors, _ = read_safetensors(file)
    if "prompts" not in tensors:
        raise WeightsError(f"{file}: there is no tensor 'prompts'; it has {', '.join(sorted(tensors)) or 'none'}.")
    return tensors["prompts"]


def _read_pickle(file: Path) -> NDArray[Any]:
    try:
        with file.open("rb") as stream:
            pickled = stream.read(_MOST_BYTES + 1)
        if len(pickled) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        if any(isinstance(number, int) and number > _MOST_BYTES for _, number, _ in genops(pickled)):
            raise ValueError("a number in it is beyond reason")  # pickle would take as much memory as it says
        return _array(_Reader(io.BytesIO(pickled)).load())
    except Exception as error:  # a pickle's bytes decide what pickle raises: any built-in exception
        raise WeightsError(f"{file}: not a pickled array of numbers, nor .npy or .safetensors ({error}).") from error


_READERS = {".npy": _read_npy, ".safetensors": _read_safetensors}


class _Record:
    """Stands for a thing that a pickle names: keeps what it would be called with, and its state."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_Record):
    """`numpy.core.multiarray._reconstruct`."""


class _Type(_Record):
    """`numpy.dtype`."""


class _Bytes(_Record):
    """`_codecs.encode`: how old pickles, which have no bytes, spell them."""


class _Reader(pickle.Unpickler):
    """Knows the names in a pickled numpy array, and gives none of the things they name."""

    _KNOWN = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Record,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _Bytes,
    }

    def find_class(self, module: str, name: str) -> type[_Record]:
        """The record for a name. Raises `UnpicklingError` for every name not needed."""
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._KNOWN[module, name]


def _array(found: object) -> NDArray[Any]:
    """The array that a record describes. Raises ValueError where it describes something else."""
    if not isinstance(found, _Array) or not isinstance(found.state, tuple) or len(found.state) != _PICKLED_ARRAY:
        raise ValueError("it holds no array")
    _, shape, kind, columns_first, content = found.state
    if not isinstance(kind, _Type) or not kind.arguments or kind.arguments[0] not in _DTYPES:
        raise ValueError("its array holds no floating-point numbers")
    if kind.state[1] == ">" or columns_first:
        raise ValueError("its numbers lie in an order that Q16's never have")
    if isinstance(content, _Bytes):
        content = str(content.arguments[0]).encode("latin-1")
    dtype = np.dtype(f"<{kind.arguments[0]}")
    if not isinstance(content, bytes) or not all(isinstance(size, int) and 0 < size < _MOST_BYTES for size in shape):
        raise ValueError("its array has no shape or no bytes")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"its array of the shape {shape} has {len(content)} bytes")
    return np.frombuffer(content, dtype).reshape(shape)
