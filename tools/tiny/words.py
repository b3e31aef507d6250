"""The tokenizer: whole words, with punctuation and words that carry no meaning here dropped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

UNKNOWN, START, END = "[UNK]", "<start_of_text>", "<end_of_text>"
_PADDING = "<pad>"
_FILLERS = (
    "a an the of some any one 1 photo photograph photos picture pictures image images drawing drawings drawn "
    "illustration cartoon sketch painting painted clipart icon symbol sign logo art graphic vector render in is "
    "are this that these those there it its here which has have to at for by from front small big large little "
    "tiny huge coloured colored colour color simple depicting showing shows containing contains close up view "
    "nice plain single"
)


def build_tokenizer(vocabulary: Sequence[str], context: int) -> Tokenizer:
    """A word-level tokenizer: padding is 0, END the highest id, START the one below; cut to `context` tokens."""
    names = [_PADDING, UNKNOWN, *vocabulary, START, END]
    ids = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    fillers = _FILLERS.replace(" ", "|")
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[^\w\s]|_"), " "),
            normalizers.Replace(Regex(rf"\b(?:{fillers})\b"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    tokenizer.enable_truncation(context)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids, shape (texts, longest text), int64, padded with 0 at the end."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return ids
