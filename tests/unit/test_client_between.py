# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sealed posts at the engine's door (B3, B4, B9): keys that come late, posts that wait to be believed, devices that are
not believed, messages that cannot be opened. Real envelopes, real logs, real files; the service is a model.
"""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection as Rows
from sqlalchemy import delete, select, update

from tests.support.sealed_engine import Engine, delivery
from tests.support.trust_world import Post, World
from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.engine import arriving, sharing_keys
from tmtp_client.store import messages, people, tables, threads
from tmtp_client.sync import handing_on
from tmtp_client.sync.registers import At
from tmtp_client.trust import shared_keys
from tmtp_client.trust.wrapping import ASK
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import Attached, PostHead, Subscriber, encode_post_head

FILE = b"a file's octets" * 10_000


@pytest.fixture
def world() -> World:
    return World()


def meet(*engines: Engine) -> None:
    """They know one another, and one another's logs."""
    for one in engines:
        for other in engines:
            if other.uid != one.uid:
                one.do(lambda c, other=other: people.learn(c, other.uid, other.context.identity.alias, "ping", 0))
                one.device.plan(other.uid)


def new_thread(author: Engine, *others: Engine) -> PostHead:
    people = [(author, "author"), *((one, "") for one in others)]
    cc = tuple(
        Subscriber(one.context.identity.alias, one.uid, "", author.uid, "", note, subscribe=True)
        for one, note in people
    )
    return PostHead(subject="Plans", cc=cc)


# -- keys that come late ---------------------------------------------------------------------------------------------
async def test_a_message_whose_key_comes_late_is_opened_with_its_files(world: World, tmp_path: Path) -> None:
    """A device that lacks the key asks its sender, and what waited is what it would have been."""
    ada, bob = Engine(world.account(), tmp_path / "a"), Engine(world.account(), tmp_path / "b", "Bob Builder")
    meet(ada, bob)
    head = replace(new_thread(ada, bob), attach=(Attached("u:plan.txt", len(FILE)),))
    post = ada.post(head, b"Here it is", bob.uid, files=[FILE])
    lose_prekeys(bob)
    await bob.take()
    waits = bob.message(post.id)
    assert waits is not None
    assert (waits.state, waits.text, [one.name for one in waits.attachments]) == ("sealed", "", ["sealed message"])
    bob.send_waiting()  # the question
    await ada.take()
    ada.send_waiting()  # the key
    await bob.take()
    opened = bob.message(post.id)
    assert opened is not None
    assert (opened.state, opened.text, opened.subject, opened.doubts) == ("received", "Here it is", "Plans", ())
    assert (opened.posted, opened.thread, opened.author, opened.seen) == (post.posted, post.id, ada.uid, False)
    assert [(one.name, one.size) for one in opened.attachments] == [("plan.txt", len(FILE))]
    assert bob.on_disk() == 1  # the octets that waited are gone
    thread = bob.do(lambda c: threads.view(c, post.id))
    assert (thread.messages, thread.unseen, {one.uid for one in thread.readers}) == (1, 1, {ada.uid, bob.uid})


async def test_a_first_message_that_is_opened_late_says_who_reads_its_thread(world: World, tmp_path: Path) -> None:
    """Also where an answer was read before it."""
    ada, bob, cara = (
        Engine(world.account(), tmp_path / name, alias)
        for name, alias in (("a", "Ada Lovelace"), ("b", "Bob Builder"), ("c", "Cara Cook"))
    )
    meet(ada, bob, cara)
    dan = "D" * 32
    head = new_thread(ada, bob, cara)
    head = replace(head, cc=(*head.cc, Subscriber("Dan Dee", dan, "", ada.uid, "", "", subscribe=True)))
    first = ada.post(head, b"first", bob.uid, cara.uid)
    lose_prekeys(bob)
    await bob.take()
    await settle(bob)
    world.pass_ms(limits.LOOK_AGAIN_MS)
    cara.post(PostHead(first.id), b"an answer", bob.uid, ada.uid)
    await bob.take()
    bob.send_waiting()
    await ada.take()
    ada.send_waiting()
    await bob.take()
    assert sorted(bob.texts()) == ["an answer", "first"]
    thread = bob.do(lambda c: threads.view(c, first.id))
    assert {one.uid for one in thread.readers} == {ada.uid, bob.uid, cara.uid, dan}
    assert all(one.doubts == () for one in (bob.message(first.id),) if one is not None)


async def answered(world: World, tmp_path: Path) -> tuple[Engine, Engine, Engine, Post]:
    """Ada began a conversation with Bob and Cara, and Cara has answered; Bob has the answer, and the first not yet."""
    ada, bob, cara = (
        Engine(world.account(), tmp_path / name, alias)
        for name, alias in (("a", "Ada Lovelace"), ("b", "Bob Builder"), ("c", "Cara Cook"))
    )
    meet(ada, bob, cara)
    first = ada.post(new_thread(ada, bob, cara), b"first", bob.uid, cara.uid)
    bob.device.queue.clear()
    cara.post(PostHead(first.id), b"an answer", bob.uid, ada.uid)
    await bob.take()
    return ada, bob, cara, first


def readers(engine: Engine, thread: str) -> set[str]:
    return {one.uid for one in engine.do(lambda c: threads.view(c, thread)).readers}


@pytest.mark.parametrize(("author", "names"), [("Ada", True), ("Mallory", True), ("Mallory", False)])
async def test_a_service_that_makes_up_the_first_message_brings_in_no_reader(
    world: World, tmp_path: Path, author: str, names: bool
) -> None:
    """Else whoever answers in the conversation would seal to him."""
    ada, bob, _, first = await answered(world, tmp_path)
    mallory = Engine(world.account(), tmp_path / "m", "Mallory Marlowe").uid
    from_ = ada.uid if author == "Ada" else mallory
    cc = (Subscriber("Mallory", mallory, "", from_, "", "", subscribe=True),) if names else ()
    head = encode_post_head(PostHead(subject="Plans", cc=cc))
    event = m.Delivery(
        id=first.id, from_=from_, posted=first.posted, datalen=len(head) + 5, datahead=len(head), alias=author
    )
    await bob.hear(event, head + b"first")
    await bob.follow()
    assert mallory not in readers(bob, first.id)
    shown = bob.message(first.id)
    assert shown is not None
    assert shown.suite == 0


async def test_who_reads_a_conversation_is_known_once_its_first_message_can_be_believed(
    world: World, tmp_path: Path
) -> None:
    """It came after an answer, before anybody had looked at its author's log."""
    ada, bob, cara, first = await answered(world, tmp_path)
    bob.do(lambda c: bob.device.trust.logs.forget(c, ada.uid))
    await bob.hear(delivery(first), first.outer + first.stream)
    assert ada.uid not in readers(bob, first.id)
    await settle(bob)
    assert readers(bob, first.id) == {ada.uid, bob.uid, cara.uid}
    assert bob.deferred() == 0


async def test_a_sealed_file_that_the_disk_lost_stops_nobody(world: World, tmp_path: Path) -> None:
    ada, bob = Engine(world.account(), tmp_path / "a"), Engine(world.account(), tmp_path / "b", "Bob Builder")
    meet(ada, bob)
    post = ada.post(new_thread(ada, bob), b"Here it is", bob.uid)
    lose_prekeys(bob)
    await bob.take()
    for file in bob.files.folder.iterdir():
        file.write_bytes(b"garbage")
    bob.send_waiting()
    await ada.take()
    ada.send_waiting()
    await bob.take()
    kept = bob.message(post.id)
    assert kept is not None
    assert kept.state == "sealed"
    assert [one.id for one in bob.do(lambda c: messages.latest(c, 9))] == [post.id]


@pytest.mark.parametrize("left", [b"garbage", None], ids=["altered", "lost"])
async def test_a_sealed_file_that_the_disk_lost_keeps_nobody_from_sharing_a_key(
    world: World, tmp_path: Path, left: bytes | None
) -> None:
    ada, bob = Engine(world.account(), tmp_path / "a"), Engine(world.account(), tmp_path / "b", "Bob Builder")
    meet(ada, bob)
    post = ada.post(new_thread(ada, bob), b"Here it is", bob.uid)
    lose_prekeys(bob)
    await bob.take()
    bob.do(lambda c: c.execute(update(tables.message).values(suite=1)))
    (file,) = bob.files.folder.iterdir()
    file.unlink() if left is None else file.write_bytes(left)
    assert await sharing_keys.share(bob.context, post.id, "correct horse battery") == (post.id,)


async def test_who_asks_for_a_key_again_and_again_is_told_of_once(world: World, tmp_path: Path) -> None:
    """A device that came later asks the person: an acquaintance cannot make him hear that a thousand times (D3)."""
    ada, bob = Engine(world.account(), tmp_path / "a"), Engine(world.account(), tmp_path / "b", "Bob Builder")
    meet(ada, bob)
    post = ada.post(new_thread(ada, bob), b"Here it is", bob.uid)
    await bob.take()
    later = Engine(world.add(bob.device.account, bob.device), tmp_path / "b2", "Bob Builder")
    meet(ada, later)
    for engine in (ada, later):
        await engine.take()
        engine.device.see_all()
    question = ada.device.trust.wrapping.ask(post.id)
    for _ in range(3):
        later.post(PostHead(control=ASK), question, ada.uid)
    await ada.take()
    assert len(ada.do(ada.device.trust.wishes)) == 1
    assert len(ada.told("notification")) == 1


# -- what is not believed --------------------------------------------------------------------------------------------
async def test_devices_that_stand_are_believed(world: World, tmp_path: Path) -> None:
    one, other, bob = await two_devices(world, tmp_path)
    other.set("thread", bob.id, archived=bob.posted, encryption="shared")
    other.set("person", bob.author, stands="ignored")
    other.tell()
    await one.take()
    thread = one.do(lambda c: threads.view(c, bob.id))
    assert (thread.archived, thread.encryption) == (True, "shared")
    assert one.do(lambda c: people.view(c, bob.author)).stands == "ignored"


async def test_what_was_decided_about_somebody_holds_also_where_he_is_heard_of_later(
    world: World, tmp_path: Path
) -> None:
    one, other, bob = await two_devices(world, tmp_path)
    cara = "C" * 32
    other.set("person", cara, stands="ignored")
    other.tell()
    await one.take()
    ping = m.PingEvent(id="0000000000ffffff", from_=cara, posted=bob.posted, datalen=2, alias="Cara Cook", to="Ada")
    await one.hear(ping, b"Hi")
    assert one.do(lambda c: people.view(c, cara)).stands == "ignored"


@pytest.mark.parametrize("act", ["suspend", "revoke"])
async def test_a_barred_device_can_neither_mark_nor_archive_nor_accept(world: World, tmp_path: Path, act: str) -> None:
    """B4: a service that still takes posts of a device which was barred changes nothing by it."""
    one, other, bob = await two_devices(world, tmp_path)
    world.act(one.device.account, act, None if act == "revoke" else one.device, target=other.device.name)
    await one.take()
    world.pass_ms(limits.CLOCK_SLACK_MS + 1)
    queue = other.device.queue
    queue.clear()  # it has not heard of it, or will not
    other.set("message", bob.id, seen=True)
    other.set("thread", bob.id, archived=bob.posted, encryption="shared")
    other.set("person", bob.author, stands="contact")
    for post in other.tell():
        one.device.queue.append(post)
    await one.take()
    thread = one.do(lambda c: threads.view(c, bob.id))
    assert (thread.archived, thread.unseen, thread.encryption) == (False, 1, "off")
    assert one.do(lambda c: people.view(c, bob.author)).stands == "asks"
    assert one.deferred() == (1 if act == "suspend" else 0)  # a suspension may be lifted


async def test_a_provisional_device_accepts_nobody_until_it_is_confirmed(world: World, tmp_path: Path) -> None:
    """B4: who adds a device with a stolen one marks and archives, and decides nothing about people or encryption."""
    one, other, bob = await two_devices(world, tmp_path)
    third = Engine(world.add(one.device.account, one.device), tmp_path / "third")
    for engine in (one, other, third):
        await engine.take()
        engine.device.see_all()
    third.set("thread", bob.id, archived=bob.posted, encryption="shared")
    third.set("person", bob.author, stands="contact")
    third.set("setting", "encrypt", value=False)
    third.tell()
    await one.take()
    thread = one.do(lambda c: threads.view(c, bob.id))
    assert (thread.archived, thread.encryption) == (True, "off")
    assert one.do(lambda c: people.view(c, bob.author)).stands == "asks"
    assert one.deferred() == 1
    world.act(one.device.account, "confirm", other.device, target=third.device.name)
    await one.take()
    await settle(one)
    thread = one.do(lambda c: threads.view(c, bob.id))
    assert thread.encryption == "shared"
    assert one.do(lambda c: people.view(c, bob.author)).stands == "contact"
    assert one.deferred() == 0


async def test_what_waited_and_makes_no_sense_stops_nothing(world: World, tmp_path: Path) -> None:
    """B3: once it may be acted on, it would be in the way of all that this account's devices write afterwards."""
    one, other, bob = await two_devices(world, tmp_path)
    third = Engine(world.add(one.device.account, one.device), tmp_path / "third")
    for engine in (one, other, third):
        await engine.take()
        engine.device.see_all()
    third.set("person", "5" * 32, alias="Cara Cook", known_by=["ping"], stands="contact")
    third.tell()
    await one.take()
    assert one.deferred() == 1
    world.act(one.device.account, "confirm", other.device, target=third.device.name)
    await one.take()
    await settle(one)
    other.set("thread", bob.id, archived=bob.posted)
    other.tell()
    await one.take()
    assert one.do(lambda c: threads.view(c, bob.id)).archived
    assert one.deferred() == 0


async def test_what_waited_and_fails_stops_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same of whatever nobody foresaw; what was half done for it is undone."""
    one, other, bob = await two_devices(world, tmp_path)
    third = Engine(world.add(one.device.account, one.device), tmp_path / "third")
    for engine in (one, other, third):
        await engine.take()
        engine.device.see_all()
    third.set("person", bob.author, stands="contact")
    third.tell()
    await one.take()
    assert one.deferred() == 1
    world.act(one.device.account, "confirm", other.device, target=third.device.name)
    served = handing_on.serve_person

    def fails(c: Rows, at: At, uid: str) -> None:
        served(c, at, uid)
        raise RuntimeError("the words of a message")

    monkeypatch.setattr(handing_on, "serve_person", fails)
    await one.take()
    await settle(one)
    other.set("thread", bob.id, archived=bob.posted)
    other.tell()
    await one.take()
    assert one.do(lambda c: threads.view(c, bob.id)).archived
    assert one.deferred() == 0
    assert one.do(lambda c: people.view(c, bob.author)).stands == "asks"
    said = capsys.readouterr().err
    assert "RuntimeError at" in said
    assert "the words" not in said


async def test_what_a_provisional_device_decided_goes_with_it(world: World, tmp_path: Path) -> None:
    one, other, bob = await two_devices(world, tmp_path)
    third = Engine(world.add(one.device.account, one.device), tmp_path / "third")
    for engine in (one, other, third):
        await engine.take()
        engine.device.see_all()
    third.set("person", bob.author, stands="contact")
    third.tell()
    await one.take()
    assert one.deferred() == 1
    world.act(one.device.account, "revoke", target=third.device.name)
    await one.take()
    await settle(one)
    assert one.do(lambda c: people.view(c, bob.author)).stands == "asks"
    assert one.deferred() == 0


async def test_a_post_of_a_device_that_its_log_does_not_tell_of_yet_waits_and_is_applied(
    world: World, tmp_path: Path
) -> None:
    """Deferred: the post comes before the record that adds its device."""
    one, other, bob = await two_devices(world, tmp_path)
    world.pushes = False
    third = Engine(world.add(one.device.account, other.device), tmp_path / "third")
    world.act(one.device.account, "confirm", one.device, target=third.device.name)
    await settle(third)
    third.device.see_all()
    third.set("message", bob.id, seen=True)
    third.set("person", bob.author, stands="contact")
    third.tell()
    post = one.device.queue.pop()
    assert isinstance(post, Post)
    await one.hear(delivery(post), post.outer + post.stream)
    assert one.deferred() == 1
    assert one.do(lambda c: threads.view(c, bob.id)).unseen == 1
    await one.follow()
    assert one.deferred() == 0
    assert one.do(lambda c: threads.view(c, bob.id)).unseen == 0
    assert one.do(lambda c: people.view(c, bob.author)).stands == "contact"


async def test_a_key_to_share_is_taken_from_readers_alone(world: World, tmp_path: Path) -> None:
    """Whoever knows a conversation's id and could give it a key of the next epoch would shut its readers out."""
    ada, bob, eve = (
        Engine(world.account(), tmp_path / name, alias)
        for name, alias in (("a", "Ada Lovelace"), ("b", "Bob Builder"), ("e", "Eve Marlowe"))
    )
    meet(ada, bob, eve)
    first = bob.post(new_thread(bob, ada), b"first", ada.uid)
    await ada.take()
    for number, engine in enumerate((eve, bob)):
        key = shared_keys.random(first.id, 7 + number, world.random_bytes, engine.uid)
        engine.post(PostHead(control=shared_keys.CONTROL), shared_keys.passed_on(key), ada.uid)
    await ada.take()
    kept = ada.do(lambda c: [shared_keys.of_epoch(c, epoch) for epoch in (7, 8)])
    assert [[one.author for one in some] for some in kept] == [[], [bob.uid]]


async def test_who_does_not_read_a_conversation_and_writes_in_it_is_not_silent(world: World, tmp_path: Path) -> None:
    """D1: the thread's id is no secret between people who were never named as its readers."""
    ada, bob, eve = (
        Engine(world.account(), tmp_path / name, alias)
        for name, alias in (("a", "Ada Lovelace"), ("b", "Bob Builder"), ("e", "Eve Marlowe"))
    )
    meet(ada, bob, eve)
    first = bob.post(new_thread(bob, ada), b"first", ada.uid)
    await ada.take()
    intruder = eve.post(PostHead(first.id), b"wire the money to me", ada.uid)
    answer = bob.post(PostHead(first.id), b"second", ada.uid)
    own = ada.post(PostHead(first.id), b"mine", bob.uid)
    await ada.take()
    found = {id: ada.message(id) for id in (first.id, intruder.id, answer.id)}
    said = {id: one.doubts for id, one in found.items() if one is not None}
    assert said[first.id] == said[answer.id] == ()
    assert len(said[intruder.id]) == 1
    assert "not among those" in said[intruder.id][0]
    await bob.take()
    mine = bob.message(own.id)
    assert mine is not None
    assert mine.doubts == ()


async def test_an_intruder_gets_nothing_confirmed_and_asks_nobody_in(world: World, tmp_path: Path) -> None:
    """Who has written in a conversation does not read it for that: else he names himself as a newcomer, and everybody
    sends him what they wrote.
    """
    ada, bob, eve = (
        Engine(world.account(), tmp_path / name, alias)
        for name, alias in (("a", "Ada Lovelace"), ("b", "Bob Builder"), ("e", "Eve Marlowe"))
    )
    meet(ada, bob, eve)
    first = bob.post(new_thread(bob, ada), b"first", ada.uid)
    await ada.take()
    await bob.hear(delivery(first), first.outer + first.stream)
    eve.post(PostHead(first.id), b"hello", bob.uid)
    newcomer = Subscriber("Eve Marlowe", eve.uid, "Eve Marlowe", eve.uid, "", "me, too", subscribe=True)
    eve.post(PostHead(first.id, adds="0" * 16, cc=(newcomer,)), b"", bob.uid)
    await bob.take()
    assert {one.uid for one in bob.do(lambda c: threads.view(c, first.id)).readers} == {ada.uid, bob.uid}
    assert bob.do(waits) == []
    ada.post(PostHead(first.id, adds="1" * 16, cc=(newcomer,)), b"", bob.uid)  # a reader may
    await bob.take()
    assert bob.do(waits) == ["confirmation"]


# -- what cannot be opened -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [10_000, 3 << 20])
async def test_what_breaks_behind_its_head_is_kept_as_it_came(world: World, tmp_path: Path, size: int) -> None:
    """A reader who cannot open it has its octets, all of them, whatever their number."""
    ada, bob = Engine(world.account(), tmp_path / "a"), Engine(world.account(), tmp_path / "b", "Bob Builder")
    meet(ada, bob)
    octets = bytes(size)
    head = replace(new_thread(ada, bob), attach=(Attached("u:zeros", size),))
    post = ada.post(head, b"Here it is", bob.uid, files=[octets])
    broken = bytearray(post.stream)
    broken[-100_000 if size > 200_000 else -300] ^= 1
    data = post.outer + bytes(broken)
    bob.device.queue.clear()
    await bob.stream(delivery(post), data)
    kept = bob.message(post.id)
    assert kept is not None
    assert kept.state == "unreadable"
    assert [(one.name, one.size) for one in kept.attachments] == [("message.bin", len(data))]
    assert bob.octets(file_of(bob, post.id)) == data
    assert bob.on_disk() == 1


async def test_an_account_that_stops_while_the_disk_writes_loses_no_file(world: World, tmp_path: Path) -> None:
    """What is committed is named: whoever gives up then takes no file of it away."""
    ada, bob = Engine(world.account(), tmp_path / "a"), Engine(world.account(), tmp_path / "b", "Bob Builder")
    meet(ada, bob)
    head = replace(new_thread(ada, bob), attach=(Attached("u:plan.txt", len(FILE)),))
    post = ada.post(head, b"Here it is", bob.uid, files=[FILE])
    begun, go_on = asyncio.Event(), asyncio.Event()
    database, write = bob.device.database, bob.device.database.write

    async def slow(work):  # type: ignore[no-untyped-def]
        done = asyncio.ensure_future(late(work))
        return await asyncio.shield(done)  # as `Grouped.write`: who gives up takes nothing back

    async def late(work):  # type: ignore[no-untyped-def]
        begun.set()
        await go_on.wait()
        return await write(work)

    database.write = slow  # type: ignore[method-assign]
    bob.device.queue.clear()
    receiving = asyncio.create_task(bob.hear(delivery(post), post.outer + post.stream))
    await begun.wait()
    receiving.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await asyncio.sleep(0.05)
    kept = bob.message(post.id)
    assert kept is not None
    assert bob.octets(file_of(bob, post.id)) == FILE


# -- inside ----------------------------------------------------------------------------------------------------------
async def two_devices(world: World, folder: Path) -> tuple[Engine, Engine, models.Message]:
    """Ada's two devices, both full, and a message that somebody wrote who is not answered yet."""
    one = Engine(world.account(), folder / "one")
    other = Engine(world.add(one.device.account, one.device), folder / "other")
    world.act(one.device.account, "confirm", target=other.device.name)
    bob = Engine(world.account(), folder / "bob", "Bob Builder")
    for engine in (one, other):
        await engine.take()
        await settle(engine)
    meet(one, other, bob)
    for engine in (one, other, bob):
        engine.device.see_all()
    post = bob.post(new_thread(bob, one), b"May I ask you something?", one.uid)
    for engine in (one, other):
        await engine.take()
        engine.do(lambda c: people.set_stands(c, bob.uid, "asks"))
    message = one.message(post.id)
    assert message is not None
    return one, other, message


def lose_prekeys(engine: Engine) -> None:
    """As a device that comes back from a backup: what was sealed to its prekeys is closed to it."""
    engine.do(lambda c: c.execute(delete(tables.prekey)))


async def settle(engine: Engine) -> None:
    """As at a log-in: its own log is looked at, and what waited for that is judged."""
    await engine.device.trust.settle(engine.device, engine.context.database)
    engine.afters += engine.do(lambda c: arriving.again(c, engine.context))
    await engine.follow()


def waits(c: Rows) -> list[str]:
    """Kinds of what is in the outbox."""
    return list(c.scalars(select(tables.outbox.c.kind).order_by(tables.outbox.c.number)))


def file_of(engine: Engine, id: str, place: int = 0) -> str:
    """Where an attachment's octets are."""
    a = tables.attachment.c
    found: str = engine.do(lambda c: c.scalar(select(a.file).where(a.message == id, a.place == place)))
    return found
