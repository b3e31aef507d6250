"""Run by Alembic: the steps, on the connection that `database.py` holds in a transaction."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
