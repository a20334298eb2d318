# SPDX-License-Identifier: AGPL-3.0-or-later
"""A plain history of the first clients becomes an encrypted account: all of it, once, and nothing stays behind (B8)."""

import asyncio
import fcntl
import os
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.support import first_client as first
from tests.support.canary import plain_text_in
from tests.support.first_client import BOB, CAROL, DAVE, GHOST, UID, FirstClient
from tests.support.homes import running_home
from tmtp_client.engine import takeover
from tmtp_client.engine.takeover import Into, TakenOver, old_profiles, take_over, take_over_home
from tmtp_client.store import groups, messages, outbox, people, threads
from tmtp_client.store import identity as identities
from tmtp_client.store import tables as t
from tmtp_client.store.database import Database
from tmtp_client.trust.logs import Logs, standing
from tmtp_client.vault.recovery import words_of
from tmtp_client.vault.vault import Vault, WrongSecret

PLAN = bytes(range(256)) * 1_000
CANARIES = ("Pangolin minutes", "ferrets are afoot", "Bob Builder", "plan of attack.pdf", "waiting walrus")


@asynccontextmanager
async def account_of(home: Path, name: str = "default") -> AsyncIterator[Into]:
    """The account that the history becomes, open."""
    vault = Vault(home, os.urandom, None, lambda: 1_800_000_000_000)
    if not vault.is_made:
        vault.make()
    vault.open_alone()
    account = vault.account(name, make=True)
    database = Database(account.folder, account.database_key)
    await database.open()
    try:
        yield Into(name, vault, account, database, lambda: 1_800_000_000_000, os.urandom)
    finally:
        await database.close()


def history(home: Path) -> FirstClient:
    """Of somebody who has used the first client for a while."""
    old = FirstClient(home / "default")
    old.add("contact", alias="Bob Builder", uid=BOB)
    old.add("contact", alias="Bob the Other", uid=BOB)
    old.add("contact", alias="Carol Danvers", uid=CAROL)
    old.add("contact", alias="Dave Bowman", uid=DAVE)
    old.message(1, "Bob Builder", "Bob Builder", "It is me", kind="ping", outgoing=1, seen=1)
    old.message(2, BOB, "Bob Builder", "Good to hear from you", kind="ping", seen=1)
    thread = old.message(3, BOB, "Bob Builder", "ferrets are afoot", subject="Pangolin minutes")
    old.attachment(thread, 0, "plan of attack.pdf", PLAN)
    old.attachment(thread, 1, "empty", b"")
    old.message(4, BOB, "Bob Builder", "I know", subject="Pangolin minutes", thread=thread, outgoing=1, seen=1)
    old.message(5, CAROL, "Carol Danvers", "May I?", kind="ping")
    old.message(6, BOB, "Bob Builder", "Come", kind="invitation", subject="ferret watchers")
    old.message(7, GHOST, "orders@partner.example (by SMTP)", "Your order")
    old.message(8, BOB, "Bob Builder", "expired", kind="return", subject="Pangolin minutes", thread=thread)
    old.message(9, DAVE, "Dave (unverified)", "Open the doors")
    own = home / "own.txt"
    own.write_text("mine")
    mine = old.message(10, BOB, "Bob Builder", "here", outgoing=1, seen=1)
    old.add("attachment", message=mine, place=0, name="own.txt", size=4, path=str(own))
    gone = old.message(11, BOB, "Bob Builder", "and this", outgoing=1, seen=1)
    old.add("attachment", message=gone, place=0, name="gone.txt", size=4, path=str(home / "gone.txt"))
    old.waiting("r1", 2, text="waiting walrus", files=str(own))
    old.waiting("r2", 1, thread=thread)
    old.waiting("r3", 3, kind="ping", to="Eve Online", alias="Eve Online", text="hello")
    old.waiting("r4", 4, error="the recipient is not acquainted")
    old.waiting("r5", 5, files=str(home / "gone.txt"))
    return old


async def taken(home: Path) -> TakenOver:
    async with account_of(home) as into:
        return await take_over(home / "default", into)


async def whole(home: Path) -> None:
    """All that was in the history of `history` is in the account, once."""
    async with account_of(home) as into:
        ask = into.database.read
        shown = {number: await ask(lambda c, n=number: messages.view(c, f"{n:016x}")) for number in range(1, 12)}
        assert await ask(lambda c: c.scalar(select(func.count()).select_from(t.message))) == 11
        ping, answer, third, fourth = (shown[number] for number in range(1, 5))
        assert ping is not None and answer is not None and third is not None and fourth is not None  # noqa: PT018
        assert (ping.kind, ping.outgoing, ping.author, ping.alias, ping.state) == ("ping", True, UID, first.ADA, "sent")
        assert (answer.kind, answer.outgoing, answer.author, answer.alias) == ("ping", False, BOB, "Bob Builder")
        assert (third.text, third.subject, third.seen) == ("ferrets are afoot", "Pangolin minutes", False)
        assert [(one.name, one.size, one.have) for one in third.attachments] == [
            ("plan of attack.pdf", len(PLAN), len(PLAN)),
            ("empty", 0, 0),
        ]
        assert (fourth.outgoing, fourth.thread, fourth.alias) == (True, third.id, first.ADA)
        files = await ask(lambda c: {row.name: row.file for row in c.execute(select(t.attachment))})
        assert b"".join(into.account.files.read(files["plan of attack.pdf"])) == PLAN
        assert b"".join(into.account.files.read(files["own.txt"])) == b"mine"
        assert files["gone.txt"] == ""
        invitation, smtp, returned, dave = shown[6], shown[7], shown[8], shown[9]
        assert invitation is not None and smtp is not None and returned is not None and dave is not None  # noqa: PT018
        assert (invitation.kind, invitation.gid) == ("invitation", "ferret watchers")
        assert (smtp.alias, smtp.verified, smtp.via) == ("orders@partner.example", True, "smtp")
        assert (returned.kind, returned.state, returned.thread) == ("return", "returned", third.id)
        assert (dave.alias, dave.verified) == ("Dave", False)
        stands = await ask(lambda c: {one.uid: one.stands for one in people.listed(c)})
        assert stands == {UID: "self", BOB: "contact", CAROL: "asks", DAVE: "contact", GHOST: "outside"}
        bob = await ask(lambda c: people.view(c, BOB))
        assert bob is not None
        assert set(bob.aliases) == {"Bob Builder", "Bob the Other"}
        group = await ask(lambda c: groups.view(c, "ferret watchers"))
        assert group is not None
        assert group.stands == "invited"
        readers = await ask(lambda c: threads.readers(c, third.id))
        assert {(one.uid, one.alias) for one in readers} == {(UID, first.ADA), (BOB, "Bob Builder")}
        thread = await ask(lambda c: threads.view(c, third.id))
        assert thread is not None
        assert (thread.messages, thread.files, thread.waiting) == (3, 2, 1)
        await waits(into)
        identity = await ask(identities.get)
        assert identity is not None
        assert (identity.uid, identity.alias, identity.host, identity.port) == (
            UID,
            first.ADA,
            "127.0.0.1",
            9,
        )
        assert (identity.service_key, identity.keys) == (
            first.SERVICE_KEY,
            identities.DeviceKeys(bytes([2]) * 32, first.BOX_KEY),
        )
        log = await ask(lambda c: Logs(first.SERVICE_KEY).kept(c, UID))
        assert log is not None
        assert list(log.state.devices) == [first.DEVICE.public]
        assert (await ask(lambda c: standing(c, UID))).seen_head == log.head  # or no message would leave
        assert await ask(lambda c: c.scalar(select(func.count()).select_from(t.staged))) == 0
        kept = set(files.values()) | await ask(_files_waiting)
        assert into.account.files.sweep(kept) <= 1  # of what was being written when it was cut off
    assert plain_text_in(home / "accounts", CANARIES) == []
    assert not (home / "default").exists()
    assert (home / "own.txt").read_text() == "mine"  # the person's own


def _files_waiting(c: Any) -> set[str]:
    rows = c.scalars(select(t.outbox.c.request_id)).all()
    return {file.file for row in rows for file in outbox.find(c, row).content.files}  # type: ignore[union-attr]


async def waits(into: Into) -> None:
    """What the outbox has: in its order, under its ids."""
    names = await into.database.read(
        lambda c: c.scalars(select(t.outbox.c.request_id).order_by(t.outbox.c.number)).all()
    )
    assert names == ["r2", "r1", "r3", "r4", "r5"]
    entries = {name: await into.database.read(lambda c, name=name: outbox.find(c, name)) for name in names}
    states = {name: (entry.kind, entry.state, entry.content.to) for name, entry in entries.items() if entry is not None}
    assert states == {
        "r2": ("message", "waiting", ((BOB, 1),)),
        "r1": ("message", "waiting", ((BOB, 1),)),
        "r3": ("ping", "waiting", (("Eve Online", 0),)),
        "r4": ("message", "refused", ((BOB, 1),)),
        "r5": ("message", "refused", ((BOB, 1),)),
    }
    one, fifth = entries["r1"], entries["r5"]
    assert one is not None
    assert fifth is not None
    assert [(one.who, one.whouid) for one in one.content.cc] == [(first.ADA, UID), ("Bob Builder", BOB)]
    (file,) = one.content.files
    assert (file.name, file.size) == ("own.txt", 4)
    assert b"".join(into.account.files.read(file.file)) == b"mine"
    assert "gone.txt: there is no such file any more" in fifth.error


async def test_all_of_it_is_taken_over_and_nothing_stays_behind(tmp_path: Path) -> None:
    history(tmp_path)
    assert old_profiles(tmp_path) == ["default"]
    assert plain_text_in(tmp_path / "default", CANARIES) != []
    done = await taken(tmp_path)
    assert (done.messages, done.files, sorted(done.missing)) == (11, 4, ["gone.txt", "gone.txt"])
    assert old_profiles(tmp_path) == []
    await whole(tmp_path)
    with pytest.raises(FileNotFoundError):
        await taken(tmp_path)


async def test_an_account_of_revision_1_keeps_its_secret(tmp_path: Path) -> None:
    FirstClient(tmp_path / "default", revision=1)
    await taken(tmp_path)
    async with account_of(tmp_path) as into:
        identity = await into.database.read(identities.get)
        assert identity is not None
        assert (identity.node, identity.keys, identity.revision) == ("N" * 40, None, 1)


async def test_a_history_of_before_keys_and_attachments_is_taken_too(tmp_path: Path) -> None:
    old = FirstClient(tmp_path / "default", revision=1)
    old.message(1, BOB, "Bob Builder", "hello")
    with closing(sqlite3.connect(old.path)) as raw, raw:
        for table in ("keys", "pending", "log_record", "attachment"):
            raw.execute(f"DROP TABLE {table}")
    assert (await taken(tmp_path)).messages == 1


async def test_a_sheet_that_was_not_shown_can_be_shown_still(tmp_path: Path) -> None:
    old = FirstClient(tmp_path / "default")
    seed = bytes([3]) * 32
    old.add("pending", service_key=first.SERVICE_KEY, seed=bytes([2]) * 32, box_key=first.BOX_KEY, recovery_seed=seed)
    await taken(tmp_path)
    async with account_of(tmp_path) as into:
        keys = await into.database.read(lambda c: identities.pending(c, first.SERVICE_KEY))
        assert keys is not None
        assert keys.recovery_seed == seed
        into.vault.set_passphrase("correct horse battery")
    again = Vault(tmp_path, os.urandom, None, lambda: 1)
    with pytest.raises(WrongSecret):
        again.unlock(words_of(bytes(32)))
    again.unlock(words_of(seed))


async def test_a_join_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    old = FirstClient(tmp_path / "default")
    with closing(sqlite3.connect(old.path)) as raw, raw:
        raw.execute("DELETE FROM identity")
        raw.execute("DELETE FROM keys")
    old.add("pending", service_key="k", seed=bytes([2]) * 32, box_key=first.BOX_KEY, recovery_seed=b"")
    await taken(tmp_path)
    async with account_of(tmp_path) as into:
        assert await into.database.read(identities.get) is None
        assert await into.database.read(identities.is_pending)
    assert not (tmp_path / "default").exists()


async def test_a_profile_that_was_moved_has_its_attachments(tmp_path: Path) -> None:
    old = FirstClient(tmp_path / "before")
    old.attachment(old.message(1, BOB, "Bob Builder", "hello"), 0, "a.txt", b"content")
    old.folder.rename(tmp_path / "default")
    done = await taken(tmp_path)
    assert (done.files, done.missing) == (1, ())
    assert not (tmp_path / "default").exists()


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_rows = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["message", "ping", "invitation", "return"]),
        "outgoing": st.integers(0, 1),
        "seen": st.integers(0, 1),
        "peer": st.sampled_from([BOB, CAROL, UID, "Bob Builder", ""]),
        "alias": st.sampled_from(["Bob Builder", "Carol (unverified)", "x@y.example (by SMTP)", ""]) | _texts,
        "subject": _texts,
        "text": _texts,
        "thread": st.sampled_from(["", f"{1:016x}", "of another device"]),
        "posted": st.sampled_from(["2026-11-24T12:00:00.000Z", "", "yesterday", "9999-12-31T23:59:59.999Z"]),
    }
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_rows, max_size=30))
def test_whatever_was_kept_comes_over_as_it_was(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Each message with its text, once, in the thread it was in; also what the first clients would hardly have kept."""

    async def texts(home: Path) -> dict[str, tuple[str, str, bool, str]]:
        async with account_of(home) as into:
            done = await take_over(home / "default", into)
            assert done.messages == len(rows)
            columns = (t.message.c.id, t.message.c.subject, t.message.c.text, t.message.c.seen, t.message.c.thread)
            found = await into.database.read(lambda c: c.execute(select(*columns)).all())
            return {row.id: (row.subject, row.text, bool(row.seen), row.thread) for row in found}

    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        home = Path(folder)
        old = FirstClient(home / "default")
        old.add("contact", alias="Bob Builder", uid=BOB)
        kept = {}
        for number, row in enumerate(rows, 1):
            id = old.message(number, **{**row, "thread": row["thread"]})
            thread = row["thread"] or id
            kept[id] = (row["subject"], row["text"], bool(row["seen"] or row["outgoing"]), thread)
        assert asyncio.run(texts(home)) == kept
        assert not (home / "default").exists()


async def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    old = FirstClient(tmp_path / "default")
    (old.folder / "notes.txt").write_text("of the person")
    await taken(tmp_path)
    assert [path.name for path in old.folder.iterdir()] == ["notes.txt"]


async def test_one_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    old = history(tmp_path)
    with (old.folder / "engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="end the tmtp that runs there"):
            await taken(tmp_path)
    await taken(tmp_path)
    await whole(tmp_path)


def _noise(path: Path) -> None:
    path.write_bytes(os.urandom(50_000))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize("damage", [_noise, _cut])
async def test_one_that_cannot_be_read_is_left_alone(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    old = history(tmp_path)
    damage(old.path)
    for path in (f"{old.path}-wal", f"{old.path}-shm"):
        Path(path).unlink(missing_ok=True)
    before = old.path.read_bytes()
    with pytest.raises(ValueError, match="nothing was changed"):
        await taken(tmp_path)
    assert old.path.read_bytes() == before
    assert len(list((old.folder / "attachments").iterdir())) == 2


async def test_another_account_is_not_written_over(tmp_path: Path) -> None:
    old = history(tmp_path)
    async with account_of(tmp_path) as into:
        other = identities.Identity("Z" * 32, "N" * 40, "Zoe Other", "h", 1, None, None, "s")
        await into.database.write(lambda c: identities.put(c, other))
        with pytest.raises(ValueError, match="is another one"):
            await take_over(old.folder, into)
    assert old.path.exists()


@pytest.mark.slow
def test_wherever_it_is_killed_the_next_start_goes_on(tmp_path: Path) -> None:
    """kill -9 before every call of the disk and in the midst of the transaction: nothing lost, nothing twice.

    By day before every third: what one of them breaks, its neighbours mostly break too.
    """
    count, finished = 0, False
    while not finished:
        count += 1 if settings().max_examples > 1_000 else 3
        home = tmp_path / str(count)
        home.mkdir()
        history(home)
        finished = _killed_at(count, home)
        if not finished:
            if old_profiles(home):
                asyncio.run(taken(home))
            else:  # only its folder was left
                assert not plain_text_in(home / "default", CANARIES)
                for path in (home / "default").glob("*"):
                    path.unlink()
                (home / "default").rmdir() if (home / "default").exists() else None
        asyncio.run(whole(home))
    assert count > 40


def _killed_at(count: int, home: Path) -> bool:
    """Take over in another process, which is killed before its disk call with this number; True: it ended before."""
    child = os.fork()
    if child == 0:
        left = [count]

        def killing(whole: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return whole(*arguments, **named)

            return call

        for name in ("fsync", "unlink", "pwrite", "rmdir", "replace"):
            setattr(os, name, killing(getattr(os, name)))
        for module, name in ((messages, "record"), (outbox, "enqueue"), (identities, "put"), (takeover, "_remove")):
            setattr(module, name, killing(getattr(module, name)))
        try:
            asyncio.run(taken(home))
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


async def test_a_home_of_several_profiles_becomes_one_of_several_accounts(tmp_path: Path) -> None:
    """When the engine starts; one that cannot be taken is left as it was and told, and stops no other."""
    history(tmp_path)
    FirstClient(tmp_path / "broken").path.write_bytes(os.urandom(50_000))
    FirstClient(tmp_path / "club", revision=1)
    async with account_of(tmp_path, "club") as into:  # somebody else has this name
        other = identities.Identity("Z" * 32, "N" * 40, "Zoe Other", "h", 1, None, None, "s")
        await into.database.write(lambda c: identities.put(c, other))
        left = await take_over_home(into.vault, into.now_ms, os.urandom)
        assert set(left) == {"broken"}
        assert "nothing was changed" in left["broken"]
        assert into.vault.accounts() == ["broken", "club", "club-2", "default"]
        assert await take_over_home(into.vault, into.now_ms, os.urandom) == left
    async with account_of(tmp_path, "club-2") as into:
        identity = await into.database.read(identities.get)
        assert identity is not None
        assert identity.uid == UID
    await whole(tmp_path)


async def test_an_engine_that_starts_takes_over_what_is_there(tmp_path: Path) -> None:
    """Also where its service cannot be reached: what was written is there to be read."""
    old = FirstClient(tmp_path / "default")
    id = old.message(1, BOB, "Bob Builder", "hello")
    async with running_home(tmp_path) as home:
        database = home.account("default").context.database
        shown = await database.read(lambda c: messages.view(c, id))
        assert shown is not None
        assert shown.text == "hello"
    assert not (tmp_path / "default").exists()


# -- odd ones --------------------------------------------------------------------------------------------------------
async def test_what_links_point_to_is_not_written_over(tmp_path: Path) -> None:
    """Films that somebody keeps on another disk, and a backup by hard links."""
    old = history(tmp_path)
    film, copy = tmp_path / "film.mkv", tmp_path / "copy.bin"
    film.write_bytes(b"my only copy")
    attachments = old.folder / "attachments"
    (attachments / "film.mkv").symlink_to(film)
    (attachments / "linked").write_bytes(b"my backup")
    copy.hardlink_to(attachments / "linked")
    await taken(tmp_path)
    assert not old.folder.exists()
    assert (film.read_bytes(), copy.read_bytes()) == (b"my only copy", b"my backup")


async def test_a_folder_in_an_odd_place_does_not_keep_the_plain_history(tmp_path: Path) -> None:
    old = history(tmp_path)
    (old.folder / "attachments" / "more" / "below").mkdir(parents=True)
    (old.folder / "attachments" / "more" / "below" / "x").write_bytes(b"x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "y").write_bytes(b"y")
    (old.folder / "sending").symlink_to(elsewhere)
    await taken(tmp_path)
    assert old_profiles(tmp_path) == []
    assert not (old.folder / "history.sqlite3").exists()


async def test_a_pipe_that_was_to_be_sent_is_not_waited_for(tmp_path: Path) -> None:
    old = history(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    old.waiting("r6", 6, files=str(tmp_path / "pipe"))
    async with asyncio.timeout(60):
        assert str(tmp_path / "pipe") not in (await taken(tmp_path)).missing
