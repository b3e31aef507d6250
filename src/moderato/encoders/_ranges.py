"""What the linear layers of a vision tower read, measured on pictures: what whole numbers are chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from moderato.errors import WeightsError
from moderato.files import replacing

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Range:
    """Of each number in the rows that a layer reads, `(in,)` float32: the lowest, the highest and the mean."""

    low: Array
    high: Array
    mean: Array


@dataclass(frozen=True)
class Ranges:
    """By layer, over all rows of all views that were measured; `space` is the encoder's, they fit no other."""

    space: str
    layers: Mapping[str, Range]

    @cached_property
    def digest(self) -> str:
        """sha256 over the numbers: other ranges give other embeddings."""
        digest = sha256(self.space.encode())
        for name, of in sorted(self.layers.items()):
            digest.update(name.encode() + of.low.tobytes() + of.high.tobytes() + of.mean.tobytes())
        return digest.hexdigest()

    def save(self, file: Path) -> None:
        """Write them as an `.npz` file, some 1 MB for ViT-B. Raises `WeightsError` when it cannot be written."""
        arrays = {name: np.stack([of.low, of.high, of.mean]) for name, of in self.layers.items()}
        try:
            with replacing(file) as part, part.open("wb") as stream:
                np.savez(stream, space=np.array(self.space), **arrays)  # type: ignore[arg-type]
        except OSError as error:
            raise WeightsError(f"{file}: the ranges cannot be written ({error}).") from error

    @classmethod
    def read(cls, file: Path) -> Ranges:
        """The ranges in a file. Raises `WeightsError` when it is none, or not whole."""
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            space = str(arrays.pop("space"))
            return cls(space, {name: _range(array) for name, array in arrays.items()})
        except (OSError, ValueError, KeyError, TypeError, BadZipFile, EOFError) as error:
            raise WeightsError(f"{file}: not a whole file of ranges ({error}). Measure them again.") from error


def _range(array: NDArray[np.float32]) -> Range:
    low, high, mean = array
    if array.dtype != np.float32 or array.ndim != 2 or not np.isfinite(array).all() or not (low <= high).all():
        raise ValueError("its numbers are no ranges")
    return Range(low, high, mean)
