# SPDX-License-Identifier: AGPL-3.0-or-later
"""`data_dir/administration.sqlite3`: opened, owned, brought to its newest schema like an instance's database."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection

from tmtp_core.errors import ServiceUnavailable
from tmtp_core.store.database import Database
from tmtp_core.store.writer import DatabaseErrors

T = TypeVar("T")

DATABASE_FILE: Final = "administration.sqlite3"

log = structlog.get_logger()


class AdministrationDatabase:
    """One thread, one transaction at a time, each on the disk before its caller hears of it.

    Raises `DatabaseInUse`, `DatabaseTooNew` or an error of the database's when it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._database = Database(folder / DATABASE_FILE, "migrations:administration")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tmtp-administration")

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run one transaction; its result, once it is durable. Raises `ServiceUnavailable`, or what `work` raised."""

        def run() -> T:
            with self._database.transaction() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except DatabaseErrors as error:
            log.error("administration_not_stored", error=str(error).splitlines()[0])
            raise ServiceUnavailable(
                "what administrators do cannot be recorded, so nothing is done; look at the disk"
            ) from None

    async def close(self) -> None:
        """Finish what was begun, and give the database back."""
        await asyncio.to_thread(self._thread.shutdown)
        with contextlib.suppress(*DatabaseErrors):  # a damaged one, or a disk that fails, cannot keep us
            self._database.checkpoint(wait=True)
        self._database.close()
