"""What the layouts with a timm trunk have in common: its sizes, read from its tensors, and the names of these.

Names and sizes as in timm 1.0.31, timm/models/vision_transformer.py
(https://github.com/huggingface/pytorch-image-models).
"""

from __future__ import annotations

from dataclasses import dataclass

from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import MOST_LAYERS, Names, block_refs, part_refs
from moderato.errors import WeightsError

EPSILON = 1e-6
"""Of every layer norm in timm's ViTs."""

HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16, "so400m": 16, "giantopt": 16}
"""Attention heads by the size that a trunk's name states; no tensor tells them."""

_BLOCK: Names = {
    "norm_1": "norm1.{kind}",
    "query": ("attn.qkv.{kind}", (0, 3)),
    "key": ("attn.qkv.{kind}", (1, 3)),
    "value": ("attn.qkv.{kind}", (2, 3)),
    "out": "attn.proj.{kind}",
    "norm_2": "norm2.{kind}",
    "up": "mlp.fc1.{kind}",
    "down": "mlp.fc2.{kind}",
}


@dataclass(frozen=True)
class Trunk:
    """A timm ViT whose tensors' names begin with `prefix`. Raises `WeightsError` where one is missing or misshapen."""

    tensors: Tensors
    prefix: str = ""

    @property
    def width(self) -> int:
        """W, what a token has."""
        return self._shape("patch_embed.proj.weight", 4)[0]

    @property
    def patch(self) -> int:
        """Pixels of a patch's side."""
        return self._shape("patch_embed.proj.weight", 4)[2]

    @property
    def hidden(self) -> int:
        """Width of the hidden layer in a block."""
        return self._shape("blocks.0.mlp.fc1.weight", 2)[0]

    @property
    def layers(self) -> int:
        """Number of blocks."""
        there = (i for i in range(MOST_LAYERS) if f"{self.prefix}blocks.{i + 1}.norm1.weight" not in self.tensors)
        return next(there, MOST_LAYERS) + 1

    @property
    def refs(self) -> dict[str, TensorRef]:
        """Refs of patches, positions, blocks and the last norm."""
        return {
            "positions": TensorRef(f"{self.prefix}pos_embed", squeezed=True),
            **part_refs(self.prefix, {"patch": "patch_embed.proj.{kind}", "post_norm": "norm.{kind}"}),
            **block_refs(self.layers, f"{self.prefix}blocks.{{i}}", _BLOCK),
        }

    def _shape(self, name: str, axes: int) -> tuple[int, ...]:
        ref = TensorRef(self.prefix + name)
        shape = self.tensors.shape(ref)
        if len(shape) != axes or not all(shape):
            where = self.tensors.where(ref.name)
            raise WeightsError(f"{where}: tensor '{ref.name}' should have {axes} axes, found the shape {list(shape)}.")
        return shape
