"""Rates and quotas of keys, held for all workers together at a bounded cost.

Both are fixed windows: the minutes and the days of UTC. A worker takes several requests of a window for itself in one
transaction (a fiftieth of the limit, a hundred at most) and spends them from memory; once a window is used up it
remembers that until the window ends. So a key causes at most some fifty writes a window, or one in a hundred requests,
and none while it is refused.

How exact this is: workers together never let more through than the limit in any window. They may let fewer through, by
what one took and did not spend before another ran out or itself was stopped: at most a fiftieth of the limit for
each such worker, nothing for limits up to fifty. As windows are fixed, twice the limit may come within a minute that
lies across two windows. Workers on several machines need clocks that agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from sqlalchemy import delete, select, text, update

from moderato.errors import RateLimited
from moderato.store import tables
from moderato.store.database import Database
from moderato.store.keys import Key

_SECONDS = {"minute": 60, "day": 86_400}
_PARTS = 50
_MOST_AT_ONCE = 100
_BEGIN = text(
    "INSERT INTO counts (key, span, start, used) VALUES (:key, :span, :start, 0) ON CONFLICT DO NOTHING"
)  # the same in SQLite and Postgres, and the one thing that SQLAlchemy writes differently for each


@dataclass
class _Window:
    """What a worker has of one window."""

    start: int
    left: int = 0
    is_used_up: bool = False


class Allowances:
    """What keys may still send. `lease` blocks, and is called by one thread at a time; `spend` is memory."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._windows: dict[tuple[str, str], _Window] = {}

    def spend(self, key: Key) -> bool:
        """Take one request off the key's rate and quota; False, and nothing is taken, when a lease is needed first.

        Raises `RateLimited` when one of them is used up.
        """
        windows = [self._window(key, span, limit) for span, limit in _limits(key)]
        if any(window.left == 0 for window in windows):
            return False
        for window in windows:
            window.left -= 1
        return True

    def lease(self, key: Key) -> None:
        """Take several more from the database where none are left. Raises `RateLimited` when none are there."""
        for span, limit in _limits(key):
            window = self._window(key, span, limit)
            if window.left == 0:
                window.left = self._granted(key.id, span, window.start, limit)
                window.is_used_up = window.left == 0
                self._window(key, span, limit)

    def _window(self, key: Key, span: str, limit: int) -> _Window:
        """The one of now. Raises `RateLimited` when it is used up."""
        seconds, now = _SECONDS[span], self._now()
        start = int(now // seconds) * seconds
        window = self._windows.get((key.id, span))
        if window is None or window.start != start:
            window = self._windows[key.id, span] = _Window(start)
        if window.is_used_up:
            wait = max(1, ceil(start + seconds - now))
            many = f"{limit} {'request' if limit == 1 else 'requests'} a {span}"
            raise RateLimited(f"The API key '{key.name}' may send {many}. Try again in {wait} s.", wait)
        return window

    def _granted(self, key: str, span: str, start: int, limit: int) -> int:
        """How many of the wanted requests are still there, taken."""
        wanted = min(_MOST_AT_ONCE, ceil(limit / _PARTS))
        count = tables.counts.c
        same = (count.key == key) & (count.span == span)
        this = same & (count.start == start)
        with self._database.writing() as connection:
            connection.execute(_BEGIN, {"key": key, "span": span, "start": start})
            used = int(connection.execute(select(count.used).where(this).with_for_update()).scalar_one())
            granted = max(0, min(wanted, limit - used))
            connection.execute(update(tables.counts).where(this).values(used=used + granted))
            # the window before stays: another machine's clock may still be in it
            connection.execute(delete(tables.counts).where(same & (count.start < start - _SECONDS[span])))
        return granted


def _limits(key: Key) -> Iterator[tuple[str, int]]:
    if key.rate is not None:
        yield "minute", key.rate
    if key.quota is not None:
        yield "day", key.quota
