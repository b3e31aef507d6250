"""Embeddings of texts, kept in memory and on disk, both bounded: the same prompts come at every start and request."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)
_SCHEMA = "CREATE TABLE IF NOT EXISTS prompts (space TEXT, text TEXT, row BLOB, PRIMARY KEY (space, text))"

Row = NDArray[np.float32]
T = TypeVar("T")


class PromptCache:
    """Rows by (space, text), where a space is an encoder together with its tokenizer; thread-safe.

    `file` is an SQLite database that several processes may share; None, or a folder that cannot be written, means
    memory only. Beyond `in_memory` rows the least recently used goes, beyond `on_disk` the oldest.
    """

    def __init__(self, file: Path | None, in_memory: int = 10_000, on_disk: int = 50_000) -> None:
        self._file = file
        self._in_memory = in_memory
        self._on_disk = on_disk
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
        items = [(space, text, row.astype("<f4").tobytes()) for text, row in rows.items()]

        def insert(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO prompts VALUES (?, ?, ?)", items)
            oldest = "DELETE FROM prompts WHERE rowid <= (SELECT max(rowid) FROM prompts) - ?"
            database.execute(oldest, (self._on_disk,))

        self._on_file(insert, None)

    def _remember(self, space: str, rows: dict[str, Row]) -> None:
        with self._lock:
            self._rows.update({(space, text): row for text, row in rows.items()})
            while len(self._rows) > self._in_memory:
                self._rows.popitem(last=False)

    def _load(self, space: str, texts: Sequence[str]) -> dict[str, Row]:
        def select(database: sqlite3.Connection) -> dict[str, Row]:
            query = "SELECT row FROM prompts WHERE space = ? AND text = ?"
            found = {text: database.execute(query, (space, text)).fetchone() for text in texts}
            return {text: np.frombuffer(row[0], "<f4").astype(np.float32) for text, row in found.items() if row}

        return self._on_file(select, {})

    def _on_file(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Work in one transaction. A file that cannot be used is given up for good: it is only a cache."""
        if self._file is None:
            return otherwise
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=10)) as database, database:
                database.execute(_SCHEMA)
                return work(database)
        except (OSError, sqlite3.Error, ValueError, TypeError) as error:  # the last two: a row that is damaged
            _LOG.warning("prompt embeddings are kept in memory only: %s (%s)", self._file, error)
            self._file = None
            return otherwise
