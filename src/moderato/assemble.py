"""Builds the objects that settings and policies name: a name becomes a card, files, an encoder, a moderator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from moderato.cards import EncoderCard, encoder_card, encoder_names
from moderato.encoders import WEIGHTS, Encoder, PromptCache, open_encoder
from moderato.errors import CardError, WeightsError
from moderato.moderator import Moderator
from moderato.policy import Policy, read_policy, shipped_policies
from moderato.settings import Settings, read_settings
from moderato.weights import HubFiles, Store

_LOG = logging.getLogger(__name__)

DEFAULT_POLICY = "standard"

_CONFIGS = ("open_clip_config.json", "config.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json")


def load(policy: str | Path = DEFAULT_POLICY, encoder: str | None = None) -> Moderator:
    """A moderator for a shipped policy by name or one from a TOML file, ready to judge.

    `encoder`, a card's name or a model folder, is the one behind `classify` and `embed`; the policy's without it.
    Settings come from the environment.
    Raises `OperatorError`: a policy that is wrong, weights that cannot be had. What it returns no longer fails for
    such reasons.
    """
    moderator = Workshop(read_settings()).moderator(policy, encoder)
    moderator.ready(moderator.policy)
    return moderator


@dataclass(frozen=True)
class Workshop:
    """Where things are put together from the settings."""

    settings: Settings

    @cached_property
    def store(self) -> Store:
        """Where model files are."""
        return Store(data=self.settings.data, models=self.settings.models)

    @cached_property
    def _prompts(self) -> PromptCache:
        return PromptCache(self.settings.data / "prompts.sqlite")

    def moderator(self, policy: str | Path, encoder: str | None = None) -> Moderator:
        """A moderator whose encoders are opened when they are first needed."""
        settings = self.settings
        return Moderator(
            read_policy(policy),
            self.encoder,
            neutral_anchors,
            encoder=encoder,
            limits=settings.media,
            fetching=settings.fetch,
            threads=settings.threads,
            rows=settings.rows,
        )

    def encoder(self, name: str) -> Encoder:
        """The encoder with a card of this name, or the one in this folder.

        Raises `CardError` for an unknown name, or where the files contradict the card; `WeightsError` when files
        cannot be had or read.
        """
        folder = Path(name)
        if name not in encoder_names() and folder.is_dir():
            return self._open(folder, folder.name)
        card = encoder_card(name)
        opened = self._open(self.files(card), name, card)
        _agree(card, opened)
        return opened

    def files(self, card: EncoderCard) -> Path:
        """The folder with a card's files; downloads what is missing."""
        return card.folder or self.store.path(card.name, hub_files(card))

    def present(self, card: EncoderCard) -> bool:
        """Whether a card's files are on this machine, whole and as recorded; nothing is downloaded."""
        try:
            return card.folder is not None or self.store.present(card.name, hub_files(card)) is not None
        except WeightsError as error:
            _LOG.warning("%s", error)
            return False

    def policies_here(self, own: Policy) -> dict[str, Policy]:
        """`own`, and the shipped policies whose encoder's files are on this machine."""
        shipped = map(read_policy, shipped_policies())
        here = {policy.name: policy for policy in shipped if self.present(encoder_card(policy.encoder))}
        return {**here, own.name: own}

    def _open(self, folder: Path, name: str, card: EncoderCard | None = None) -> Encoder:
        return open_encoder(
            folder,
            name=name,
            identity=card.lineage if card else None,
            temperature=card.temperature if card else None,
            threads=self.settings.threads,
            runtime=self.settings.runtime,
            prompts=self._prompts,
            identities=self.settings.data / "identities.json",
        )


def hub_files(card: EncoderCard) -> HubFiles:
    """What is needed of a card's repository: weights in either layout, a config, a tokenizer."""
    assert card.repo, f"{card.name} comes with moderato"
    optional = (*_CONFIGS, "preprocessor_config.json", "merges.txt")
    return HubFiles(card.repo, files=(WEIGHTS, _CONFIGS, _TOKENIZERS), optional=optional)


def neutral_anchors(encoder: str) -> Sequence[str]:
    """What an encoder compares independent labels with when nobody names a look-alike."""
    card = encoder_card(encoder) if encoder in encoder_names() else None
    return card.anchors if card else _DEFAULT_ANCHORS


_DEFAULT_ANCHORS: list[str] = EncoderCard.model_fields["anchors"].default


def _agree(card: EncoderCard, encoder: Encoder) -> None:
    vision = encoder.towers.vision
    found = {"side": vision.side, "dim": vision.dim, "activation": vision.activation}
    for fact, value in found.items():
        stated = getattr(card, fact)
        if stated is not None and stated != value:
            raise CardError(
                f"{card.name}: the card states {fact} = {stated}, the files in "
                f"{vision.tensors.files[0].parent} have {value}. They are not this encoder's files."
            )
