# SPDX-License-Identifier: AGPL-3.0-or-later
"""What thieves, acquaintances and members try with sealed posts, alone and with the service (B4, B9): each is an attack
that once worked, or nearly.
"""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection as Rows

from tests.support.engine_world import cc, comes, comes_plain, context_of, posts, readers
from tests.support.trust_world import Device, Post, World, run
from tmtp_client.api import models
from tmtp_client.engine import arriving, sharing_keys, thread_copy
from tmtp_client.engine.sending import Job, Sending
from tmtp_client.store import groups, messages, outbox, threads
from tmtp_client.store import tables as t
from tmtp_client.sync import journal, registers
from tmtp_client.trust import Held, Plan, judging, safety, shared_keys
from tmtp_core.crypto.safety_number import encode_code
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import PostHead


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ada(world: World) -> Device:
    return world.account()


@pytest.fixture
def bob(world: World) -> Device:
    return world.account()


@pytest.fixture
def mallory(world: World) -> Device:
    return world.account()


def meet(*devices: Device) -> None:
    """Everybody looks at everybody's log, and the person at what has changed."""
    for device in devices:
        run(device.trust.look_at(device, device.database, device.world.accounts, anew=True))
        device.queue = [one for one in device.queue if isinstance(one, Post)]
        device.see_all()


def talks(ada: Device, bob: Device, *more: Device) -> str:
    """Ada begins a thread with the others: its id, which all of them have."""
    uids = [one.account.uid for one in (bob, *more)]
    post = posts(ada, PostHead(cc=cc(ada.account.uid, *uids)), "hello", *uids)
    for one in (bob, *more):
        comes(one, post)
    comes(ada, post)  # as an own device has it
    return post.id


# -- a thief with a device -------------------------------------------------------------------------------------------
def says_plain(device: Device, thread: str) -> Post:
    """A device tells the others of its account that a thread is not encrypted any more."""

    def written(c):  # type: ignore[no-untyped-def]
        registers.set(c, context_of(device).at(), "thread", thread, {"encryption": "off"})
        return journal.write(registers.untold(c, 10)).decode()

    return posts(device, journal.HEAD, device.database.do(written))


def is_plain(device: Device, thread: str) -> bool:
    """Whether a device takes it so."""
    return device.database.do(lambda c: registers.get(c, "thread", thread, "encryption")) == "off"


@pytest.mark.parametrize("act", ["revoke", "suspend"])
def test_a_barred_device_switches_no_encryption_off(world: World, ada: Device, act: str) -> None:
    """The service lets a thief's device in after all. Also where it says that the post came before."""
    stolen = world.add(ada.account, ada)
    world.act(ada.account, "confirm", target=stolen.name)
    meet(ada, stolen)
    early = says_plain(stolen, "early")
    before = says_plain(stolen, "before")
    by = None if act == "revoke" else ada
    world.pass_ms(60 * 60 * 1000)
    world.act(ada.account, act, by, target=stolen.name)
    comes_late = says_plain(stolen, "late")
    comes(ada, early)
    assert is_plain(ada, "early")  # it was a device of the account
    meet(ada)
    for post in (before, comes_late):
        comes(ada, post)
        ada.database.do(lambda c: arriving.again(c, context_of(ada)))
    assert not is_plain(ada, "before")
    assert not is_plain(ada, "late")


def test_what_a_suspended_device_said_before_counts_once_it_is_back(world: World, ada: Device) -> None:
    tablet = world.add(ada.account, ada)
    world.act(ada.account, "confirm", target=tablet.name)
    meet(ada, tablet)
    said = says_plain(tablet, "thread")
    world.act(ada.account, "suspend", ada, target=tablet.name)
    meet(ada)
    comes(ada, said)
    assert not is_plain(ada, "thread")
    world.act(ada.account, "resume", target=tablet.name)
    meet(ada)
    ada.database.do(lambda c: arriving.again(c, context_of(ada)))
    assert is_plain(ada, "thread")


# -- acquaintances ---------------------------------------------------------------------------------------------------
def test_who_does_not_read_a_conversation_gives_it_no_key(
    world: World, ada: Device, bob: Device, mallory: Device
) -> None:
    """With it, he and the service would read all that follows; nor may he lay one down for a thread that is to come."""
    meet(ada, bob, mallory)
    coming = "f" * 16
    thread = talks(ada, bob)
    for one in (thread, coming):
        key = shared_keys.random(one, 7, world.random_bytes, mallory.account.uid)
        text = shared_keys.passed_on(key).decode()
        comes(ada, posts(mallory, PostHead(control=shared_keys.CONTROL), text, ada.account.uid))
        assert ada.database.do(lambda c, one=one: shared_keys.of_thread(c, one)) is None
    key = shared_keys.random(thread, 1, world.random_bytes, bob.account.uid)
    comes(ada, posts(bob, PostHead(control=shared_keys.CONTROL), shared_keys.passed_on(key).decode(), ada.account.uid))
    kept = ada.database.do(lambda c: shared_keys.of_thread(c, thread))
    assert kept is not None
    assert kept.key == key.key


@pytest.mark.parametrize("epoch", [-1, 2**53, 2**63])
def test_an_epoch_that_is_none_is_no_key(world: World, ada: Device, bob: Device, epoch: int) -> None:
    meet(ada, bob)
    thread = talks(ada, bob)
    text = shared_keys.passed_on(shared_keys.random(thread, epoch, world.random_bytes, "")).decode()
    comes(ada, posts(bob, PostHead(control=shared_keys.CONTROL), text, ada.account.uid))
    assert ada.database.do(lambda c: shared_keys.of_thread(c, thread)) is None


def test_who_writes_into_a_conversation_does_not_read_it_for_that(
    world: World, ada: Device, bob: Device, mallory: Device
) -> None:
    """Else he would ask himself in, and Ada's device would post him all that she has written there."""
    meet(ada, bob, mallory)
    thread = talks(ada, bob)
    comes(ada, posts(mallory, PostHead(threadid=thread), "me too", ada.account.uid))
    note = PostHead(threadid=thread, adds="e" * 16, cc=cc(mallory.account.uid))
    comes(ada, posts(mallory, note, "", ada.account.uid))
    assert mallory.account.uid not in readers(ada, thread)
    assert ada.database.do(lambda c: c.execute(t.outbox.select()).all()) == []
    note = PostHead(threadid=thread, adds="d" * 16, cc=cc(mallory.account.uid))
    comes(ada, posts(bob, note, "", ada.account.uid))  # who reads it may
    assert mallory.account.uid in readers(ada, thread)


@pytest.mark.parametrize("how", ["adds", "copies", "plain", "barred"])
def test_nobody_is_asked_into_a_sealed_conversation_but_by_a_device_that_stands(
    world: World, ada: Device, bob: Device, mallory: Device, how: str
) -> None:
    """The service says that Bob asks Mallory in; or a device of Bob's does, which was stolen and barred."""
    stolen = world.add(bob.account, bob)
    meet(ada, bob, mallory, stolen)
    thread = talks(ada, bob)
    head = PostHead(threadid=thread, adds="e" * 16, cc=cc(mallory.account.uid))
    text = ""
    if how == "copies":
        readers_ = [*cc(ada.account.uid, bob.account.uid, mallory.account.uid)]
        head, text = PostHead(threadid=thread, copies=True), thread_copy.write(thread, [], readers_).decode()
    if how == "barred":
        post = posts(stolen, head, text, ada.account.uid)
        world.act(bob.account, "revoke", target=stolen.name)
        meet(ada)
        comes(ada, post)
    else:
        comes_plain(ada, bob.account.uid, head, text)
    assert mallory.account.uid not in readers(ada, thread)
    assert ada.database.do(lambda c: c.execute(t.outbox.select()).all()) == []
    assert "asks people into this" in said(ada, thread)


def said(device: Device, thread: str) -> str:
    """All texts of a thread."""
    texts = t.message.select().with_only_columns(t.message.c.text).where(t.message.c.thread == thread)
    return " ".join(device.database.do(lambda c: list(c.scalars(texts))))


def test_who_is_asked_in_before_a_log_is_known_reads_once_it_is(
    world: World, ada: Device, bob: Device, mallory: Device
) -> None:
    meet(ada, bob, mallory)
    thread = talks(ada, bob)
    tablet = world.add(bob.account, bob)
    meet(tablet)
    post = posts(tablet, PostHead(threadid=thread, adds="e" * 16, cc=cc(mallory.account.uid)), "", ada.account.uid)
    comes(ada, post)
    assert mallory.account.uid not in readers(ada, thread)
    meet(ada)
    ada.database.do(lambda c: arriving.again(c, context_of(ada)))
    assert mallory.account.uid in readers(ada, thread)


# -- a service that makes messages up --------------------------------------------------------------------------------
def doubts(device: Device, message: str) -> str:
    """What is said of a message."""
    return device.rows().get(message, "")


def test_a_plain_answer_in_a_sealed_conversation_is_doubted(world: World, ada: Device, bob: Device) -> None:
    """Also where nobody but oneself has written in it yet."""
    meet(ada, bob)
    thread = talks(ada, bob)
    made_up = comes_plain(ada, bob.account.uid, PostHead(threadid=thread), "send it to this address, please")
    assert judging.NOT_SEALED in doubts(ada, made_up)


# -- what waits to be sent -------------------------------------------------------------------------------------------
def writes(device: Device, thread: str, text: str, *uids: str) -> str:
    """A message into the outbox: its request id."""
    to = tuple((uid, m.TO_UID) for uid in uids)
    content = outbox.Content(to=to, names=uids, thread=thread, text=text)
    world = device.world
    return device.database.do(
        lambda c: outbox.enqueue(c, "message", content, world.now_ms, world.now_ms, world.random_bytes)
    )


def begins(device: Device) -> Job | None:
    """What the sender would say next."""
    context = context_of(device)
    context.caught_up.set()
    sending = Sending(context)
    sending._members_ms["chess"] = device.world.now_ms  # who is in it was asked for
    return device.database.do(lambda c: sending._begin(c, {}))


def entry(device: Device, request: str) -> outbox.Entry:
    found = device.database.do(lambda c: outbox.find(c, request))
    assert found is not None
    return found


def shares(device: Device, thread: str) -> None:
    """A new random key for a thread, for all who read it now."""
    run(sharing_keys.share(context_of(device), thread, ""))
    device.database.do(lambda c: c.execute(t.outbox.delete()))


def test_a_shared_key_is_not_used_once_somebody_who_has_it_left(world: World, ada: Device, bob: Device) -> None:
    """He and the service would read on."""
    cleo = world.account()
    meet(ada, bob, cleo)
    thread = talks(ada, bob, cleo)
    shares(ada, thread)
    writes(ada, thread, "for all three", bob.account.uid)
    job = begins(ada)
    assert job is not None
    assert job.sealed is not None
    assert job.sealed.suite == 1
    ada.database.do(lambda c: c.execute(t.outbox.delete()))
    ada.database.do(lambda c: threads.drop_reader(c, thread, cleo.account.uid))
    request = writes(ada, thread, "about Cleo", bob.account.uid)
    assert begins(ada) is None
    assert "give it a new one" in entry(ada, request).error
    shares(ada, thread)
    writes(ada, thread, "about Cleo", bob.account.uid)
    job = begins(ada)
    assert job is not None
    assert job.sealed is not None
    assert job.sealed.suite == 1


@pytest.mark.parametrize("act", ["revoke", "suspend"])
@pytest.mark.parametrize("whose", ["own", "theirs"])
def test_a_shared_key_is_not_used_once_a_device_that_has_it_was_barred(
    world: World, ada: Device, bob: Device, act: str, whose: str
) -> None:
    meet(ada, bob)
    thread = talks(ada, bob)
    owner = ada if whose == "own" else bob
    gone_before = world.add(owner.account, owner)
    world.act(owner.account, "revoke", target=gone_before.name)
    meet(ada, bob)
    shares(ada, thread)
    lost = world.add(owner.account, owner)  # it comes to the key later, say by the passphrase
    meet(ada, bob)
    writes(ada, thread, "hello", bob.account.uid)
    assert begins(ada) is not None
    ada.database.do(lambda c: c.execute(t.outbox.delete()))
    world.act(owner.account, act, owner if act == "suspend" else None, target=lost.name)
    meet(ada, bob)
    request = writes(ada, thread, "we lost a device", bob.account.uid)
    assert begins(ada) is None
    assert "a device of" in entry(ada, request).error


# -- what was sealed, and has not left -------------------------------------------------------------------------------
def sealed_to(job: Job | None) -> set[str]:
    """The devices that a job is sealed to."""
    assert job is not None
    assert job.sealed is not None
    return {one.device for one in decode_outer(job.sealed.composed.outer).keys}


def test_what_was_prepared_before_a_device_was_barred_is_sealed_anew(world: World, ada: Device, bob: Device) -> None:
    """After a crash, or days without a connection; under the same request, so that nobody gets it twice."""
    lost = world.add(bob.account, bob)
    meet(ada, bob)
    request = writes(ada, "", "the new plan", bob.account.uid)
    assert lost.name in sealed_to(begins(ada))
    assert lost.name in sealed_to(begins(ada))  # tried again: the same octets
    world.act(bob.account, "revoke", target=lost.name)
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid], anew=True))
    while (job := begins(ada)) is None and entry(ada, request).state != "held":
        pass
    assert entry(ada, request).state == "held"  # the person sees it first
    ada.see_all()
    ada.database.do(lambda c: outbox.release_held(c, world.now_ms))
    job = begins(ada)
    assert job is not None
    assert job.entry.request_id == request
    assert sealed_to(job) == {ada.name, bob.name}


def test_what_was_prepared_waits_while_a_device_that_came_is_not_seen(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    request = writes(ada, "", "the new plan", bob.account.uid)
    assert begins(ada) is not None
    added = world.add(bob.account, bob)
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid], anew=True))
    while begins(ada) is None and entry(ada, request).state != "held":
        pass
    assert entry(ada, request).state == "held"
    ada.see_all()
    ada.database.do(lambda c: outbox.release_held(c, world.now_ms))
    assert added.name in sealed_to(begins(ada))


@pytest.mark.parametrize("first", [True, False])
def test_what_was_sealed_anew_leaves_no_gap_whichever_the_service_took(
    world: World, ada: Device, bob: Device, first: bool
) -> None:
    meet(ada, bob)
    posts(ada, PostHead(), "before", bob.account.uid)
    request = writes(ada, "", "the new plan", bob.account.uid)
    old = begins(ada)
    world.add(bob.account, bob)
    meet(ada)
    assert begins(ada) is None  # its seal is given up
    new = begins(ada)
    assert old is not None
    assert new is not None
    assert sealed_to(old) != sealed_to(new)
    for job in (old, new) if not first else (new, old):
        assert job.sealed is not None
        came = world.post(
            ada, [bob.account.uid], job.sealed.composed.outer, ada.stream(job.sealed.composed, "the new plan")
        )
        break
    ada.database.do(lambda c: ada.trust.sent(c, request, came.id))
    ada.database.do(lambda c: outbox.ended(c, request, came.id))
    posts(ada, PostHead(), "after", bob.account.uid)
    bob.take()
    assert [one.text for one in bob.read.values()] == ["before", "the new plan", "after"]
    assert bob.doubts() == []


class Link:
    """A connection that is there, at whose other end the world answers."""

    is_connected = True
    is_open = True

    def __init__(self, device: Device) -> None:
        self.inquire, self.ask = device.inquire, device.ask
        self.service: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.service.set_result(SimpleNamespace(limits=None))

    async def current(self, timeout_s: float | None = None) -> "Link":
        return self

    async def closed(self) -> str:
        return await asyncio.get_running_loop().create_future()


def test_nothing_is_sealed_before_what_waited_at_log_in_has_come(world: World, ada: Device, bob: Device) -> None:
    """That a device was barred is among it; the log was looked at minutes ago."""
    lost = world.add(bob.account, bob)
    meet(ada, bob)
    request = writes(ada, "", "the new plan", bob.account.uid)
    world.act(bob.account, "revoke", target=lost.name)

    async def sends() -> None:
        context = context_of(ada)
        context.connection = cast(Any, Link(ada))
        sending = Sending(context)
        looking = asyncio.create_task(sending._wait_for_one())
        for _ in range(5):
            await asyncio.sleep(0)
        assert entry(ada, request).state == "waiting"
        ada.take()
        context.caught_up.set()
        assert await looking is None

    asyncio.run(sends())
    assert entry(ada, request).state == "held"


def test_what_was_prepared_is_not_sent_by_the_next_connection_unseen(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    writes(ada, "", "the new plan", bob.account.uid)
    job = begins(ada)
    assert job is not None

    async def sends() -> Job | None:
        context = context_of(ada)
        context.connection = cast(Any, Link(ada))
        context.connection.is_connected = False  # type: ignore[misc]
        return await Sending(context)._send(job)

    assert asyncio.run(sends()) is None


@pytest.mark.parametrize("known", ["nothing", "oneself"])
def test_a_message_to_a_group_waits_until_its_members_are_known(
    world: World, ada: Device, bob: Device, known: str
) -> None:
    """A service that does not say who is in it gets no message in the open; and none is sealed that nobody can read."""
    meet(ada, bob)

    def joins(c: Rows) -> None:
        groups.put(c, "chess", "joined", "Ada", "", world.now_ms)
        if known == "oneself":
            groups.set_member(c, "chess", ada.account.uid, "Ada", "joined", owner=False)

    ada.database.do(joins)
    content = outbox.Content(to=(("chess", m.TO_GROUP_NOT_SELF),), names=("chess",), text="secret")
    request = ada.database.do(
        lambda c: outbox.enqueue(c, "message", content, world.now_ms, world.now_ms, world.random_bytes)
    )
    assert begins(ada) is None
    assert entry(ada, request).state == "waiting"
    assert "not known yet" in entry(ada, request).error
    ada.database.do(lambda c: groups.set_member(c, "chess", bob.account.uid, "Bob", "joined", owner=True))
    world.pass_ms(60_000)
    assert bob.name in sealed_to(begins(ada))


# -- what honest services, and people who are behind, do not raise ---------------------------------------------------
def test_a_log_of_several_pages_is_no_change(world: World, ada: Device) -> None:
    """Who is met for the first time has changed nothing, however long his log is."""
    world.pushes = False
    cleo = world.account()
    for _ in range(4):
        world.act(cleo.account, "revoke", target=world.add(cleo.account, cleo).name)
    world.page_records = 2
    assert isinstance(ada.plan(cleo.account.uid), Plan)
    world.add(cleo.account, cleo)
    run(ada.trust.look_at(ada, ada.database, [cleo.account.uid], anew=True))
    assert isinstance(ada.plan(cleo.account.uid), Held)  # later ones are changes


def compares(device: Device, other: Device) -> str:
    """What is said of the code that the other's device shows."""
    code = other.database.do(lambda c: safety._code(c, other.trust.own, other.trust.logs, device.account.uid))
    assert code is not None
    return " ".join(device.database.do(lambda c: device.trust.compare(c, other.account.uid, encode_code(code))))


def test_who_is_merely_behind_is_told_from_who_is_lied_to(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    assert compares(ada, bob) == ""
    world.add(ada.account, ada)
    run(ada.trust.settle(ada, ada.database))
    assert "has not heard yet" in compares(ada, bob)
    assert "This device has not heard yet" in compares(bob, ada)
    assert "another list" not in compares(ada, bob) + compares(bob, ada)
    meet(bob)
    assert compares(ada, bob) == compares(bob, ada) == ""
    code = ada.database.do(lambda c: safety._code(c, ada.trust.own, ada.trust.logs, bob.account.uid))
    assert code is not None
    other_head = World(7).account().log().head
    for forked, whose in (
        (replace(code, other=replace(code.other, head=other_head)), "your"),
        (replace(code, own=replace(code.own, head=other_head)), "their"),
    ):
        (told,) = bob.database.do(lambda c, forked=forked: bob.trust.compare(c, ada.account.uid, encode_code(forked)))
        assert f"another list of {whose} devices" in told


def test_who_is_shown_to_nobody_here_any_more_is_not_called_made_up(world: World, ada: Device, bob: Device) -> None:
    """A common group has ended before his log was looked at: a doubt, in words that blame nobody."""
    run(bob.trust.look_at(bob, bob.database, world.accounts, anew=True))
    ada.queue.clear()
    post = bob.send("from the group", ada.account.uid)
    world.shows_nobody.add(bob.account.uid)
    comes(ada, post)
    assert shown(ada, post.id).unsettled  # and until then it is not passed off as sound
    run(ada.trust.settle(ada, ada.database))
    (told,) = shown(ada, post.id).doubts
    assert told == judging.THEIR_LOG_NOT_SHOWN
    assert not shown(ada, post.id).unsettled
    assert shown(ada, post.id).text == "from the group"


def shown(device: Device, message: str) -> models.Message:
    """A message as the person sees it."""
    view = device.database.do(lambda c: messages.view(c, message))
    assert view is not None
    return view


def test_what_turns_out_made_up_is_not_shown_any_more(world: World, ada: Device, bob: Device) -> None:
    """It named a head that nobody knew: while the log was looked at, its words stood there."""
    meet(ada, bob)
    ghost = Device(world, bob.account)  # a key of the service's making
    run(ghost.trust.look_at(ghost, ghost.database, world.accounts, anew=True))
    world.add(bob.account, bob)
    run(ghost.trust.look_at(ghost, ghost.database, world.accounts, anew=True))
    ghost.see_all()
    del bob.account.devices[ghost.name]
    post = posts(ghost, PostHead(subject="sale"), "buy now", ada.account.uid)
    comes(ada, post)
    assert shown(ada, post.id).unsettled
    run(ada.trust.settle(ada, ada.database))
    assert judging.NO_DEVICE in shown(ada, post.id).doubts
    assert shown(ada, post.id).state == "unreadable"
    assert "buy now" not in shown(ada, post.id).text
    assert shown(ada, post.id).subject == ""


def test_a_message_is_shown_with_whom_it_was_sealed_for(
    world: World, ada: Device, bob: Device, mallory: Device
) -> None:
    """By what was signed: its head names whom it likes."""
    meet(ada, bob, mallory)
    head = PostHead(cc=cc(ada.account.uid, bob.account.uid))
    post = posts(mallory, head, "to you and Bob, of course", ada.account.uid)
    comes(ada, post)
    assert set(shown(ada, post.id).sealed_for) == {ada.account.uid, mallory.account.uid}
