"""Towers of CLIP's kind and any size with random weights, without a file; and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import Shape, VisionTower

_PARTS = ("norm_1", "query", "key", "value", "out", "norm_2", "up", "down")


class Drawn(Tensors):
    """Tensors that are drawn when they are read, the same each time."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        super().__init__([])
        self._shapes = shapes

    def read(self, ref: TensorRef) -> NDArray[np.float32]:
        """See `Tensors.read`. Norms hardly scale; all else is small."""
        shape = self._shapes[ref.name]
        drawn = np.random.default_rng(sum(ref.name.encode())).standard_normal(shape, np.float32) * np.float32(0.02)
        return drawn + np.float32("norm" in ref.name and ref.name.endswith("weight"))


def clip_tower(*, width: int, layers: int, heads: int, dim: int, patch: int, side: int = 224) -> VisionTower:
    """OpenAI's CLIP of that size: a class token, a hidden layer of four widths, quick-gelu."""
    linear = ("pre_norm", "post_norm", *(f"blocks.{i}.{part}" for i in range(layers) for part in _PARTS))
    names = [f"{name}.{kind}" for name in linear for kind in ("weight", "bias")]
    names += ["class", "positions", "patch.weight", "projection.weight"]
    tower = VisionTower(
        width=width,
        layers=layers,
        heads=heads,
        hidden=4 * width,
        dim=dim,
        activation="quick_gelu",
        epsilon=1e-5,
        refs={name: TensorRef(name) for name in names},
        tensors=Tensors([]),
        side=side,
        patch=patch,
        mean=(0.48, 0.46, 0.41),
        std=(0.27, 0.26, 0.28),
    )
    return replace(tower, tensors=Drawn(tower.shapes()))


def flop(tower: VisionTower) -> int:
    """Floating-point operations of one view: two for each multiplication that a product of matrices has.

    Of a tower with a class token, as it is computed here: in the last block all tokens have keys and values, and only
    that token the rest (`_blocks.py`). Softmax, norms and activations are not counted.
    """
    width, hidden, tokens = tower.width, tower.hidden, tower.tokens
    pixels = tower.grid**2 * 3 * tower.patch**2 * width
    block = tokens * (4 * width**2 + 2 * width * hidden) + 2 * tokens**2 * width
    last = tokens * 2 * width**2 + 2 * width**2 + 2 * width * hidden + 2 * tokens * width
    return 2 * (pixels + (tower.layers - 1) * block + last + width * tower.dim)
