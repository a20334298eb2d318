# SPDX-License-Identifier: AGPL-3.0-or-later
"""The statements of the hot path in PostgreSQL's words (`tmtp_core.store.statements`): one array a column.

What is queued for a device that another process serves is told to that process by the very statement that
queues it, so that who hears of it finds it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Integer, LargeBinary, String, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from tmtp_core import limits
from tmtp_core.domain.port import Body, Device, Message, Rank, without_content
from tmtp_core.store.sharing import CHANNEL
from tmtp_core.store.statements import AccountRows, Entry, Written

_DEVICES_PER_NOTICE: Final = 400  # PostgreSQL carries 8,000 bytes; a key has at most 19 digits
_NUMBERS: Final = BigInteger()
_KEY_MAX: Final = (1 << 63) - 1
_NODE_SECRET: Final = b'"nodeid":"'


def _statement(words: str, **columns: TypeEngine[Any]) -> TextClause:
    """A statement whose named parameters are arrays of these types."""
    return text(words).bindparams(*(bindparam(name, type_=ARRAY(kind)) for name, kind in columns.items()))


_MESSAGE_COLUMNS: Final = ("numbers", "heads", "sizes", "bodies", "files", "heads2", "senders", "known")
_ENTRY_COLUMNS: Final = ("devices", "ranks", "messages", "hidden")
_REQUEST_COLUMNS: Final = ("askers", "requests", "answers", "times")

# All of it by one statement, since each costs a way to the server and back.
_WRITE = _statement(
    "WITH entry AS (SELECT * FROM unnest(:devices, :ranks, :messages, :hidden) AS e (device, rank, message, hidden)),"
    " kept AS (INSERT INTO message (number, head, size, body, file, head2, sender, known_as)"
    " SELECT * FROM unnest(:numbers, :heads, :sizes, :bodies, :files, :heads2, :senders, :known)),"
    " queued AS (INSERT INTO queue (device, rank, message, hidden) SELECT device, rank, message, hidden FROM entry),"
    " remembered AS (INSERT INTO reposted (device, request, message, posted_ms)"
    " SELECT * FROM unnest(:askers, :requests, :answers, :times)),"
    " counted AS (INSERT INTO counter (name, value) SELECT :counter, :count WHERE :counter <> ''"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value),"
    " elsewhere AS (SELECT slot, device, row_number() OVER (PARTITION BY slot ORDER BY device) AS place"
    " FROM (SELECT DISTINCT l.slot, l.device FROM entry JOIN link AS l USING (device) WHERE l.slot <> :slot) AS there)"
    """ SELECT pg_notify(:channel || '_' || slot, '{"type":"arrived","devices":[' || string_agg(device::text, ',') """
    " || ']}') FROM elsewhere GROUP BY slot, place / :most",
    numbers=_NUMBERS,
    heads=LargeBinary(),
    sizes=_NUMBERS,
    bodies=LargeBinary(),
    files=String(),
    heads2=LargeBinary(),
    senders=_NUMBERS,
    known=_NUMBERS,
    devices=_NUMBERS,
    ranks=Integer(),
    messages=_NUMBERS,
    hidden=Integer(),
    askers=_NUMBERS,
    requests=_NUMBERS,
    answers=_NUMBERS,
    times=_NUMBERS,
).bindparams(
    bindparam("counter", type_=String()),
    bindparam("count", type_=_NUMBERS),
    channel=CHANNEL,
    most=_DEVICES_PER_NOTICE,
)

# Two processes may take the last two entries of a message at once. Each holds the message's row from here to its
# commit, so that the second one sees that nothing is left.
_DELETE_QUEUE = _statement(
    "WITH gone AS (DELETE FROM queue AS q USING unnest(:devices, :ranks, :messages) AS e (device, rank, message)"
    " WHERE q.device = e.device AND q.rank = e.rank AND q.message = e.message RETURNING 1),"
    " held AS (SELECT 1 FROM message WHERE number = ANY (:messages) ORDER BY number FOR NO KEY UPDATE)"
    " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM held)",
    devices=_NUMBERS,
    ranks=Integer(),
    messages=_NUMBERS,
)

DELETE_UNWANTED = _statement(
    "DELETE FROM message AS m WHERE number = ANY (:numbers)"
    " AND NOT EXISTS (SELECT 1 FROM queue WHERE message = m.number) RETURNING number, file",
    numbers=_NUMBERS,
)

STILL_NAMED = _statement("SELECT DISTINCT file FROM message WHERE file = ANY (:files)", files=String())

_COPY_QUEUE = _statement(
    "INSERT INTO queue (device, rank, message, hidden) SELECT :target, q.rank, q.message, min(q.hidden) FROM queue AS q"
    " WHERE q.device = ANY (:sources) AND NOT (q.rank = 0 AND EXISTS"
    " (SELECT 1 FROM message AS m WHERE m.number = q.message AND position(:secret IN m.head) > 0))"
    " GROUP BY q.rank, q.message RETURNING message",
    sources=_NUMBERS,
).bindparams(bindparam("secret", _NODE_SECRET, type_=LargeBinary()), bindparam("target", type_=_NUMBERS))

# Of each queue as many as are wanted, and no more than about a window of octets; bodies are fetched for those only.
_PAGES = _statement(
    "SELECT w.place, p.rank, p.number, p.head, p.size, CASE p.hidden WHEN 0 THEN p.body END, p.file, p.head2, p.hidden"
    " FROM unnest(:devices, :counts) WITH ORDINALITY AS w (device, count, place) CROSS JOIN LATERAL"
    " (SELECT few.*, sum(length(head) + size) OVER (ORDER BY rank, number) - length(head) - size AS before FROM"
    " (SELECT q.rank, q.hidden, m.* FROM queue AS q JOIN message AS m ON m.number = q.message"
    " WHERE q.device = w.device ORDER BY q.rank, q.message LIMIT w.count) AS few) AS p"
    " WHERE p.before <= :bytes ORDER BY w.place, p.rank, p.number",
    devices=_NUMBERS,
    counts=Integer(),
).bindparams(bytes=limits.DELIVERY_WINDOW_BYTES)

_ENTRIES_BETWEEN = text(
    "SELECT q.message, d.account, d.key, q.rank FROM queue AS q JOIN device AS d ON d.key = q.device"
    " WHERE q.message > :after AND q.message <= :number"
).bindparams(bindparam("after", type_=_NUMBERS), bindparam("number", type_=_NUMBERS))

_ACCOUNT = text(
    "SELECT a.uid, a.status, a.role, a.introductions,"
    " ARRAY (SELECT d FROM device AS d WHERE d.account = a.key ORDER BY d.key) AS devices,"
    " ARRAY (SELECT name FROM name WHERE account = a.key ORDER BY place) AS aliases,"
    " ARRAY (SELECT record FROM log_record WHERE account = a.key ORDER BY place) AS log,"
    " ARRAY (SELECT other FROM acquaintance WHERE account = a.key ORDER BY other, introducer) AS others,"
    " ARRAY (SELECT introducer FROM acquaintance WHERE account = a.key ORDER BY other, introducer) AS introducers,"
    " ARRAY (SELECT blocked FROM block WHERE account = a.key) AS blocked FROM account AS a WHERE a.key = :key"
).bindparams(bindparam("key", type_=_NUMBERS))

_FORGET_TAKEN = _statement("DELETE FROM taken WHERE message = ANY (:numbers)", numbers=_NUMBERS)

_HOW_MANY = text("SELECT count(*) FROM message")
_ABOUT_HOW_MANY = text("SELECT reltuples FROM pg_class WHERE oid = 'message'::regclass")

_SET_COUNTER = text(
    "INSERT INTO counter (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
).bindparams(bindparam("name", type_=String()), bindparam("value", type_=_NUMBERS))

_FIND_REPOSTED = _statement(
    "SELECT r.device, r.request, r.message, r.posted_ms FROM unnest(:devices, :requests) AS k (device, request)"
    " JOIN reposted AS r USING (device, request)",
    devices=_NUMBERS,
    requests=_NUMBERS,
)

_LAST_LOOKED_AT = text(
    "SELECT device FROM reposted WHERE device > :after ORDER BY device LIMIT 1 OFFSET :count"
).bindparams(bindparam("after", type_=_NUMBERS), bindparam("count", type_=_NUMBERS))

_FORGET_REPOSTED = text(
    "DELETE FROM reposted AS r USING (SELECT device, request, posted_ms, row_number() OVER"
    " (PARTITION BY device ORDER BY message DESC) AS place FROM reposted WHERE device > :after AND device <= :last)"
    " AS old WHERE old.place > :keep AND old.posted_ms < :before"
    " AND r.device = old.device AND r.request = old.request"
).bindparams(
    bindparam("keep", type_=Integer()),
    *(bindparam(name, type_=_NUMBERS) for name in ("before", "after", "last")),
)


class PostgresqlStatements:
    """Implements `Statements` for the process that has `slot`."""

    def __init__(self, slot: int) -> None:
        self._slot = slot

    def account(self, connection: Connection, key: int) -> AccountRows | None:
        """See the protocol; by one statement, since each costs a way to the server and back."""
        row = connection.execute(_ACCOUNT, {"key": key}).one_or_none()
        if row is None:
            return None
        return AccountRows(
            row.uid,
            row.status,
            row.role,
            bool(row.introductions),
            devices=[_device(device) for device in row.devices],
            aliases=row.aliases,
            log=row.log,
            admits=list(zip(row.others, row.introducers, strict=True)),
            blocked=row.blocked,
        )

    def write(self, connection: Connection, written: Written) -> None:
        """See the protocol; other processes hear of their devices' entries when the transaction commits."""
        entries = [*((*entry, 0) for entry in written.entries), *((*entry, 1) for entry in written.hidden)]
        name, count = written.counter or ("", 0)
        connection.execute(
            _WRITE,
            {
                **_named(_MESSAGE_COLUMNS, written.messages),
                **_named(_ENTRY_COLUMNS, entries),
                **_named(_REQUEST_COLUMNS, written.requests),
                "counter": name,
                "count": count,
                "slot": self._slot,
            },
        )

    def delete_queue(self, connection: Connection, entries: Sequence[Entry]) -> int:
        """See the protocol."""
        devices, ranks, messages = _columns(entries, 3)
        columns = {"devices": devices, "ranks": ranks, "messages": messages}
        return int(connection.execute(_DELETE_QUEUE, columns).one()[0])

    def copy_queue(self, connection: Connection, sources: Sequence[int], target: int) -> list[int]:
        """See the protocol."""
        return list(connection.scalars(_COPY_QUEUE, {"sources": list(sources), "target": target}))

    def pages(self, connection: Connection, wanted: Sequence[tuple[int, int]]) -> Iterator[Iterator[Message]]:
        """See the protocol; all of them come by one statement."""
        found: list[list[Message]] = [[] for _ in wanted]
        devices, counts = _columns(wanted, 2)
        for place, rank, number, head, size, body, file, head2, hidden in connection.execute(
            _PAGES, {"devices": devices, "counts": counts}
        ):
            message = Message(number, Rank(rank), head, Body(size, body or b"", file), head2 or b"")
            found[place - 1].append(without_content(message) if hidden else message)
        return map(iter, found)

    def entries_between(self, connection: Connection, after: int, number: int) -> Iterable[tuple[int, int, int, int]]:
        """See the protocol."""
        rows = connection.execute(_ENTRIES_BETWEEN, {"after": after, "number": number})
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def forget_taken(self, connection: Connection, numbers: Sequence[int]) -> None:
        """See the protocol."""
        connection.execute(_FORGET_TAKEN, {"numbers": list(numbers)})

    def count_messages(self, connection: Connection) -> int:
        """See the protocol: to count a million takes a second, so what vacuum has counted is good enough then."""
        about = connection.scalar(_ABOUT_HOW_MANY)
        if about is not None and about >= limits.COUNTED_MESSAGES_MAX:
            return int(about)
        return int(connection.scalar(_HOW_MANY) or 0)

    def set_counter(self, connection: Connection, name: str, value: int) -> None:
        """See the protocol."""
        connection.execute(_SET_COUNTER, {"name": name, "value": value})

    def find_reposted(self, connection: Connection, keys: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
        """See the protocol."""
        devices, requests = _columns(keys, 2)
        rows = connection.execute(_FIND_REPOSTED, {"devices": devices, "requests": requests})
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def forget_reposted(self, connection: Connection, before_ms: int, keep: int, after: int) -> int | None:
        """See the protocol."""
        last: int | None = connection.scalar(_LAST_LOOKED_AT, {"after": after, "count": limits.REPOSTS_LOOKED_AT})
        devices = {"after": after, "last": last if last is not None else _KEY_MAX}
        connection.execute(_FORGET_REPOSTED, {"before": before_ms, "keep": keep, **devices})
        return last


def _device(row: Mapping[str, Any]) -> Device:
    prekey = (row["prekey"], row["prekey_ms"], row["prekey_sig"]) if row["prekey_ms"] is not None else None
    return Device(row["key"], row["credential"], row["public"], row["box"], row["label"], prekey, row["created_ms"])


def _named(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return dict(zip(names, _columns(rows, len(names)), strict=True))


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """Rows as columns: `count` lists, also where there is no row."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(count)]
