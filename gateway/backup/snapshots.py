# SPDX-License-Identifier: AGPL-3.0-or-later
"""Copies of SQLite databases as they are at one moment, while others read and write them.

A read transaction holds the moment: SQLite's log keeps what writers do meanwhile, and no writer waits. The copy is
checked before anybody relies on it.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from gateway.backup.contents import DATABASE
from tmtp_core import limits
from tmtp_core.domain.facts import FACTS_COUNTER

_PAGES_AT_ONCE: Final = 1_000  # 4 MB; then progress is told


class SnapshotDamaged(Exception):
    """A database is damaged: a copy of it is no backup."""


@contextmanager
def held_moments(databases: Sequence[Path]) -> Iterator[list[sqlite3.Connection]]:
    """Connections to these databases, each of which sees its one as it is now, for the length of the block."""
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(_opened(path))) for path in databases]
        for connection in connections:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the moment begins with the first look
        yield connections
        for connection in connections:
            connection.rollback()


def copy(source: sqlite3.Connection, target: Path, progress: Callable[[int], None]) -> None:
    """A copy in a file of mode 0600. `progress` hears of octets. Raises sqlite3.Error, OSError, `SnapshotDamaged`."""
    target.touch(0o600, exist_ok=False)
    (page_bytes,) = source.execute("PRAGMA page_size").fetchone()
    copied_pages = 0

    def told(status: int, remaining: int, total: int) -> None:
        nonlocal copied_pages
        progress((total - remaining - copied_pages) * page_bytes)
        copied_pages = total - remaining

    with closing(sqlite3.connect(target, isolation_level=None)) as copied:
        copied.execute("PRAGMA synchronous=OFF")  # it is read at once, and removed
        source.backup(copied, pages=_PAGES_AT_ONCE, progress=told)
        copied.execute("PRAGMA journal_mode=DELETE")
        found = [row[0] for row in copied.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise SnapshotDamaged(f"integrity_check says: {'; '.join(found)}")


def named_payloads(database: Path) -> Iterator[tuple[str, int]]:
    """The payload files that a copy's messages name, with the octets that each must have."""
    with closing(sqlite3.connect(database)) as connection:
        yield from connection.execute(
            "SELECT file, max(size) FROM message WHERE file IS NOT NULL GROUP BY file ORDER BY file"
        )


def last_fact(folder: Path) -> int:
    """The number of the last fact that an instance's database has told its journal; 0 where it has told none."""
    if not (folder / DATABASE).exists():
        return 0
    with closing(_opened(folder / DATABASE)) as connection:
        row = connection.execute("SELECT value FROM counter WHERE name = ?", (FACTS_COUNTER,)).fetchone()
    return int(row[0]) if row is not None else 0


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={limits.DATABASE_BUSY_TIMEOUT_MS}")
    return connection
