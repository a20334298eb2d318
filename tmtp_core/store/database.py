# SPDX-License-Identifier: AGPL-3.0-or-later
"""One instance's database: opened, locked, brought to the newest schema (storage.md).

SQLite is the embedded default: one file to back up, one transaction for everything.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from tmtp_core import limits
from tmtp_core.errors import TmtpError
from tmtp_core.store.sqlite import driver

_WAL_AUTOCHECKPOINT_PAGES: Final = 4_000
_CACHE_KIB: Final = 64 << 10
_PRIMARY_CODE: Final = 0xFF  # of SQLite's result codes; the rest says more of the same
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # commit, then speak: an ack promises the disk
    "PRAGMA secure_delete=ON",  # A4, D5: gone means gone
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    f"PRAGMA wal_autocheckpoint={_WAL_AUTOCHECKPOINT_PAGES}",
    f"PRAGMA cache_size=-{_CACHE_KIB}",
    f"PRAGMA busy_timeout={limits.DATABASE_BUSY_TIMEOUT_MS}",
)


class DatabaseInUse(TmtpError):
    """Another process owns this database."""


class DatabaseTooNew(TmtpError):
    """The database was written by a newer release than this one."""


def is_disk_trouble(error: Exception) -> bool:
    """Whether the disk is full or failed, and the database as such is not damaged: nothing is to be restored."""
    original = error.orig if isinstance(error, DBAPIError) else error
    primary = getattr(original, "sqlite_errorcode", 0) & _PRIMARY_CODE
    return primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class Database:
    """An instance's SQLite database, owned by this process from construction to `close`.

    `migrations` is where Alembic finds the steps. Raises `DatabaseInUse` or `DatabaseTooNew`.
    """

    def __init__(self, path: Path, migrations: str = "migrations:") -> None:
        self.path = path
        self._migrations = migrations
        self._lock = _lock(path.with_name(path.name + ".lock"))
        try:
            self.engine = _engine(path)
            self._migrate()
            self._connection = self.engine.connect()  # for all transactions: taking one from the pool costs 30 µs
        except BaseException:
            os.close(self._lock)
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction: committed, with the data on the disk, when the block ends well."""
        try:
            with self._connection.begin():
                yield self._connection
        finally:
            if driver(self._connection).in_transaction:  # a commit that failed may leave it open
                driver(self._connection).rollback()

    def checkpoint(self) -> None:
        """Move the log into the database and empty it, so that deleted content is on no disk block of ours."""
        driver(self._connection).execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Give the database back."""
        self._connection.close()
        self.engine.dispose()
        os.close(self._lock)

    def _migrate(self) -> None:
        """Bring the schema up to date; before an existing one changes, a copy of the file is made."""
        config = Config()
        config.set_main_option("script_location", self._migrations)
        script = ScriptDirectory.from_config(config)
        with self.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            connection.rollback()
        if current == script.get_current_head():
            return
        if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
            raise DatabaseTooNew(
                f"{self.path} has schema {current}, which this release does not know; use the newer one"
            )
        backup = self._backup(current) if current is not None else None
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if backup is not None:
            backup.unlink()  # gone means gone: the copy holds messages too

    def _backup(self, revision: str) -> Path:
        """A consistent copy beside the database, on the disk before this returns."""
        path = self.path.with_name(f"{self.path.name}.before-{revision}")
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        for durable in (path, path.parent):
            descriptor = os.open(durable, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        return path


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise DatabaseInUse(f"{path} is locked: another process serves this database") from None
    return descriptor


def _engine(path: Path) -> Engine:
    """An engine with one connection, and with transactions that begin where SQLAlchemy says so."""
    path.touch(mode=0o600)
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, record: Any) -> None:
        for pragma in _PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver(connection).execute("BEGIN IMMEDIATE")

    return engine
