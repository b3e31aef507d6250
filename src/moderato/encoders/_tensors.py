"""Safetensors files as named arrays, mapped and not read until asked for.

safetensors' own numpy door copies each tensor, which weights of gigabytes do not deserve. It checks the header here
(https://github.com/huggingface/safetensors#format), and the arrays are then views of one file mapping, whose pages
`release` gives back to the system.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from moderato.errors import WeightsError

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


Part = tuple[int, int]
"""Which of how many along the first axis, counted from 0: query, key and value are often stored as one."""


@dataclass(frozen=True)
class TensorRef:
    """Where a canonical tensor lies in a file: its name there, which part of it, in what form."""

    name: str
    part: Part | None = None
    transposed: bool = False
    squeezed: bool = False
    """Without its leading axes of length 1: some files store tokens and positions as a batch of one."""


@dataclass(frozen=True)
class _Entry:
    file: Path
    mapping: mmap.mmap
    offset: int
    dtype: str
    shape: tuple[int, ...]


class Tensors:
    """The floating-point tensors of one or more safetensors files.

    Raises `WeightsError` on a file that is not whole or not safetensors.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self._entries: dict[str, _Entry] = {}
        for file in files:
            self._entries.update(_entries(file))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def shape(self, ref: TensorRef) -> tuple[int, ...]:
        """Shape of a tensor as `read` would return it. Raises `WeightsError` when it is missing."""
        shape = self._entry(ref.name).shape
        if ref.part:
            parts = ref.part[1]
            if not shape or shape[0] % parts:
                raise WeightsError(
                    f"{self.where(ref.name)}: tensor '{ref.name}' should be {parts} of the same size in one "
                    f"(query, key and value), found the shape {list(shape)}."
                )
            shape = (shape[0] // parts, *shape[1:])
        if ref.squeezed:
            shape = _squeezed(shape)
        return shape[::-1] if ref.transposed else shape

    def read(self, ref: TensorRef) -> NDArray[np.float32]:
        """The tensor as contiguous float32: a view of the file where it is stored so, a copy otherwise."""
        entry = self._entry(ref.name)
        count = int(np.prod(entry.shape, dtype=np.int64))
        array = np.frombuffer(entry.mapping, _DTYPES[entry.dtype], count, entry.offset).reshape(entry.shape)
        if ref.part:
            array = array.reshape(ref.part[1], -1, *entry.shape[1:])[ref.part[0]]
        if ref.squeezed:
            array = array.reshape(_squeezed(array.shape))
        return np.ascontiguousarray(array.T if ref.transposed else array, dtype=np.float32)

    def release(self) -> None:
        """Give the pages read so far back to the system; they are read again if needed."""
        for mapping in {id(entry.mapping): entry.mapping for entry in self._entries.values()}.values():
            mapping.madvise(mmap.MADV_DONTNEED)

    def where(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._entry(name).file

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            files = ", ".join(str(file) for file in self.files)
            raise WeightsError(f"{files}: there is no tensor '{name}'.") from None


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _entries(file: Path) -> dict[str, _Entry]:
    try:
        with safe_open(file, framework="np"):
            pass  # opening checks the whole header: lengths, overlaps, dtypes
        with file.open("rb") as stream:
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{file}: not a whole safetensors file ({error}).") from error
    length = int.from_bytes(mapping[:8], "little")
    header = json.loads(mapping[8 : 8 + length])
    return {
        name: _Entry(file, mapping, 8 + length + facts["data_offsets"][0], facts["dtype"], tuple(facts["shape"]))
        for name, facts in header.items()
        if name != "__metadata__" and facts["dtype"] in _DTYPES
    }
