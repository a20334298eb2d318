# SPDX-License-Identifier: AGPL-3.0-or-later
"""An intake's SQLite file: opened, brought to its newest schema, and written in groups (C2)."""

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, inspect, text

from bridges import limits
from tmtp_core.grouped import Grouped, engine_of
from tmtp_core.schema import Steps

_PRAGMAS: Final = (
    *("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=10000", "foreign_keys=ON"),
    "temp_store=MEMORY",  # what a savepoint would restore is else written to a file, for each mail
    "wal_autocheckpoint=4000",  # 16 MB: keyed hashes lie anywhere, so a page is written again and again until then
)
_FIRST_STEP: Final = "0001"  # what files of before the steps have


class BridgeDatabase(Grouped):
    """One file, owned by one process: `open` raises `OSError` where another process has it. See `Grouped`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, sqlite3.Error, "smtp", readers=1, group_max=limits.GROUP_MAX)
        self._lock = -1

    async def close(self) -> None:
        """Finish what was begun, and close the file. Idempotent."""
        await super().close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _open(self) -> Engine:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file of its own: closing the database's would let go of SQLite's locks on it.
        self._lock = _locked(self.path.with_suffix(".lock"))
        self.path.touch(mode=0o600)
        engine = engine_of(f"sqlite:///{self.path}", _PRAGMAS)
        steps = Steps("migrations:bridge", str(self.path))
        try:
            with engine.begin() as connection:
                names = inspect(connection)
                if names.has_table("delivered") and not names.has_table("alembic_version"):
                    connection.execute(
                        text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
                    )
                    connection.execute(text(f"INSERT INTO alembic_version VALUES ('{_FIRST_STEP}')"))  # noqa: S608
                if not steps.is_newest(steps.current(connection)):
                    steps.upgrade(connection)
        except BaseException:
            engine.dispose()
            raise
        return engine


def _locked(path: Path) -> int:
    """The file's lock, held as long as the descriptor is open. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise OSError(errno.EBUSY, f"{path} is locked: another process runs this bridge") from None
    return descriptor
