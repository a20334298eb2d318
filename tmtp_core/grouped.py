# SPDX-License-Identifier: AGPL-3.0-or-later
"""One SQLite file of one process: changes are written in groups, and looked at beside that.

All changes that wait are made in one transaction: one `fsync` for as many as come while the last one lasts. Bridges and
clients keep what they know so; the service has a writer of its own (`tmtp_core.store.writer`).
"""

import asyncio
import errno
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from tmtp_core.errors import TmtpError

Got = TypeVar("Got")


class Grouped(ABC):
    """One file, owned by one process. All methods raise `OSError` when the disk does not do its part.

    What `work` raises, and what the database refuses of it, undoes this change alone: others of its group are kept.
    Where it ended their transaction, too, or has left no room on the disk, they are made once more, each by itself: so
    `work` changes nothing but the database. What else the disk does is told to all of them.

    `error` is the root of what the database's module raises; `name` begins the names of its threads; `readers` look at
    once, beside the writer; `group_max` changes are in one transaction. `on_commit` is called in the event loop that
    opened this, after each group that is on the disk, before those who wait for it go on.
    """

    def __init__(
        self,
        path: Path,
        error: type[Exception],
        name: str,
        *,
        readers: int,
        group_max: int,
        on_commit: Callable[[], None] | None = None,
    ) -> None:
        self.path = path
        self._error = error
        self._readers = readers
        self._group_max = group_max
        self._on_commit = on_commit
        self._loop: asyncio.AbstractEventLoop
        self._engine: Engine | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-writer")
        self._reader = ThreadPoolExecutor(readers, thread_name_prefix=f"{name}-reader")
        self._waiting: list[_Work[Any]] = []
        self._looking: list[_Work[Any]] = []
        self._afterwards: list[Callable[[], None]] = []
        self._guard = threading.Lock()

    @abstractmethod
    def _open(self) -> Engine:
        """Make the file at the first start, and bring it to its newest schema; on the writer's thread."""

    async def open(self) -> None:
        """Open the file, made at the first start. Raises `OSError`, also for one of a newer release."""
        self._loop = asyncio.get_running_loop()
        self._engine = await self._loop.run_in_executor(self._writer, self._told, self._open)

    async def close(self) -> None:
        """Finish what was begun, and close the file. Idempotent."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._reader.shutdown)
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.dispose)

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
        """Let it wait for its turn with others; the first wakes the thread, and each of them one of several."""
        one = _Work(work, asyncio.get_running_loop().create_future())
        with self._guard:
            queue.append(one)
            wake = len(queue) == 1 or (queue is self._looking and self._readers > 1)
        if wake:
            try:
                thread.submit(do_all)
            except RuntimeError:
                with self._guard:
                    if one in queue:  # others that wait have a thread that is on its way to them
                        queue.remove(one)
                raise self._closed() from None
        return one.future

    def _write_all(self) -> None:
        """On the writer's thread: everything that waits, also what came before it was closed."""
        while True:
            with self._guard:
                group, self._waiting[:] = self._waiting[: self._group_max], self._waiting[self._group_max :]
            if not group:
                return
            try:
                self._told(partial(self._commit, group))
            except Exception as error:
                self._apart(group, error)
            for change in group:
                change.tell()

    def _apart(self, group: "list[_Work[Any]]", error: Exception) -> None:
        """A group that is not on the disk, perhaps because of one of them: each by itself, unless it is the disk."""
        is_ones = isinstance(error, _Ended) or (isinstance(error, OSError) and error.errno == errno.ENOSPC)
        for change in group:
            if change.failed is not None:
                continue
            if len(group) == 1 or not is_ones:
                change.failed = error
                continue
            try:
                self._told(partial(self._commit, [change]))
            except Exception as alone:
                change.failed = change.failed or alone

    def _read_all(self) -> None:
        """On a reader's thread: its share of what waits by now, in one transaction, each told as soon as it is done."""
        with self._guard:
            share = -(-len(self._looking) // self._readers)
            group, self._looking[:] = self._looking[:share], self._looking[share:]
        if not group:  # another was faster
            return
        try:
            self._told(lambda: self._look(group))
        except Exception as error:
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
            driver: Any = connection.connection.driver_connection  # what Core does for each costs more than SQLite
            for change in group:
                before = len(self._afterwards)
                driver.execute("SAVEPOINT one")
                try:
                    change.got = change.work(connection)
                except Exception as error:
                    change.failed = self._said(error)
                    if not driver.in_transaction:
                        raise _Ended from None
                    driver.execute("ROLLBACK TO one")
                    del self._afterwards[before:]
                driver.execute("RELEASE one")
        for call in self._afterwards:
            call()
        if self._on_commit is not None:
            self._loop.call_soon_threadsafe(self._on_commit)

    def _told(self, work: Callable[[], Got]) -> Got:
        """What the database says, as the `OSError` that it is."""
        try:
            return work()
        except (DBAPIError, self._error) as error:
            raise self._said(error) from None
        except TmtpError as error:
            raise OSError(errno.EINVAL, str(error)) from None

    def _said(self, error: Exception) -> Exception:
        """What the database's module or SQLAlchemy raised, as the `OSError` that it is; else the same."""
        if not isinstance(error, DBAPIError | self._error):
            return error
        said = str(error.orig if isinstance(error, DBAPIError) else error)
        return OSError(errno.ENOSPC if "full" in said else errno.EIO, f"{self.path}: {said}")

    def _closed(self) -> OSError:
        return OSError(errno.EBADF, f"{self.path} is closed")


def engine_of(url: str, pragmas: Sequence[str], **options: Any) -> Engine:
    """An engine whose connections have these pragmas, and whose transactions are SQLAlchemy's alone. What its errors
    say goes to logs and to people: never with what was to be kept.
    """
    engine = create_engine(url, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN below, none of the module's own
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


class _Ended(Exception):
    """One change has ended the transaction of its group: SQLite has undone the others, too."""


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
