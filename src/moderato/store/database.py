"""The database of the store: an SQLite file, or Postgres by URL. Opening it brings its tables up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from moderato.errors import MissingExtra, SettingsError

_PATIENCE = 10  # seconds to wait for another process's transaction, and for a server to answer
_MIGRATING = 7_317_264_041  # the number of our lock in Postgres; any will do that others do not use


class Database:
    """A store by its URL: `sqlite:////path/to/file` or `postgresql+psycopg://user:password@host/name`.

    Thread-safe, and for several processes at once. Nothing is opened before it is used. All that goes wrong is a
    `SettingsError`, which never shows the password or a value of a row.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked(url)
        self._engine: Engine | None = None
        self._opening = Lock()

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @property
    def exists(self) -> bool:
        """Whether there can be anything in it: a server is taken to be there, an SQLite file is looked for."""
        return self._file is None or self._file.exists()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._connected() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; in SQLite it is the only one from its beginning."""
        with self._connected() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def is_current(self) -> bool:
        """Whether its tables are as this moderato wants them; a use would bring them up to date, this does not."""
        engine = _engine(self._url)
        try:
            with engine.connect() as connection:
                steps = ScriptDirectory.from_config(migrations(connection))
                found = MigrationContext.configure(connection).get_current_revision()
                if found not in {None, *(step.revision for step in steps.walk_revisions())}:
                    raise self._newer(f"it is at the step '{found}'")
                return found == steps.get_current_head()
        except SQLAlchemyError as error:
            raise self._unusable(error) from error
        finally:
            engine.dispose()

    def close(self) -> None:
        """Let go of all connections; the next use opens new ones."""
        with self._opening:
            if self._engine:
                self._engine.dispose()
            self._engine = None

    @property
    def _file(self) -> Path | None:
        return Path(self._url.database or "") if _is_sqlite(self._url) else None

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._opened().connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._unusable(error) from error

    def _opened(self) -> Engine:
        with self._opening:
            if self._engine is None:
                if self._file:
                    _create(self._file)
                engine = _engine(self._url)
                try:
                    self._migrate(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def _migrate(self, engine: Engine) -> None:
        """Walk the steps that are missing, in one transaction behind a lock: the second process finds them done."""
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            if not _is_sqlite(self._url):
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            try:
                command.upgrade(migrations(connection), "head")
            except CommandError as error:
                raise self._newer(error) from error

    def _unusable(self, error: SQLAlchemyError) -> SettingsError:
        return SettingsError(f"The store {self} cannot be used: {_first_line(error)}")

    def _newer(self, found: object) -> SettingsError:
        return SettingsError(f"The store {self} is of a newer moderato than this one: {found}.")


def migrations(connection: Connection) -> Config:
    """What Alembic is told: where the steps are, and on which connection to walk them."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "moderato.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:  # its text holds the URL, and that perhaps a password
        raise SettingsError(
            "MODERATO_STORE is no URL of a database, such as postgresql+psycopg://user:password@host/name."
        ) from error
    kind = parsed.get_backend_name()
    if kind in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise SettingsError(f"MODERATO_STORE names a database of the kind '{kind}'; known: sqlite, postgresql+psycopg.")
    if not parsed.database or parsed.database == ":memory:":
        raise SettingsError("MODERATO_STORE names no file: sqlite:////path/to/file.")
    return parsed.set(drivername="sqlite")


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _create(file: Path) -> None:
    """An empty file for its owner alone, where there is none."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError as error:
        raise SettingsError(f"The store {file} cannot be written ({error.strerror}).") from error


def _engine(url: URL) -> Engine:
    options: dict[str, Any] = {"hide_parameters": True}  # an error's text may come into a log
    if _is_sqlite(url):
        engine = create_engine(url, connect_args={"timeout": _PATIENCE}, **options)
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin)
        return engine
    waits = {"connect_timeout": _PATIENCE, "tcp_user_timeout": _PATIENCE * 1000}
    waits = {name: wait for name, wait in waits.items() if name not in url.query}
    try:
        return create_engine(url, connect_args=waits, pool_pre_ping=True, **options)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"A store in Postgres needs the package '{error.name}', which is not installed: "
            "pip install 'moderato[postgres]'"
        ) from error


def _leave_transactions_to_us(connection: Any, _record: object) -> None:
    """Python's driver begins transactions late and never for DDL: https://docs.python.org/3/library/sqlite3.html."""
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    """A transaction that reads first and writes later could meet another such one; the lock comes first."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0]
