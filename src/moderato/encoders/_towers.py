"""What a tower is: the numbers and tensors of one transformer that ends in an embedding.

One vision and one text tower describe all encoders; they differ in the figures below and in how their files name the
tensors (`_layouts`). Runtimes emit their own form of a tower and know no layout. Canonical tensor names, linear weights
always `(out, in)`, W the width, H the hidden width, D the embedding's size, P the patch's side:

======================  ==================  ======================================================
vision                  `patch.weight`      (W, 3, P, P)
                        `class`             (W,)
                        `positions`         (1 + grid², W)
                        `pre_norm`, `post_norm`
text                    `tokens`            (vocabulary, W)
                        `positions`         (context, W)
                        `post_norm`
both                    `projection`        (D, W)
                        `blocks.{i}.`       `norm_1 query key value out norm_2 up down`, each `.weight` `.bias`
======================  ==================  ======================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moderato.encoders._tensors import TensorRef, Tensors
from moderato.errors import WeightsError

Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
"""gelu: exact (erf); gelu_tanh: its tanh approximation; quick_gelu: x·sigmoid(1.702·x), OpenAI's own CLIP."""

Shape = tuple[int, ...]

MOST_LAYERS = 1000
"""More than any transformer has; a config that asks for more is broken or hostile."""

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""What CLIPs subtract and divide by per channel (0..1) unless their config says otherwise: openai/CLIP, clip.py."""


@dataclass(frozen=True)
class Tower:
    """What vision and text towers share: a stack of pre-norm transformer blocks and a projection."""

    width: int
    layers: int
    heads: int
    hidden: int
    dim: int
    activation: Activation
    epsilon: float
    refs: Mapping[str, TensorRef]
    """Canonical name → where it lies in the files."""
    tensors: Tensors

    def shapes(self) -> dict[str, Shape]:
        """Every tensor this tower needs, by canonical name, with its shape."""
        shapes: dict[str, Shape] = {"projection": (self.dim, self.width), **_norm("post_norm", self.width)}
        for i in range(self.layers):
            shapes |= {f"blocks.{i}.{name}": shape for name, shape in self._block().items()}
        return shapes

    def _block(self) -> dict[str, Shape]:
        linear = {
            **dict.fromkeys(("query", "key", "value", "out"), (self.width, self.width)),
            "up": (self.hidden, self.width),
            "down": (self.width, self.hidden),
        }
        shapes: dict[str, Shape] = {**_norm("norm_1", self.width), **_norm("norm_2", self.width)}
        for name, (rows, columns) in linear.items():
            shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
        return shapes

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor by its canonical name."""
        return self.tensors.read(self.refs[name])

    def check(self) -> None:
        """Raise `WeightsError`, naming file, tensor, expected and found, unless all tensors are there in shape."""
        if self.width % self.heads:
            raise WeightsError(f"{self._files()}: {self.heads} attention heads do not divide a width of {self.width}.")
        for name, expected in self.shapes().items():
            ref = self.refs[name]
            found = self.tensors.shape(ref)
            if found != expected:
                raise WeightsError(
                    f"{self.tensors.where(ref.name)}: tensor '{ref.name}' gives {name} the shape {list(found)}; "
                    f"the config asks for {list(expected)}."
                )

    def _files(self) -> str:
        return ", ".join(str(file) for file in self.tensors.files)


@dataclass(frozen=True)
class VisionTower(Tower):
    """uint8 views → embeddings. A class token, learned positions, a norm before the blocks."""

    side: int
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def grid(self) -> int:
        """Patches along one side of a view."""
        return self.side // self.patch

    def shapes(self) -> dict[str, Shape]:
        """See `Tower.shapes`."""
        return {
            **super().shapes(),
            **_norm("pre_norm", self.width),
            "patch.weight": (self.width, 3, self.patch, self.patch),
            "class": (self.width,),
            "positions": (1 + self.grid**2, self.width),
        }

    def check(self) -> None:
        """See `Tower.check`."""
        if self.side % self.patch:
            raise WeightsError(f"{self._files()}: patches of {self.patch} do not divide views of {self.side} pixels.")
        super().check()


@dataclass(frozen=True)
class TextTower(Tower):
    """Token ids → embeddings. Causal, pooled at one token, so what follows that token cannot matter."""

    vocabulary: int
    context: int
    end: int | None
    """Pool at the first token with this id; None: at the highest id, which in CLIP's vocabulary is the end token."""

    def shapes(self) -> dict[str, Shape]:
        """See `Tower.shapes`."""
        return {
            **super().shapes(),
            "tokens": (self.vocabulary, self.width),
            "positions": (self.context, self.width),
        }

    def pool(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Position of the pooled token in each row of `(N, T)` ids: int64 `(N,)`."""
        wanted = ids if self.end is None else ids == self.end
        positions: NDArray[np.int64] = np.argmax(wanted, axis=1).astype(np.int64)
        return positions


@dataclass(frozen=True)
class TwoTowers:
    """What a layout reads from a folder: both towers and the scale their cosines were trained with."""

    vision: VisionTower
    text: TextTower
    logit_scale: float
    """exp of the stored value: what a softmax over cosines multiplies them by, near 100 in trained CLIPs."""

    def check(self) -> None:
        """See `Tower.check`."""
        self.vision.check()
        self.text.check()

    @property
    def figures(self) -> str:
        """What no tensor's shape tells and yet decides what comes out."""
        used = [(tower.heads, tower.activation, tower.epsilon) for tower in (self.vision, self.text)]
        return repr((self.logit_scale, self.vision.mean, self.vision.std, used))

    def digest(self) -> str:
        """sha256 over all tensors by canonical name, as float32, and all figures that say how they are used.

        The same model in two layouts agrees; one whose config was corrected is another.
        """
        digest = sha256(self.figures.encode())
        for label, tensor in self._all():
            digest.update(f"{label}{tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).data)
        self.vision.tensors.release()
        return digest.hexdigest()

    def _all(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        towers: tuple[tuple[str, Tower], ...] = (("vision", self.vision), ("text", self.text))
        for side, tower in towers:
            for name in sorted(tower.shapes()):
                yield f"{side}.{name}", tower.read(name)


def logit_scale(tensors: Tensors) -> float:
    """exp of the stored logit scale, which CLIP, its successors and SigLIP all name alike."""
    ref = TensorRef("logit_scale")
    values = tensors.read(ref).reshape(-1)
    if len(values) != 1 or not abs(values[0]) < 50:
        raise WeightsError(f"{tensors.where(ref.name)}: tensor 'logit_scale' should be one number below 50.")
    return math.exp(float(values[0]))


def block_refs(layers: int, prefix: str, names: Mapping[str, tuple[str, int | None]]) -> dict[str, TensorRef]:
    """Refs of all blocks, from a layout's name (and third) for each linear or norm; `prefix` holds `{i}`."""
    return {
        f"blocks.{i}.{part}.{kind}": TensorRef(f"{prefix.format(i=i)}.{name.format(kind=kind)}", third)
        for i in range(layers)
        for part, (name, third) in names.items()
        for kind in ("weight", "bias")
    }


def norm_refs(part: str, name: str) -> dict[str, TensorRef]:
    """Refs of a layer norm's weight and bias."""
    return {f"{part}.{kind}": TensorRef(f"{name}.{kind}") for kind in ("weight", "bias")}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
