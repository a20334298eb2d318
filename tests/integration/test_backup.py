# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backups beside a running gateway, and what comes back of them (C1, A4, B4, D1); lost machines are in tests/faults."""

import asyncio
import fcntl
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey

from gateway.administration import models
from gateway.app import Gateway
from gateway.backup import journal, keys, restoring, taking
from gateway.clock import SystemClock
from gateway.settings import load_settings
from tests.support.devices import acquainted, newcomer
from tests.support.gateway import SETTINGS, administer, member, running_gateway
from tmtp_client.connection import AccountKeys, Connection, Endpoint, KeyLogin
from tmtp_core.crypto.signing import Signer
from tmtp_core.domain import facts as f
from tmtp_core.domain.device_log import Signed
from tmtp_core.ids import message_id_number
from tmtp_core.wire import messages as m

SECRET = PrivateKey(bytes(range(1, 33)))
LARGE = b"x" * 200_000
BACKUP = f'backup: {{recipient: "{keys.public_text(SECRET.public_key)}", to: ./backups, keep: 2}}\n'


class Clock(SystemClock):
    """The system's, ahead or behind by so much."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_ns = int(ahead_s * 1e9)

    def wall_ns(self) -> int:
        return super().wall_ns() + self._ahead_ns


@asynccontextmanager
async def backed_up(folder: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(folder, SETTINGS + BACKUP) as gateway:
        yield gateway


def take(folder: Path, progress: taking.Progress = lambda step, octets: None, **changes: Any) -> taking.Taken:
    file = folder / "gateway.yaml"
    settings = load_settings(file)
    what = {"keep": settings.backup.keep, "journal_folder": settings.backup.to, **changes}
    wanted = taking.Taking(settings, file, settings.backup.to, SECRET.public_key, "test", **what)
    return taking.take_backup(wanted, SystemClock(), os.urandom, progress)


def put_back(
    taken: taking.Taken, target: Path, ahead_s: float = 0.0, secret: PrivateKey = SECRET
) -> restoring.Restored:
    wanted = restoring.Restoring(taken.file, secret, target, taken.file.parent)
    return restoring.restore(wanted, Clock(ahead_s), lambda step, octets: None)


def rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def test_a_folder_that_nothing_can_take_the_place_of_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    nowhere = restoring.Restoring(tmp_path / "none.tmtpbackup", SECRET, tmp_path / "data", tmp_path)
    for target in (tmp_path / "data", Path("/proc")):
        with pytest.raises(restoring.RestoreFailed, match="give a folder below it"):
            restoring.restore(replace(nowhere, target=target), SystemClock(), lambda step, octets: None)


# -- taking ----------------------------------------------------------------------------------------------------------
async def test_a_payload_that_is_taken_while_the_backup_runs_is_in_it(tmp_path: Path) -> None:
    """A4: the snapshot names it, so it is held until it is copied, and gone soon after."""
    async with backed_up(tmp_path) as gateway, member(gateway, "public", "Ada Lovelace") as ada:
        async with member(gateway, "public", "Bob Builder") as bob:
            uid = bob.uid
            keeps = bob.connection
            await ada.connection.post("1", [m.Recipient(uid, m.TO_UID)], b"small")
            await bob.until(1)
        payloads = tmp_path / "data/instances/public/payloads"
        await ada.connection.post("2", [m.Recipient(uid, m.TO_UID)], LARGE)
        (file,) = payloads.iterdir()
        loop = asyncio.get_running_loop()
        told: list[str] = []

        async def block_away() -> None:
            """The administrator removes the only recipient: nobody waits for the message any more."""
            await administer(gateway, "accounts.remove", instance="public", who=uid)
            service = gateway.instances["public"].service
            for _ in range(3):
                service._writer.request_checkpoint()
                await service.decide(lambda ledger: None)
                await service.decide(lambda ledger: None)

        def progress(step: str, octets: int) -> None:
            if step == "copying" and not told:
                told.append(step)
                asyncio.run_coroutine_threadsafe(block_away(), loop).result(60)

        taken = await asyncio.to_thread(take, tmp_path, progress)
        assert told
        assert taken.missing == ()
        service = gateway.instances["public"].service
        async with asyncio.timeout(30):
            while file.exists():  # no longer than until the next checkpoint
                service._writer.request_checkpoint()
                await asyncio.sleep(0.05)
        assert keeps is not None
    put_back(taken, tmp_path / "new")
    assert (tmp_path / "new/instances/public/payloads" / file.name).read_bytes() == LARGE
    assert rows(tmp_path / "new/instances/public/service.sqlite3", "PRAGMA integrity_check") == [("ok",)]


async def test_posts_are_answered_while_a_backup_reads(tmp_path: Path) -> None:
    """The snapshot is held, checkpoints come, and everybody goes on."""
    async with backed_up(tmp_path) as gateway, member(gateway, "public", "Ada Lovelace") as ada:
        loop = asyncio.get_running_loop()
        service = gateway.instances["public"].service
        numbers = iter(range(1, 1_000))
        done: list[str] = []

        async def post() -> None:
            for _ in range(20):
                service._writer.request_checkpoint()
                acked = await ada.connection.post(str(next(numbers)), [m.Recipient(ada.uid, m.TO_UID)], b"x")
                done.append(acked.msgid)

        def progress(step: str, octets: int) -> None:
            if step == "copying" and not done:
                asyncio.run_coroutine_threadsafe(post(), loop).result(60)

        await asyncio.to_thread(take, tmp_path, progress)
        assert len(done) == 20


def test_a_held_folder_loses_nothing_until_it_is_let_go(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    from tmtp_core.store.payloads import PayloadFolder, held  # noqa: PLC0415

    with ThreadPoolExecutor(1) as executor:
        store = PayloadFolder(tmp_path, executor, os.urandom)
        (tmp_path / "one").write_bytes(b"x")
        (tmp_path / "two").write_bytes(b"x")
        with held(tmp_path, fcntl.LOCK_EX) as free:
            assert free
            store.unlink(["one"])
            assert store.sweep(lambda name: name == "two") == 1
            assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
        store.unlink([])
        assert list(tmp_path.iterdir()) == []
        with held(tmp_path, fcntl.LOCK_SH), held(tmp_path, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
            assert not free


async def test_everything_that_is_needed_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    with closing(sqlite3.connect(tmp_path / "data/administration.sqlite3")) as other:
        other.execute("CREATE TABLE operator (name TEXT)")
        other.execute("INSERT INTO operator VALUES ('root')")
        other.commit()
    async with backed_up(tmp_path):
        taken = await asyncio.to_thread(take, tmp_path)
    put_back(taken, tmp_path / "new")
    there = {path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*") if path.is_file()}
    instances = {
        f"instances/{name}/{file}"
        for name in ("members", "public")
        for file in ("service.sqlite3", "service.sqlite3.lock", "service.key", "credential.key", "tls.key", "tls.crt")
    }
    parts = ("device.key", "service.json", "bridge.sqlite3", "tls.key", "tls.crt")
    bridge = {f"bridges/intake/{file}" for file in parts}
    expected = {*instances, *bridge, "administration.sqlite3", "settings-of-backup/gateway.yaml"}
    assert there - {"lock"} == expected
    assert rows(tmp_path / "new/administration.sqlite3", "SELECT * FROM operator") == [("root",)]
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


async def test_a_backup_holds_no_content_in_the_clear(tmp_path: Path) -> None:
    """D5: neither archive nor journal shows a message, a name, or a key."""
    async with backed_up(tmp_path) as gateway, member(gateway, "public", "Ada Canary Lovelace") as ada:
        async with member(gateway, "public", "Bob Builder") as bob:
            uid = bob.uid
        await ada.connection.post("1", [m.Recipient(uid, m.TO_UID)], b"canary in the message")
        await asyncio.to_thread(take, tmp_path)
        await ada.connection.ask(m.UserEdit("2", newalias="Ada Canary Byron"))
    service_key = (tmp_path / "data/instances/public/service.key").read_bytes()
    journals = list((tmp_path / "backups").glob("*.journal"))
    assert any(path.stat().st_size for path in journals)
    for path in (tmp_path / "backups").iterdir():
        raw = path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
        for canary in (b"canary in the message", b"Canary", b"Byron", uid.encode(), service_key):
            assert canary not in raw


async def test_the_newest_are_kept_and_journals_go_with_the_backups_that_need_them(tmp_path: Path) -> None:
    async with backed_up(tmp_path) as gateway:
        taken = []
        for number in range(4):
            await administer(gateway, "invitations.create", models.CreateInvitation(note="x"), instance="public")
            async with member(gateway, "public", f"Member number {number}"):
                pass
            taken.append(await asyncio.to_thread(take, tmp_path))
        kept = sorted((tmp_path / "backups").glob("*.tmtpbackup"))
        assert kept == [taken[2].file, taken[3].file]
        assert taken[3].removed == (taken[1].file,)
        assert not (tmp_path / "data/backup.tmp").exists()
        names = {path.name for path in journal.journals_of(tmp_path / "backups", "public")}
        assert names == {f"public.{taken[3].made_ms}.journal", "public.journal"}
        again = tmp_path / "backups" / "mine.tmtpbackup"
        await asyncio.to_thread(take, tmp_path, keep=None)  # to a place of its own: nothing is removed
        assert not again.exists()


async def test_two_at_once_are_one_too_many(tmp_path: Path) -> None:
    async with backed_up(tmp_path):
        found: list[str] = []

        def progress(step: str, octets: int) -> None:
            if not found:
                with pytest.raises(taking.BackupFailed) as refused:
                    take(tmp_path)
                found.append(str(refused.value))

        await asyncio.to_thread(take, tmp_path, progress)
        assert "under way" in found[0]


async def test_a_disk_that_does_not_keep_what_was_written_makes_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again before it is called done."""
    real = os.posix_fadvise

    def spoilt(descriptor: int, *rest: int) -> None:
        os.pwrite(descriptor, b"\0\0\0", 5_000)
        real(descriptor, *rest)

    async with backed_up(tmp_path):
        monkeypatch.setattr(taking.os, "posix_fadvise", spoilt)
        with pytest.raises(taking.BackupFailed, match="damaged"):
            await asyncio.to_thread(take, tmp_path)
        assert list((tmp_path / "backups").glob("*tmtpbackup*")) == []


# -- restoring -------------------------------------------------------------------------------------------------------
async def test_what_is_refused_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async with backed_up(tmp_path):
        taken = await asyncio.to_thread(take, tmp_path)
    target = tmp_path / "new"
    raw = taken.file.read_bytes()
    for change, said in (
        (raw[: len(raw) // 2], "cut off"),
        (raw[:-1], "cut off"),
        (raw + b"\0", "altered"),
        (raw[:9_000] + b"\1\1\1\1" + raw[9_004:], "damaged"),
        (b"", "no backup"),
    ):
        taken.file.write_bytes(change)
        with pytest.raises(restoring.RestoreFailed, match=said):
            put_back(taken, target)
        assert not target.exists()
        assert not (tmp_path / "new.restoring").exists()
    taken.file.write_bytes(raw)
    with pytest.raises(restoring.RestoreFailed, match="another key"):
        put_back(taken, target, secret=PrivateKey.generate())
    target.mkdir()
    (target / "mine").write_text("precious")
    with pytest.raises(restoring.RestoreFailed, match="not empty"):
        put_back(taken, target)
    assert (target / "mine").read_text() == "precious"
    (target / "mine").unlink()
    put_back(taken, target)  # an empty one is fine


@pytest.mark.parametrize("ahead_s", [0, -3 * 24 * 3600, 3600])
async def test_ids_go_on_above_all_that_were_given(tmp_path: Path, ahead_s: float) -> None:
    """Also where the new machine's clock is days behind that of the one that was lost."""
    async with backed_up(tmp_path) as gateway, member(gateway, "public", "Ada Lovelace") as ada:
        taken = await asyncio.to_thread(take, tmp_path)
        last = (await ada.connection.post("1", [m.Recipient(ada.uid, m.TO_UID)], b"x")).msgid
    restored = put_back(taken, tmp_path / "new", ahead_s)  # the journal has heard of nothing
    assert [("clock" in remark) for remark in restored.remarks] == [True] * (ahead_s < 0)
    (number,) = rows(
        tmp_path / "new/instances/public/service.sqlite3",
        "SELECT value FROM counter WHERE name = 'message_high_water'",
    )[0]
    given = message_id_number(last)
    assert given is not None
    assert number > given + 23 * 3_600 * 10**9
    keys_after = dict(rows(tmp_path / "new/instances/public/service.sqlite3", "SELECT name, seq FROM sqlite_sequence"))
    keys_before = dict(
        rows(tmp_path / "data/instances/public/service.sqlite3", "SELECT name, seq FROM sqlite_sequence")
    )
    for table, seq in keys_before.items():
        assert keys_after[table] > seq


async def test_a_restore_without_the_journal_that_there_was_is_asked_for(tmp_path: Path) -> None:
    async with backed_up(tmp_path):
        taken = await asyncio.to_thread(take, tmp_path)
    for path in (tmp_path / "backups").glob("*.journal"):
        path.unlink()
    with pytest.raises(restoring.RestoreFailed, match="--without-journal"):
        put_back(taken, tmp_path / "new")
    wanted = restoring.Restoring(taken.file, SECRET, tmp_path / "new", None)
    restored = restoring.restore(wanted, SystemClock(), lambda step, octets: None)
    assert any("without its journal" in remark for remark in restored.remarks)


# -- the journal -----------------------------------------------------------------------------------------------------
STATE = {
    "accounts": "SELECT uid, status, role, introductions FROM account ORDER BY uid",
    "devices": "SELECT a.uid, hex(d.credential), d.public, d.box FROM device d JOIN account a ON a.key = d.account ORDER BY 1, 2, 3",
    "logs": "SELECT a.uid, r.place, r.record FROM log_record r JOIN account a ON a.key = r.account ORDER BY 1, 2",
    "blocks": "SELECT a.uid, b.uid FROM block JOIN account a ON a.key = account JOIN account b ON b.key = blocked ORDER BY 1, 2",
    "names": 'SELECT n.name, a.uid, g.gid FROM name n LEFT JOIN account a ON a.key = n.account LEFT JOIN "group" g ON g.key = n."group" ORDER BY 1',
    "look-alikes": "SELECT skeleton, name FROM look_alike ORDER BY 1, 2",
    "groups": 'SELECT g.gid, a.uid FROM "group" g LEFT JOIN account a ON a.key = g.owner ORDER BY 1',
    "members": 'SELECT g.gid, a.uid, m.alias, m.status, m.since_ms FROM membership m JOIN "group" g ON g.key = m."group" JOIN account a ON a.key = m.account ORDER BY 1, 2',
    "joined": "SELECT hex(i.token_hash), a.uid FROM joined j JOIN invitation i ON i.key = j.invitation JOIN account a ON a.key = j.account WHERE i.account IS NULL ORDER BY 1, 2",
    "ghosts": "SELECT a.uid, b.uid, g.address FROM ghost g JOIN account a ON a.key = g.account JOIN account b ON b.key = g.bridge ORDER BY 1",
}


async def test_the_journal_brings_an_old_backup_up_to_what_is_true(tmp_path: Path) -> None:
    """B4, D1, D3: a busy afternoon after the backup; and what the restored service knows is the same."""
    async with backed_up(tmp_path) as gateway:
        public = gateway.instances["public"]
        instance: Any = _Handle(gateway)
        old = await newcomer(instance, "Olga Oldest")
        used, half, untouched = [
            (
                await administer(gateway, "invitations.create", models.CreateInvitation(uses=uses), instance="public")
            ).token
            for uses in (1, 3, 1)
        ]
        taken = await asyncio.to_thread(take, tmp_path)
        ada = await newcomer(instance, "Ada Lovelace", used)
        bob = await newcomer(instance, "Bob Builder", half)
        eve, gone = await newcomer(instance, "Eve the Third"), await newcomer(instance, "Gone Tomorrow")
        password = await Connection.open(instance.endpoint)
        registered = await password.register("phone", "Paul Password")
        await password.ask(m.UserEdit("1", newnode="second"))
        await acquainted(ada, bob)
        tablet = await ada.add_full_device()
        await (await ada.add_device()).quit()
        await ada.append("suspend", target=tablet.name)
        await bob.recover()
        await ada.block(bob.uid)
        await bob.block(eve.uid)
        await bob.block(eve.uid, "unblock")
        await bob.block("", "introductions_off")
        await ada.connection.ask(m.UserEdit("2", newalias="Countess Ada"))
        chess = models.FoundGroup(gid="The Chess Club", who=bob.uid)
        await administer(gateway, "groups.found", chess, instance="public")
        await bob.connection.group_invite("3", "The Chess Club", "Bob Builder", "Ada Lovelace")
        await ada.connection.ask(m.GroupEdit("4", "join", "The Chess Club", newalias="Ada Lovelace"))
        await administer(gateway, "accounts.bar", instance="public", who=eve.uid)
        await administer(gateway, "accounts.bar", instance="public", who=old.uid)
        await administer(gateway, "accounts.unbar", instance="public", who=old.uid)
        await administer(gateway, "accounts.remove", instance="public", who=gone.uid)
        shown = await administer(gateway, "accounts.show", instance="public", who=registered.uid)
        node = shown.devices[-1].device
        await administer(gateway, "devices.bar", instance="public", who=registered.uid, device=node)
        moving = AccountKeys.new(os.urandom)
        revision2 = await Connection.open(instance.endpoint, revision="2")
        await password.quit()
        await revision2.login(registered.uid, registered.nodeid)
        await revision2.move_to_keys("5", moving)
        reset = await administer(gateway, "accounts.reset", instance="public", who=ada.uid)
        anew = await newcomer(instance, "Ada Anew", reset.token)
        await mail_from_outside(gateway)
        assert public.journal is not None
        assert public.journal.behind == 0
        for device in (old, bob, anew):
            await device.quit()
        await asyncio.gather(*(one.connection.close() for one in (ada, eve, gone, tablet)), revision2.close())
    restored = put_back(taken, tmp_path / "new")
    assert restored.remarks == []
    assert restored.facts["public"] > 40
    before, after = (tmp_path / name / "instances/public/service.sqlite3" for name in ("data", "new"))
    for what, query in STATE.items():
        assert rows(after, query) == rows(before, query), what
        assert rows(after, query) or what == "ghosts"
    left = {row[0]: row[1] for row in rows(before, "SELECT hex(token_hash), uses_left FROM invitation")}
    kept = {
        row[0]: row[1] for row in rows(after, "SELECT hex(token_hash), uses_left FROM invitation WHERE uses_left > 0")
    }
    assert kept.items() <= left.items()
    assert sorted(kept.values())[-2:] == [1, 2]  # untouched, and half used
    assert untouched
    file = tmp_path / "gateway.yaml"
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "new").rename(tmp_path / "data")
    assert file.exists()
    async with backed_up(tmp_path) as gateway:  # and it serves
        instance = _Handle(gateway)
        bob.instance = instance
        assert (await bob.log_in()).info == "login ok"
        await bob.quit()
        again = await asyncio.to_thread(take, tmp_path)
    assert put_back(again, tmp_path / "newer").remarks == []


async def mail_from_outside(gateway: Gateway) -> None:
    """A bridge posts for somebody, who is a ghost from then on, and barred."""
    service = gateway.instances["public"].service
    bridge = AccountKeys.new(os.urandom)
    desk = await newcomer(_Handle(gateway), "The Front Desk")
    entry, sigs = bridge.genesis(service.identity.public_key)
    uid = await service.ensure_bridge("other", {"desk@example.org": "The Front Desk"}, Signed(entry, sigs))
    connection = await Connection.open(_Handle(gateway).endpoint, revision="2")
    await connection.enter(KeyLogin(uid, bridge.device.signer, service.identity.public))
    outsider = m.Outsider("somebody@partner.example", "network")
    await connection.post("1", [m.Recipient("desk@example.org", m.TO_UID)], b"mail", as_=outsider)
    ghost = next(one for one in await service.list_accounts() if one.role == "ghost")
    await service.bar_account(ghost.uid)
    await connection.quit()
    await desk.quit()


class _Handle:
    """The public instance of a gateway, as `tests.support.devices` wants one."""

    def __init__(self, gateway: Gateway) -> None:
        self.running = gateway.instances["public"]
        self.service = self.running.service
        self.host, self.port = self.running.address
        self.spki_pin = self.running.spki_pin
        self.endpoint = Endpoint(self.host, self.port, self.spki_pin)


def story(number: int) -> f.Told:
    return f.Told(number, (f.BlockSet("a", "b", blocked=True),), number)


def test_what_is_wrong_in_a_journal_is_left_out_and_said(tmp_path: Path) -> None:
    signer = Signer(bytes(32))
    kept = journal.JournalFile(tmp_path, "x", SECRET.public_key, signer, pytest.fail)
    forger = journal.JournalFile(tmp_path, "x", SECRET.public_key, Signer(bytes(31) + b"1"), pytest.fail)
    kept.append(story(1))
    path = tmp_path / "x.journal"
    first = path.stat().st_size
    forger.append(story(2))
    kept.append(story(3))
    raw = path.read_bytes()

    def read(raw: bytes, secret: PrivateKey = SECRET) -> tuple[list[int], list[str]]:
        path.write_bytes(raw)
        said: list[str] = []
        return [told.first for told in journal.stories(path, secret, signer.public_key, said.append)], said

    assert read(raw) == ([1, 3], ["x.journal has an entry that this service did not write: it is left out"])
    changed = bytearray(raw)
    changed[first // 2] ^= 1
    assert read(bytes(changed))[0] == [3]
    for cut in range(first + 1, first + 40):
        assert read(raw[:cut]) == ([1], [])  # half a story at the end: nobody had heard of it
    assert read(raw, PrivateKey.generate())[0] == []
    assert "damaged" in read(b"\xff" * 40)[1][0]


def test_facts_are_told_once_and_missing_ones_are_missed() -> None:
    stories = [f.Told(1, (story(1).facts[0],) * 3, 1), story(4), story(7)]
    facts, missing = f.facts_of(stories, 0)
    assert (len(facts), missing) == (5, [(5, 6)])
    facts, missing = f.facts_of([*reversed(stories), *stories], 2)
    assert (len(facts), missing) == (3, [(5, 6)])
    after_a_restore = [story(f.FACTS_LEAP + 1), story(f.FACTS_LEAP + 2)]
    assert f.facts_of([story(1), *after_a_restore], 0)[1] == []
    marker = f.Told(501, (), 0)  # a backup that knew 500 facts
    assert f.facts_of([marker, story(502)], 100) == ([story(502).facts[0]], [(101, 500), (501, 501)])
    assert f.facts_of([story(f.FACTS_LEAP + 3)], 100)[1] == [(f.FACTS_LEAP + 1, f.FACTS_LEAP + 2)]
    for one in stories:
        assert f.decode_told(f.encode_told(one)) == one
    with pytest.raises(ValueError):
        f.decode_told(b'{"first":1}')


async def test_a_fact_is_in_the_journal_before_its_answer_is_sent(tmp_path: Path) -> None:
    """Commit, journal, then speak."""
    async with backed_up(tmp_path) as gateway:
        running = gateway.instances["public"]
        assert running.journal is not None
        ada = await newcomer(_Handle(gateway), "Ada Lovelace")
        path = tmp_path / "backups/public.journal"
        for number in range(5):
            before = path.stat().st_size
            await ada.connection.ask(m.UserEdit(f"{number}", newalias=f"Ada number {number}"))
            assert path.stat().st_size > before
        before = path.stat().st_size
        await ada.post(ada.uid)  # a message is no fact
        assert path.stat().st_size == before
        await ada.quit()


def test_settings_of_backups_with_mistakes_are_named(tmp_path: Path) -> None:
    from gateway.settings import SettingsInvalid  # noqa: PLC0415

    file = tmp_path / "gateway.yaml"
    for block, wrong in (
        ("backup: {recipient: nonsense}", "tmtp-gateway backup-key"),
        (f'backup: {{recipient: "{keys.secret_text(SECRET)}"}}', "belongs on no server"),
        ("backup: {to: ./data/backups}", "lost with it"),
        ("backup: {journal: ./data/journal}", "lost with it"),
    ):
        file.write_text(SETTINGS + block + "\n")
        with pytest.raises(SettingsInvalid) as invalid:
            load_settings(file)
        (problem,) = invalid.value.problems
        assert wrong in f"{problem.wrong} {problem.right}"
        assert keys.secret_text(SECRET) not in f"{problem.wrong} {problem.right}"
