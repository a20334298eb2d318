# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many devices still wait for each message, where several processes share the database: it is asked (A4)."""

from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, func, select

from tmtp_core.store import postgresql
from tmtp_core.store import tables as t
from tmtp_core.store.references import file_prefix


class StoredReferences:
    """In the database, of PostgreSQL: nobody knows what the other processes take away.

    Payload files are named after the slot of the process that wrote them; each sweeps its own at start.
    """

    def __init__(self, slot: int) -> None:
        self._own = file_prefix(slot)
        self._known: frozenset[str] = frozenset()  # at start
        self._new_files: set[str] = set()
        self._dropped: set[int] = set()
        self._unlink: list[str] = []
        self.messages = 0

    def load(self, connection: Connection) -> None:
        """See `tmtp_core.store.statements.References`."""
        file = t.message.c.file
        self._known = frozenset(connection.scalars(select(file).where(file.startswith(self._own))))
        self.messages = connection.scalar(select(func.count()).select_from(t.message)) or 0

    def look(self, count: Callable[[], int]) -> None:
        """See the protocol."""
        self.messages = count()

    def sweepable(self, file: str) -> bool:
        """See the protocol."""
        return file.startswith(self._own) and file not in self._known

    def names(self, file: str) -> bool:
        """See the protocol. Files have random names: only the transaction that has just ended can have named it."""
        return file in self._new_files

    def add(self, number: int, count: int, file: str | None = None) -> None:
        """See the protocol."""
        if file is not None:
            self._new_files.add(file)

    def drop(self, numbers: Iterable[int]) -> None:
        """See the protocol."""
        self._dropped.update(numbers)

    def recount(self, connection: Connection, numbers: Sequence[int]) -> None:
        """See the protocol: the database counts at every time."""

    def settle(self, connection: Connection) -> list[int]:
        """See the protocol."""
        if not self._dropped:
            return []
        rows = connection.execute(postgresql.DELETE_UNWANTED, {"numbers": sorted(self._dropped)}).all()
        files = {row.file for row in rows if row.file is not None}
        if files:
            files.difference_update(connection.scalars(postgresql.STILL_NAMED, {"files": sorted(files)}))
            self._unlink += files
        return [row.number for row in rows]

    def committed(self) -> list[str]:
        """See the protocol."""
        unlink, self._unlink = self._unlink, []
        self._dropped.clear()
        return unlink

    def begin(self) -> None:
        """See the protocol: which files the last one named is forgotten."""
        self._new_files.clear()

    def rolled_back(self) -> None:
        """See the protocol."""
        self._new_files.clear()
        self._dropped.clear()
        self._unlink.clear()
