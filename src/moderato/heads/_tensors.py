"""Numbers of a head, read whole and checked: heads are small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from moderato.errors import WeightsError
from moderato.layers import Floats


def read_safetensors(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """All tensors by name, and the metadata. Raises `WeightsError` for a file that is not whole or not safetensors."""
    try:
        with safe_open(file, framework="np") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:  # the last two: dtypes of others
        raise WeightsError(f"{file}: not a whole safetensors file ({error}).") from error


def write_safetensors(file: Path, tensors: Mapping[str, Floats], metadata: Mapping[str, str]) -> None:
    """Tensors by name, and metadata. Raises `OSError` when the file cannot be written."""
    try:
        save_file(dict(tensors), file, dict(metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error


def checked(file: Path, tensor: str, array: NDArray[Any]) -> Floats:
    """An array as float32. Raises `WeightsError` when it holds something else, or a number that is not finite."""
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
        raise WeightsError(f"{file}: '{tensor}' should hold floating-point numbers, found {array.dtype}.")
    with np.errstate(over="ignore"):
        floats: Floats = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(floats).all():
        raise WeightsError(f"{file}: '{tensor}' holds numbers that are not finite (NaN, or too large for float32).")
    return floats
