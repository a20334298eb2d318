# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an account makes of what a service brings, against a peer that does what no real service does (B3, D1, D2)."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection as Rows
from sqlalchemy import func, select

from tests.support.client_peer import POSTED, PeerLink, ScriptedPeer, delivery_event, ping_event, scripted_peer
from tests.support.homes import look_until, places, running_home, texts, until
from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.engine import arriving, meeting
from tmtp_client.engine.account import Account
from tmtp_client.engine.arrival import Arrival
from tmtp_client.engine.context import Context
from tmtp_client.store import changes, groups, messages, people, threads
from tmtp_client.store import identity as identities
from tmtp_client.store.identity import Identity
from tmtp_client.store.tables import change, heard, message
from tmtp_client.vault.files import Files
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import Attached, PostHead, Subscriber, encode_post_head

ADA, BOB = "A" * 32, "U" * 32


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Account, PeerLink, ScriptedPeer]]:
    """An account of revision 1, connected to a scripted service."""
    async with scripted_peer(folder) as peer, running_home(folder / "home") as home:
        where = peer.endpoint
        async with places(home)("work") as place:
            identity = Identity(ADA, "N" * 40, "Ada Lovelace", where.host, where.port, where.pin, None, "Scripted")
            await place.database.write(lambda c: identities.put(c, identity))
        starting = asyncio.create_task(home.start("work"))
        link = await peer.link()
        await link.greet()
        account = await starting
        try:
            yield account, link, peer
        finally:
            peer.part()


async def acked(link: PeerLink, *numbers: int) -> None:
    """Wait until these are acknowledged; other requests of the account are left alone."""
    wanted = {f"{number:016x}" for number in numbers}
    async with asyncio.timeout(60):
        while wanted:
            request, _ = await link.request()
            if isinstance(request, m.Ack):
                wanted.discard(request.id)


async def post(link: PeerLink, number: int, head: PostHead | bytes, rest: bytes = b"", *, from_: str = BOB) -> None:
    """A post arrives."""
    raw = head if isinstance(head, bytes) else encode_post_head(head)
    await link.send(delivery_event(number, len(raw + rest), len(raw), from_), raw + rest)


def one(c: Rows, number: int) -> models.Message | None:
    return messages.view(c, f"{number:016x}")


@pytest.mark.parametrize(
    "head",
    [
        b"{",
        b"[]",
        b'{"threadid":7}',
        b'{"attach":[{"name":"u:x","size":1000000}]}',
        b'{"attach":[{"name":"u:x","size":-1}]}',
        b'{"threadid":"' + b"x" * 300 + b'"}',
        b'{"e2e":{"suite":2}}',
        b'{"subject":"\xff"}',
        b"[" * 5_000,
        b'{"cc":[' + b",".join([b'{"who":"x","whouid":"x"}'] * (limits.RECIPIENTS_MAX + 1)) + b"]}",
    ],
)
async def test_a_post_that_makes_no_sense_is_kept_as_it_came_and_stops_nobody(tmp_path: Path, head: bytes) -> None:
    async with running(tmp_path) as (account, link, _):
        await post(link, 1, head, b"rest")
        await post(link, 2, PostHead(), b"after it")
        await acked(link, 1, 2)
        kept = await look_until(account, lambda c: one(c, 1))
        assert kept.state == "unreadable"
        assert "cannot be read" in kept.text
        file = kept.attachments[0]
        assert (file.name, file.size) == ("message.bin", len(head) + 4)
        assert await texts(account) == [kept.text, "after it"]


async def test_a_post_whose_head_would_be_longer_than_it_is_stops_nobody(tmp_path: Path) -> None:
    """Other services hand on what its sender has announced."""
    async with running(tmp_path) as (account, link, _):
        await link.send(delivery_event(1, 4, 6, BOB), b"rest")
        await post(link, 2, PostHead(), b"after it")
        await acked(link, 1, 2)
        kept = await look_until(account, lambda c: one(c, 1))
        assert (kept.state, kept.attachments[0].size) == ("unreadable", 4)
        assert await texts(account) == [kept.text, "after it"]


STRANGE = [
    b'{"attach":[{"name":"u:x","transfer":{"id":"t","size":18446744073709551615,"hash":"","parts":1}}]}',
    b'{"attach":[{"name":"u:x","transfer":{"id":"t","size":9007199254740993,"hash":"","parts":9999999999}}]}',
    b'{"subject":"\\ud800"}',
    b'{"subject":"\\u0000\\u202e","alias":"\\u0000"}',
    b'{"threadid":"\\u0000"}',
    b'{"threadid":" 0 \\n"}',
    b'{"alias":"' + b"x" * 60_000 + b'"}',
    b'{"cc":[{"who":"\\u0000","whouid":"' + b"y" * 60_000 + b'","subscribe":true}]}',
    b'{"part":{"transfer":"t","size":18446744073709551615,"parts":18446744073709551615}}',
    b'{"confirmid":"' + b"z" * 60_000 + b'"}',
    b'{"copies":true,"threadid":"x"}',
    b'{"adds":"x","threadid":"x"}',
    b'{"control":"give-key"}',
    b'{"nodesync":true,"sync":1}',
]


async def test_what_is_strange_in_a_head_stops_nobody(tmp_path: Path) -> None:
    """Each is kept in some way or means nothing, and what follows is received on the same connection."""
    async with running(tmp_path) as (account, link, _):
        for number, head in enumerate(STRANGE):
            await post(link, 3 * number + 1, head, b"rest")
            await post(link, 3 * number + 2, head, b"rest", from_=ADA)
            await post(link, 3 * number + 3, PostHead(), b"after %d" % number)
        await acked(link, *range(1, 3 * len(STRANGE) + 1))
        found = await account.context.database.read(lambda c: messages.latest(c, 200))
        assert {f"after {number}" for number in range(len(STRANGE))} <= {one.text for one in found}
        assert max(len(one.alias) for one in found) <= limits.ALIAS_SHOWN_CHARACTERS


async def test_a_message_that_cannot_be_taken_in_is_kept_with_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong inside, what came is not lost."""
    learn = arriving._learn_author

    def broken(c: Rows, context: Context, arrival: Arrival) -> None:
        if arrival.state == "received" and arrival.head.attach:
            raise RuntimeError
        learn(c, context, arrival)

    monkeypatch.setattr(arriving, "_learn_author", broken)
    async with running(tmp_path) as (account, link, _):
        await post(link, 1, PostHead(attach=(Attached("u:a.txt", 3),)), b"textabc")
        await post(link, 2, PostHead(), b"after it")
        await acked(link, 1, 2)
        kept = await look_until(account, lambda c: one(c, 1))
        assert (kept.state, [file.name for file in kept.attachments]) == ("unreadable", ["a.txt"])
        assert len(list(account.context.files.folder.iterdir())) == 1


async def test_an_event_that_cannot_be_kept_in_any_form_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(c: Rows, context: Context, event: m.MemberEvent, now_ms: int) -> bool:
        raise RuntimeError("the words of a message")

    monkeypatch.setattr(meeting, "membership", broken)
    async with running(tmp_path) as (account, link, _):
        alias = "Bob Builder"
        event = m.MemberEvent(
            id=f"{1:016x}", from_=BOB, posted=POSTED, datalen=0, act="join", gid="A group", alias=alias
        )
        await link.send(event)
        await post(link, 2, PostHead(), b"after it")
        await acked(link, 1, 2)
        assert await look_until(account, lambda c: one(c, 2))
    said = capsys.readouterr().err
    assert "MemberEvent: RuntimeError at" in said
    assert "the words" not in said


async def test_what_follows_from_an_event_does_not_hang_on_a_file_that_the_disk_does_not_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as (account, link, _):

        def held(files: Files, file: str) -> None:
            raise OSError(errno.EIO, "the disk does not do its part")

        monkeypatch.setattr(Files, "remove", held)
        await post(link, 1, PostHead(control="a thing of tomorrow", attach=(Attached("u:a", 3),)), b"abc")
        await link.send(m.LoginEvent(id=f"{2:016x}", from_=ADA, posted=POSTED, datalen=0, node="tbd"))
        await acked(link, 1, 2)
        await until(account.caught_up.is_set)
        assert len(list(account.context.files.folder.iterdir())) == 1


async def test_a_full_disk_keeps_nobody_from_locking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: whatever cannot be written down when an account ends, the keys are forgotten."""
    async with scripted_peer(tmp_path) as peer, running_home(tmp_path / "home") as home:
        where = peer.endpoint
        async with places(home)("work") as place:
            identity = Identity(ADA, "N" * 40, "Ada Lovelace", where.host, where.port, where.pin, None, "Scripted")
            await place.database.write(lambda c: identities.put(c, identity))
        starting = asyncio.create_task(home.start("work"))
        link = await peer.link()
        await link.greet()
        await starting

        def full(c: Rows) -> None:
            raise OSError(errno.ENOSPC, "the disk is full")

        monkeypatch.setattr(people, "forget_presence", full)
        peer.part()
        await home.lock()
        assert home.locked
        assert home.accounts() == []


async def test_names_of_files_are_only_names(tmp_path: Path) -> None:
    names = ("u:../../.ssh/authorized_keys", "u:C:\\autoexec.bat", "u:\u202ecod.exe", "u:", "u:..", "u:a\nb")
    head = PostHead(attach=tuple(Attached(name, 1) for name in names))
    async with running(tmp_path) as (account, link, _):
        await post(link, 1, head, b"text" + b"x" * len(names))
        await acked(link, 1)
        kept = await look_until(account, lambda c: one(c, 1))
        assert [file.name for file in kept.attachments] == [
            "authorized_keys",
            "autoexec.bat",
            "_cod.exe",
            "attachment",
            "attachment",
            "a_b",
        ]


async def test_who_writes_is_whom_the_service_names(tmp_path: Path) -> None:
    """D1: the payload's name is a claim, and it takes nobody's place."""
    async with running(tmp_path) as (account, link, _):
        await post(link, 1, PostHead(alias="The Director", cc=(Subscriber("Ada Lovelace", BOB, subscribe=True),)), b"x")
        await link.send(ping_event(2, b"hello"), b"hello")
        await post(link, 3, PostHead(alias="The Director"), b"y")
        await acked(link, 1, 2, 3)
        first = await look_until(account, lambda c: one(c, 1))
        assert (first.alias, first.verified) == ("The Director", False)
        third = await look_until(account, lambda c: one(c, 3))
        assert (third.alias, third.verified) == ("Ada Lovelace", True)  # whom the ping's header named
        assert await account.context.database.read(lambda c: people.uid_of(c, "The Director")) is None


async def test_what_comes_again_changes_nothing(tmp_path: Path) -> None:
    """A service repeats what was not acknowledged: messages and events alike are known by their ids."""
    async with running(tmp_path) as (account, link, _):
        events = [
            (
                m.InviteEvent(
                    id=f"{1:016x}",
                    from_=BOB,
                    posted=POSTED,
                    datalen=0,
                    gid="The Club",
                    alias="Bob Builder",
                    to="Ada Lovelace",
                )
            ),
            (
                m.MemberEvent(
                    id=f"{2:016x}",
                    from_=ADA,
                    posted=POSTED,
                    datalen=0,
                    act="join",
                    gid="The Club",
                    alias="Ada Lovelace",
                )
            ),
            (
                m.MemberEvent(
                    id=f"{3:016x}",
                    from_=ADA,
                    posted=POSTED,
                    datalen=0,
                    act="drop",
                    gid="The Club",
                    alias="Ada Lovelace",
                )
            ),
        ]
        for event in events:
            await link.send(event)
        await post(link, 4, PostHead(attach=(Attached("u:a", 3),)), b"textabc")
        await acked(link, 1, 2, 3, 4)
        files = sorted(account.context.files.folder.iterdir())
        told = await account.context.database.read(changes.latest)
        for event in events[1:2]:
            await link.send(event)
        await post(link, 4, PostHead(attach=(Attached("u:a", 3),)), b"textabc")
        await acked(link, 2, 4)
        group = await account.context.database.read(lambda c: groups.view(c, "The Club"))
        assert group is not None
        assert group.stands == "left"
        assert await account.context.database.read(lambda c: c.scalar(select(func.count()).select_from(message))) == 2
        assert sorted(account.context.files.folder.iterdir()) == files
        assert await account.context.database.read(changes.latest) == told


async def test_one_that_breaks_off_in_the_middle_leaves_nothing_and_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 0.01)
    octets = os.urandom(3 << 20)
    head = PostHead(attach=(Attached("u:film", len(octets)),))
    raw = encode_post_head(head)
    async with running(tmp_path) as (account, link, peer):
        event = delivery_event(1, len(raw) + 4 + len(octets), len(raw))
        link.writer.write(m.encode_head(event) + raw + b"text" + octets[: 2 << 20])
        await link.writer.drain()
        folder = account.context.files.folder
        async with asyncio.timeout(60):
            while not folder.exists() or not list(folder.iterdir()):
                await asyncio.sleep(0.01)
        await link.close()
        again = await peer.link()
        await again.greet()
        assert list(folder.iterdir()) == []
        await post(again, 1, head, b"text" + octets)
        await acked(again, 1)
        kept = await look_until(account, lambda c: one(c, 1))
        assert kept.attachments[0].have == len(octets)
        assert len(list(folder.iterdir())) == 1


async def test_a_log_in_that_is_refused_is_told_and_not_tried_for_ever(tmp_path: Path) -> None:
    async with running(tmp_path) as (account, link, peer):
        await link.close()
        again = await peer.link()
        await again.request()
        await again.send(m.TmtpRevAnswer("1", "Scripted"))
        await again.request()
        await again.send(m.QuitNotice("login failed"))
        async with asyncio.timeout(60):
            while (view := await account.view()).state != "refused":
                await asyncio.sleep(0.01)
        assert view.trouble == "login failed"


async def test_a_thread_has_the_readers_that_its_first_message_names(tmp_path: Path) -> None:
    """wire.md §11: `cc` stands in the first message of a thread, and in no later one."""
    cc = (
        Subscriber("Bob Builder", BOB, "Bob Builder", BOB, POSTED, "author", subscribe=True),
        Subscriber("Ada Lovelace", ADA, "Bob Builder", BOB, POSTED, "", subscribe=True),
        Subscriber("Carol Shaw", "C" * 32, "Bob Builder", BOB, POSTED, "", subscribe=True),
        Subscriber("Dan Bricklin", "D" * 32, "Bob Builder", BOB, POSTED, "", subscribe=False),
    )
    async with running(tmp_path) as (account, link, _):
        await post(link, 1, PostHead(alias="Bob Builder", subject="Plans", cc=cc), b"first")
        later = PostHead(f"{1:016x}", cc=(Subscriber("Eve", "E" * 32, subscribe=True),))
        await post(link, 2, later, b"second", from_="C" * 32)
        await acked(link, 1, 2)
        thread = await look_until(account, lambda c: threads.view(c, f"{1:016x}"))
        assert {one.uid for one in thread.readers} == {ADA, BOB, "C" * 32}
        assert (thread.subject, thread.messages) == ("Plans", 2)


async def test_ids_of_events_are_not_kept_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEARD_MAX", 5)
    async with running(tmp_path) as (account, link, _):
        for number in range(1, 33):
            await link.send(m.LoginEvent(id=f"{number:016x}", from_=ADA, posted=POSTED, datalen=0, node="tbd"))
        await acked(link, *range(1, 33))
        kept = await account.context.database.read(lambda c: list(c.scalars(select(heard.c.id).order_by(heard.c.id))))
        assert kept == [f"{number:016x}" for number in range(28, 33)]


async def test_nobody_is_told_of_what_is_muted_ignored_or_his_own(tmp_path: Path) -> None:
    def told(c: Rows) -> list[str]:
        rows = c.scalars(select(change.c.data).where(change.c.type == "notification").order_by(change.c.number))
        return [msgspec.json.decode(row, type=models.NotificationEvent).text for row in rows]

    async with running(tmp_path) as (account, link, _):
        await post(link, 1, PostHead(), b"told")
        await acked(link, 1)
        await account.context.database.write(lambda c: threads.set_flags(c, f"{1:016x}", muted=True))
        await post(link, 3, PostHead(), b"mine", from_=ADA)
        await acked(link, 3)
        await account.context.database.write(lambda c: people.set_stands(c, BOB, "ignored"))
        await post(link, 4, PostHead(), b"of one who is ignored")
        await post(link, 5, PostHead(), b"of another", from_="C" * 32)
        await acked(link, 4, 5)
        assert await account.context.database.read(told) == ["told", "of another"]
