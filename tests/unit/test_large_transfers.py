# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large files that come in parts: bounded, their author's alone, and ended when nothing comes any more (D3)."""

import asyncio
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from tests.support.account_context import memory_engine
from tests.support.sealed_engine import Engine
from tests.support.trust_world import World
from tmtp_client import limits
from tmtp_client.engine.parts import Assembling
from tmtp_client.store import messages, people, transfers
from tmtp_client.store.messages import NewAttachment, NewMessage
from tmtp_client.store.tables import part
from tmtp_core.crypto.encoding import to_text
from tmtp_core.wire.payload import Attached, Part, PostHead, Transfer

ADA, BOB = "1" * 32, "2" * 32
WHOLE = Transfer("film", 25, "hash", 3)  # parts of 9, 9 and 7 octets


@pytest.fixture
def c() -> Iterator[Connection]:
    engine = memory_engine()
    with engine.begin() as connection:
        yield connection
    engine.dispose()


ROOMY = transfers.Room(1, 1 << 40)


def come(
    c: Connection,
    place: int,
    size: int,
    author: str = ADA,
    now_ms: int = 0,
    *,
    own: bool = False,
    room: transfers.Room = ROOMY,
    name: str = "film",
) -> bool:
    return transfers.arrived(c, author, own, Part(name, place, 25, 3), f"{author[0]}-{place}", size, now_ms, room)


def named(c: Connection, author: str = ADA) -> None:
    have = transfers.named(c, author, WHOLE, 0)
    file = NewAttachment("file", "film.mkv", "", 25, "", have, transfers.key(author, "film"))
    new = NewMessage(
        "m1",
        "message",
        False,
        author,
        "Ada",
        True,
        (),
        "",
        "",
        "Look",
        "2026",
        0,
        "partial",
        False,
        attachments=(file,),
    )
    assert messages.record(c, new, frozenset())


def test_a_file_is_whole_when_all_parts_and_the_message_are_here_in_any_order(c: Connection) -> None:
    assert come(c, 2, 7)
    named(c)
    assert come(c, 0, 9)
    assert transfers.progress(c, f"{ADA} film") == (transfers.Progress("m1", 0, 16, 25),)
    assert transfers.whole(c) == ()
    assert come(c, 1, 9)
    assert transfers.whole(c) == (transfers.Whole(f"{ADA} film", 25, "hash", ("1-0", "1-1", "1-2")),)
    transfers.put_together(c, f"{ADA} film", "whole")
    view = messages.view(c, "m1")
    assert view is not None
    assert (view.state, view.attachments[0].have) == ("received", 25)
    assert c.scalar(select(func.count()).select_from(part)) == 0


def test_a_part_that_is_told_again_or_is_no_part_is_not_kept(c: Connection) -> None:
    assert come(c, 0, 9)
    assert not come(c, 0, 9)
    assert not come(c, 1, 8)
    assert not come(c, 2, 9)
    assert not come(c, 3, 0)
    assert not transfers.arrived(c, ADA, False, Part("film", 1, 26, 3), "f", 9, 0, ROOMY)
    assert not transfers.arrived(c, ADA, False, Part("x" * 200, 0, 25, 3), "f", 9, 0, ROOMY)


def test_nobody_puts_a_part_into_anothers_file(c: Connection) -> None:
    for place, size in ((0, 9), (1, 9), (2, 7)):
        assert come(c, place, size, BOB)
    named(c, ADA)
    assert transfers.whole(c) == ()


def test_one_author_may_have_so_much_unfinished_and_no_more(c: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """D3. What will never be whole takes no room, and of each further file of this author nobody is told again."""
    monkeypatch.setattr(limits, "UNFINISHED_PARTS_A_GIB", 2)
    assert come(c, 0, 9)
    assert come(c, 1, 9)
    with pytest.raises(transfers.NoRoom) as none:
        come(c, 2, 7)
    assert (none.value.files, none.value.is_first, none.value.disk) == (("1-0", "1-1"), True, False)
    assert not come(c, 0, 9), "it will never be whole"
    named(c)
    assert transfers.whole(c) == ()
    assert come(c, 0, 9, BOB)
    assert come(c, 0, 9, name="another")
    assert come(c, 1, 9, name="another")
    with pytest.raises(transfers.NoRoom) as none:
        come(c, 0, 9, name="a third")
    assert (none.value.files, none.value.is_first) == ((), False)
    assert come(c, 0, 9, own=True, name="from my telephone")
    assert come(c, 1, 9, own=True, name="from my telephone")
    assert come(c, 2, 7, own=True, name="from my telephone")


def test_octets_are_bounded_by_what_a_person_has_set(c: Connection) -> None:
    big = Part("film", 0, 3 << 30, 3)
    assert transfers.arrived(c, ADA, False, big, "f0", 1 << 30, 0, ROOMY)
    with pytest.raises(transfers.NoRoom):
        transfers.arrived(c, ADA, False, Part("film", 1, 3 << 30, 3), "f1", 1 << 30, 0, ROOMY)
    wide = transfers.Room(3, 1 << 40)
    for place in range(3):
        assert transfers.arrived(c, BOB, False, Part("film", place, 3 << 30, 3), f"f{place}", 1 << 30, 0, wide)


@pytest.mark.parametrize("own", [True, False])
def test_unfinished_files_leave_room_on_the_disk(c: Connection, own: bool) -> None:
    full = transfers.Room(1, limits.UNFINISHED_LEAVES_BYTES - 1)
    assert come(c, 0, 9, own=own)
    with pytest.raises(transfers.NoRoom) as none:
        come(c, 1, 9, own=own, room=full)
    assert none.value.disk
    assert come(c, 1, 9, BOB, room=transfers.Room(1, limits.UNFINISHED_LEAVES_BYTES))


def test_what_does_not_come_for_days_is_given_up_and_the_message_says_so(c: Connection) -> None:
    assert come(c, 0, 9, now_ms=1_000)
    named(c)
    assert transfers.expire(c, 1_000) == 0
    assert transfers.expire(c, 1_001) == 1
    view = messages.view(c, "m1")
    assert view is not None
    assert (view.state, view.attachments[0].have) == ("partial", 0)
    assert c.scalar(select(func.count()).select_from(part)) == 0


async def test_who_has_no_room_is_told_once_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    world = World()
    ada, bob = Engine(world.account(), tmp_path / "a"), Engine(world.account(), tmp_path / "b", "Bob Builder")
    bob.do(lambda c: people.learn(c, ada.uid, "Ada Lovelace", "ping", 0))
    bob.device.plan(ada.uid)
    bob.set("setting", "large_files_gib", value=0)
    for name in ("a film", "another"):
        for place in (0, 1):
            head = PostHead(attach=(Attached("u:part", 10),), part=Part(name, place, 20, 2))
            ada.post(head, b"", bob.uid, files=[b"0123456789"])
    await bob.take()
    assert [(one.title, "large_files_gib" in one.text) for one in bob.told("notification")] == [("Ada Lovelace", True)]
    assert bob.on_disk() == 0
    bob.set("setting", "large_files_gib", value=1)
    for place in (0, 1):
        head = PostHead(attach=(Attached("u:part", 10),), part=Part("once more", place, 20, 2))
        ada.post(head, b"", bob.uid, files=[b"0123456789"])
    await bob.take()
    assert bob.on_disk() == 2


async def test_a_part_that_the_disk_altered_or_lost_keeps_no_other_file_from_being_whole(
    tmp_path: Path,
) -> None:
    ada = Engine(World().account(), tmp_path / "files")
    octets = b"x" * 10

    async def film(name: str) -> str:
        """In two parts, all here and named; the file of its first part."""
        stored = []
        for _ in range(2):
            with ada.files.writer() as writer:
                writer.write(octets)
                stored.append(writer.finish())
        whole = to_text(blake2b(2 * octets, digest_size=32).digest())
        for place, one in enumerate(stored):
            of = Part(name, place, 20, 2)
            ada.do(lambda c, of=of, one=one: transfers.arrived(c, BOB, False, of, one.file, one.size, 0, ROOMY))
        have = ada.do(lambda c: transfers.named(c, BOB, Transfer(name, 20, whole, 2), 0))
        file = NewAttachment("file", f"{name}.mkv", "", 20, "", have, transfers.key(BOB, name))
        row = (name, "message", False, BOB, "Bob", True, (), "", "", "Look", "2026", 0, "partial", False)
        assert ada.do(lambda c: messages.record(c, NewMessage(*row, attachments=(file,)), frozenset()))
        return stored[0].file

    altered = ada.files._path(await film("altered"))
    altered.write_bytes(altered.read_bytes()[:-1] + b"?")
    ada.files._path(await film("lost")).unlink()
    await film("sound")
    putting = asyncio.create_task(Assembling(ada.context).run())
    try:
        async with asyncio.timeout(30):
            while ada.do(transfers.whole):
                assert not putting.done(), putting
                await asyncio.sleep(0.01)
    finally:
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
    states = {name: ada.message(name) for name in ("altered", "lost", "sound")}
    assert {name: one.state for name, one in states.items() if one is not None} == {
        "altered": "partial",
        "lost": "partial",
        "sound": "received",
    }
