"""API keys: how they look, and the table that keeps what is known of them; and the record of administrative acts.

A key is `moderato_`, eight letters that are its id, thirty-two random ones, and six of a checksum. Scanners for leaked
secrets find it by its beginning and are sure by its checksum; whoever finds one knows by the id which to revoke.
Letters are those of base 62: no carrier of a key, nor AWS's signature, has to quote them.

What is stored is the key's sha256. A slow hash protects secrets that people choose and that can be guessed; 190 random
bits cannot be, and this one is computed for every request.
"""

from __future__ import annotations

import secrets
import string
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal, get_args

from sqlalchemy import Connection, insert, select, update

from moderato.errors import RequestError, nearest, visible
from moderato.store import tables
from moderato.store.database import Database

Scope = Literal["check", "admin"]
"""`check`: whatever a client asks for. `admin`: that, and what only those who run the service may see."""
SCOPES: tuple[Scope, ...] = get_args(Scope)

_PREFIX = "moderato_"
_LETTERS = string.digits + string.ascii_letters
_ID, _SECRET, _CHECK = 8, 32, 6
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Key:
    """What is known of a key; times are seconds since 1970, UTC."""

    id: str
    name: str
    digest: str
    """sha256 of the whole key, hexadecimal."""
    scope: Scope
    created: float
    expires: float | None = None
    revoked: float | None = None
    rate: int | None = None
    """Requests a minute."""
    quota: int | None = None
    """Requests a day, UTC."""

    def state(self, now: float) -> Literal["active", "expired", "revoked"]:
        """What it is at that time."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


@dataclass(frozen=True)
class Act:
    """Something that was administered: when, by whom, what, on what."""

    at: float
    by: str
    act: str
    subject: str
    details: str


class Keys:
    """The keys in a database. Raises `SettingsError` when it cannot be used."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self.database = database
        self._now = now

    def create(
        self,
        name: str,
        by: str,
        scope: Scope = "check",
        expires: float | None = None,
        rate: int | None = None,
        quota: int | None = None,
    ) -> tuple[Key, str]:
        """A new key: what is known of it, and the key itself, which nobody can look up again.

        Raises `RequestError` for a name that cannot be, or that a key in use has.
        """
        _check_name(name)
        secret = _new()
        key = Key(_id(secret), name, digest(secret), scope, self._now(), expires, None, rate, quota)
        with self.database.writing() as connection:
            _announce_change(connection)
            if name in {known.name for known in _all(connection) if known.revoked is None}:
                raise RequestError(f"There is a key '{name}' already. Revoke it first, or name this one differently.")
            connection.execute(insert(tables.keys).values(vars(key)))
            self._record(connection, by, "create key", key, _described(key))
        return key, secret

    def revoke(self, name_or_id: str, by: str) -> Key:
        """End a key for good. Raises `RequestError` when none, or more than one, in use has that name or id."""
        with self.database.writing() as connection:
            _announce_change(connection)
            key = _only(_all(connection), name_or_id)
            key = replace(key, revoked=self._now())
            ours = tables.keys.c.id == key.id
            connection.execute(update(tables.keys).where(ours).values(revoked=key.revoked))
            self._record(connection, by, "revoke key", key, "")
        return key

    def all(self) -> list[Key]:
        """Every key there ever was, the oldest first."""
        if not self.database.exists:
            return []
        with self.database.reading() as connection:
            return _all(connection)

    def acts(self) -> list[Act]:
        """What was administered, the oldest first."""
        if not self.database.exists:
            return []
        with self.database.reading() as connection:
            rows = connection.execute(select(tables.acts).order_by(tables.acts.c.id))
            return [Act(row.at, row.by, row.act, row.subject, row.details) for row in rows]

    def changes(self) -> int:
        """A number that is another one after every change. Read it before what it stands for."""
        if not self.database.exists:
            return -1
        with self.database.reading() as connection:
            return int(connection.execute(select(tables.changes.c.number)).scalar_one())

    def _record(self, connection: Connection, by: str, act: str, key: Key, details: str) -> None:
        subject = f"{key.name} ({key.id})"
        connection.execute(insert(tables.acts).values(at=self._now(), by=by, act=act, subject=subject, details=details))


def digest(key: str) -> str:
    """What is stored of a key."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def id_in(key: str) -> str | None:
    """The id within a key; None for what was never one of ours, by its form and its checksum."""
    body = key.removeprefix(_PREFIX)
    if len(key) != len(_PREFIX) + _ID + _SECRET + _CHECK or len(body) == len(key):
        return None
    return body[:_ID] if body[-_CHECK:] == _checksum(key[:-_CHECK]) else None


def _new() -> str:
    text = _PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(_ID + _SECRET))
    return text + _checksum(text)


def _id(key: str) -> str:
    return key[len(_PREFIX) :][:_ID]


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return "".join(_LETTERS[number // 62**place % 62] for place in reversed(range(_CHECK)))


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > _LONGEST_NAME or name != visible(name) or name != name.strip():
        raise RequestError(
            f"A key's name is 1 to {_LONGEST_NAME} characters that show, without spaces at its ends: what uses it."
        )


def _announce_change(connection: Connection) -> None:
    connection.execute(update(tables.changes).values(number=tables.changes.c.number + 1))


def _all(connection: Connection) -> list[Key]:
    rows = connection.execute(select(tables.keys).order_by(tables.keys.c.created, tables.keys.c.id))
    return [Key(**row._mapping) for row in rows]


def _only(known: list[Key], name_or_id: str) -> Key:
    in_use = [key for key in known if key.revoked is None]
    found = [key for key in in_use if name_or_id in (key.name, key.id)]
    if len(found) == 1:
        return found[0]
    if found:
        raise RequestError(f"'{name_or_id}' is the name of one key and the id of another; use the former's id.")
    if any(name_or_id in (key.name, key.id) for key in known):
        raise RequestError(f"The key '{name_or_id}' is revoked already.")
    raise RequestError(f"There is no key '{visible(name_or_id)}'. {nearest(name_or_id, [key.name for key in in_use])}")


def _described(key: Key) -> str:
    parts = [f"scope {key.scope}"]
    if key.expires is not None:
        parts.append(f"expires {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(key.expires))}")
    parts += [f"{n}/{span}" for n, span in ((key.rate, "minute"), (key.quota, "day")) if n is not None]
    return ", ".join(parts)
