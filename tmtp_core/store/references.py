# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many devices still wait for each message (A4: the last ack deletes it).

Where one process has the database for itself they are counted in memory, and rebuilt at start by one grouped query;
where several share it, the database is asked (`tmtp_core.store.stored_references`). Changes of a transaction stay apart
until it is committed, so that one that fails leaves no trace.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, select

from tmtp_core.store import sqlite
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

    def look(self, count: Callable[[], int]) -> None:
        """See the protocol: they are counted already."""

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


def file_prefix(slot: int) -> str:
    """With what the names of payload files begin that the process of this slot writes."""
    return f"{slot:x}-"
