"""Builds the objects that settings and policies name: a name becomes a card, files, an encoder, a moderator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import cast

from moderato import plugins
from moderato.bench.choose import Choices, Execution
from moderato.cards import EncoderCard, HeadCard, encoder_card, encoder_names, head_card, head_names
from moderato.encoders import WEIGHTS, Encoder, PromptCache, open_encoder, space_of
from moderato.errors import CardError, PolicyError, SettingsError, WeightsError, nearest
from moderato.heads import Head
from moderato.media import prepare
from moderato.media.workers import Workers
from moderato.moderator import Moderator
from moderato.policy import Policy, read_policy, shipped_policies
from moderato.settings import Settings, read_settings
from moderato.store.embeddings import EmbeddingCache
from moderato.tasks import check_fits, check_space, classifier_of, column_of, wordless
from moderato.weights import HubFiles, Store, UrlFile

_LOG = logging.getLogger(__name__)

DEFAULT_POLICY = "standard"

_CONFIGS = ("open_clip_config.json", "config.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json")
_BESIDE = ("preprocessor_config.json", "merges.txt", "tokenizer_config.json")


def load(policy: str | Path = DEFAULT_POLICY, encoder: str | None = None) -> Moderator:
    """A moderator for a shipped policy by name or one from a TOML file, ready to judge.

    `encoder`, a card's name or a model folder, is the one behind `classify` and `embed`; without it the policy's
    own, or the first of its encoders that reads texts.
    Settings come from the environment.
    Raises `OperatorError`: a policy that is wrong, weights that cannot be had. What it returns no longer fails for
    such reasons.
    """
    moderator = Workshop(read_settings()).moderator(policy, encoder)
    moderator.ready(moderator.policy)
    return moderator


def load_head(name: str | Path, *, file: str | Path | None = None, mode: str | None = None) -> Head:
    """A trained head, ready to score embeddings that already exist: `load_head("laion-nsfw-l14").score(embeddings)`.

    `name`: a card's, a `.safetensors` file, or an encoder that classifies. `file`: a path or URL, for heads whose file
    you bring yourself. `mode`: how a head of LAION's reads its odd columns (`heads/laion.py`).
    Raises `OperatorError`: a name that is unknown, a file that cannot be had or read.
    """
    return Workshop(read_settings()).head(str(name), str(file) if file else None, mode)


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

    def workers(self) -> Workers:
        """Processes for the pictures of strangers: twice as many as cores, so that one that hangs keeps none idle."""
        return Workers(2 * self.settings.threads, self.settings.prepare)

    @property
    def _embeddings(self) -> Path:
        return self.settings.data / "embeddings.sqlite"

    def cache(self) -> EmbeddingCache | None:
        """Where a service finds what its encoders saw, as the settings say."""
        options = self.settings.cache
        if options.where == "off":
            return None
        file = self._embeddings if options.where == "disk" else None
        return EmbeddingCache(file, options.max_disk, options.max_memory)

    def moderator(
        self,
        policy: str | Path | Policy,
        encoder: str | None = None,
        *,
        keep: bool = False,
        workers: Workers | None = None,
        seen: EmbeddingCache | None = None,
    ) -> Moderator:
        """A moderator whose encoders are opened when they are first needed.

        `keep`: whether embeddings are kept in the data folder, so that the same pictures are encoded once. `seen`:
        another place where they are kept. Pictures are prepared by `workers`, or in threads.
        """
        settings = self.settings
        judged_by = policy if isinstance(policy, Policy) else read_policy(policy)
        return Moderator(
            judged_by,
            self.encoder,
            self.head,
            neutral_anchors,
            encoder=encoder or next(filter(reads_text, [judged_by.encoder, *judged_by.encoders]), None),
            limits=settings.media,
            fetching=settings.fetch,
            threads=workers.count if workers else settings.threads,
            rows=settings.rows,
            seen=EmbeddingCache(self._embeddings) if keep and settings.keep else seen,
            prepare=workers.prepare if workers else prepare,
        )

    def encoder(self, name: str) -> Encoder:
        """The encoder with a card of this name, or the one in this folder.

        Raises `CardError` for an unknown name, or where the files contradict the card; `WeightsError` when files
        cannot be had or read.
        """
        folder, card = self._found(name)
        opened = self._open(folder, card.name if card else folder.name, card)
        if card:
            _agree(card, opened)
        return opened

    def execution(self, name: str) -> Execution:
        """How the encoder of this name, or in this folder, is run here: as the settings say, or as was measured.

        Raises as `encoder` does, and `ExecutionError` where no runtime offers the precision of the settings.
        """
        folder, card = self._found(name)
        return self.choices.execution(card.name if card else folder.name, partial(self._space, folder, card))

    def space(self, name: str) -> str:
        """What caches know the encoder of this name, or in this folder, by when it is run in fp32."""
        return self._space(*self._found(name))

    @property
    def choices(self) -> Choices:
        """What was measured here, and what the settings make of it."""
        settings = self.settings
        return Choices(settings.data, settings.threads, settings.runtime, settings.precision)

    def _found(self, name: str) -> tuple[Path, EncoderCard | None]:
        """The folder of an encoder, and its card where it has one."""
        if name not in encoder_names() and _is_folder(Path(name)):
            return Path(name), None
        if "/" in name:
            raise CardError(f"{name}: there is no such encoder folder.")
        card = encoder_card(name)
        return self.files(card), card

    def _space(self, folder: Path, card: EncoderCard | None) -> str:
        return space_of(folder, card.lineage if card else None, self._identities)

    @property
    def _identities(self) -> Path:
        return self.settings.data / "identities.json"

    def head(self, name: str, file: str | None = None, mode: str | None = None) -> Head:
        """The head with a card of this name, the one in this `.safetensors` file, or an encoder's own classifier.

        Raises `CardError` for an unknown name, `WeightsError` when its file cannot be had or read.
        """
        if name in head_names():
            card = head_card(name)
            kind = plugins.load("moderato.heads", card.kind)
            if mode and not hasattr(kind, "MODES"):
                raise SettingsError(f"'{name}' has no modes; only the heads in LAION's archives do.")
            extra = {"mode": mode} if mode else {}
            return cast("Head", kind.read(self._head_file(card, file), card, **extra))
        if name in encoder_names() or _is_folder(Path(name)):
            encoder = self.encoder(name)
            if encoder.classifier is None:
                raise CardError(f"'{name}' is an encoder that classifies nothing; a head reads its embeddings.")
            _refuse_extras(name, file, mode)
            return classifier_of(encoder)
        if name.endswith(".safetensors"):
            _refuse_extras(name, file, mode)
            return cast("Head", plugins.load("moderato.heads", "dense").read(Path(name)))
        raise CardError(f"There is no head '{name}'. {nearest(name, head_names())} A file is named by its path.")

    def _head_file(self, card: HeadCard, file: str | None) -> Path:
        """Where a head's file is; downloads it when it is missing."""
        if file and "://" not in file:
            _check_file(card, file)
            return Path(file)
        _check_file(card, file)
        origin = UrlFile(file) if file else UrlFile(str(card.url), card.sha256)
        if not file:
            return self.store.path(card.name, origin) / origin.file
        try:
            name = f"{card.name}.{sha256(file.encode()).hexdigest()[:8]}"
            return self.store.path(name, origin) / origin.file
        except WeightsError as error:  # the ways out that it names are those of cards
            reason = str(error).split("\n")[0]
            raise WeightsError(f"{reason} A file of your own is named as file = './{origin.file}'.") from error

    def files(self, card: EncoderCard | HeadCard) -> Path:
        """The folder with a card's files; downloads what is missing."""
        if isinstance(card, HeadCard):
            return self._head_file(card, None).parent
        return card.folder or self.store.path(card.name, hub_files(card))

    def bring(self, card: EncoderCard | HeadCard, folder: Path) -> None:
        """Copy a card's files from a folder into the store."""
        if origin := _origin(card):
            self.store.bring(card.name, origin, folder)

    def present(self, card: EncoderCard | HeadCard) -> bool:
        """Whether a card's files are on this machine, whole and as recorded; nothing is downloaded."""
        try:
            return self.place(card) is not None
        except WeightsError as error:
            _LOG.warning("%s", error)
            return False

    def place(self, card: EncoderCard | HeadCard) -> Path | None:
        """The folder with a card's files, None when one is missing; nothing is downloaded.

        Raises `WeightsError` when they cannot be read, or are not the ones recorded.
        """
        if isinstance(card, EncoderCard) and card.folder is not None:
            return card.folder
        origin = _origin(card)
        return self.store.present(card.name, origin) if origin else None

    def export(
        self, name: str, file: Path, head: str | None = None, own: str | None = None
    ) -> tuple[Encoder, Head | None]:
        """Write an encoder, and a head of it, as one ONNX file; both are returned. `own`: the head's file.

        Raises `PolicyError` when the head was made for another encoder.
        """
        encoder = self.encoder(name)
        scores = None
        if head is not None:
            scores = classifier_of(encoder) if head == name and encoder.classifier else self.head(head, own)
            check_fits("--head", scores, encoder)
        labels = scores.labels if scores else ()
        facts = {"encoder": encoder.identity, "view": str(encoder.view), "head": scores.name if scores else ""}
        onnx = plugins.load("moderato.encoders", "onnx")
        onnx.export(encoder.towers.vision, scores.network if scores else None, labels, file, facts)
        return encoder, scores

    def policies_here(self, own: Policy) -> dict[str, Policy]:
        """`own`, and the shipped policies whose files are on this machine."""
        shipped = map(read_policy, shipped_policies())
        here = {policy.name: policy for policy in shipped if all(map(self.present, cards_of(policy)))}
        return {**here, own.name: own}

    def _open(self, folder: Path, name: str, card: EncoderCard | None = None) -> Encoder:
        space = cache(partial(self._space, folder, card))  # it reads the headers of all files
        execution = self.choices.execution(name, space)
        return open_encoder(
            folder,
            name=name,
            identity=card.lineage if card else None,
            temperature=card.temperature if card else None,
            threads=self.settings.threads,
            runtime=execution.runtime,
            precision=execution.precision,
            ranges=self.choices.ranges(space()) if execution.precision == "int8" else None,
            prompts=self._prompts,
            identities=self._identities,
        )


def _origin(card: EncoderCard | HeadCard) -> HubFiles | UrlFile | None:
    """Where a card's files come from; None: with moderato, or from the user."""
    if isinstance(card, HeadCard):
        return UrlFile(card.url, card.sha256) if card.url else None
    return hub_files(card) if card.repo else None


def cards_of(policy: Policy) -> list[EncoderCard | HeadCard]:
    """The cards of everything that a shipped policy needs."""
    heads = {label.head for label in policy.labels.values() if label.head} - set(policy.encoders)
    return [*map(encoder_card, policy.encoders), *map(head_card, sorted(heads))]


def hub_files(card: EncoderCard) -> HubFiles:
    """What is needed of a card's repository: weights in one layout, a config, a tokenizer where it reads texts."""
    assert card.repo, f"{card.name} comes with moderato"
    needed = (WEIGHTS, _CONFIGS, _TOKENIZERS) if card.reads_text else (WEIGHTS, _CONFIGS)
    return HubFiles(card.repo, files=needed, optional=(*_CONFIGS, *_BESIDE))


def reads_text(encoder: str) -> bool:
    """Whether an encoder embeds texts, as its card says, or, of a folder, a tokenizer in it."""
    if encoder in encoder_names():
        return encoder_card(encoder).reads_text
    return any((Path(encoder) / file).is_file() for file in _TOKENIZERS)


def check_policy(policy: Policy) -> None:
    """Raise what cards alone can tell is wrong with a policy, without a model file.

    `CardError` for a name that is unknown, `PolicyError` for a head of another encoder or without that output.
    """
    for encoder in policy.encoders:
        if not _is_path(encoder):
            encoder_card(encoder)
        elif not _is_folder(Path(encoder)):
            raise PolicyError(f"{policy.name}: there is no encoder folder {encoder}.")
    for name, label in policy.labels.items():
        encoder = policy.encoder_of(name)
        if label.head:
            _check_head(policy, name, label.head, encoder)
        elif not reads_text(encoder):
            raise wordless(policy, name, encoder)


def _check_head(policy: Policy, name: str, head: str, encoder: str) -> None:
    where = f"{policy.name}: labels.{name}.head"
    if _is_path(head):
        if not Path(head).exists():
            raise PolicyError(f"{where}: there is no {head}.")
    elif head == encoder:
        if not (outputs := encoder_card(encoder).labels):
            raise PolicyError(f"{where} is the encoder '{encoder}' itself, but that classifies nothing.")
        column_of(policy, name, encoder, outputs)
    elif head in encoder_names():
        raise PolicyError(f'{where} is an encoder: say encoder = "{head}" in this label too.')
    else:
        card = head_card(head)
        column_of(policy, name, card.name, card.labels)
        if not _is_path(encoder):
            check_space(where, card.name, card.encoder, encoder, encoder_card(encoder).lineage)
        _check_file(card, policy.labels[name].file)


def _check_file(card: HeadCard, file: str | None) -> None:
    if not file:
        if not card.url:
            raise _fileless(card)
    elif "://" in file:
        UrlFile(file)
    elif not Path(file).is_file():
        raise WeightsError(f"{file}: there is no such file; it should be that of the head '{card.name}'.")


def _is_folder(path: Path) -> bool:
    """As `is_dir`, also for what can be no path."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def _is_path(name: str) -> bool:
    """As in a policy file: a path has a slash, or is a head's file."""
    return "/" in name or name.endswith(".safetensors")


def _fileless(card: HeadCard) -> CardError:
    return CardError(
        f"{card.name}: its file does not come with moderato ({card.licence}). Name yours, a path or a URL: "
        f"file = ... in the policy's label, --file on the command line."
    )


def _refuse_extras(name: str, file: str | None, mode: str | None) -> None:
    if file or mode:
        raise SettingsError(f"'{name}' takes no file and has no modes: it is a file or an encoder itself.")


def neutral_anchors(encoder: str) -> Sequence[str]:
    """What an encoder compares independent labels with when nobody names a look-alike."""
    card = encoder_card(encoder) if encoder in encoder_names() else None
    return card.anchors if card else _DEFAULT_ANCHORS


_DEFAULT_ANCHORS: list[str] = EncoderCard.model_fields["anchors"].default


def _agree(card: EncoderCard, encoder: Encoder) -> None:
    vision = encoder.towers.vision
    found: dict[str, object] = {"side": vision.side, "dim": vision.dim, "activation": vision.activation}
    if encoder.classifier:
        found["labels"] = list(encoder.classifier.labels)
    for fact, value in found.items():
        stated = getattr(card, fact)
        if stated and stated != value:
            raise CardError(
                f"{card.name}: the card states {fact} = {stated}, the files in "
                f"{vision.tensors.files[0].parent} have {value}. They are not this encoder's files."
            )
