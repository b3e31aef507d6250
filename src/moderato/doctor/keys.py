"""Whether the database of API keys can be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from moderato.assemble import Workshop
from moderato.doctor import Finding
from moderato.store.database import Database


def examine(workshop: Workshop) -> Iterator[Finding]:
    """One line. Raises `SettingsError` when the store cannot be opened."""
    with closing(Database(workshop.settings.database)) as database:
        if not database.exists:
            yield Finding("database", "note", f"{database}: none yet", "moderato keys create --name NAME")
        elif database.is_current():
            yield Finding("database", "well", f"{database}: its tables are up to date")
        else:
            yield Finding("database", "note", f"{database}: its tables are older and are brought up to date when used")
