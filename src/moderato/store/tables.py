"""The tables of the store, as the newest migration leaves them. Times are seconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("id", String(8), primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("expires", Float(53)),
    Column("revoked", Float(53)),
    Column("rate", Integer),
    Column("quota", Integer),
    Index(
        "keys_in_use_by_name",
        "name",
        unique=True,
        sqlite_where=text("revoked IS NULL"),
        postgresql_where=text("revoked IS NULL"),
    ),
)
"""API keys. They are revoked, never deleted; a name is free again once its key is revoked."""

changes = Table("changes", metadata, Column("number", BigInteger, nullable=False))
"""One row, which every change of `keys` raises first: it tells workers that there is something new, and because the row
stays locked until the change is committed, changes happen one after another."""

acts = Table(
    "acts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float(53), nullable=False),
    Column("by", Text, nullable=False),
    Column("act", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),
)
"""What was administered, by whom and when. Rows are only ever added."""

counts = Table(
    "counts",
    metadata,
    Column("key", String(8), primary_key=True),
    Column("span", String(8), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("used", BigInteger, nullable=False),
)
"""How many requests of a key workers have taken for themselves, by the minute and the day that begin at `start`."""
