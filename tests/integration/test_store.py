# SPDX-License-Identifier: AGPL-3.0-or-later
"""The store through a running instance: gone means gone, files and rows agree, trouble heals (A4, D5)."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

import migrations
from tests.support.instance import TestInstance, running_instance
from tests.support.postgresql import ON_SQLITE
from tmtp_client.connection import Connection, Disconnected, Endpoint, Payload
from tmtp_core import limits
from tmtp_core.errors import ServiceUnavailable
from tmtp_core.schema import DatabaseInUse, DatabaseTooNew, Steps
from tmtp_core.store import payloads, tables
from tmtp_core.store.database import Database
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.store.payloads import PayloadFolder
from tmtp_core.store.sqlite import driver
from tmtp_core.store.writer import Job, PageRead, Writer
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

PATIENCE_S = 60.0
CANARY = b"canary-7f3a-do-not-keep"


class Member:
    """A connected member that keeps what it gets, and acknowledges it unless told to hold."""

    def __init__(self) -> None:
        self.got: list[tuple[m2.StoredEvent, int]] = []
        self.heard = asyncio.Event()
        self.connection: Connection
        self.uid = ""
        self.node = ""

    async def keep(self, event: m2.StoredEvent, payload: Payload) -> None:
        size = 0
        async for piece in payload:
            size += len(piece)
        self.got.append((event, size))
        self.heard.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.got) < count:
                self.heard.clear()
                await self.heard.wait()


async def a_member(instance: TestInstance, alias: str) -> Member:
    member = Member()
    member.connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), member.keep)
    registered = await member.connection.register("n", alias)
    member.uid, member.node = registered.uid, registered.nodeid
    return member


def files_with(folder: Path, needle: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


@ON_SQLITE
async def test_delivered_messages_are_in_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        alice = await a_member(instance, "Alice Liddell")
        bob = await a_member(instance, "Bob Builder")
        to_bob = [m.Recipient(bob.uid, m.TO_UID)]
        await alice.connection.post("1", to_bob, CANARY * 100)
        await alice.connection.post("2", to_bob, CANARY * 20_000)
        await bob.until(2)
        await bob.connection.quit()  # its acks are durable now
        await instance.advance(limits.CHECKPOINT_INTERVAL_S + 1)
        await instance.settle()  # when the second is answered, the writer has emptied its log after the first
        assert files_with(folder, CANARY) == []
        assert list((folder / "payloads").iterdir()) == []
        await alice.connection.quit()
    assert files_with(folder, CANARY) == []


@ON_SQLITE
async def test_delivered_messages_leave_the_log_when_the_last_reader_has_ended(tmp_path: Path) -> None:
    """An administrator's look or a backup, which reads the database beside the writer (A4)."""
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        alice = await a_member(instance, "Alice Liddell")
        bob = await a_member(instance, "Bob Builder")
        await alice.connection.post("1", [m.Recipient(bob.uid, m.TO_UID)], CANARY * 100)
        await bob.until(1)
        with closing(sqlite3.connect(folder / "service.sqlite3", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM message").fetchone()
            await bob.connection.quit()
            await instance.advance(limits.CHECKPOINT_INTERVAL_S + 1)
            await instance.settle()
            assert files_with(folder, CANARY)  # it reads them
        await instance.advance(1)
        await instance.settle()
        assert files_with(folder, CANARY) == []
        await alice.connection.quit()


@ON_SQLITE
async def test_undelivered_messages_outlive_a_restart_and_orphaned_files_do_not(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        alice = await a_member(instance, "Alice Liddell")
        bob = await a_member(instance, "Bob Builder")
        await bob.connection.quit()
        await alice.connection.post("1", [m.Recipient(bob.uid, m.TO_UID)], CANARY * 20_000)
        await alice.connection.quit()
        orphan = folder / "payloads" / ("0" * 32)
        await asyncio.to_thread(orphan.write_bytes, b"left by a crash")
        await instance.restart()
        assert not orphan.exists()
        assert len(list((folder / "payloads").iterdir())) == 1
        bob.connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), bob.keep)
        await bob.connection.login(bob.uid, bob.node)
        await bob.until(2)  # the delivery and the `login` message
        assert bob.got[0][1] == len(CANARY) * 20_000
        await bob.connection.quit()


async def test_a_refused_post_leaves_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        alice = await a_member(instance, "Alice Liddell")
        with pytest.raises(Exception, match="not found"):
            await alice.connection.post("1", [m.Recipient("B" * 32, m.TO_UID)], bytes(300_000))
        assert list((folder / "payloads").iterdir()) == []
        alice.connection._writer.write(m.encode_head(m.Post("2", (), 300_000)) + bytes(200_000))
        await asyncio.sleep(0.2)
        await alice.connection.close()  # in the middle of an upload
        async with asyncio.timeout(60):
            while list((folder / "payloads").iterdir()):
                await asyncio.sleep(0.02)


async def test_a_payload_larger_than_memory_limits_streams_through(tmp_path: Path) -> None:
    size = 40 << 20

    async def pieces() -> object:
        for _ in range(size >> 20):
            yield bytes(1 << 20)

    async with running_instance(tmp_path / "instance") as instance:
        alice = await a_member(instance, "Alice Liddell")
        bob = await a_member(instance, "Bob Builder")
        await alice.connection.post("1", [m.Recipient(bob.uid, m.TO_UID)], pieces(), size)
        await bob.until(1)
        assert bob.got[0][1] == size
        await alice.connection.quit()
        await bob.connection.quit()


@ON_SQLITE
async def test_a_failed_commit_acknowledges_nothing_and_heals(tmp_path: Path) -> None:
    """The disk says no: the post is not acknowledged, the link ends, and the same id works when the disk is well."""
    async with running_instance(tmp_path / "instance") as instance:
        alice = await a_member(instance, "Alice Liddell")
        bob = await a_member(instance, "Bob Builder")
        to_bob = [m.Recipient(bob.uid, m.TO_UID)]
        service = instance.service
        with service._database.engine.connect() as connection:
            raw = connection.connection.driver_connection
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count={pages}")  # SQLite answers "database or disk is full"
        with pytest.raises(Disconnected, match="temporarily unavailable"):
            for number in range(200):
                await alice.connection.post(f"full {number}", to_bob, bytes(60_000))
        assert not service.healthy
        raw.execute("PRAGMA max_page_count=1000000")
        alice.connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), alice.keep)
        await alice.connection.login(alice.uid, alice.node)
        await alice.connection.post(f"full {number}", to_bob, bytes(60_000))
        await bob.until(number + 1)
        assert service.healthy
        assert len(bob.got) == number + 1  # nothing lost, nothing twice
        await alice.connection.quit()
        await bob.connection.quit()


async def test_a_failed_commit_is_told_to_all_even_when_one_of_them_chokes_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_instance(tmp_path / "instance") as instance:
        told: list[object] = []

        def choke(result: object) -> None:
            raise ZeroDivisionError

        def no_disk(acks: object) -> None:
            raise OperationalError("", {}, Exception("no disk"))

        writer = instance.service._writer
        monkeypatch.setattr(writer.ledger, "prefetch_posted", no_disk)
        with structlog.testing.capture_logs() as logged:
            writer._jobs.extend([Job(lambda ledger: None, choke), Job(lambda ledger: None, told.append)])
            writer.retry()
            async with asyncio.timeout(PATIENCE_S):
                while not told:
                    await asyncio.sleep(0.01)
        assert isinstance(told[0], ServiceUnavailable)
        assert [entry["error"] for entry in logged if entry["event"] == "effect_failed"] == ["ZeroDivisionError"]
        monkeypatch.undo()


async def test_a_faulty_decision_harms_only_itself(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance") as instance:

        def broken(ledger: object) -> None:
            raise ZeroDivisionError

        good = [instance.service.create_invitation() for _ in range(3)]
        results = await asyncio.gather(good[0], instance.service.decide(broken), *good[1:], return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["str", "ServiceUnavailable", "str", "str"]


def test_payloads_are_removed_by_several_threads_at_once(tmp_path: Path, fast_switching: None) -> None:
    """Of the writer, and of uploads that came to nothing: what one of them removes, no other looks for."""
    (tmp_path / "kept").touch()
    with ThreadPoolExecutor(4) as executor:
        folder = PayloadFolder(tmp_path, executor, os.urandom)
        named = [[f"{number}-{place}" for place in range(5_000)] for number in range(20)]
        for removed in [executor.submit(folder.unlink, names) for names in named]:
            removed.result()
    assert not folder.left_behind
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_pages_come_after_what_else_is_told_of_their_batch(tmp_path: Path) -> None:
    """They hold it: who enters in the batch in which something is posted to him gets that once."""
    told: list[str] = []
    database = Database(tmp_path / "service.sqlite3")
    (tmp_path / "payloads").mkdir()
    with ThreadPoolExecutor(1) as executor:
        folder = PayloadFolder(tmp_path / "payloads", executor, os.urandom)
        writer = Writer(database, folder, bytes(32), lambda act: act(), lambda event, fields: told.append(event))
        page = PageRead(1, 1, lambda messages, complete: told.append("page"))
        writer.submit(Job(lambda ledger: "enters", told.append, reads=lambda result: page))
        writer.submit(Job(lambda ledger: "posts", told.append))
        writer.stop()
        writer.start()
        writer.join(PATIENCE_S)
    database.close()
    assert told == ["enters", "posts", "page"]


def test_what_fails_behind_a_commit_calls_nothing_void(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what no disk is to blame for: no thread could be started, say, by which a bucket's payload is removed."""
    decided: list[int] = []
    told: list[object] = []
    database = Database(tmp_path / "service.sqlite3")
    (tmp_path / "payloads").mkdir()
    with ThreadPoolExecutor(1) as executor:
        folder = PayloadFolder(tmp_path / "payloads", executor, os.urandom)
        writer = Writer(database, folder, bytes(32), lambda act: act(), lambda event, fields: told.append(event))

        def broken(files: object) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(folder, "unlink", broken)
        for number in range(2):
            writer.submit(Job(lambda ledger, number=number: decided.append(number), told.append, files=(f"{number}",)))
        writer.stop()
        writer.start()
        writer.join(PATIENCE_S)
    database.close()
    assert decided == [0, 1]
    assert told == ["payload_not_removed", None, None]


def test_what_comes_while_the_log_is_emptied_is_decided_before_the_writer_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided: list[object] = []
    database = Database(tmp_path / "service.sqlite3")
    (tmp_path / "payloads").mkdir()
    with ThreadPoolExecutor(1) as executor:
        folder = PayloadFolder(tmp_path / "payloads", executor, os.urandom)
        writer = Writer(database, folder, bytes(32), lambda act: act(), lambda event, fields: decided.append(event))
        checkpoint = database.checkpoint

        def interrupted(*, wait: bool = False) -> bool:
            if not decided:
                writer.submit(Job(lambda ledger: "in time", decided.append))
                writer.stop()
                writer.submit(Job(lambda ledger: "late", decided.append))
            return checkpoint(wait=wait)

        monkeypatch.setattr(database, "checkpoint", interrupted)
        writer.request_checkpoint()
        writer.start()
        writer.join(PATIENCE_S)
    database.close()
    assert isinstance(decided[0], ServiceUnavailable)
    assert decided[1:] == ["in time"]


async def test_a_stop_waits_for_the_post_whose_payload_reaches_the_disk_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, writing, released = payloads.sync_folder, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(folder: Path) -> None:
        loop.call_soon_threadsafe(writing.set)
        released.wait(PATIENCE_S)
        synced(folder)

    monkeypatch.setattr(payloads, "sync_folder", slow)
    async with running_instance(tmp_path / "instance") as instance:
        alice = await a_member(instance, "Alice Liddell")
        posting = asyncio.create_task(alice.connection.post("1", [m.Recipient(alice.uid, m.TO_UID)], bytes(100_000)))
        await asyncio.wait_for(writing.wait(), PATIENCE_S)
        stopping = asyncio.create_task(instance.stop())
        await asyncio.sleep(0.05)
        released.set()
        assert (await asyncio.wait_for(posting, PATIENCE_S)).msgid
        await stopping
        await instance.start()
        assert instance.service.figures()["messages_queued"] == 1
        await alice.connection.close()


async def test_removing_an_account_keeps_its_name_taken(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance") as instance:
        alice = await a_member(instance, "Alice Liddell")
        bob = await a_member(instance, "Bob Builder")
        await bob.connection.quit()
        await alice.connection.post("1", [m.Recipient(bob.uid, m.TO_UID)], bytes(200_000))
        await instance.service.remove_account("Bob Builder")
        await instance.settle()
        assert instance.service.figures()["messages_queued"] == 0
        assert list((tmp_path / "instance" / "payloads").iterdir()) == []
        again = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
        assert "already taken" in (await again.register("n", "Bob Builder")).error
        await again.quit()
        with pytest.raises(Exception, match="not found"):
            await alice.connection.post("2", [m.Recipient(bob.uid, m.TO_UID)], b"x")
        await alice.connection.quit()


async def test_barring_cuts_the_link_and_lifting_lets_in_again(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance") as instance:
        alice = await a_member(instance, "Alice Liddell")
        await instance.service.bar_account("Alice Liddell")
        assert await alice.connection.closed() == "account barred"
        await alice.connection.close()
        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        for _ in range(2):
            connection = await Connection.open(endpoint)
            with pytest.raises(Disconnected, match="login failed"):
                await connection.login(alice.uid, alice.node)
            await connection.close()
        await instance.service.lift_bar(alice.uid)
        connection = await Connection.open(endpoint)
        assert (await connection.login(alice.uid, alice.node)).info == "login ok"
        await connection.quit()


def test_the_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    database = Database(tmp_path / "service.sqlite3")
    with database.engine.connect() as connection:
        differs = {"include_object": lambda item, name, *rest: name != "ix_queue_message"}
        context = MigrationContext.configure(connection, opts={"compare_type": True, **differs})
        differences = compare_metadata(context, tables.metadata)
        schema = {row[0]: row[1] for row in connection.exec_driver_sql("SELECT name, sql FROM sqlite_master")}
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "secure_delete")
        }
    database.close()
    assert differences == []
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}
    assert "WITHOUT ROWID" in schema["queue"]
    assert "AUTOINCREMENT" in schema["device"]


def test_the_newest_step_is_known_without_alembic_and_is_alembics(tmp_path: Path) -> None:
    """A file's name and its `revision` agree, and a start with nothing to migrate loads no Alembic."""
    config = Config()
    config.set_main_option("script_location", "migrations:")
    head = ScriptDirectory.from_config(config).get_current_head()
    assert Steps("migrations:", "test").is_newest(head)
    path = tmp_path / "service.sqlite3"
    Database(path).close()
    program = (
        "import sys; from pathlib import Path; from tmtp_core.store.database import Database;"
        "Database(Path(sys.argv[1])).close(); print([one for one in sys.modules if one.startswith('alembic')])"
    )
    loaded = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


def test_an_old_database_is_copied_before_it_is_changed(tmp_path: Path) -> None:
    """The copy is there while the step runs, is a whole database, and is gone when the step has succeeded."""
    path = tmp_path / "service.sqlite3"
    Database(path).close()
    steps = tmp_path / "steps"
    shutil.copytree(Path(migrations.__file__).parent, steps, ignore=shutil.ignore_patterns("__pycache__"))
    (steps / "versions" / "s9001_next.py").write_text(
        "import sqlite3\n"
        "from alembic import op\n"
        'revision, down_revision = "9001", "0010"\n'
        "def upgrade():\n"
        f"    copy = sqlite3.connect({str(path)!r} + '.before-0010')\n"
        "    assert copy.execute('SELECT count(*) FROM account').fetchone() == (0,)\n"
        "    copy.close()\n"
        "    op.execute('CREATE TABLE next (x)')\n",
        "utf-8",
    )
    database = Database(path, str(steps))
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM next").scalar() == 0
    database.close()
    assert not list(tmp_path.glob("*.before-*"))

    (steps / "versions" / "s9002_bad.py").write_text(
        'from alembic import op\nrevision, down_revision = "9002", "9001"\n'
        "def upgrade():\n    op.execute('CREATE TABLE third (x)')\n    op.execute('nonsense')\n",
        "utf-8",
    )
    with pytest.raises(OperationalError):
        Database(path, str(steps))
    (kept,) = tmp_path.glob("*.before-9001")  # for the administrator, since the step failed
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("9001",)
        assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'third'").fetchone() == (0,)
    assert kept.stat().st_mode & 0o077 == 0


def test_an_older_queue_keeps_what_was_hidden_and_who_introduced_whom(tmp_path: Path) -> None:
    path, steps = tmp_path / "service.sqlite3", tmp_path / "steps"
    later = [step.name for step in (Path(migrations.__file__).parent / "versions").glob("s*.py") if step.name > "s0004"]
    shutil.copytree(Path(migrations.__file__).parent, steps, ignore=shutil.ignore_patterns("__pycache__", *later))
    Database(path, str(steps)).close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("INSERT INTO queue (device, rank, message) VALUES (1, 0, 5), (1, 1, 6), (1, 2, 7)")
        for key in (1, 2, 3):
            raw.execute(
                "INSERT INTO account (key, uid, status, role, created_ms) VALUES (?, ?, 0, 0, 0)", (key, f"u{key}")
            )
        raw.execute("INSERT INTO acquaintance (account, other, introducer) VALUES (1, 2, NULL), (1, 3, 2)")
        raw.commit()
    Database(path).close()
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT rank, message, hidden FROM queue ORDER BY rank, message").fetchall() == [
            (0, 5, 0),
            (1, 6, 0),
            (1, 7, 1),
        ]
        admitted = raw.execute("SELECT account, other, introducer FROM acquaintance ORDER BY other").fetchall()
        assert admitted == [(1, 2, 0), (1, 3, 2)]


def test_a_start_reads_no_message_that_has_no_file(tmp_path: Path) -> None:
    """They may be a million; what is looked through is the queue and an index."""
    database = Database(tmp_path / "service.sqlite3")
    said: list[str] = []
    with database.transaction() as connection:
        driver(connection).set_trace_callback(said.append)
        SqlLedger(database, b"", lambda event, fields: None).load(connection)
        driver(connection).set_trace_callback(None)
        plans = [
            row[3]
            for statement in said
            if statement.startswith("SELECT")
            for row in driver(connection).execute(f"EXPLAIN QUERY PLAN {statement}")
        ]
    database.close()
    assert any("ix_message_file" in plan for plan in plans)
    assert "SCAN message" not in plans


def test_a_database_has_one_owner(tmp_path: Path) -> None:
    database = Database(tmp_path / "service.sqlite3")
    with pytest.raises(DatabaseInUse):
        Database(tmp_path / "service.sqlite3")
    database.close()
    Database(tmp_path / "service.sqlite3").close()


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "service.sqlite3"
    Database(path).close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.commit()
    with pytest.raises(DatabaseTooNew, match="newer"):
        Database(path)


def test_private_files_are_private(tmp_path: Path) -> None:
    database = Database(tmp_path / "service.sqlite3")
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    database.close()
    assert set(modes.values()) == {0}, modes
