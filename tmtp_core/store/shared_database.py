# SPDX-License-Identifier: AGPL-3.0-or-later
"""One instance's database on PostgreSQL, which several gateway processes serve together (docs/scaling.md).

asyncpg wants an event loop. The writer's thread runs one that does nothing but wait for the database: inside `serve`
all of SQLAlchemy is used as if it were synchronous (its greenlets), so that ledger and rules know no difference.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, event, text
from sqlalchemy.pool import NullPool
from sqlalchemy.util import greenlet_spawn

from tmtp_core import limits
from tmtp_core.schema import DatabaseUnfit, Steps
from tmtp_core.store import sharing
from tmtp_core.store.places import parsed_address
from tmtp_core.store.postgresql import PostgresqlStatements
from tmtp_core.store.sharing import Sharing
from tmtp_core.store.statements import References, Statements
from tmtp_core.store.stored_references import StoredReferences
from tmtp_core.store.trouble import CommitUnknown, ValueNotTaken, database_errors, error_text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

_NUMBERS_END: Final = 1 << 63
_TOKEN_BYTES: Final = 16
_ALONE = text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=sharing.LOCK_KEY)
_BESIDE_OTHERS = text("SELECT pg_advisory_xact_lock_shared(:key)").bindparams(key=sharing.LOCK_KEY)
_LEAVING_TIMEOUT_S: Final = 5.0

_SESSION: Final = {
    "application_name": "tmtp-gateway",
    "synchronous_commit": "on",  # commit, then speak: an ack promises the disk
    # Each statement sees what was committed until it began, and the one that waits for the lock is one of its own.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    # A process that stops in the middle of a transaction has the lock. Its connection ends with its lease.
    "idle_in_transaction_session_timeout": f"{int(limits.LEASE_S * 1000)}ms",
    "tcp_user_timeout": f"{int(limits.LEASE_S * 1000)}ms",
    "tcp_keepalives_idle": f"{int(limits.LEASE_S)}s",
    "tcp_keepalives_interval": "2s",
    "tcp_keepalives_count": "3",
    "statement_timeout": "0",  # the driver has its own
    "lock_timeout": "0",
    "jit": "off",  # it costs more than these statements take
    # All of them want few rows by their keys. Plans that are made while tables are still small would read them whole.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

_LOOKING: Final = {
    "default_transaction_isolation": "repeatable read",  # one moment for all statements
    "default_transaction_read_only": "on",
    # Who looks at everything reads tables whole.
    "enable_seqscan": "on",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
}


class SharedDatabase:
    """An instance's PostgreSQL database; this process has a slot in it from construction to `close`.

    `url`: `postgresql+asyncpg://…`. Raises `DatabaseTooNew` or `DatabaseUnfit`.
    """

    def __init__(self, url: str, migrations: str = "migrations:") -> None:
        self._url = parsed_address(url)
        self.name = self._url.render_as_string(hide_password=True)
        self._steps = Steps(migrations, self.name)
        self._engine: AsyncEngine | None = None
        self._connection: Connection | None = None
        token = secrets.token_hex(_TOKEN_BYTES)

        def open_it(connection: Connection) -> int:
            self._check(connection)
            self._migrate(connection)
            return sharing.join(connection, token)

        try:
            slot = self.do(open_it)
        except database_errors() as error:
            raise DatabaseUnfit(f"{self.name}: {error_text(error)}") from None
        self.sharing: Sharing | None = Sharing(slot, token)
        self.statements: Statements = PostgresqlStatements(slot)
        self.references: References = StoredReferences(slot)

    @property
    def dsn(self) -> str:
        """As asyncpg itself is told. It may hold the password."""
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    def do(self, work: Callable[[Connection], T], timeout_s: float = limits.DATABASE_COMMAND_TIMEOUT_S) -> T:
        """See `Store`: on a thread and over a connection of its own."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self._once(work, timeout_s)).result()

    def read(self, work: Callable[[Connection], T]) -> T:
        """See `Store`: over a connection of its own, without the lock by which decisions wait for each other."""
        return asyncio.run(self._read(work))

    def serve(self, work: Callable[[], None]) -> None:
        """See `Store`."""
        asyncio.run(self._serve(work))

    @contextmanager
    def transaction(self, *, alone: bool = True) -> Iterator[Connection]:
        """See `Store`. Raises `CommitUnknown` where the commit was sent, and not answered."""
        connection = self._locked(alone)
        try:
            yield connection
        except BaseException:
            self._roll_back(connection)
            raise
        try:
            connection.commit()
        except database_errors() as error:
            self._give_up(connection)
            raise CommitUnknown(error_text(error)) from error

    def checkpoint(self, *, wait: bool = False) -> bool:
        """See `Store`. PostgreSQL's vacuum and its log's recycling are the administrator's (docs/scaling.md)."""
        return True

    def close(self) -> None:
        """See `Store`; the slot is free at once."""
        shared = self.sharing
        assert shared is not None
        try:
            self.do(shared.leave, _LEAVING_TIMEOUT_S)
        except database_errors():
            return  # the lease runs out

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _once(self, work: Callable[[Connection], T], timeout_s: float) -> T:
        engine = self._new_engine(timeout_s, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                await connection.execute(_ALONE)
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    async def _read(self, work: Callable[[Connection], T]) -> T:
        engine = self._new_engine(limits.DATABASE_COMMAND_TIMEOUT_S, _LOOKING, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    async def _serve(self, work: Callable[[], None]) -> None:
        self._engine = self._new_engine(limits.DATABASE_COMMAND_TIMEOUT_S, pool_size=1, max_overflow=0)
        try:
            await greenlet_spawn(work)
            await greenlet_spawn(self._let_go)
        finally:
            await self._engine.dispose()

    def _new_engine(
        self, timeout_s: float, session: Mapping[str, str] = MappingProxyType({}), **pool: Any
    ) -> "AsyncEngine":
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - 6 MB, which SQLite does not need

        engine = create_async_engine(
            self._url,
            connect_args={
                "server_settings": {**_SESSION, **session},
                "timeout": timeout_s,
                "command_timeout": timeout_s,
            },
            **pool,
        )
        event.listen(engine.sync_engine, "before_cursor_execute", _without_zeros, retval=True)
        return engine

    def _locked(self, alone: bool) -> Connection:
        """A connection in a transaction that has the instance's lock. One that has died while idle is replaced."""
        fresh = self._connection is None
        connection = self._connected()
        try:
            connection.execute(_ALONE if alone else _BESIDE_OTHERS)
        except database_errors():
            self._give_up(connection)
            if fresh:
                raise
            return self._locked(alone)
        return connection

    def _connected(self) -> Connection:
        if self._connection is None:
            assert self._engine is not None
            self._connection = self._engine.sync_engine.connect()
            if self.sharing is not None:
                self.sharing.begin_anew()  # it may be another server, which lags behind
        return self._connection

    def _roll_back(self, connection: Connection) -> None:
        try:
            connection.rollback()
        except Exception:
            self._give_up(connection)

    def _give_up(self, connection: Connection) -> None:
        """The connection is of no use any more; the server ends its transaction."""
        self._connection = None
        try:
            connection.invalidate()
        finally:
            connection.close()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _check(self, connection: Connection) -> None:
        """Raises `DatabaseUnfit` where an ack would promise nothing."""
        for setting in ("fsync", "full_page_writes"):
            if connection.scalar(text(f"SHOW {setting}")) != "on":
                raise DatabaseUnfit(f"{self.name} has {setting} = off: a power cut would lose what is acknowledged")

    def _migrate(self, connection: Connection) -> None:
        if not self._steps.is_newest(self._steps.current(connection)):
            self._steps.upgrade(connection)


def _without_zeros(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> tuple[str, Any]:
    """PostgreSQL's text holds no zero character, and its errors would end the transaction of a whole batch.

    What is looked for with one is not there; in what is stored (a label; no name has one) it becomes U+FFFD. Raises
    `ValueNotTaken` for numbers beyond 64 bits.
    """
    instead = "\x01" if statement.startswith("SELECT") else "\ufffd"
    rows = parameters if executemany else (parameters,)
    if any(map(_is_strange, itertools.chain.from_iterable(rows))):
        rows = [tuple(v.replace("\0", instead) if isinstance(v, str) else v for v in row) for row in rows]
        parameters = rows if executemany else rows[0]
    return statement, parameters


def _is_strange(value: Any) -> bool:
    if isinstance(value, int) and not -_NUMBERS_END <= value < _NUMBERS_END:
        raise ValueNotTaken("a number beyond 64 bits")
    return isinstance(value, str) and "\0" in value
