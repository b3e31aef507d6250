"""What one worker knows of the keys, never older than half a second.

A worker holds all keys. While requests come it asks the database twice a second whether anything changed, which is the
reading of one number, and reads the keys again only then: a request costs a hash and two look-ups, one with a wrong key
no more than that, and a revoked key is refused everywhere half a second later.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from hashlib import sha256

from moderato.errors import SettingsError, Unauthenticated
from moderato.store.keys import Key, Keys, digest, id_in

_FRESH = 0.5  # seconds
_NOBODYS = sha256(b"").hexdigest()


class Keyring:
    """All keys by id. `refresh` blocks; everything else is memory. `now` is the time that keys expire by."""

    def __init__(self, keys: Keys, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now
        self._known: dict[str, Key] = {}
        self._changes: int | None = None
        self._read = float("-inf")

    @property
    def is_fresh(self) -> bool:
        """Whether what it knows may be relied upon."""
        return time.monotonic() - self._read < _FRESH

    @property
    def has_keys(self) -> bool:
        """Whether there ever was a key: then everyone needs one, though all be revoked. It stays true."""
        return bool(self._known)

    def refresh(self) -> None:
        """Look whether keys changed. Raises `SettingsError` when the store cannot be asked, or is gone."""
        asked = time.monotonic()
        changes = self._keys.changes()
        if changes != self._changes:
            known = {key.id: key for key in self._keys.all()}
            if self._known and not known:
                raise SettingsError(f"The store {self._keys.database} has lost its keys. Nobody is let in without it.")
            self._known, self._changes = known, changes
        self._read = asked

    def find(self, presented: str) -> Key:
        """The key that was presented. Raises `Unauthenticated` when it is unknown, expired or revoked."""
        key = self._known.get(id_in(presented) or "")
        is_right = hmac.compare_digest(digest(presented), key.digest if key else _NOBODYS)
        if key is None or not is_right:
            raise Unauthenticated("The API key is not known here.", given=True)
        state = key.state(self._now())
        if state != "active":
            raise Unauthenticated(f"The API key is {state}.", given=True)
        return key
