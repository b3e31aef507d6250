"""Cards: facts about an encoder as data. One TOML file each in `encoders/`, and their one reader.

What nobody could look up is not on a card: commits and hashes are recorded at the first pull (`weights.py`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from moderato.errors import CardError, nearest

_ENCODERS = Path(__file__).parent / "encoders"
_BUILTIN = Path(__file__).parent.parent / "builtin"


class Figure(BaseModel):
    """A published figure: what was measured, how much, and by whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measures: str
    value: float
    source: str


class EncoderCard(BaseModel):
    """What is stated about an encoder. The model folder's own config rules; where they disagree, opening it fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    lineage: str
    """Identity of the embedding space; heads name it."""
    licence: str
    repo: str | None = None
    """Hugging Face repository of the weights; None: they come with moderato."""
    side: int
    """Pixels of a view's side."""
    dim: int
    """Size of an embedding."""
    activation: str | None = None
    reads_text: bool = True
    """Whether it embeds texts too; a picture classifier does not."""
    parameters: dict[str, float] = {}
    """Millions of parameters: image and text tower."""
    gflops: float | None = None
    """Billions of floating-point operations a view (twice the multiply-adds)."""
    temperature: float | None = None
    """From a cosine gap to a score, where it was measured; the model's own logit scale otherwise."""
    anchors: list[str] = ["a photo", "an ordinary photo of everyday life", "a picture of something else"]
    """What an independent label is compared with when nobody names a harmless look-alike."""
    limits: str
    """What a user must know before relying on it."""
    figures: list[Figure] = []

    @property
    def folder(self) -> Path | None:
        """Where the weights lie that come with moderato; None for those that must be fetched."""
        return _BUILTIN / self.name if self.repo is None else None


def encoder_names() -> list[str]:
    """Names of all encoders with a card."""
    return sorted(file.stem for file in _ENCODERS.glob("*.toml"))


def encoder_card(name: str) -> EncoderCard:
    """The card of an encoder. Raises `CardError` listing the known names, or saying what is wrong with the card."""
    if name not in encoder_names():
        raise CardError(
            f"There is no encoder '{name}'. {nearest(name, encoder_names())} A folder is named by its path."
        )
    file = _ENCODERS / f"{name}.toml"
    try:
        return EncoderCard.model_validate({"name": name, **tomllib.loads(file.read_text("utf-8"))})
    except (ValueError, ValidationError) as error:
        raise CardError(f"{file}: {error}") from error
