# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many devices still wait for each message (A4: the last ack deletes it).

Where one process has the database for itself they are counted in memory, and rebuilt at start by one grouped query;
where several share it, the database is asked. Changes of a transaction stay apart until it is committed, so that one
that fails leaves no trace.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, func, select

from tmtp_core.store import postgresql, sqlite
from tmtp_core.store import tables as t


class CountedReferences:
    """In memory, of SQLite: queue entries per message number, and the file of a message that has one."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._files: dict[int, str] = {}
        self._file_names: Counter[str] = Counter()  # how many messages name a file
        self._changes: Counter[int] = Counter()
        self._new_files: dict[int, str] = {}

    def load(self, connection: Connection) -> None:
        """See `tmtp_core.store.statements.References`."""
        n = t.message.c
        files = connection.execute(select(n.number, n.file).where(n.file.is_not(None)))
        self._counts = sqlite.count_references(connection)
        self._files = {row[0]: row[1] for row in files}
        self._file_names = Counter(self._files.values())
        self.rolled_back()

    @property
    def messages(self) -> int:
        """See the protocol."""
        return len(self._counts)

    def begin(self) -> None:
        """See the protocol."""

    def sweepable(self, file: str) -> bool:
        """See the protocol."""
        return file not in self._file_names

    def names(self, file: str) -> bool:
        """See the protocol."""
        return file in self._file_names

    def add(self, number: int, count: int, file: str | None = None) -> None:
        """See the protocol."""
        self._changes[number] += count
        if file is not None:
            self._new_files[number] = file

    def drop(self, numbers: Iterable[int]) -> None:
        """See the protocol."""
        for number in numbers:
            self._changes[number] -= 1

    def recount(self, connection: Connection, numbers: Sequence[int]) -> None:
        """See the protocol."""
        counted = sqlite.count_entries(connection, numbers)
        for number in numbers:
            self._changes[number] = counted.get(number, 0) - self._counts.get(number, 0)

    def settle(self, connection: Connection) -> list[int]:
        """See the protocol."""
        unwanted = [number for number, change in self._changes.items() if self._counts.get(number, 0) + change <= 0]
        if unwanted:
            sqlite.delete_messages(connection, unwanted)
        return unwanted

    def committed(self) -> list[str]:
        """See the protocol."""
        self._files.update(self._new_files)
        self._file_names.update(self._new_files.values())
        unlink: list[str] = []
        for number, change in self._changes.items():
            count = self._counts.get(number, 0) + change
            if count > 0:
                self._counts[number] = count
                continue
            self._counts.pop(number, None)
            file = self._files.pop(number, None)
            if file is not None:
                self._file_names[file] -= 1
                if not self._file_names[file]:
                    del self._file_names[file]
                    unlink.append(file)
        self._changes.clear()
        self._new_files.clear()
        return unlink

    def rolled_back(self) -> None:
        """See the protocol."""
        self._changes.clear()
        self._new_files.clear()


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


def file_prefix(slot: int) -> str:
    """With what the names of payload files begin that the process of this slot writes."""
    return f"{slot:x}-"
