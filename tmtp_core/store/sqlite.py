# SPDX-License-Identifier: AGPL-3.0-or-later
"""The statements of the hot path, in SQLite's own words; this module is one of `tmtp_core.store.statements.Statements`.

Rows travel as one JSON array and come apart in the database, because `executemany` hands the GIL over at
every row.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

import msgspec
from sqlalchemy import Connection

from tmtp_core import limits
from tmtp_core.domain.port import Body, Device, Message, Rank, without_content
from tmtp_core.store.statements import AccountRows, Entry, MessageRow, Written

_DEVICE_COLUMNS = "key, credential, public, box, label, created_ms, prekey, prekey_ms, prekey_sig"
_MESSAGE_COLUMNS = 8
_KEY_MAX = (1 << 63) - 1
_MESSAGE_ROWS_MAX = 2_000  # 16,000 parameters; SQLite takes 32,766


def driver(connection: Connection) -> sqlite3.Connection:
    """SQLite's own connection, inside SQLAlchemy's transaction: a statement costs a third."""
    raw = connection.connection.driver_connection
    assert raw is not None
    return raw  # type: ignore[no-any-return]


def _json(rows: Sequence[object]) -> str:
    return msgspec.json.encode(rows).decode()


def account(connection: Connection, key: int) -> AccountRows | None:
    """All that the store has of one account. By the driver: a group that is not in memory has thousands of them."""
    execute, this = driver(connection).execute, (key,)
    found = execute("SELECT uid, status, role, introductions FROM account WHERE key = ?", this).fetchone()
    if found is None:
        return None
    uid, status, role, introductions = found
    devices = execute(f"SELECT {_DEVICE_COLUMNS} FROM device WHERE account = ? ORDER BY key", this)  # noqa: S608 - names
    return AccountRows(
        uid,
        status,
        role,
        bool(introductions),
        devices=[_device(*row) for row in devices],
        aliases=[row[0] for row in execute("SELECT name FROM name WHERE account = ? ORDER BY place", this)],
        log=[row[0] for row in execute("SELECT record FROM log_record WHERE account = ? ORDER BY place", this)],
        admits=execute("SELECT other, introducer FROM acquaintance WHERE account = ?", this).fetchall(),
        blocked=[row[0] for row in execute("SELECT blocked FROM block WHERE account = ?", this)],
    )


def _device(
    key: int,
    credential: bytes,
    public: str | None,
    box: str,
    label: str,
    created_ms: int,
    prekey: str,
    prekey_ms: int | None,
    prekey_sig: str,
) -> Device:
    made = (prekey, prekey_ms, prekey_sig) if prekey_ms is not None else None
    return Device(key, credential, public, box, label, made, created_ms)


@cache
def _insert_messages_sql(rows: int) -> str:
    row = "(" + ",".join("?" * _MESSAGE_COLUMNS) + ")"
    columns = "number, head, size, body, file, head2, sender, known_as"
    return f"INSERT INTO message ({columns}) VALUES " + ",".join([row] * rows)  # noqa: S608 - marks only


def write(connection: Connection, written: Written) -> None:
    """Store what was added."""
    if written.messages:
        _insert_messages(connection, written.messages)
    for mark, some in ((0, written.entries), (1, written.hidden)):
        if some:
            _insert_queue(connection, some, mark)
    if written.requests:
        _insert_reposted(connection, written.requests)
    if written.counter is not None:
        set_counter(connection, *written.counter)


def _insert_messages(connection: Connection, rows: Sequence[MessageRow]) -> None:
    """Store messages."""
    for start in range(0, len(rows), _MESSAGE_ROWS_MAX):
        part = rows[start : start + _MESSAGE_ROWS_MAX]
        parameters = tuple(value for row in part for value in row)
        driver(connection).execute(_insert_messages_sql(len(part)), parameters)


def delete_messages(connection: Connection, numbers: Sequence[int]) -> None:
    """Forget messages."""
    driver(connection).execute(
        "DELETE FROM message WHERE number IN (SELECT value FROM json_each(?))", (_json(numbers),)
    )


def forget_taken(connection: Connection, numbers: Sequence[int]) -> None:
    """Forget by whom messages were taken that are gone."""
    driver(connection).execute("DELETE FROM taken WHERE message IN (SELECT value FROM json_each(?))", (_json(numbers),))


def _insert_queue(connection: Connection, entries: Sequence[Entry], hidden: int) -> None:
    driver(connection).execute(
        "INSERT INTO queue (device, rank, message, hidden) SELECT json_extract(value, '$[0]'),"
        " json_extract(value, '$[1]'), json_extract(value, '$[2]'), ? FROM json_each(?)",
        (hidden, _json(entries)),
    )


def delete_queue(connection: Connection, entries: Sequence[Entry]) -> int:
    """Remove queue entries; how many there were."""
    result = driver(connection).execute(
        "DELETE FROM queue WHERE (device, rank, message) IN (SELECT json_extract(value, '$[0]'),"
        " json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?))",
        (_json(entries),),
    )
    return result.rowcount


def copy_queue(connection: Connection, sources: Sequence[int], target: int) -> list[int]:
    """Queue for one device, which has nothing yet, what is queued for others; the numbers of those messages.

    But no `user` message with a new node's secret, which is for the node alone that asked for it. (Inside a string of
    JSON these quotes would be escaped.)
    """
    driver(connection).execute(
        "INSERT INTO queue (device, rank, message, hidden) SELECT ?, rank, message, min(hidden) FROM queue"
        " WHERE device IN (SELECT value FROM json_each(?)) AND NOT (rank = 0 AND EXISTS"
        " (SELECT 1 FROM message WHERE number = queue.message AND instr(head, ?))) GROUP BY rank, message",
        (target, _json(sources), b'"nodeid":"'),
    )
    rows = driver(connection).execute("SELECT message FROM queue WHERE device = ?", (target,))
    return [row[0] for row in rows]


def count_messages(connection: Connection) -> int:
    """How many messages there are. (Nobody asks: `CountedReferences` knows.)"""
    return int(driver(connection).execute("SELECT count(*) FROM message").fetchone()[0])


def set_counter(connection: Connection, name: str, value: int) -> None:
    """Store a named number of the instance."""
    driver(connection).execute(
        "INSERT INTO counter (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def _insert_reposted(connection: Connection, rows: Sequence[tuple[int, int, int, int]]) -> None:
    """Remember requests (device, request hash, message, posted ms)."""
    driver(connection).execute(
        "INSERT INTO reposted (device, request, message, posted_ms) SELECT json_extract(value, '$[0]'),"
        " json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]') FROM json_each(?)",
        (_json(rows),),
    )


def find_reposted(connection: Connection, keys: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """Which of these (device, request hash) are remembered, as whole rows."""
    rows = driver(connection).execute(
        "SELECT r.device, r.request, r.message, r.posted_ms FROM json_each(?) AS k CROSS JOIN reposted AS r"
        " ON r.device = json_extract(k.value, '$[0]') AND r.request = json_extract(k.value, '$[1]')",
        (_json(keys),),
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def forget_reposted(connection: Connection, before_ms: int, keep: int, after: int) -> int | None:
    """Forget requests older than `before_ms`, but of each device the newest `keep`: of some devices above `after`.

    The last of these; None where there are no more.
    """
    last = (
        driver(connection)
        .execute(
            "SELECT device FROM reposted WHERE device > ? ORDER BY device LIMIT 1 OFFSET ?",
            (after, limits.REPOSTS_LOOKED_AT),
        )
        .fetchone()
    )
    driver(connection).execute(
        "DELETE FROM reposted WHERE (device, request) IN (SELECT device, request FROM (SELECT device, request,"
        " posted_ms, row_number() OVER (PARTITION BY device ORDER BY message DESC) AS place FROM reposted"
        " WHERE device > ? AND device <= ?) WHERE place > ? AND posted_ms < ?)",
        (after, last[0] if last else _KEY_MAX, keep, before_ms),
    )
    return last[0] if last else None


def pages(connection: Connection, wanted: Sequence[tuple[int, int]]) -> Iterator[Iterator[Message]]:
    """For each (device, count) the first messages of its queue, in order of delivery: leaving early costs nothing."""
    return (_page(connection, device, count) for device, count in wanted)


def _page(connection: Connection, device: int, count: int) -> Iterator[Message]:
    result = driver(connection).execute(
        "SELECT q.rank, m.number, m.head, m.size, CASE q.hidden WHEN 0 THEN m.body END, m.file, m.head2, q.hidden"
        " FROM queue AS q CROSS JOIN message AS m ON m.number = q.message WHERE q.device = ?"
        " ORDER BY q.rank, q.message LIMIT ?",
        (device, count),
    )
    try:
        for rank, number, head, size, body, file, head2, hidden in result:
            message = Message(number, Rank(rank), head, Body(size, body or b"", file), head2 or b"")
            yield without_content(message) if hidden else message
    finally:
        result.close()


def entries_between(connection: Connection, after: int, number: int) -> Iterator[tuple[int, int, int, int]]:
    """All queue entries of messages after one number and up to another: (message, account, device, rank).

    By device and rank, as the queue is ordered, so that only what is old is looked at.
    """
    yield from driver(connection).execute(
        "SELECT q.message, d.account, d.key, q.rank FROM device AS d CROSS JOIN queue AS q"
        " ON q.device = d.key AND q.rank IN (0, 1) AND q.message > ? AND q.message <= ?",
        (after, number),
    )


def count_entries(connection: Connection, numbers: Sequence[int]) -> dict[int, int]:
    """How many queue entries each of these messages has; one look through the queue for all of them."""
    rows = driver(connection).execute(
        "SELECT message, count(*) FROM queue WHERE message IN (SELECT value FROM json_each(?)) GROUP BY message",
        (_json(numbers),),
    )
    return {row[0]: row[1] for row in rows}


def count_references(connection: Connection) -> dict[int, int]:
    """How many queue entries each queued message has. Counted here: the database would sort them all for that."""
    return Counter(chain.from_iterable(driver(connection).execute("SELECT message FROM queue")))
