"""Texts → token ids, by the tokenizer that lies in the model's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from moderato.errors import WeightsError

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""CLIP's own division into words: openai/CLIP, clip/simple_tokenizer.py."""


class Tokenize:
    """Token ids of texts, cut to the longest of them and never longer than `context`.

    Raises `WeightsError` when the folder has no tokenizer, or one with more ids than the tower's `vocabulary`.
    """

    def __init__(self, folder: Path, context: int, vocabulary: int) -> None:
        self._tokenizer = _open(folder)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._context = context
        frame = self._tokenizer.encode("").ids
        if len(frame) != 2:
            raise WeightsError(f"{folder}: the tokenizer puts no start and end token around a text.")
        self._end = frame[1]
        largest = max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        if largest >= vocabulary:
            raise WeightsError(f"{folder}: the tokenizer has ids up to {largest}, the text tower only {vocabulary}.")
        self._unknown = _unknown_id(self._tokenizer, frame)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """int64 `(N, T)`: start, words, end, then zeros; T is the longest text's length.

        A longer text than the context loses its tail and keeps its end token, as in CLIP.
        """
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        rows = [row if len(row) <= self._context else [*row[: self._context - 1], self._end] for row in rows]
        ids = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return ids

    def knows_nothing_of(self, text: str) -> bool:
        """Whether no word of the text is in the vocabulary: its embedding then means nothing."""
        words = self._tokenizer.encode(text).ids[1:-1]
        return all(word == self._unknown for word in words)


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
