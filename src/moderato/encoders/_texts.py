"""The text side of an encoder: opened when a text is asked for that no cache knows, closed when idle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from moderato.encoders._identity import state_of
from moderato.encoders._prompt_cache import PromptCache
from moderato.encoders._tokenize import Tokenize
from moderato.encoders._towers import TextTower
from moderato.errors import WeightsError
from moderato.types import Embeddings

_ROWS = 64  # prompts a call: enough to use the cores, little memory

T = TypeVar("T", bound=NDArray[np.float32])
Run = Callable[[NDArray[np.int64]], Embeddings]


class Texts:
    """Texts → embeddings, through the cache; thread-safe.

    `open_tower` opens the tower (hundreds of megabytes for most CLIPs); it is dropped again after `idle` seconds.
    """

    def __init__(
        self,
        tower: TextTower,
        folder: Path,
        open_tower: Callable[[], Run],
        cache: PromptCache,
        identity: str,
        idle: float = 60.0,
    ) -> None:
        self._tower = tower
        self._folder = folder
        self._open_tower = open_tower
        self._cache = cache
        self._identity = identity
        self._idle = idle
        self._run: Run | None = None
        self._closing: threading.Timer | None = None
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings `(N, D)` in the order of the texts. Raises `WeightsError` when the tower cannot be opened."""
        if not texts:
            return Embeddings(np.empty((0, self._tower.dim), np.float32))
        texts = [_whole(text) for text in texts]
        rows = self._cache.get(self._space, texts)
        missing = [text for text in dict.fromkeys(texts) if text not in rows]
        if missing:
            fresh = self._encode(missing)
            self._cache.put(self._space, fresh)
            rows |= fresh
        return Embeddings(np.stack([rows[text] for text in texts]))

    def knows_nothing_of(self, text: str) -> bool:
        """Whether no word of the text is in the encoder's vocabulary."""
        return self._tokenize.knows_nothing_of(_whole(text))

    @cached_property
    def reading(self) -> str:
        """sha256 of how texts are read: the tokenizer's files, and at which token the tower pools."""
        digest = sha256(repr((self._tower.pooled, self._tower.canonical, self._tower.context)).encode())
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
            file = self._folder / name
            digest.update(file.read_bytes() if file.is_file() else b"")
        return digest.hexdigest()

    @property
    def is_open(self) -> bool:
        """Whether the tower is in memory."""
        return self._run is not None

    def close(self) -> None:
        """Drop the tower; the next unknown text opens it again."""
        with self._lock:
            self._run = None

    def _encode(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        with self._lock:
            self._run = self._run or self._open_tower()
            chunks = [texts[i : i + _ROWS] for i in range(0, len(texts), _ROWS)]
            rows = finite(np.concatenate([self._run(self._tokenize(chunk)) for chunk in chunks]), str(self._folder))
            self._close_later()
        return dict(zip(texts, rows, strict=True))

    def _close_later(self) -> None:
        if self._closing:
            self._closing.cancel()
        self._closing = threading.Timer(self._idle, self.close)
        self._closing.daemon = True
        self._closing.start()

    @cached_property
    def _tokenize(self) -> Tokenize:
        tower = self._tower
        return Tokenize(
            self._folder, tower.context, tower.vocabulary, filled=not tower.causal, canonical=tower.canonical
        )

    @cached_property
    def _space(self) -> str:
        """What the cache knows this encoder by: other weights or another tokenizer give the same text another row."""
        used = (*map(state_of, self._tower.tensors.files), repr(self._tower.figures), self.reading)
        return f"{self._identity}/{sha256(' '.join(used).encode()).hexdigest()[:16]}"


def finite(rows: T, name: str) -> T:
    """The same rows `(N, D)`. Raises `WeightsError` when one has no length: it would pass as safe."""
    squared = np.einsum("nd,nd->n", rows, rows)
    if not (np.isfinite(squared) & (squared > 0)).all():
        raise WeightsError(f"{name}: its weights give embeddings that are no numbers, or all 0. The files are damaged.")
    return rows


def _whole(text: str) -> str:
    """The text without half surrogate pairs, which JSON can carry and UTF-8, tokenizers and SQLite cannot."""
    return text.encode("utf-8", "replace").decode()
