# SPDX-License-Identifier: AGPL-3.0-or-later
"""One account's encrypted history: SQLCipher by SQLAlchemy, brought to its newest schema, written in groups (B8).

The key is 32 random bytes, given raw: there is nothing to stretch. Nothing of it is on the disk in plain text: neither
in the file nor in its write-ahead log, and what SQLite sorts or would restore stays in memory.
"""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlcipher3 import dbapi2 as sqlcipher

from tmtp_client import limits
from tmtp_core.grouped import Grouped, engine_of
from tmtp_core.schema import Steps

FILE: Final = "history.db"
DISK_FAILED: Final = (OSError, DBAPIError, sqlcipher.Error)
"""What is raised within a change where the disk does not do its part: who waits for the change hears `OSError`."""

_PRAGMAS: Final = (
    *("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=10000"),
    "temp_store=MEMORY",  # sorters and savepoints would else write plain text
    "cache_size=-8192",  # of each connection: what searches read again is not decrypted again; half their cost
)


class Database(Grouped):
    """`folder` is the account's, `key` its 32 bytes. Several look at once, beside one who writes; see `Grouped`."""

    def __init__(self, folder: Path, key: bytes, on_commit: Callable[[], None] | None = None) -> None:
        readers, group_max = limits.HISTORY_READERS, limits.HISTORY_GROUP_MAX
        super().__init__(
            folder / FILE, sqlcipher.Error, "history", readers=readers, group_max=group_max, on_commit=on_commit
        )
        self._key = key

    async def close(self) -> None:
        """Finish what was begun, close the file, and forget the key. Idempotent."""
        await super().close()
        self._key = b""

    async def checkpoint(self) -> None:
        """Bring the write-ahead log into the file and empty it: what was deleted is not in there, either.

        Raises `OSError`, also where somebody looks at an earlier state for longer than others wait.
        """
        if self._engine is None:
            raise self._closed()
        await self._loop.run_in_executor(self._writer, self._told, self._checkpoint)

    def _checkpoint(self) -> None:
        if self._engine is None:
            raise self._closed()
        with self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection  # outside of a transaction
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise OSError(errno.EBUSY, f"{self.path} is in use: what was deleted stays in its log until that ends")

    def _open(self) -> Engine:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        size = self._readers + 1
        options = {"creator": self._connect, "module": sqlcipher, "pool_size": size, "max_overflow": 0}
        engine = engine_of(f"sqlite:///{self.path}", _PRAGMAS, **options)
        steps = Steps("migrations:client", str(self.path))
        try:
            with engine.begin() as connection:
                if not steps.is_newest(steps.current(connection)):
                    steps.upgrade(connection)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _connect(self) -> Any:
        """A connection that has the key; whether it is the right one shows when something is asked."""
        connection = sqlcipher.connect(str(self.path), check_same_thread=False)
        connection.execute("PRAGMA cipher_log_level = NONE")  # else it writes to stderr what is raised all the same
        connection.execute(f"PRAGMA key = \"x'{self._key.hex()}'\"")
        return connection
