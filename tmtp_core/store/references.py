# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many devices still wait for each message (A4: the last ack deletes it).

Counted in memory, rebuilt at start by one grouped query. Changes of a transaction stay apart until it is
committed, so that one that fails leaves no trace.
"""

from collections import Counter
from collections.abc import Iterable


class References:
    """Queue entries per message number, and the file of a message that has one."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._files: dict[int, str] = {}
        self._file_names: Counter[str] = Counter()  # how many messages name a file
        self._changes: Counter[int] = Counter()
        self._new_files: dict[int, str] = {}

    def load(self, counts: dict[int, int], files: dict[int, str]) -> None:
        """Start from what the store holds."""
        self._counts = counts
        self._files = files
        self._file_names = Counter(files.values())
        self.rolled_back()

    @property
    def messages(self) -> int:
        """How many messages wait for somebody."""
        return len(self._counts)

    def named_files(self) -> frozenset[str]:
        """All payload files that a message names."""
        return frozenset(self._files.values())

    def names(self, file: str) -> bool:
        """Whether a message that waits for somebody has this payload file."""
        return file in self._file_names

    def add(self, number: int, count: int, file: str | None = None) -> None:
        """`count` more devices wait for a message."""
        self._changes[number] += count
        if file is not None:
            self._new_files[number] = file

    def drop(self, numbers: Iterable[int]) -> None:
        """One device less for each."""
        for number in numbers:
            self._changes[number] -= 1

    def set(self, number: int, count: int) -> None:
        """Correct a count from what the store says."""
        self._changes[number] = count - self._counts.get(number, 0)

    def unwanted(self) -> list[int]:
        """Messages nobody waits for once this transaction is committed."""
        return [number for number, change in self._changes.items() if self._counts.get(number, 0) + change <= 0]

    def changed(self) -> list[int]:
        """Messages whose count this transaction changes."""
        return list(self._changes)

    def committed(self) -> list[str]:
        """Take over the transaction's changes; the payload files to unlink."""
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
        """Forget the transaction's changes."""
        self._changes.clear()
        self._new_files.clear()
