"""Texts → token ids, by the tokenizer that lies in the model's folder."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from moderato.encoders._layouts._config import Config
from moderato.errors import WeightsError

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""CLIP's own division into words: openai/CLIP, clip/simple_tokenizer.py."""


class Tokenize:
    """Token ids of texts, never more than `context` for one.

    `filled`: rows have exactly that length, with the padding token behind the text (SigLIP, whose text tower sees the
    padding); otherwise they are cut to the longest text. `canonical`: texts are cleaned before (`canonical`).

    Raises `WeightsError` when the folder has no tokenizer, one with more ids than the tower's `vocabulary`, or one that
    frames texts in another way: CLIP's in a start and an end token, SigLIP's by an end token alone.
    """

    def __init__(
        self, folder: Path, context: int, vocabulary: int, *, filled: bool = False, canonical: bool = False
    ) -> None:
        self._tokenizer = _open(folder)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._context = context
        self._clean = _canonical if canonical else str
        frame = self._tokenizer.encode("").ids
        if len(frame) != (1 if filled else 2):
            wanted = "one end token behind" if filled else "a start and an end token around"
            raise WeightsError(f"{folder}: the tokenizer should put {wanted} a text; it adds {len(frame)} tokens.")
        self._before, self._end = len(frame) - 1, frame[-1]
        self._filling = _padding_id(folder, self._tokenizer) if filled else None
        largest = max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        if largest >= vocabulary:
            raise WeightsError(f"{folder}: the tokenizer has ids up to {largest}, the text tower only {vocabulary}.")
        self._unknown = _unknown_id(self._tokenizer, frame)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """int64 `(N, T)`: what stands before a text, its words, the end token, then padding (zeros where it is unseen).

        A longer text than the context loses its tail and keeps its end token, as in training.
        """
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(map(self._clean, texts)))]
        rows = [row if len(row) <= self._context else [*row[: self._context - 1], self._end] for row in rows]
        length = max(map(len, rows), default=0) if self._filling is None else self._context
        ids = np.full((len(rows), length), self._filling or 0, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return ids

    def knows_nothing_of(self, text: str) -> bool:
        """Whether no word of the text is in the vocabulary: its embedding then means nothing."""
        words = self._tokenizer.encode(self._clean(text)).ids[self._before : -1]
        return all(word == self._unknown for word in words)


_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


def _canonical(text: str) -> str:
    """The text without punctuation, lower case, with single spaces: so SigLIP's texts were cleaned.

    open_clip does it (`clean = canonicalize`, after big_vision's `canonicalize_text`), transformers leaves it to the
    user. It is done in both layouts here, for one identity must mean one embedding.
    """
    return " ".join(text.translate(_PUNCTUATION).lower().split())


def _padding_id(folder: Path, tokenizer: Tokenizer) -> int:
    file = folder / "tokenizer_config.json"
    stated = Config.read(file).values.get("pad_token") if file.is_file() else None
    token = stated.get("content") if isinstance(stated, dict) else stated or "<pad>"
    found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if found is None:
        raise WeightsError(f"{file}: pad_token should be a token of the tokenizer beside it, found {token!r}.")
    return found


def _open(folder: Path) -> Tokenizer:
    whole, vocabulary, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    try:
        if whole.is_file():
            return Tokenizer.from_file(str(whole))
        if vocabulary.is_file() and merges.is_file():
            return _clip(models.BPE.read_file(str(vocabulary), str(merges)))
    except Exception as error:  # tokenizers raises bare Exception on a bad file
        raise WeightsError(f"{folder}: the tokenizer cannot be read ({error}).") from error
    raise WeightsError(f"{folder}: texts need tokenizer.json, or vocab.json and merges.txt; none is there.")


def _clip(parts: tuple[dict[str, int], list[tuple[str, str]]]) -> Tokenizer:
    """CLIP's byte-pair tokenizer from the two files it had before tokenizer.json, as transformers builds it."""
    vocabulary, merges = parts
    bpe = models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=_END)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (_END, vocabulary[_END]), (_START, vocabulary[_START]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def _unknown_id(tokenizer: Tokenizer, frame: Sequence[int]) -> int | None:
    """The id that stands for words outside the vocabulary; CLIP's byte-pairs know every word and have none."""
    token = getattr(tokenizer.model, "unk_token", None)
    unknown = tokenizer.token_to_id(token) if token else None
    return None if unknown in frame else unknown
