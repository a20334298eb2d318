# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an intake remembers (C2, D1): mails that were delivered, and threads that nobody else gets into."""

import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridges import limits
from bridges.mime import Letter
from bridges.smtp.database import SCHEMA_VERSION, BridgeDatabase, Correspondence

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


@pytest.fixture
async def database(tmp_path: Path, clock: Clock) -> AsyncIterator[BridgeDatabase]:
    opened = BridgeDatabase(tmp_path / "intake" / "bridge.sqlite3", clock, os.urandom)
    await opened.open()
    yield opened
    await opened.close()


def letter(message_id: str, *references: str) -> Letter:
    own = f"<{message_id}>" if message_id else ""
    return Letter("ann@partner.example", "", "s", own, references, "", "text", (), ())


async def delivered(database: BridgeDatabase, which: Correspondence, one: Letter, post: str = "p") -> tuple[str, bool]:
    """Deliver a mail: its thread, and whether that was new."""
    thread, new = await database.place(which, one)
    await database.record(post, which, one, thread)
    return thread, new


async def test_a_conversation_is_one_thread(database: BridgeDatabase) -> None:
    first, new = await delivered(database, ANN_TO_DESK, letter("1@x"))
    assert (first[:5], new) == ("smtp-", True)
    assert await delivered(database, ANN_TO_DESK, letter("2@x", "1@x")) == (first, False)
    assert await delivered(database, ANN_TO_DESK, letter("3@x", "1@x", "2@x")) == (first, False)
    assert await delivered(database, ANN_TO_DESK, letter("4@x", "3@x")) == (first, False)  # In-Reply-To alone
    assert (await delivered(database, ANN_TO_DESK, letter("5@x")))[0] != first


async def test_the_first_mail_may_come_last(database: BridgeDatabase) -> None:
    """What was answered did not come here, or comes late."""
    reply, new = await delivered(database, ANN_TO_DESK, letter("2@x", "1@x"))
    assert new
    assert await delivered(database, ANN_TO_DESK, letter("1@x")) == (reply, False)


async def test_nobody_gets_into_a_thread_of_others(database: BridgeDatabase) -> None:
    """A mail names whatever it likes; a thread is one sender's and one recipient's (D1)."""
    threads = {
        (await delivered(database, which, one))[0]
        for which in (ANN_TO_DESK, EVE_TO_DESK, ANN_TO_SALES)
        for one in (letter("1@x"), letter("2@x", "1@x"))
    }
    assert len(threads) == 3


async def test_nobody_without_the_secret_foresees_a_thread(
    database: BridgeDatabase, tmp_path: Path, clock: Clock
) -> None:
    other = BridgeDatabase(tmp_path / "other.sqlite3", clock, os.urandom)
    await other.open()
    assert await other.place(ANN_TO_DESK, letter("1@x")) != await database.place(ANN_TO_DESK, letter("1@x"))
    await other.close()


async def test_a_mail_that_has_no_id_begins_a_thread(database: BridgeDatabase) -> None:
    assert await delivered(database, ANN_TO_DESK, letter("")) == ("", True)
    assert await database.is_delivered("p")


async def test_a_week_for_mails_and_a_year_for_threads(database: BridgeDatabase, clock: Clock) -> None:
    thread, _ = await delivered(database, ANN_TO_DESK, letter("1@x"), "first")
    await delivered(database, ANN_TO_DESK, letter("2@x", "1@x"), "second")
    clock.now_ns += 7 * DAY_NS - 10**9
    assert await database.is_delivered("first")
    clock.now_ns += 2 * 10**9
    assert not await database.is_delivered("first")
    assert await database.place(ANN_TO_DESK, letter("9@x", "2@x")) == (thread, False)
    clock.now_ns += 400 * DAY_NS
    await delivered(database, EVE_TO_DESK, letter("e@x"), "third")
    assert (await database.place(ANN_TO_DESK, letter("9@x", "2@x")))[0] != thread  # the middle is forgotten,
    assert await database.place(ANN_TO_DESK, letter("9@x", "1@x", "2@x")) == (thread, True)  # the first mail names it


async def test_all_of_it_outlives_the_process(tmp_path: Path, clock: Clock) -> None:
    threads = []
    for _ in range(2):
        database = BridgeDatabase(tmp_path / "bridge.sqlite3", clock, os.urandom)
        await database.open()
        threads.append((await delivered(database, ANN_TO_DESK, letter("1@x")))[0])
        assert await database.is_delivered("p")
        await database.close()
    assert len(set(threads)) == 1


async def test_what_is_in_the_file_says_nothing_of_a_mail(database: BridgeDatabase, tmp_path: Path) -> None:
    """D5: who takes the file finds nobody's address and no mail's id in it."""
    await delivered(database, ANN_TO_DESK, letter("1@x.example", "0@x.example"))
    await database.close()
    octets = b"".join(path.read_bytes() for path in (tmp_path / "intake").iterdir())
    assert b"partner.example" not in octets
    assert b"@x.example" not in octets
    assert (tmp_path / "intake" / "bridge.sqlite3").stat().st_mode & 0o077 == 0
    await database.open()


async def test_a_file_of_a_newer_release_is_left_alone(database: BridgeDatabase, tmp_path: Path, clock: Clock) -> None:
    await database.close()
    path = tmp_path / "intake" / "bridge.sqlite3"
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    raw.close()
    newer = BridgeDatabase(path, clock, os.urandom)
    with pytest.raises(OSError, match="newer release"):
        await newer.open()
    await newer.close()


async def test_a_disk_that_fails_is_an_os_error(database: BridgeDatabase, tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "intake" / "bridge.sqlite3")
    raw.execute("DROP TABLE delivered")
    raw.close()
    with pytest.raises(OSError, match="delivered") as failed:
        await database.is_delivered("p")
    assert failed.value.errno == errno.EIO


def test_ids_are_kept_longer_than_anybody_tries() -> None:
    """RFC 5321 §4.5.4.1: senders give up after four or five days."""
    assert limits.DUPLICATES_KEPT_S > 5 * 86_400
