"""Safetensors files as named arrays, mapped and not read until asked for.

safetensors' own numpy door copies each tensor, which weights of gigabytes do not deserve. It checks the header here
(https://github.com/huggingface/safetensors#format), and the arrays are then views of one file mapping, whose pages
`release` gives back to the system.
"""

from __future__ import annotations

import json
import mmap
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


@dataclass(frozen=True)
class TensorRef:
    """Where a canonical tensor lies in a file: its name there, which third of it, whether turned over."""

    name: str
    third: int | None = None
    """Part 0, 1 or 2 of three along the first axis: query, key and value are often stored as one."""
    transposed: bool = False


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

    def shape(self, ref: TensorRef) -> tuple[int, ...]:
        """Shape of a tensor as `read` would return it. Raises `WeightsError` when it is missing."""
        shape = self._entry(ref.name).shape
        if ref.third is not None:
            if not shape or shape[0] % 3:
                raise WeightsError(
                    f"{self.where(ref.name)}: tensor '{ref.name}' should be query, key and value in one, "
                    f"found the shape {list(shape)}."
                )
            shape = (shape[0] // 3, *shape[1:])
        return shape[::-1] if ref.transposed else shape

    def read(self, ref: TensorRef) -> NDArray[np.float32]:
        """The tensor as contiguous float32: a view of the file where it is stored so, a copy otherwise."""
        entry = self._entry(ref.name)
        count = int(np.prod(entry.shape, dtype=np.int64))
        array = np.frombuffer(entry.mapping, _DTYPES[entry.dtype], count, entry.offset).reshape(entry.shape)
        if ref.third is not None:
            array = array.reshape(3, -1, *entry.shape[1:])[ref.third]
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
