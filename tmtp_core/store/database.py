# SPDX-License-Identifier: AGPL-3.0-or-later
"""One instance's database: opened, owned, brought to the newest schema (storage.md).

SQLite is the embedded default: one file to back up, one transaction for everything. PostgreSQL, which several
processes share, is in `tmtp_core.store.shared_database`.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from tmtp_core import limits
from tmtp_core.schema import DatabaseInUse, Steps
from tmtp_core.store import sqlite
from tmtp_core.store.references import CountedReferences
from tmtp_core.store.sharing import Sharing
from tmtp_core.store.sqlite import driver
from tmtp_core.store.statements import References, Statements

T = TypeVar("T")

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


class Store(Protocol):
    """A database as the writer uses it, whatever the engine."""

    @property
    def statements(self) -> Statements:
        """The engine's own words."""
        ...

    @property
    def references(self) -> References:
        """Which messages somebody waits for."""
        ...

    @property
    def sharing(self) -> Sharing | None:
        """What this process has to do with the others that share the database; None where it has it for itself."""
        ...

    def do(self, work: Callable[[Connection], T]) -> T:
        """Run one transaction, from any thread, before the writer runs."""
        ...

    def read(self, work: Callable[[Connection], T]) -> T:
        """Look at what is committed, all of it at one moment, beside the writer: from any thread but the loop's."""
        ...

    def serve(self, work: Callable[[], None]) -> None:
        """Run `work`, the writer's loop, on the writer's thread: there, and nowhere else, `transaction` can be used."""
        ...

    def transaction(self, *, alone: bool = True) -> AbstractContextManager[Connection]:
        """One write transaction: committed, with the data on the disk, when the block ends well.

        `alone` False: other processes may commit such ones at the same time.
        """
        ...

    def checkpoint(self, *, wait: bool = False) -> bool:
        """See to it that deleted content is on no disk block of ours. False where somebody reads who is in the way.

        `wait`: until he has read, for some seconds.
        """
        ...

    def close(self) -> None:
        """Give the database back."""
        ...


def is_disk_trouble(error: Exception) -> bool:
    """Whether the disk is full or failed, and the database as such is not damaged: nothing is to be restored."""
    return _primary_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def is_full(error: Exception) -> bool:
    """Whether SQLite found no room for a transaction, of which then nothing can be on the disk."""
    return _primary_code(error) == sqlite3.SQLITE_FULL


def _primary_code(error: Exception) -> int:
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(original, "sqlite_errorcode", 0) & _PRIMARY_CODE


class Database:
    """An instance's SQLite database, owned by this process from construction to `close`.

    `migrations` is where Alembic finds the steps. Raises `DatabaseInUse` or `DatabaseTooNew`.
    """

    def __init__(self, path: Path, migrations: str = "migrations:") -> None:
        self.path = path
        self.statements: Statements = sqlite
        self.references: References = CountedReferences()
        self.sharing: Sharing | None = None
        self._steps = Steps(migrations, str(path))
        self._lock = _lock(path.with_name(path.name + ".lock"))
        try:
            self.engine = _engine(path)
            self._reading = _reading(path)
            self._migrate()
            self._connection = self.engine.connect()  # for all transactions: taking one from the pool costs 30 µs
        except BaseException:
            os.close(self._lock)
            raise

    def do(self, work: Callable[[Connection], T]) -> T:
        """See `Store`."""
        with self.transaction() as connection:
            return work(connection)

    def read(self, work: Callable[[Connection], T]) -> T:
        """See `Store`: over a connection of its own. The log is emptied when the last reader has ended."""
        with self._reading.connect() as connection:
            return work(connection)

    def serve(self, work: Callable[[], None]) -> None:
        """See `Store`."""
        work()

    @contextmanager
    def transaction(self, *, alone: bool = True) -> Iterator[Connection]:
        """See `Store`."""
        try:
            with self._connection.begin():
                yield self._connection
        finally:
            if driver(self._connection).in_transaction:  # a commit that failed may leave it open
                driver(self._connection).rollback()

    def checkpoint(self, *, wait: bool = False) -> bool:
        """Move the log into the database and empty it, so that deleted content is on no disk block of ours."""
        connection = driver(self._connection)
        if not wait:  # commits are not to wait for who looks
            connection.execute("PRAGMA busy_timeout=0")
        try:
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout={limits.DATABASE_BUSY_TIMEOUT_MS}")
        return not busy

    def close(self) -> None:
        """Give the database back."""
        self._connection.close()
        self.engine.dispose()
        os.close(self._lock)

    def _migrate(self) -> None:
        """Bring the schema up to date; before an existing one changes, a copy of the file is made."""
        with self.engine.connect() as connection:
            current = self._steps.current(connection)
            connection.rollback()
        if self._steps.is_newest(current):
            return
        backup = self._backup(current) if current is not None else None
        with self.engine.begin() as connection:
            self._steps.upgrade(connection)
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


def _reading(path: Path) -> Engine:
    """An engine whose connections change nothing; each is opened when it is asked for, and closed after its use."""
    engine = create_engine("sqlite://", creator=lambda: _opened_to_read(path), poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver(connection).execute("BEGIN")

    return engine


def _opened_to_read(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={limits.DATABASE_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


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
        connection.create_function("lower", 1, str.lower, deterministic=True)  # SQLite's own knows A to Z alone

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver(connection).execute("BEGIN IMMEDIATE")

    return engine
