# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an intake remembers (C2, D1): mails that were delivered, and threads that nobody else gets into."""

import asyncio
import contextlib
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, select

from bridges import limits
from bridges.mime import Letter
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.delivered import Correspondence, Delivered, Place
from bridges.smtp.store.tables import delivered, metadata, sender

ANN_TO_DESK = Correspondence("ann@partner.example", "support@example.org")
EVE_TO_DESK = Correspondence("eve@partner.example", "support@example.org")
ANN_TO_SALES = Correspondence("ann@partner.example", "sales@example.org")
DAY_NS = 86_400 * 10**9


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * 10**9

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_s(self) -> float:
        return self.now_ns / 10**9


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Intake:
    """What one intake remembers, opened as it opens it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.database = BridgeDatabase(path)
        self.deliveries = Delivered(self.database, clock, os.urandom)

    async def open(self) -> None:
        await self.database.open()
        await self.deliveries.open()

    async def close(self) -> None:
        await self.database.close()

    async def is_delivered(self, post: str) -> bool:
        return (await self.deliveries.known((post, post), ANN_TO_DESK, letter(""))).delivered

    async def place(self, which: Correspondence, one: Letter) -> Place:
        return (await self.deliveries.known(("no post", "none"), which, one)).place

    async def deliver(self, which: Correspondence, one: Letter, post: str = "p") -> Place:
        """Deliver a mail: where it belongs."""
        place = await self.place(which, one)
        await self.database.write(
            lambda connection: self.deliveries.note(connection, (post, post), which, one, place.thread)
        )
        return place


@pytest.fixture
async def intake(tmp_path: Path, clock: Clock) -> AsyncIterator[Intake]:
    opened = Intake(tmp_path / "intake" / "bridge.sqlite3", clock)
    await opened.open()
    yield opened
    await opened.close()


def letter(message_id: str, *references: str) -> Letter:
    own = f"<{message_id}>" if message_id else ""
    return Letter("ann@partner.example", "", "s", own, references, "", "text", (), ())


async def test_a_conversation_is_one_thread(intake: Intake) -> None:
    first, new = await intake.deliver(ANN_TO_DESK, letter("1@x"))
    assert (first[:5], new) == ("smtp-", True)
    assert await intake.deliver(ANN_TO_DESK, letter("2@x", "1@x")) == (first, False)
    assert await intake.deliver(ANN_TO_DESK, letter("3@x", "1@x", "2@x")) == (first, False)
    assert await intake.deliver(ANN_TO_DESK, letter("4@x", "3@x")) == (first, False)  # In-Reply-To alone
    assert (await intake.deliver(ANN_TO_DESK, letter("5@x")))[0] != first


async def test_the_first_mail_may_come_last(intake: Intake) -> None:
    """What was answered did not come here, or comes late."""
    reply, new = await intake.deliver(ANN_TO_DESK, letter("2@x", "1@x"))
    assert new
    assert await intake.deliver(ANN_TO_DESK, letter("1@x")) == (reply, False)


async def test_nobody_gets_into_a_thread_of_others(intake: Intake) -> None:
    """A mail names whatever it likes; a thread is one sender's and one recipient's (D1)."""
    threads = {
        (await intake.deliver(which, one))[0]
        for which in (ANN_TO_DESK, EVE_TO_DESK, ANN_TO_SALES)
        for one in (letter("1@x"), letter("2@x", "1@x"))
    }
    assert len(threads) == 3


async def test_nobody_without_the_secret_foresees_a_thread(intake: Intake, tmp_path: Path, clock: Clock) -> None:
    other = Intake(tmp_path / "other.sqlite3", clock)
    await other.open()
    assert await other.place(ANN_TO_DESK, letter("1@x")) != await intake.place(ANN_TO_DESK, letter("1@x"))
    await other.close()


async def test_a_mail_that_has_no_id_begins_a_thread(intake: Intake) -> None:
    assert await intake.deliver(ANN_TO_DESK, letter("")) == ("", True)
    assert await intake.is_delivered("p")


async def test_a_week_for_mails_and_a_year_for_threads(intake: Intake, clock: Clock) -> None:
    thread, _ = await intake.deliver(ANN_TO_DESK, letter("1@x"), "first")
    await intake.deliver(ANN_TO_DESK, letter("2@x", "1@x"), "second")
    clock.now_ns += 8 * DAY_NS - 10**9  # one more, as a signature may be of tomorrow
    assert await intake.is_delivered("first")
    clock.now_ns += 2 * 10**9
    assert not await intake.is_delivered("first")
    assert await intake.place(ANN_TO_DESK, letter("9@x", "2@x")) == (thread, False)
    clock.now_ns += 400 * DAY_NS
    await intake.deliver(EVE_TO_DESK, letter("e@x"), "third")
    assert (await intake.place(ANN_TO_DESK, letter("9@x", "2@x")))[0] != thread  # the middle is forgotten,
    assert await intake.place(ANN_TO_DESK, letter("9@x", "1@x", "2@x")) == (thread, True)  # the first mail names it


async def test_all_of_it_outlives_the_process(tmp_path: Path, clock: Clock) -> None:
    threads = []
    for _ in range(2):
        intake = Intake(tmp_path / "bridge.sqlite3", clock)
        await intake.open()
        threads.append((await intake.deliver(ANN_TO_DESK, letter("1@x")))[0])
        assert await intake.is_delivered("p")
        await intake.close()
    assert len(set(threads)) == 1


async def test_only_its_owner_reads_the_files(intake: Intake, tmp_path: Path) -> None:
    await intake.deliver(ANN_TO_DESK, letter("1@x.example", "0@x.example"))
    assert [path for path in (tmp_path / "intake").iterdir() if path.stat().st_mode & 0o077] == []


async def test_a_file_of_a_newer_release_is_left_alone(intake: Intake, tmp_path: Path) -> None:
    await intake.close()
    path = tmp_path / "intake" / "bridge.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = BridgeDatabase(path)
    with pytest.raises(OSError, match="newer"):
        await newer.open()
    await newer.close()


async def test_a_file_of_before_the_steps_is_brought_to_the_newest(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "bridge.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE secret (value BLOB NOT NULL)")
        raw.execute("CREATE TABLE delivered (post VARCHAR NOT NULL PRIMARY KEY, at_s INTEGER NOT NULL)")
        raw.execute("CREATE INDEX ix_delivered_at_s ON delivered (at_s)")
        raw.execute(
            "CREATE TABLE mails (mail BLOB NOT NULL PRIMARY KEY, thread VARCHAR NOT NULL, at_s INTEGER NOT NULL)"
        )
        raw.execute("INSERT INTO secret VALUES (zeroblob(32))")
        raw.execute("INSERT INTO delivered VALUES ('p', ?)", (clock.now_ns // 10**9,))
        raw.execute("PRAGMA user_version = 1")
    intake = Intake(path, clock)
    await intake.open()
    assert await intake.is_delivered("p")
    assert (
        await intake.database.read(lambda connection: connection.scalar(select(func.count()).select_from(sender))) == 0
    )
    await intake.close()


async def test_the_steps_make_what_the_tables_say(intake: Intake) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert await intake.database.read(differences) == []


async def test_a_second_process_is_kept_out(intake: Intake, tmp_path: Path) -> None:
    second = BridgeDatabase(tmp_path / "intake" / "bridge.sqlite3")
    with pytest.raises(OSError, match="another process runs this bridge"):
        await second.open()
    await second.close()


async def test_what_fails_in_a_group_takes_nothing_else_with_it(intake: Intake) -> None:
    def refuse(connection: Connection) -> None:
        connection.execute(delivered.insert().values(post="no", at_s=1_800_000_000))
        raise LookupError("not this one")

    changes = [intake.deliver(ANN_TO_DESK, letter(f"{n}@x"), f"p{n}") for n in range(20)]
    got = await asyncio.gather(*changes[:10], intake.database.write(refuse), *changes[10:], return_exceptions=True)
    assert [type(one) for one in got if isinstance(one, Exception)] == [LookupError]
    assert all([await intake.is_delivered(f"p{n}") for n in range(20)])
    assert not await intake.is_delivered("no")


async def test_who_looks_at_once_sees_one_state_and_fails_alone(intake: Intake) -> None:
    def fails(connection: Connection) -> int:
        raise ValueError("mine")

    def wrong(connection: Connection) -> int:
        driver = connection.connection.driver_connection
        assert driver is not None
        return int(driver.execute("SELECT nothing").fetchone()[0])

    def count(connection: Connection) -> int:
        return connection.scalar(select(func.count()).select_from(delivered)) or 0

    await intake.deliver(ANN_TO_DESK, letter("<1@x>"))
    read = intake.database.read
    got = await asyncio.gather(*map(read, (count, fails, wrong, count)), return_exceptions=True)
    assert [type(one) for one in got] == [int, ValueError, OSError, int]
    assert (got[0], got[3]) == (1, 1)


async def test_a_disk_that_fails_is_an_os_error(intake: Intake, tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "intake" / "bridge.sqlite3")
    raw.execute("DROP TABLE delivered")
    raw.close()
    with pytest.raises(OSError, match="delivered") as failed:
        await intake.is_delivered("p")
    assert failed.value.errno == errno.EIO


def test_ids_are_kept_longer_than_anybody_tries() -> None:
    """RFC 5321 §4.5.4.1: senders give up after four or five days."""
    assert limits.DUPLICATES_KEPT_S > 5 * 86_400
    assert limits.SIGNATURE_AGE_MAX_S + max(limits.DATE_AHEAD_MAX_S, limits.CLOCK_SKEW_S) <= limits.DUPLICATES_KEPT_S


async def test_what_follows_a_change_is_called_when_it_is_on_the_disk_and_never_else(intake: Intake) -> None:
    called: list[str] = []

    def change(post: str, *, undone: bool = False) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            connection.execute(delivered.insert().values(post=post, at_s=1_800_000_000))
            intake.database.afterwards(lambda: called.append(post))
            if undone:
                raise LookupError(post)

        return work

    writes = [intake.database.write(change(f"p{number}", undone=number % 2 == 1)) for number in range(6)]
    await asyncio.gather(*writes, return_exceptions=True)
    assert called == ["p0", "p2", "p4"]
    with pytest.raises(OSError, match="UNIQUE"):  # the whole group is void
        await intake.database.write(change("p0"))
    await intake.database.write(change("p7"))
    assert called == ["p0", "p2", "p4", "p7"]
