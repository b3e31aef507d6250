"""Cards: facts about encoders and heads as data. One TOML file each, in `encoders/` and `heads/`; their one reader.

What nobody could look up is not on a card: commits and hashes are recorded at the first pull (`weights`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from moderato.errors import CardError, nearest

_ENCODERS = Path(__file__).parent / "encoders"
_HEADS = Path(__file__).parent / "heads"
_BUILTIN = Path(__file__).parent.parent / "builtin"


class Figure(BaseModel):
    """A published figure: what was measured, how much, and by whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measures: str
    value: float
    source: str


class _Card(BaseModel):
    """What every card says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    licence: str
    limits: str
    """What a user must know before relying on it."""
    figures: list[Figure] = []


class EncoderCard(_Card):
    """What is stated about an encoder. The model folder's own config rules; where they disagree, opening it fails."""

    lineage: str
    """Identity of the embedding space; heads name it."""
    repo: str | None = None
    """Hugging Face repository of the weights; None: they come with moderato."""
    side: int
    """Pixels of a view's side."""
    dim: int
    """Size of an embedding."""
    activation: str | None = None
    reads_text: bool = True
    """Whether it embeds texts too; a picture classifier does not."""
    labels: list[str] = []
    """What it classifies pictures into, in the order of its outputs; none for one that only embeds."""
    parameters: dict[str, float] = {}
    """Millions of parameters: image and text tower."""
    gflops: float | None = None
    """Billions of floating-point operations a view (twice the multiply-adds)."""
    temperature: float | None = None
    """From a cosine gap to a score, where it was measured; the model's own logit scale otherwise."""
    anchors: list[str] = ["a photo", "an ordinary photo of everyday life", "a picture of something else"]
    """What an independent label is compared with when nobody names a harmless look-alike."""

    @property
    def folder(self) -> Path | None:
        """Where the weights lie that come with moderato; None for those that must be fetched."""
        return _BUILTIN / self.name if self.repo is None else None


class HeadCard(_Card):
    """What is stated about a trained head."""

    kind: str
    """The module of `heads/` that reads its file."""
    encoder: str
    """Identity of the embedding space it reads."""
    labels: list[str]
    """What its outputs mean, in their order."""
    url: str | None = None
    """Where its file is had; None: the user brings it."""
    sha256: str | None = None
    """The file's hash; None: not known to us, recorded at the first download."""
    evidence: Annotated[str, StringConstraints(pattern=r"(?s)^((measured|weak): .+|unmeasured)$")]
    """Who measured it on what, or why that says little."""
    facts: dict[str, Any] = {}
    """What its kind needs to know to read its file; `heads/KIND.py` says what that is."""


def encoder_names() -> list[str]:
    """Names of all encoders with a card."""
    return _names(_ENCODERS)


def encoder_card(name: str) -> EncoderCard:
    """The card of an encoder. Raises `CardError` listing the known names, or saying what is wrong with the card."""
    if name not in encoder_names():
        raise CardError(
            f"There is no encoder '{name}'. {nearest(name, encoder_names())} A folder is named by its path."
        )
    return _read(EncoderCard, _ENCODERS, name)


def head_names() -> list[str]:
    """Names of all heads with a card."""
    return _names(_HEADS)


def head_card(name: str) -> HeadCard:
    """The card of a head. Raises `CardError` listing the known names, or saying what is wrong with the card."""
    if name not in head_names():
        raise CardError(f"There is no head '{name}'. {nearest(name, head_names())} A file is named by its path.")
    return _read(HeadCard, _HEADS, name)


def _names(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.toml"))


_AnyCard = TypeVar("_AnyCard", bound=_Card)


def _read(kind: type[_AnyCard], folder: Path, name: str) -> _AnyCard:
    file = folder / f"{name}.toml"
    try:
        return kind.model_validate({"name": name, **tomllib.loads(file.read_text("utf-8"))})
    except (ValueError, ValidationError) as error:
        raise CardError(f"{file}: {error}") from error
