"""The values that travel from stage to stage: arrays as NewTypes, everything else as frozen dataclasses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NewType, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Views = NewType("Views", NDArray[np.uint8])
"""uint8 `(N, S, S, 3)`, RGB: rows for one encoder, whoever they belong to."""

Embeddings = NewType("Embeddings", NDArray[np.float32])
"""float32 `(N, D)`, rows of unit length."""

Rows = NewType("Rows", NDArray[np.float32])
"""float32 `(N, D)`: what an encoder's projection gives, before it is brought to unit length."""

Precision = Literal["fp32", "bf16", "fp16", "int8"]
"""What an encoder computes views in. fp32 is the reference; texts and patches are always fp32."""

Scores = NewType("Scores", NDArray[np.float32])
"""float32 `(N, L)` in 0..1: one row a view, one column a label."""

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the whole upright picture; right and bottom are outside."""

Fit = Literal["crop", "squash", "cover"]
"""How a rectangle becomes a square: its centre, all of it distorted, or overlapping squares that hide nothing."""

Interpolation = Literal["bicubic", "bilinear"]

Action = Literal["allow", "review", "block"]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""From the mildest to the hardest."""


@dataclass(frozen=True)
class Source:
    """What was sent: the bytes of one file, and what its sender calls it."""

    data: bytes
    name: str = ""

    @cached_property
    def digest(self) -> str:
        """sha256 of the bytes, in hex."""
        return sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Frame:
    """One decoded picture, upright, mode RGB. A still picture is one frame at 0.0 seconds.

    `size` is the (width, height) of the whole picture. A JPEG may be decoded at 1/`reduction`: its pixel (x, y) is then
    `corner` + (x, y) / `reduction` in `image`, which ends with a part of a pixel where a side is no multiple.
    """

    image: Image
    size: tuple[int, int]
    time: float = 0.0
    number: int = 0
    """Its place among the frames that are looked at: pages have no time, and some animations none that tells."""
    reduction: int = 1
    corner: tuple[float, float] = (0.0, 0.0)
    """In pixels of `image`; not zero where a part of a pixel was turned to the left or to the top."""


@dataclass(frozen=True)
class ViewSpec:
    """What an encoder wants to see: squares of `side` pixels."""

    side: int
    fit: Fit = "crop"
    interpolation: Interpolation = "bicubic"
    share: float = 1.0
    """What part of the shorter side `crop` keeps; timm calls it crop_pct."""

    def __str__(self) -> str:
        kept = f" {self.share:g}" if self.fit == "crop" and self.share != 1 else ""
        return f"{self.side} px, {self.fit}{kept}, {self.interpolation}"


@dataclass(frozen=True, eq=False)
class View:
    """A rectangle of a frame resized for one consumer: uint8 `(S, S, 3)`, where it was, and its second."""

    pixels: NDArray[np.uint8]
    box: Box
    time: float = 0.0
    frame: int = 0


@dataclass(frozen=True)
class Place:
    """Where in the upright picture, at which second, and from which of the frames looked at, a view was cut."""

    box: Box
    time: float = 0.0
    frame: int = 0


@dataclass(frozen=True, eq=False)
class Encoded:
    """One source as one encoder saw it: the places of its V views, and `rows` float32 `(V, D)`.

    `size` is the (width, height) of the upright picture; None where only embeddings are at hand.
    """

    places: tuple[Place, ...]
    rows: Rows
    size: tuple[int, int] | None = None

    @cached_property
    def embeddings(self) -> Embeddings:
        """The rows at unit length."""
        return unit(self.rows)


def unit(rows: Rows) -> Embeddings:
    """Rows at unit length; one of zeros stays so."""
    lengths: NDArray[np.float32] = np.linalg.norm(rows, axis=-1, keepdims=True)
    lengths[lengths == 0] = 1
    return Embeddings(rows / lengths)


@dataclass(frozen=True)
class Reason:
    """Why a verdict is not `allow`: a label whose score reached a threshold, and where and when it was seen."""

    label: str
    score: float
    threshold: float
    action: Action
    box: Box
    time: float


@dataclass(frozen=True)
class Fingerprints:
    """What a verdict rests on: the same of all these give the same verdict.

    `source`: sha256 of its bytes, None when they could not be had. `policy`: sha256 of all it says. By encoder:
    `views`, how they were cut; `encoders`, the identity of the embedding space (of one with a card what the card
    declares: its files are those recorded at the first pull); `texts`, the sha256 of how prompts are read; `runtimes`,
    what ran it in which precision, as `onnx fp32`: no part of the identity, but other roundings (embeddings that were
    kept may come of another runtime in the same precision). By label: `heads`, the sha256 of the trained head that
    scored it.
    """

    policy: str
    source: str | None = None
    views: dict[str, str] = field(default_factory=dict)
    encoders: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    runtimes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a policy decided about one source.

    `scores` holds every label of the policy, also those it only describes; it is empty when `unscannable` says why
    the picture could not be scanned. `notes` are sentences that a person should know before trusting the scores.
    `fingerprints` make the verdict repeatable.
    """

    source: str
    action: Action
    policy: str
    reasons: tuple[Reason, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    unscannable: str | None = None
    notes: tuple[str, ...] = ()
    fingerprints: Fingerprints = field(kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values, in the order of the fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Classification:
    """Which of some labels a picture shows: the first of the highest, and a probability 0..1 for each.

    `prediction` is None and `probabilities` is empty when `unscannable` says why.
    """

    source: str
    prediction: str | None
    probabilities: dict[str, float]
    unscannable: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, verdict: Verdict) -> Classification:
        """A verdict seen as a classification: all of its scores, none of its actions."""
        scores = verdict.scores
        prediction = max(scores, key=lambda label: scores[label]) if scores else None
        return cls(verdict.source, prediction, scores, verdict.unscannable, verdict.notes)

    def to_dict(self) -> dict[str, Any]:
        """As plain values; what is empty beyond the first three is left out."""
        return {key: value for key, value in asdict(self).items() if value or key in _ALWAYS}


_ALWAYS = ("source", "prediction", "probabilities")


@dataclass(frozen=True, eq=False)
class Embedded:
    """A picture's embedding: float32 `(D,)` of unit length, or None when `unscannable` says why."""

    source: str
    embedding: NDArray[np.float32] | None
    unscannable: str | None = None
    notes: tuple[str, ...] = ()
