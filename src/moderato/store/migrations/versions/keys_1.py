"""API keys, and the record of who made and revoked them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "keys_1"
down_revision = None


def upgrade() -> None:
    """From an empty database."""
    op.create_table(
        "keys",
        sa.Column("id", sa.String(8), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("expires", sa.Float(53)),
        sa.Column("revoked", sa.Float(53)),
    )
    in_use = sa.text("revoked IS NULL")
    op.create_index("keys_in_use_by_name", "keys", ["name"], unique=True, sqlite_where=in_use, postgresql_where=in_use)
    changes = op.create_table("changes", sa.Column("number", sa.BigInteger, nullable=False))
    op.bulk_insert(changes, [{"number": 0}])
    op.create_table(
        "acts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("act", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
    )
