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

    `file` None keeps nothing. Beyond `most` entries, or `max_bytes` in use, the oldest go. A file that cannot be used
    is given up with one warning, which says that `what` is kept no longer: it is only a cache.
    """

    def __init__(self, file: Path | None, what: str, *, most: int = 2**40, max_bytes: int = 2**40) -> None:
        self._file = file
        self._what = what
        self._most = most
        self._max_bytes = max_bytes

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
            if _bytes_in_use(database) > self._max_bytes:
                eighth = "(SELECT min(rowid) + (max(rowid) - min(rowid)) / 8 FROM kept)"
                database.execute(f"DELETE FROM kept WHERE rowid <= {eighth}")  # the file reuses its pages

        self._on_file(insert, None)

    def _on_file(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Work in one transaction."""
        file = self._file
        if file is None:
            return otherwise
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file, timeout=10)) as database, database:
                database.execute(_SCHEMA)
                return work(database)
        except (OSError, sqlite3.Error) as error:
            if self._file:  # no other thread was here first
                _LOG.warning("%s are not kept on disk: %s (%s)", self._what, file, error)
            self._file = None
            return otherwise


def _bytes_in_use(database: sqlite3.Connection) -> int:
    pages, free, size = (
        int(database.execute(f"PRAGMA {what}").fetchone()[0]) for what in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
