"""A bounded cache in an SQLite file: what was computed once need not be computed again, and may be lost at any time."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

_LOG = logging.getLogger(__name__)
_SCHEMA = "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB)"

T = TypeVar("T")


class FileCache:
    """Bytes by key; thread-safe, and several processes may share the file.

    `file` None keeps nothing. Beyond `most` entries the oldest go. A file that cannot be used is given up with one
    warning, which says that `what` is kept no longer: it is only a cache.
    """

    def __init__(self, file: Path | None, most: int, what: str) -> None:
        self._file = file
        self._most = most
        self._what = what

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values that are known, by key."""

        def select(database: sqlite3.Connection) -> dict[str, bytes]:
            found = {key: database.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone() for key in keys}
            return {key: row[0] for key, row in found.items() if row and isinstance(row[0], bytes)}

        return self._on_file(select, {})

    def put(self, values: Mapping[str, bytes]) -> None:
        """Keep new values."""

        def insert(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", values.items())
            oldest = "DELETE FROM kept WHERE rowid <= (SELECT max(rowid) FROM kept) - ?"
            database.execute(oldest, (self._most,))

        self._on_file(insert, None)

    def _on_file(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Work in one transaction."""
        if self._file is None:
            return otherwise
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=10)) as database, database:
                database.execute(_SCHEMA)
                return work(database)
        except (OSError, sqlite3.Error) as error:
            _LOG.warning("%s are not kept on disk: %s (%s)", self._what, self._file, error)
            self._file = None
            return otherwise
