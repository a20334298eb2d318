# SPDX-License-Identifier: AGPL-3.0-or-later
"""An intake's SQLite file: opened, brought to its newest schema, and written in groups (C2).

All changes that wait are made in one transaction: one `fsync` for as many mails as come while the last one lasts.
"""

import asyncio
import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from bridges import limits
from bridges.smtp.store.prepared import Prepared
from tmtp_core.errors import TmtpError
from tmtp_core.schema import Steps

_PRAGMAS: Final = (
    *("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=10000", "foreign_keys=ON"),
    "temp_store=MEMORY",  # what a savepoint would restore is else written to a file, for each mail
    "wal_autocheckpoint=4000",  # 16 MB: keyed hashes lie anywhere, so a page is written again and again until then
)
_SAVE, _UNDO, _KEEP = (Prepared(text(words)) for words in ("SAVEPOINT one", "ROLLBACK TO one", "RELEASE one"))
_FIRST_STEP: Final = "0001"  # what files of before the steps have

Got = TypeVar("Got")


class BridgeDatabase:
    """One file, owned by one process. All methods raise `OSError` when the disk does not do its part.

    What is refused by `work` itself, by an exception of its own, is undone alone: others of its group are not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine: Engine | None = None
        self._lock = -1
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="smtp-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="smtp-reader")
        self._waiting: list[_Work[Any]] = []
        self._looking: list[_Work[Any]] = []
        self._afterwards: list[Callable[[], None]] = []
        self._guard = threading.Lock()

    async def open(self) -> None:
        """Open the file, made at the first start. Raises `OSError`, also where another process has it, and for one of a
        newer release.
        """
        await asyncio.get_running_loop().run_in_executor(self._writer, self._told, self._open)

    async def close(self) -> None:
        """Finish what was begun, and close the file. Idempotent."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._reader.shutdown)
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.dispose)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def write(self, work: Callable[[Connection], Got]) -> Got:
        """Make a change, in one transaction with others that wait; it is on the disk when this returns."""
        future = self._submit(work, self._waiting, self._writer, self._write_all)
        # A caller that gives up does not take back what may be on the disk already.
        return await asyncio.shield(future)

    def afterwards(self, call: Callable[[], None]) -> None:
        """From within a change: `call` this on the writer's thread once the change is on the disk, before `write`
        returns; never where it is undone. So what is kept in memory is what is on the disk. `call` raises nothing.
        """
        self._afterwards.append(call)

    async def read(self, work: Callable[[Connection], Got]) -> Got:
        """Look, beside whatever is being written: what is on the disk as of now, the same for all that `work` asks."""
        return await self._submit(work, self._looking, self._reader, self._read_all)

    def _submit(
        self,
        work: Callable[[Connection], Got],
        queue: "list[_Work[Any]]",
        thread: ThreadPoolExecutor,
        do_all: Callable[[], None],
    ) -> asyncio.Future[Got]:
        """Let it wait for its turn with others; the first wakes the thread."""
        one = _Work(work, asyncio.get_running_loop().create_future())
        with self._guard:
            queue.append(one)
            first = len(queue) == 1
        if first:
            try:
                thread.submit(do_all)
            except RuntimeError:
                queue.clear()
                raise self._closed() from None
        return one.future

    def _write_all(self) -> None:
        """On the writer's thread: everything that waits by now."""
        with self._guard:
            group, self._waiting[:] = self._waiting[: limits.GROUP_MAX], self._waiting[limits.GROUP_MAX :]
            if self._waiting:
                self._writer.submit(self._write_all)
        try:
            self._told(lambda: self._commit(group))
        except OSError as error:
            for change in group:
                change.failed = error
        for change in group:
            change.tell()

    def _read_all(self) -> None:
        """On the reader's thread: everything that waits by now, in one transaction, each told as soon as it is done."""
        with self._guard:
            group, self._looking[:] = self._looking[:], []
        try:
            self._told(lambda: self._look(group))
        except OSError as error:
            for one in group:
                one.failed = error
                one.tell()

    def _look(self, group: "list[_Work[Any]]") -> None:
        engine = self._engine
        if engine is None:
            raise self._closed()
        with engine.begin() as connection:
            while group:
                one = group[0]
                try:
                    one.got = self._told(partial(one.work, connection))
                except Exception as error:  # its own; others look all the same
                    one.failed = error
                one.tell()
                del group[0]

    def _commit(self, group: "list[_Work[Any]]") -> None:
        engine = self._engine
        if engine is None:
            raise self._closed()
        self._afterwards.clear()
        with engine.begin() as connection:
            for change in group:
                before = len(self._afterwards)
                _SAVE(connection, {})
                try:
                    change.got = change.work(connection)
                except (OSError, DBAPIError, sqlite3.Error):
                    raise
                except Exception as error:
                    _UNDO(connection, {})
                    del self._afterwards[before:]
                    change.failed = error
                _KEEP(connection, {})
        for call in self._afterwards:
            call()

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file of its own: closing the database's would let go of SQLite's locks on it.
        self._lock = _locked(self.path.with_suffix(".lock"))
        self.path.touch(mode=0o600)
        engine = create_engine(f"sqlite:///{self.path}")

        @event.listens_for(engine, "connect")
        def set_pragmas(connection: sqlite3.Connection, record: object) -> None:
            connection.isolation_level = None  # SQLAlchemy's BEGIN below, none of the module's own
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        self._engine = engine
        steps = Steps("migrations:bridge", str(self.path))
        with engine.begin() as connection:
            if inspect(connection).has_table("delivered") and not inspect(connection).has_table("alembic_version"):
                connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
                connection.execute(text(f"INSERT INTO alembic_version VALUES ('{_FIRST_STEP}')"))  # noqa: S608
            if not steps.is_newest(steps.current(connection)):
                steps.upgrade(connection)

    def _told(self, work: Callable[[], Got]) -> Got:
        """What the database says, as the `OSError` that it is."""
        try:
            return work()
        except (DBAPIError, sqlite3.Error) as error:
            said = str(error.orig if isinstance(error, DBAPIError) else error)
            raise OSError(errno.ENOSPC if "full" in said else errno.EIO, f"{self.path}: {said}") from None
        except TmtpError as error:
            raise OSError(errno.EINVAL, str(error)) from None

    def _closed(self) -> OSError:
        return OSError(errno.EBADF, f"{self.path} is closed")


class _Work(Generic[Got]):
    """What waits for its turn, and who waits for that."""

    def __init__(self, work: Callable[[Connection], Got], future: asyncio.Future[Got]) -> None:
        self.work = work
        self.future = future
        self.got: Got | None = None
        self.failed: BaseException | None = None

    def tell(self) -> None:
        """From the thread that did it."""
        self.future.get_loop().call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if self.future.done():
            return
        if self.failed is not None:
            self.future.set_exception(self.failed)
        else:
            self.future.set_result(self.got)  # type: ignore[arg-type]


def _locked(path: Path) -> int:
    """The file's lock, held as long as the descriptor is open. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise OSError(errno.EBUSY, f"{path} is locked: another process runs this bridge") from None
    return descriptor
