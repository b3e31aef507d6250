"""How model folders name their tensors: one layout a file, each with `CONFIG`, `MARKS` and `read(config, tensors)`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from moderato import plugins
from moderato.encoders._layouts._config import Config
from moderato.encoders._tensors import Tensors
from moderato.encoders._towers import Towers
from moderato.errors import WeightsError
from moderato.types import ViewSpec

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
"""The names that weights go by, the native layout's first."""
INDEX = "model.safetensors.index.json"
"""Which shard holds which tensor, where transformers wrote several files."""


def read(folder: Path) -> tuple[Towers, ViewSpec]:
    """The towers in a model folder, checked tensor by tensor, and the view they were trained on.

    Raises `WeightsError` when no layout fits, or naming the file and the key or tensor that does not.
    """
    layouts = plugins.modules("moderato.encoders._layouts")
    for tensors in _candidates(folder):
        for layout in layouts.values():
            if any(mark in tensors for mark in layout.MARKS) and (folder / layout.CONFIG).is_file():
                towers: tuple[Towers, ViewSpec] = layout.read(Config.read(folder / layout.CONFIG), tensors)
                towers[0].check()
                return towers
    known = "; ".join(f"{name}: {layout.CONFIG} with tensor {layout.MARKS[0]}" for name, layout in layouts.items())
    raise WeightsError(f"{folder}: no known architecture. Found: {_listing(folder)}. Known layouts are {known}.")


def _candidates(folder: Path) -> Iterator[Tensors]:
    for name in WEIGHTS:
        if (folder / name).is_file():
            yield Tensors([folder / name])
    if (folder / INDEX).is_file():
        yield Tensors(_shards(folder / INDEX))


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        return [index.parent / name for name in sorted(names)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index}: not a readable index of shards ({error!r}).") from error


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    return ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "an empty folder"
