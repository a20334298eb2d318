# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client's encrypted history: nothing in plain text on the disk, one fsync for many, looked at meanwhile (B8)."""

import asyncio
import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, delete, func, insert, select, text
from sqlcipher3 import dbapi2 as sqlcipher

from tests.support.canary import plain_text_in
from tmtp_client import limits
from tmtp_client.store import identity as identities
from tmtp_client.store import messages, people
from tmtp_client.store.database import FILE, Database
from tmtp_client.store.messages import NewAttachment, NewMessage
from tmtp_client.store.tables import SEARCH, metadata, stamp
from tmtp_client.vault.vault import Vault

KEY = bytes(range(32))
CANARIES = {
    "text": "Zyxomma petiolatum",
    "subject": "Quetzal sighting",
    "alias": "Wombat Keeper",
    "file": "narwhal-census.csv",
    "content": "unicorns: seventeen",
}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "account", KEY)
    await opened.open()
    yield opened
    await opened.close()


def count(c: Connection) -> int:
    return c.scalar(select(func.count()).select_from(stamp)) or 0


def adding(name: str) -> Callable[[Connection], None]:
    return lambda c: c.execute(insert(stamp).values(latest=name)) and None


def message(number: int, **changes: object) -> NewMessage:
    plain = {
        "id": f"{number:016x}",
        "kind": "message",
        "outgoing": False,
        "author": "B" * 32,
        "alias": CANARIES["alias"],
        "verified": True,
        "to": (),
        "thread": "",
        "subject": CANARIES["subject"],
        "text": f"{CANARIES['text']} {number}",
        "posted": "2026-11-24T12:00:00.000Z",
        "received_ms": 1,
        "state": "received",
        "seen": False,
    }
    return NewMessage(**{**plain, **changes})  # type: ignore[arg-type]


async def test_it_is_as_safe_as_it_has_to_be(database: Database) -> None:
    def asked(c: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "secure_delete", "temp_store", "cipher_version")
        return [c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    for ask in (database.read, database.write):
        mode, synchronous, secure_delete, temp_store, cipher = await ask(asked)
        assert (mode, synchronous, secure_delete, temp_store) == ("wal", 2, 1, 2)
        assert cipher


async def test_the_steps_make_what_the_tables_say(database: Database) -> None:
    """Also after a change of `tmtp_client.store.tables`: then a step is missing, or is another one."""

    def made(c: Connection) -> dict[str, str]:
        asked = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'"
        return {name: " ".join(sql.replace(" ( ", " (").split()) for name, sql in c.execute(text(asked))}

    def meant() -> dict[str, str]:
        engine = create_engine("sqlite://", module=sqlcipher)
        with engine.begin() as c:
            metadata.create_all(c)
            c.execute(text(SEARCH))
            said = made(c)
        engine.dispose()
        return said

    assert await database.read(made) == await asyncio.to_thread(meant)


async def test_many_changes_share_a_commit_and_each_is_told(tmp_path: Path) -> None:
    commits = 0

    def committed() -> None:
        nonlocal commits
        commits += 1
        assert threading.current_thread() is threading.main_thread()

    database = Database(tmp_path, KEY, committed)
    await database.open()
    await asyncio.gather(*(database.write(adding(str(number))) for number in range(1_200)))
    assert await database.read(count) == 1_200
    assert 1 <= commits <= 10
    assert limits.HISTORY_GROUP_MAX < 1_200
    await database.close()


async def test_a_change_that_is_told_is_seen_by_everybody(database: Database) -> None:
    """However many look at once: who was told of a change never sees the time before it."""

    async def one(number: int) -> None:
        await database.write(adding(str(number)))
        seen = await database.read(lambda c: c.scalar(select(stamp).where(stamp.c.latest == str(number))))
        assert seen == str(number)

    await asyncio.gather(*(one(number) for number in range(300)))


async def test_a_long_look_stops_nobody(database: Database) -> None:
    """A search that takes its time: pages and messages go on beside it."""
    begun, go_on = threading.Event(), threading.Event()

    def long(c: Connection) -> int:
        before = count(c)
        begun.set()
        assert go_on.wait(20)
        assert count(c) == before  # one state for all that it asks
        return before

    looking = asyncio.ensure_future(database.read(long))
    await asyncio.to_thread(begun.wait, 20)
    async with asyncio.timeout(60):
        await database.write(adding("meanwhile"))
        assert await asyncio.gather(*(database.read(count) for _ in range(20))) == [1] * 20
    go_on.set()
    assert await looking == 0


async def test_what_fails_takes_nothing_else_with_it(database: Database) -> None:
    def refuse(c: Connection) -> None:
        adding("no")(c)
        raise LookupError("not this one")

    changes = [database.write(adding(str(number))) for number in range(20)]
    got = await asyncio.gather(*changes[:9], database.write(refuse), *changes[9:], return_exceptions=True)
    assert [type(one) for one in got if isinstance(one, BaseException)] == [LookupError]
    assert await database.read(count) == 20


async def test_what_the_database_or_a_file_refuses_takes_nothing_else_with_it(database: Database) -> None:
    """B3: a row that cannot be, a statement that is none, a file that cannot be read: each is the trouble of one."""

    def twice(c: Connection) -> None:
        adding("undone")(c)
        database.afterwards(lambda: called.append("undone"))
        adding("undone")(c)

    def nonsense(c: Connection) -> None:
        adding("undone")(c)
        c.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    def unreadable(c: Connection) -> None:
        adding("undone")(c)
        raise FileNotFoundError("no such file")

    def kept(number: int) -> Callable[[Connection], None]:
        def work(c: Connection) -> None:
            adding(f"{number}")(c)
            database.afterwards(lambda: called.append(f"{number}"))

        return work

    called: list[str] = []
    works = [work for number, bad in enumerate((twice, nonsense, unreadable)) for work in (kept(number), bad)]
    got = await asyncio.gather(*(database.write(work) for work in (*works, kept(3))), return_exceptions=True)
    assert [type(one) for one in got[1::2]] == [OSError, OSError, FileNotFoundError]
    assert got[::2] == [None] * 4
    assert await database.read(lambda c: list(c.scalars(select(stamp.c.latest)))) == ["0", "1", "2", "3"]
    assert called == ["0", "1", "2", "3"]


async def test_a_change_that_the_disk_has_no_room_for_leaves_room_for_others(database: Database) -> None:
    def full(c: Connection) -> None:
        adding("undone")(c)
        pages = c.exec_driver_sql("PRAGMA page_count").scalar()
        c.exec_driver_sql(f"PRAGMA max_page_count={pages + 3}")
        try:
            adding("x" * 1_000_000)(c)
        finally:
            c.exec_driver_sql("PRAGMA max_page_count=1000000")

    got = await asyncio.gather(
        *(database.write(work) for work in (adding("a"), adding("b"), full, adding("c"))), return_exceptions=True
    )
    assert [one.errno if isinstance(one, OSError) else one for one in got] == [None, None, errno.ENOSPC, None]
    assert await database.read(count) == 3


async def test_a_change_that_ends_the_transaction_is_undone_alone(database: Database) -> None:
    def ends(c: Connection) -> None:
        adding("undone")(c)
        c.exec_driver_sql("INSERT OR ROLLBACK INTO stamp SELECT * FROM stamp")

    def refuse(c: Connection) -> None:
        raise LookupError("not this one")

    works = (adding("a"), adding("b"), refuse, ends, adding("c"))
    got = await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)
    assert [type(one) for one in got] == [type(None), type(None), LookupError, OSError, type(None)]
    assert await database.read(lambda c: list(c.scalars(select(stamp.c.latest)))) == ["a", "b", "c"]


async def test_another_key_opens_nothing(database: Database, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    await database.write(adding("x"))
    await database.close()
    for wrong in (bytes(32), KEY[:31] + b"\0"):
        other = Database(tmp_path / "account", wrong)
        with pytest.raises(OSError, match="not a database"):
            await other.open()
        await other.close()
    assert capfd.readouterr() == ("", "")  # SQLCipher writes to stderr what it is asked not to
    again = Database(tmp_path / "account", KEY)
    await again.open()
    assert await again.read(count) == 1
    await again.close()


async def test_a_file_of_a_newer_release_is_left_alone(database: Database, tmp_path: Path) -> None:
    await database.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")) and None)
    await database.close()
    newer = Database(tmp_path / "account", KEY)
    with pytest.raises(OSError, match="newer"):
        await newer.open()
    await newer.close()


async def test_a_file_that_was_altered_is_not_read(database: Database, tmp_path: Path) -> None:
    for number in range(200):
        await database.write(adding(f"{number} {'x' * 200}"))
    await database.close()
    path = tmp_path / "account" / FILE
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    again = Database(tmp_path / "account", KEY)
    with pytest.raises(OSError, match=FILE):
        await again.open()
        await again.read(lambda c: c.execute(text("SELECT * FROM stamp")).all())
        await again.read(lambda c: c.execute(text("PRAGMA integrity_check")).all())
        for table in metadata.tables.values():
            await again.read(lambda c, table=table: c.execute(select(table)).all())
    await again.close()


async def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        database = Database(tmp_path / "account", KEY)
        await database.open()
        await database.write(adding("x"))
        names = {path.name for path in (tmp_path / "account").iterdir()}
        assert f"{FILE}-wal" in names
        assert [path for path in (tmp_path / "account").iterdir() if path.stat().st_mode & 0o077] == []
        await database.close()
    finally:
        os.umask(before)


async def fill(home: Path) -> tuple[Vault, Database]:
    """A home with an account in which every kind of text is a canary."""
    vault = Vault(home, os.urandom, None, lambda: 1)
    vault.make()
    account = vault.account("work", make=True)
    database = Database(account.folder, account.database_key)
    await database.open()
    with account.files.writer() as writer:
        writer.write(CANARIES["content"].encode() * 10_000)
        stored = writer.finish()
    attached = NewAttachment("file", CANARIES["file"], "", stored.size, stored.file, stored.size)

    def all_of_it(c: Connection) -> None:
        people.learn(c, "B" * 32, CANARIES["alias"], "ping", 1)
        for number in range(500):
            messages.record(c, message(number, attachments=(attached,)), frozenset())
        sealed = identities.Identity("A" * 32, "N" * 40, CANARIES["alias"], "h", 1, None, None, CANARIES["subject"])
        identities.put(c, sealed)

    await database.write(all_of_it)
    return vault, database


async def test_no_plain_text_is_on_the_disk(tmp_path: Path) -> None:
    """Prove 2, of files: neither in the database, its log, the search index, attachments, nor in any name."""
    home = tmp_path / "home"
    _, database = await fill(home)
    assert (home / "accounts" / "work" / f"{FILE}-wal").stat().st_size > 100_000
    assert plain_text_in(home, CANARIES.values()) == []
    await database.write(lambda c: messages.remove(c, [f"{number:016x}" for number in range(250)]) and None)
    await database.checkpoint()
    assert (home / "accounts" / "work" / f"{FILE}-wal").stat().st_size == 0
    assert plain_text_in(home, CANARIES.values()) == []
    await database.close()
    assert plain_text_in(home, CANARIES.values()) == []
    assert plain_text_in(home, ["SQLite format 3", "CREATE TABLE"]) == []


async def test_the_canaries_are_found_where_they_are(tmp_path: Path) -> None:
    """What the test above looks for with is no blind eye."""
    with contextlib.closing(sqlite3.connect(tmp_path / "plain.db")) as raw, raw:
        raw.execute("CREATE TABLE message (text)")
        raw.executemany("INSERT INTO message VALUES (?)", [(one.upper(),) for one in CANARIES.values()])
    (tmp_path / CANARIES["file"]).touch()
    found = plain_text_in(tmp_path, CANARIES.values())
    assert {canary for canary, _ in found} == set(CANARIES.values())
    assert (CANARIES["file"], CANARIES["file"]) in found


async def test_what_is_sorted_or_would_be_restored_is_in_no_temporary_file(database: Database) -> None:
    """Prove 2: SQLite would else write sorters, savepoints and temporary tables into files that are deleted already."""

    def open_files() -> set[str]:
        links = set()
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                links.add(str(descriptor.readlink()))
        return {link for link in links if "etilqs" in link or "(deleted)" in link}

    before = open_files()

    def sorting(c: Connection) -> set[str]:
        for number in range(100):
            c.execute(insert(stamp), [{"latest": f"{number}-{n}-{CANARIES['text'] * 20}"} for n in range(200)])
        c.execute(text("CREATE TEMP TABLE t AS SELECT latest FROM stamp"))
        rows = c.execute(text("SELECT latest || 'x' AS l FROM t ORDER BY substr(l, 5), l DESC"))
        rows.fetchone()
        c.execute(delete(stamp))
        found = open_files()
        rows.close()
        c.execute(text("DROP TABLE t"))
        return found

    assert await database.write(sorting) - before == set()
