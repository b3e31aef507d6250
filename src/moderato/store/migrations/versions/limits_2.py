"""A rate and a quota for each key, and what has been used of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "limits_2"
down_revision = "keys_1"


def upgrade() -> None:
    """Keys that exist stay without limits."""
    op.add_column("keys", sa.Column("rate", sa.Integer))
    op.add_column("keys", sa.Column("quota", sa.Integer))
    op.create_table(
        "counts",
        sa.Column("key", sa.String(8), primary_key=True),
        sa.Column("span", sa.String(8), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("used", sa.BigInteger, nullable=False),
    )
