# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked with every event, message or click reads no whole table, however long the history is: by SQLite's own
words on how it would go about each statement that the real functions execute (B1).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from tests.unit.test_client_database import KEY, message
from tmtp_client.engine import between, forwarding, meeting, sealing
from tmtp_client.store import changes, messages, outbox, people, threads, transfers
from tmtp_client.store.database import Database
from tmtp_client.store.messages import NewAttachment
from tmtp_client.store.outbox import Content
from tmtp_client.sync import registers, state, telling
from tmtp_core.prepared import Prepared
from tmtp_core.wire.payload import Part

THREAD, ID = f"{1:016x}", f"{3:016x}"
SHORT = ("json_each", "CONSTANT", "sqlite_sequence")
"""What may be gone through: what was asked for, and what is no table."""
BY = {
    "a ping came": "message_pinged",
    "a thread was sealed": "message_encrypted",
    "what waits for a shared key": "message_unopened",
    "what a copy says": "message_of",
    "what an author wrote before": "deferred_by_author",
    "what waits in a thread": "outbox_by_thread",
    "the inbox": "thread_by_state",
    "what is unseen": "thread_unseen",
    "what wakes": "thread_snoozed",
    "what is untold": "register_untold",
    "the badge": "message_unseen",
}
"""Where another index would do as well, and read a whole thread or inbox."""
PLANS: dict[str, Callable[[Connection], object]] = {
    "a ping came": lambda c: meeting._was_pinged(c, "Bob Builder"),
    "a thread was sealed": lambda c: sealing.was_sealed(c, THREAD),
    "what waits for a shared key": lambda c: messages.unopened(c, 1),
    "a copy's message": lambda c: forwarding._knows(c, THREAD, ID, "B" * 32),
    "what a copy says": lambda c: forwarding._copies(c, THREAD, ID, "B" * 32),
    "what an author wrote before": lambda c: between.deferred_ids(c, "X" * 32),
    "what waits in a thread": lambda c: threads.recount_waiting(c, THREAD),
    "what is to be sent": lambda c: outbox.next_due(c, 1),
    "an entry": lambda c: outbox.view(c, "one"),
    "the inbox": lambda c: threads.list_page(c, "inbox", now_ms=1),
    "the inbox, further": lambda c: threads.list_page(c, "inbox", now_ms=1, after=f"2026 {ID}"),
    "the archive": lambda c: threads.list_page(c, "archived", now_ms=1),
    "what is unseen": lambda c: threads.list_page(c, "unseen", now_ms=1),
    "what sleeps": lambda c: threads.list_page(c, "snoozed", now_ms=1),
    "everything": lambda c: threads.list_page(c, "all", now_ms=1),
    "the badge": threads.totals,
    "a thread": lambda c: messages.page(c, THREAD),
    "a thread, further": lambda c: messages.page(c, THREAD, before=f"2026 {ID}"),
    "a thread, around one": lambda c: messages.page(c, THREAD, around=ID),
    "the latest": lambda c: messages.latest(c, 50),
    "one is seen": lambda c: messages.mark_seen(c, [ID], True),
    "a thread is seen": lambda c: messages.mark_thread_seen(c, THREAD, ID, True),
    "a message is kept": lambda c: messages.record(c, message(9_000, thread=THREAD), frozenset()),
    "a message changes": lambda c: messages.change(c, ID, state="unreadable"),
    "a message goes": lambda c: messages.remove(c, [ID]),
    "a reader": lambda c: threads.reads(c, THREAD, "B" * 32),
    "readers": lambda c: threads.readers(c, THREAD),
    "what wakes": state.next_wake_ms,
    "waking": lambda c: state.wake(c, 1),
    "what is untold": lambda c: registers.untold(c, 100),
    "whether anything is untold": registers.is_untold,
    "whether it is being told": telling._is_waiting,
    "a register": lambda c: registers.get(c, "thread", THREAD, "muted"),
    "a part": lambda c: transfers.arrived(
        c, "B" * 32, False, Part("t", 0, 10, 2), "f", 5, 1, transfers.Room(1, 1 << 40)
    ),
    "events": lambda c: changes.since(c, "a", 0, 100),
}


@pytest.fixture
async def database(tmp_path: Path) -> Any:
    """A history of 2,000 messages in 200 threads."""
    opened = Database(tmp_path / "account", KEY)
    await opened.open()

    def fill(c: Connection) -> None:
        for number in range(2_000):
            attached = NewAttachment("file", "a.txt", "", 1, f"f{number}", 1)
            one = message(number, thread=f"{number // 10:016x}", attachments=(attached,) * (number % 2))
            messages.record(c, one, frozenset())

        people.learn(c, "B" * 32, "Bob Builder", "ping", 1)
        for number in range(50):
            outbox.enqueue(c, "message", Content(thread=f"{number:016x}"), 1, 1, os.urandom)

    await opened.write(fill)
    yield opened
    await opened.close()


class _Heard:
    """The statements of a connection, with their values."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, Any]] = []

    def core(self, c: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        self.statements += [(statement, parameters[0] if many else parameters)]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> _Heard:
    found = _Heard()
    call = Prepared.__call__

    def noted(self: Prepared, connection: Connection, values: Any) -> Any:
        given = {**self._constants, **values}
        found.statements.append((self._sql, [given[name] for name in self._names]))
        return call(self, connection, values)

    monkeypatch.setattr(Prepared, "__call__", noted)
    return found


@pytest.mark.parametrize("name", PLANS)
async def test_no_statement_reads_a_whole_table(database: Database, heard: _Heard, name: str) -> None:
    plans: list[tuple[str, str]] = []

    def asked(c: Connection) -> list[str]:
        event.listen(c, "before_cursor_execute", heard.core)
        heard.statements.clear()
        PLANS[name](c)
        event.remove(c, "before_cursor_execute", heard.core)
        driver: Any = c.connection.driver_connection
        for sql, values in heard.statements:
            plans.extend((row[3], sql) for row in driver.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall())
        assert plans
        return [f"{step}: {sql}" for step, sql in plans if _reads_all(step)]

    assert await database.write(asked) == []
    assert any(BY.get(name, "") in step for step, _ in plans), plans


def _reads_all(step: str) -> bool:
    """Whether it goes through a table, in any order but that of an index, of which a page takes a few."""
    words = step.split()
    return words[0] == "SCAN" and words[1] not in SHORT and "INDEX" not in words


async def test_the_blind_eye_sees(database: Database, heard: _Heard) -> None:
    def whole(c: Connection) -> list[str]:
        rows = c.exec_driver_sql("EXPLAIN QUERY PLAN SELECT id FROM message WHERE subject = 'x'").all()
        return [row[3] for row in rows if _reads_all(row[3])]

    assert len(await database.read(whole)) == 1
