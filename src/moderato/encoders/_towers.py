"""What a tower is: the numbers and tensors of one transformer that ends in an embedding.

One vision and one text tower describe all encoders; they differ in the figures below, in which of the optional parts
they have, and in how their files name the tensors (`_layouts`). A tower has the parts that its layout names. Runtimes
emit their own form of a tower and know no layout. Canonical tensor names, linear weights always `(out, in)`, W the
width, H the hidden width, D the embedding's size, P the patch's side, `?` what not every tower has:

======================  ==================  ======================================================
vision                  `patch.weight`      (W, 3, P, P), and `patch.bias` ?
                        `class` ?           (W,); a tower without it pools by attention
                        `positions`         (1 + grid², W), or (grid², W) without a class token
                        `pre_norm` ?        before the blocks
                        `pool.` ?           `probe`, (W,); `query key value out norm_2 up down` as in a block
text                    `tokens`            (vocabulary, W)
                        `positions`         (context, W)
both                    `blocks.{i}.`       `norm_1 query key value out norm_2 up down`, each `.weight` `.bias`
                        `post_norm`
                        `projection` ?      (D, W), and `projection.bias` ?; without it D is W
======================  ==================  ======================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moderato.encoders._tensors import Part, TensorRef, Tensors
from moderato.errors import WeightsError
from moderato.layers import Linear, Network

Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
"""gelu: exact (erf); gelu_tanh: its tanh approximation; quick_gelu: x·sigmoid(1.702·x), OpenAI's own CLIP."""

Pooled = tuple[int, ...] | Literal["highest", "last"]
"""Which token stands for its text: the first that has one of these ids, the one with the highest id, or the last."""

Shape = tuple[int, ...]
Triple = tuple[float, float, float]

MOST_LAYERS = 1000
"""More than any transformer has; a config that asks for more is broken or hostile."""


@dataclass(frozen=True)
class Tower:
    """What vision and text towers share: a stack of pre-norm transformer blocks, a norm, perhaps a projection."""

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

    def has(self, name: str) -> bool:
        """Whether it has an optional tensor, by its canonical name."""
        return name in self.refs

    def shapes(self) -> dict[str, Shape]:
        """Every tensor this tower is made of, by canonical name, with its shape."""
        return {name: shape for name, shape in self._possible().items() if self.has(name)}

    def _possible(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {
            "projection.weight": (self.dim, self.width),
            "projection.bias": (self.dim,),
            **_norm("post_norm", self.width),
        }
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

    @property
    def figures(self) -> tuple[object, ...]:
        """What no single tensor tells and yet decides what comes out."""
        return (self.layers, self.heads, self.activation, self.epsilon)

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor by its canonical name."""
        return self.tensors.read(self.refs[name])

    def check(self) -> None:
        """Raise `WeightsError`, naming file, tensor, expected and found, unless all tensors are there in shape."""
        if self.width % self.heads:
            raise WeightsError(f"{self.files}: {self.heads} attention heads do not divide a width of {self.width}.")
        for name, expected in self.shapes().items():
            ref = self.refs[name]
            found = self.tensors.shape(ref)
            if found != expected:
                raise WeightsError(
                    f"{self.tensors.where(ref.name)}: tensor '{ref.name}' gives {name} the shape {list(found)}; "
                    f"the config asks for {list(expected)}."
                )

    @property
    def files(self) -> str:
        """The files it lies in, for error messages."""
        return ", ".join(str(file) for file in self.tensors.files)


@dataclass(frozen=True)
class VisionTower(Tower):
    """uint8 views → rows, pooled at a class token, or by the attention of a probe to all patches."""

    side: int
    patch: int
    mean: Triple
    std: Triple

    @property
    def grid(self) -> int:
        """Patches along one side of a view."""
        return self.side // self.patch

    @property
    def tokens(self) -> int:
        """T, what the blocks see of a view: its patches, and the class token where there is one."""
        return self.has("class") + self.grid**2

    @property
    def figures(self) -> tuple[object, ...]:
        """See `Tower.figures`."""
        return (*super().figures, self.mean, self.std)

    def has(self, name: str) -> bool:
        """See `Tower.has`; the layer `pixels` always has both."""
        return name in ("pixels.weight", "pixels.bias") or super().has(name)

    def read(self, name: str) -> NDArray[np.float32]:
        """See `Tower.read`; and two that no file has, made of the patch embedding: the layer `pixels`.

        `pixels.weight`, (W, P·P·3), and `pixels.bias`, (W,), take pixels as they lie in a view, 0..255: what turns them
        into `(value/255 - mean) / std` is folded into both.
        """
        if not name.startswith("pixels."):
            return super().read(name)
        weight = super().read("patch.weight").transpose(0, 2, 3, 1).astype(np.float64)  # (W, P, P, 3)
        mean, std = np.array(self.mean), np.array(self.std)
        if name == "pixels.weight":
            folded: NDArray[np.float64] = weight / (255 * std)
            return folded.reshape(self.width, -1).astype(np.float32)
        shift: NDArray[np.float64] = (weight * -mean / std).sum(axis=(1, 2, 3))
        if self.has("patch.bias"):
            shift += super().read("patch.bias")
        return shift.astype(np.float32)

    def _possible(self) -> dict[str, Shape]:
        return {
            **super()._possible(),
            **_norm("pre_norm", self.width),
            "patch.weight": (self.width, 3, self.patch, self.patch),
            "patch.bias": (self.width,),
            "class": (self.width,),
            "positions": (self.tokens, self.width),
            "pool.probe": (self.width,),
            **{f"pool.{name}": shape for name, shape in self._block().items()},
        }

    def check(self) -> None:
        """See `Tower.check`."""
        if self.side % self.patch:
            raise WeightsError(f"{self.files}: patches of {self.patch} do not divide views of {self.side} pixels.")
        if not all(0 < deviation < math.inf for deviation in self.std):
            raise WeightsError(f"{self.files}: colours should be divided by numbers above 0, not by {self.std}.")
        super().check()


@dataclass(frozen=True)
class TextTower(Tower):
    """Token ids → embeddings, pooled at one token."""

    vocabulary: int
    context: int
    pooled: Pooled
    causal: bool = True
    """Whether a token sees only those before it. Where it sees all, it sees what fills a text up to the context too."""
    canonical: bool = False
    """Whether texts lose case and punctuation before they become tokens."""

    @property
    def figures(self) -> tuple[object, ...]:
        """See `Tower.figures`."""
        return (*super().figures, self.causal, self.canonical)

    def _possible(self) -> dict[str, Shape]:
        return {
            **super()._possible(),
            "tokens": (self.vocabulary, self.width),
            "positions": (self.context, self.width),
        }

    def pool(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Position of the pooled token in each row of `(N, T)` ids: int64 `(N,)`."""
        if self.pooled == "last":
            return np.full(len(ids), ids.shape[1] - 1, dtype=np.int64)
        wanted = ids if self.pooled == "highest" else np.isin(ids, self.pooled)
        positions: NDArray[np.int64] = np.argmax(wanted, axis=1).astype(np.int64)
        return positions


@dataclass(frozen=True)
class Classifier:
    """The dense layer with which a picture classifier ends; it reads the rows of its vision tower as they are."""

    labels: tuple[str, ...]
    """In the order of the outputs."""
    weight: TensorRef
    """(L, D)"""
    bias: TensorRef
    """(L,)"""
    tensors: Tensors

    @property
    def network(self) -> Network:
        """Rows `(N, D)` → shares `(N, L)` that sum to 1; read anew each time.

        Raises `WeightsError` when a number of it is not finite.
        """
        return Network((Linear(self._read(self.weight), self._read(self.bias)),), "softmax", unit=False)

    def _read(self, ref: TensorRef) -> NDArray[np.float32]:
        tensor = np.array(self.tensors.read(ref))  # a copy: it outlives the mapping's pages
        if not np.isfinite(tensor).all():
            raise WeightsError(
                f"{self.tensors.where(ref.name)}: tensor '{ref.name}' holds numbers that are not finite."
            )
        return tensor

    def check(self, dim: int) -> None:
        """Raise `WeightsError` unless there is a weight for every label and each is for embeddings of size `dim`."""
        for ref, expected in ((self.weight, (len(self.labels), dim)), (self.bias, (len(self.labels),))):
            found = self.tensors.shape(ref)
            if found != expected:
                raise WeightsError(
                    f"{self.tensors.where(ref.name)}: tensor '{ref.name}' has the shape {list(found)}; the "
                    f"{len(self.labels)} labels of the config ({', '.join(self.labels)}) ask for {list(expected)}."
                )


@dataclass(frozen=True)
class Towers:
    """What a layout reads from a folder. A picture classifier has no text tower, and a classifier instead."""

    vision: VisionTower
    text: TextTower | None = None
    logit_scale: float | None = None
    """exp of the stored value: what a softmax over cosines multiplies them by, near 100 in trained CLIPs."""
    classifier: Classifier | None = None

    def check(self) -> None:
        """See `Tower.check`."""
        for tower in self._both().values():
            tower.check()
        if self.text and self.text.dim != self.vision.dim:
            raise WeightsError(
                f"{self.vision.files}: pictures have embeddings of {self.vision.dim} numbers, texts of "
                f"{self.text.dim}. They should be alike."
            )
        if self.classifier:
            self.classifier.check(self.vision.dim)

    def use_all(self, tensors: Tensors, spare: Sequence[str] = ()) -> None:
        """Raise `WeightsError` when a tensor is left over: it belongs to a part that these towers do not have.

        `spare`: beginnings of the names of those that embed nothing.
        """
        used = {ref.name for tower in self._both().values() for ref in tower.refs.values()} | {"logit_scale"}
        if self.classifier:
            used |= {self.classifier.weight.name, self.classifier.bias.name}
        for name in tensors:
            if name not in used and not name.startswith(tuple(spare)):
                raise WeightsError(
                    f"{tensors.where(name)}: tensor '{name}' belongs to a part that this version does not know. "
                    f"Without it the embeddings would be wrong."
                )

    @property
    def figures(self) -> str:
        """See `Tower.figures`."""
        return repr((self.logit_scale, [tower.figures for tower in self._both().values()]))

    def digest(self) -> str:
        """sha256 over all tensors by canonical name, as float32, and all figures that say how they are used.

        The same model in two layouts agrees; one whose config was corrected is another. A classifier does not count: it
        reads embeddings and changes none.
        """
        digest = sha256(self.figures.encode())
        for label, tensor in self._all():
            digest.update(f"{label}{tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).data)
        self.vision.tensors.release()
        return digest.hexdigest()

    def _all(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        for side, tower in self._both().items():
            for name in sorted(tower.shapes()):
                yield f"{side}.{name}", tower.read(name)

    def _both(self) -> dict[str, Tower]:
        return {"vision": self.vision, **({"text": self.text} if self.text else {})}


def logit_scale(tensors: Tensors) -> float:
    """exp of the stored logit scale, which CLIP, its successors and SigLIP all name alike."""
    ref = TensorRef("logit_scale")
    values = tensors.read(ref).reshape(-1)
    if len(values) != 1 or not abs(values[0]) < 50:
        raise WeightsError(f"{tensors.where(ref.name)}: tensor 'logit_scale' should be one number below 50.")
    return math.exp(float(values[0]))


Names = Mapping[str, str | tuple[str, Part]]
"""Canonical name of a linear layer or norm → a layout's, with `{kind}` for weight or bias, and which part of it."""


def block_refs(layers: int, prefix: str, names: Names) -> dict[str, TensorRef]:
    """Refs of all blocks; `prefix` is the layout's name for a block, with `{i}` for its number."""
    return {
        f"blocks.{i}.{name}": ref
        for i in range(layers)
        for name, ref in part_refs(f"{prefix.format(i=i)}.", names).items()
    }


def part_refs(prefix: str, names: Names) -> dict[str, TensorRef]:
    """Refs of the weight and bias of everything named; `prefix` is what all its names begin with."""
    refs = {}
    for canonical, found in names.items():
        name, part = (found, None) if isinstance(found, str) else found
        for kind in ("weight", "bias"):
            refs[f"{canonical}.{kind}"] = TensorRef(prefix + name.format(kind=kind), part)
    return refs


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
