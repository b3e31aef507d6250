"""Embeddings of texts, kept in memory and on disk, both bounded: the same prompts come at every start and request."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderato.caches import FileCache

Row = NDArray[np.float32]

_FLOAT = 4  # bytes


class PromptCache:
    """Rows by (space, text), where a space is an encoder together with its tokenizer; thread-safe.

    `file` is an SQLite database that several processes may share; None, or a folder that cannot be written, means
    memory only. Beyond `in_memory` rows the least recently used goes, beyond `on_disk` the oldest.
    """

    def __init__(self, file: Path | None, in_memory: int = 10_000, on_disk: int = 50_000) -> None:
        self._kept = FileCache(file, "prompt embeddings", most=on_disk)
        self._in_memory = in_memory
        self._rows: OrderedDict[tuple[str, str], Row] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, space: str, texts: Sequence[str]) -> dict[str, Row]:
        """The rows that are known, by text."""
        with self._lock:
            known = {text: self._rows[space, text] for text in texts if (space, text) in self._rows}
            for text in known:
                self._rows.move_to_end((space, text))
        missing = [text for text in texts if text not in known]
        stored = self._load(space, missing) if missing else {}
        self._remember(space, stored)
        return known | stored

    def put(self, space: str, rows: dict[str, Row]) -> None:
        """Keep new rows."""
        self._remember(space, rows)
        self._kept.put({_key(space, text): row.astype("<f4").tobytes() for text, row in rows.items()})

    def _remember(self, space: str, rows: dict[str, Row]) -> None:
        with self._lock:
            self._rows.update({(space, text): row for text, row in rows.items()})
            while len(self._rows) > self._in_memory:
                self._rows.popitem(last=False)

    def _load(self, space: str, texts: Sequence[str]) -> dict[str, Row]:
        stored = self._kept.get(_key(space, text) for text in texts)
        found = {text: stored.get(_key(space, text), b"") for text in texts}
        whole = {text: value for text, value in found.items() if value and len(value) % _FLOAT == 0}
        return {text: np.frombuffer(value, "<f4").astype(np.float32) for text, value in whole.items()}


def _key(space: str, text: str) -> str:
    return json.dumps([space, text])
