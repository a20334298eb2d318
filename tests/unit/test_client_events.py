# SPDX-License-Identifier: AGPL-3.0-or-later
"""What follows from what a service brings, event by event: returns, blocks, ghosts, copies of threads, and what a person
is told of (A3, A4, B1, B3, D1, D2). Real trust, real rooms; the service is a model.
"""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tests.support.sealed_engine import Engine
from tests.support.trust_world import World
from tests.unit.test_client_between import lose_prekeys, meet, new_thread, two_devices, waits
from tmtp_client.api import models
from tmtp_client.engine import arriving, meeting, notifying, thread_copy
from tmtp_client.store import groups, people, tables, threads
from tmtp_client.sync import state
from tmtp_core.ids import message_id_text
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import PostHead, Subscriber, encode_post_head

BOB, GHOST, BRIDGE = "B" * 32, "G" * 32, "R" * 32


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ada(world: World, tmp_path: Path) -> Engine:
    return Engine(world.account(), tmp_path / "a")


class Service:
    """Brings an engine whatever it likes, unsealed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._number = 1000

    def event(self, kind: Any, from_: str = BOB, datalen: int = 0, posted: str = "", **fields: Any) -> Any:
        self._number += 1
        dated = posted or f"2026-11-24T12:{self._number // 60 % 60:02d}:{self._number % 60:02d}.000Z"
        return kind(id=message_id_text(self._number), from_=from_, posted=dated, datalen=datalen, **fields)

    async def post(self, head: PostHead, text: bytes, from_: str = BOB, **fields: Any) -> str:
        raw = encode_post_head(head)
        event = self.event(m.Delivery, from_, len(raw + text), datahead=len(raw), **fields)
        await self._engine.hear(event, raw + text)
        id: str = event.id
        return id


@pytest.fixture
def service(ada: Engine) -> Service:
    return Service(ada)


# -- returns ---------------------------------------------------------------------------------------------------------
async def test_what_comes_back_is_told_on_every_device(world: World, tmp_path: Path) -> None:
    """A4: who wrote it learns who did not get it, and why; of posts between clients nobody is told."""
    one, other, _ = await two_devices(world, tmp_path)
    cara = Engine(world.account(), tmp_path / "c", "Cara Cook")
    meet(one, other, cara)
    post = one.post(new_thread(one, cara), b"Are you there?", cara.uid)
    between = one.post(PostHead(control="ask-key"), b"{}", cara.uid)
    await other.take()
    for sent in (post, between):
        world.returned(sent, [cara.uid])
    await other.take()
    sent_message = other.message(post.id)
    assert sent_message is not None
    assert (sent_message.outgoing, sent_message.state) == (True, "returned")
    back = [message for message in other.do(lambda c: arriving.messages.latest(c, 99)) if message.kind == "return"]
    assert [(one.of, one.alias, one.text, one.thread, one.seen) for one in back] == [
        (post.id, "Cara Cook", "no device took it in time", post.id, False)
    ]
    assert other.told("notification")[-1].text == "no device took it in time"


async def test_a_return_of_what_others_wrote_means_nothing(ada: Engine, service: Service) -> None:
    id = await service.post(PostHead(), b"of Bob")
    await ada.hear(service.event(m2.ReturnEvent, ada.uid, msgid=id, for_=(BOB,), reason="because"))
    kept = ada.message(id)
    assert kept is not None
    assert kept.state == "received"
    assert ada.texts() == ["of Bob"]


# -- blocks and introductions ----------------------------------------------------------------------------------------
async def test_what_another_device_blocked_is_blocked_here(ada: Engine, service: Service) -> None:
    """Whom this device has never heard of, too; what comes through a group is folded and told to nobody."""
    await ada.hear(service.event(m2.BlockEvent, ada.uid, act="block", uid=BOB))
    assert ada.do(lambda c: people.view(c, BOB)).blocked
    id = await service.post(PostHead(cc=(Subscriber("The Club", "The Club", subscribe=True),)), b"through a group")
    kept = ada.message(id)
    assert kept is not None
    assert kept.seen
    assert ada.told("notification") == []
    await ada.hear(service.event(m2.BlockEvent, ada.uid, act="unblock", uid=BOB))
    await service.post(PostHead(), b"again")
    assert not ada.do(lambda c: people.view(c, BOB)).blocked
    assert [one.text for one in ada.told("notification")] == ["again"]


async def test_introductions_that_another_device_switched_off_are_off_here(ada: Engine, service: Service) -> None:
    assert ada.do(meeting.introductions)
    await ada.hear(service.event(m2.BlockEvent, ada.uid, act="introductions_off"))
    assert not ada.do(meeting.introductions)
    await ada.hear(service.event(m2.BlockEvent, ada.uid, act="introductions_on"))
    assert ada.do(meeting.introductions)


# -- ghosts ----------------------------------------------------------------------------------------------------------
async def test_a_ghost_stands_outside_until_it_is_accepted(ada: Engine, service: Service) -> None:
    """D1, D2: mail from a bridge is marked, takes nobody's name, and is shown as plain text until it is accepted."""
    via = m.Via(BRIDGE, "boss@evil.example", "spf")
    first = await service.post(PostHead(alias="Bob Builder"), b"[click](https://x.example)", GHOST, via=via)
    person = ada.do(lambda c: people.view(c, GHOST))
    assert (person.stands, person.alias, person.via, person.proof) == ("outside", "boss@evil.example", BRIDGE, "spf")
    assert ada.do(lambda c: people.uid_of(c, "Bob Builder")) is None
    kept = ada.message(first)
    assert kept is not None
    assert (kept.plain, kept.via, kept.proof) == (True, BRIDGE, "spf")
    await service.post(PostHead(), b"and more of it", GHOST, via=via)
    assert ada.do(lambda c: people.view(c, GHOST)).stands == "outside"
    ada.set("person", GHOST, stands="contact")
    kept = ada.message(first)
    assert kept is not None
    assert not kept.plain
    assert ada.message(await service.post(PostHead(), b"a member's")).plain is False  # type: ignore[union-attr]


async def test_a_ghost_is_asked_for_no_key(world: World, ada: Engine, service: Service, tmp_path: Path) -> None:
    """What a bridge passes on as sealed is kept; nothing goes out for it by itself."""
    cara = Engine(world.account(), tmp_path / "c", "Cara Cook")
    meet(ada, cara)
    post = cara.post(new_thread(cara, ada), b"hello", ada.uid)
    lose_prekeys(ada)
    data, head = post.outer + post.stream, len(post.outer)
    via = m.Via(BRIDGE, "boss@evil.example", "")
    await ada.hear(service.event(m.Delivery, GHOST, len(data), datahead=head, via=via), data)
    assert ada.do(waits) == []
    await ada.hear(service.event(m.Delivery, cara.uid, len(data), datahead=head), data)
    assert ada.do(waits) == ["control"]


# -- copies of threads -----------------------------------------------------------------------------------------------
async def test_a_copy_cannot_stand_above_everything_for_ever(ada: Engine, service: Service) -> None:
    """Whoever asks somebody into a thread writes the dates of its messages: none of them is after the copy itself."""
    claims = ["2026-11-20T10:00:00.000Z", "9999-12-31T23:59:59.999Z", "zzzz", "2026-99-99T00:00:00.000Z"]
    copied = [
        thread_copy.Copied(message_id_text(number), BOB, "Bob Builder", posted, "Plans", "x")
        for number, posted in enumerate(claims, 1)
    ]
    readers = [Subscriber("Bob Builder", BOB, subscribe=True), Subscriber("Ada Lovelace", ada.uid, subscribe=True)]
    copy = thread_copy.write(message_id_text(1), copied, readers)
    came = await service.post(PostHead(threadid=message_id_text(1), copies=True), copy)
    rows = ada.do(lambda c: dict(c.execute(select(tables.message.c.id, tables.message.c.posted)).all()))
    dates = [rows[f"{came}-{place}"] for place in range(4)]
    assert dates[0] == claims[0]
    assert len(set(dates[1:])) == 1
    assert dates[1] < "2026-11-25"
    thread = ada.do(lambda c: threads.view(c, message_id_text(1)))
    assert thread.last_posted == dates[1]


async def test_whoever_shows_a_copy_hears_that_its_author_has_spoken(ada: Engine, service: Service) -> None:
    """An unconfirmed message that is not here any more is told as removed."""
    first = message_id_text(1)
    copied = [thread_copy.Copied(first, BOB, "Bob Builder", "2026-11-20T10:00:00.000Z", "Plans", "as Eve says")]
    readers = [Subscriber("Bob Builder", BOB, subscribe=True), Subscriber("Eve", "E" * 32, subscribe=True)]
    came = await service.post(
        PostHead(threadid=first, copies=True), thread_copy.write(first, copied, readers), "E" * 32
    )
    own = PostHead(threadid=first, subject="Plans", confirmid=first, confirmposted="2026-11-20T10:00:00.000Z")
    confirmed = await service.post(own, b"as I wrote it")
    assert ada.texts() == ["as I wrote it"]
    assert ada.told("removed") == [models.RemovedEvent(f"{came}-0", first, thread_gone=False)]
    assert [one.message.id for one in ada.told("message")] == [confirmed]


# -- what a person is told -------------------------------------------------------------------------------------------
async def test_what_was_seen_elsewhere_is_not_told_any_more(world: World, tmp_path: Path) -> None:
    """B3: a device that was away tells its person nothing that he has read on another one."""
    one, other, bob = await two_devices(world, tmp_path)
    assert [note.message for note in one.told("notification")] == [bob.id]
    other.do(lambda c: state.mark_seen(c, other.context.at(), [bob.id], True))
    other.tell()
    await one.take()
    assert one.told("notification") == []
    assert [event.message.seen for event in one.told("message")] == [True]


async def test_one_message_that_is_seen_before_it_comes_is_told_to_nobody(world: World, tmp_path: Path) -> None:
    one, other, _ = await two_devices(world, tmp_path)
    cara = Engine(world.account(), tmp_path / "c", "Cara Cook")
    meet(one, other, cara)
    post = cara.post(new_thread(cara, one), b"hello", one.uid)
    await other.take()
    other.do(lambda c: state.mark_seen(c, other.context.at(), [post.id], True))
    other.tell()
    queue = one.device.queue
    queue.sort(key=lambda entry: entry is post)  # the sync post overtakes it
    before = len(one.told("notification"))
    await one.take()
    kept = one.message(post.id)
    assert kept is not None
    assert kept.seen
    assert len(one.told("notification")) == before


async def test_snoozed_and_archived_conversations(ada: Engine, service: Service) -> None:
    """A snoozed one is quiet until its time; a new message brings an archived one back, unless it is muted."""
    world, first = ada.world, await service.post(PostHead(), b"first")

    def told() -> list[str]:
        return [one.text for one in ada.told("notification")]

    def listed(of: Any) -> list[str]:
        found: models.Page = ada.do(lambda c: threads.list_page(c, of, now_ms=world.now_ms))
        return [one.id for one in found.threads]

    ada.set("thread", first, snoozed_until_ms=world.now_ms + 10_000)
    await service.post(PostHead(first), b"while it is snoozed")
    assert (told(), listed("inbox"), listed("snoozed")) == (["first"], [], [first])
    world.pass_ms(10_001)
    for id in ada.do(lambda c: state.wake(c, world.now_ms)):
        ada.do(lambda c, id=id: notifying.came_back(c, ada.context, id))
    assert (told()[-1], listed("inbox"), listed("snoozed")) == ("while it is snoozed", [first], [])

    last = ada.do(lambda c: threads.view(c, first)).last_posted
    ada.set("thread", first, archived=last)
    assert listed("inbox") == []
    await service.post(PostHead(first), b"it comes back")
    assert (told()[-1], listed("inbox")) == ("it comes back", [first])

    last = ada.do(lambda c: threads.view(c, first)).last_posted
    ada.set("thread", first, archived=last, muted=True)
    await service.post(PostHead(first), b"nobody hears it")
    assert (told()[-1], listed("inbox"), listed("archived")) == ("it comes back", [], [first])


# -- groups ----------------------------------------------------------------------------------------------------------
def test_who_is_invited_or_barred_stays_so_when_the_service_tells_who_has_joined(ada: Engine) -> None:
    def work(c: Rows) -> list[tuple[str, str]]:
        groups.put(c, "The Club", "joined", "Ada Lovelace", "", 0)
        for uid, stands in (("1", "joined"), ("2", "invited"), ("3", "barred"), ("4", "invited")):
            groups.set_member(c, "The Club", uid * 32, f"No {uid}", stands, owner=False)  # type: ignore[arg-type]
        arriving.members(c, ada.context, "The Club", [m2.MemberListed("4" * 32, "No 4", False)], 0)
        found = groups.view(c, "The Club")
        assert found is not None
        return sorted((one.uid[0], one.stands) for one in found.members)

    assert ada.do(work) == [("2", "invited"), ("3", "barred"), ("4", "joined")]
