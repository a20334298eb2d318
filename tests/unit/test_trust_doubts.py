# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a device of the client doubts, and what it does not (B4): gaps in what came, and who signed it."""

import pytest

from tests.support.trust_world import DAY_MS, Device, World, meet
from tmtp_client.store import tables as t
from tmtp_client.trust import chains, judging
from tmtp_core.wire import revision2 as m2


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ada(world: World) -> Device:
    return world.account()


@pytest.fixture
def bob(world: World) -> Device:
    return world.account()


# -- chains ----------------------------------------------------------------------------------------------------------
def test_what_was_returned_is_no_gap(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    uid = bob.account.uid
    ada.send("1", uid)
    bob.take()
    for text in ("2", "3"):
        post = ada.send(text, uid)
        bob.queue.remove(post)
        returned = m2.ReturnEvent(
            id=world.new_id(), from_=ada.account.uid, posted="", msgid=post.id, for_=(uid,), reason="", datalen=0
        )
        ada.hear(returned)
    ada.send("4", uid)
    bob.take()
    assert bob.doubts() == []


def test_what_was_refused_is_no_gap(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    ada.send("1", bob.account.uid)
    ada.prepare("2", bob.account.uid)
    ada.database.do(lambda c: ada.trust.refused(c, f"{ada.name} {ada.requests}"))
    ada.send("3", bob.account.uid)
    bob.take()
    assert [one.text for one in bob.read.values()] == ["1", "3"]
    assert bob.doubts() == []


def test_what_was_given_back_to_a_device_long_away_is_no_doubt(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    ada.send("1", bob.account.uid)
    bob.take()
    missed = ada.send("2", bob.account.uid)
    world.pass_ms(31 * DAY_MS)
    ada.send("3", bob.account.uid)
    bob.queue.remove(missed)
    bob.enter()
    assert bob.doubts() == []


def test_what_was_left_out_turned_round_or_told_twice_is_doubted(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    posts = [ada.send(text, bob.account.uid) for text in ("1", "2", "3", "4")]
    bob.queue.remove(posts[1])
    bob.take()
    assert bob.doubts() == [chains.MISSING]
    bob.queue.append(posts[1])  # late
    bob.take()
    assert bob.doubts() == [chains.OUT_OF_ORDER]  # nothing is missing any more
    posts[3].id = world.new_id()
    bob.queue.append(posts[3])
    bob.take()
    assert bob.read[posts[3].id].sealed is not None
    assert bob.read[posts[3].id].sealed.again_of
    assert judging.AGAIN in bob.doubts()


def test_the_same_message_once_more_is_not_judged_twice(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    post = ada.send("1", bob.account.uid)
    bob.queue.append(post)  # it was not acknowledged
    bob.take()
    assert bob.doubts() == []


def test_a_block_that_is_over_begins_the_chains_anew(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    bob.queue.remove(ada.send("while blocked", bob.account.uid))
    bob.database.do(lambda c: bob.trust.unblocked(c, ada.account.uid))
    ada.send("hello again", bob.account.uid)
    bob.take()
    assert bob.doubts() == []


def test_who_left_a_group_misses_nothing(world: World, ada: Device, bob: Device) -> None:
    """What was sealed to him after he had gone did not reach him."""
    meet(ada, bob)
    ada.send("1", bob.account.uid)
    left = world.new_id()
    bob.queue.remove(ada.send("to a group without him", bob.account.uid))
    ada.database.do(lambda c: ada.trust.left(c, bob.account.uid, left))
    ada.send("2", bob.account.uid)
    bob.take()
    assert bob.doubts() == []


# -- signatures ------------------------------------------------------------------------------------------------------
def test_a_device_of_the_services_making_signs_for_nobody(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    mole = Device(world, ada.account)  # its key stands in no log
    for table in (t.log_record, t.trust):
        rows = ada.database.do(lambda c, table=table: [dict(row._mapping) for row in c.execute(table.select())])
        mole.database.do(lambda c, table=table, rows=rows: c.execute(table.insert(), rows))
    post = mole.send("send me money", bob.account.uid)
    bob.take()
    read = bob.read[post.id]
    assert read.sealed is not None
    assert read.sealed.forged
    assert judging.NO_DEVICE in read.sealed.doubts


def test_a_message_of_a_barred_device_is_doubted(world: World, ada: Device, bob: Device) -> None:
    stolen = world.add(ada.account, ada)
    meet(ada, bob, stolen)
    for one in (ada, bob, stolen):
        one.see_all()
    early = stolen.send("in time", bob.account.uid)
    world.act(ada.account, "revoke", target=stolen.name)
    stolen.queue.clear()
    bob.take()
    assert bob.read[early.id].sealed is not None
    assert bob.doubts() == []
    world.pass_ms(DAY_MS)
    kept = (ada.account.records[:2], ada.log().heads[1])
    world.shows = lambda asker, uid, records: kept if uid == ada.account.uid else (records, bob.log(uid).head)
    late = stolen.send("too late", bob.account.uid)
    world.shows = None
    bob.take()
    assert bob.read[late.id].sealed is not None
    assert bob.read[late.id].sealed.doubts == (judging.BARRED_BEFORE,)


def test_a_sender_from_whom_a_revocation_is_kept_is_noticed(world: World, ada: Device, bob: Device) -> None:
    stolen = world.add(bob.account, bob)
    meet(ada, bob)
    ada.see_all()
    bob.see_all()
    old = list(bob.account.records)
    world.act(bob.account, "revoke", target=stolen.name)
    ada.queue.clear()
    world.pass_ms(2 * DAY_MS)
    bob.enter()
    bob.see_all()
    world.shows = lambda asker, uid, records: (
        (old, ada.log(uid).head) if uid == bob.account.uid else (records, ada.log(uid).head)
    )
    post = ada.send("for the thief too", bob.account.uid)
    bob.take()
    assert bob.read[post.id].sealed is not None
    assert bob.read[post.id].sealed.doubts == (judging.KEPT_FROM_SENDER,)
    answer = bob.send("what?", ada.account.uid)
    ada.take()
    assert ada.read[answer.id].sealed is not None
    assert ada.read[answer.id].sealed.doubts == (judging.THEIR_LOG_UNKNOWN,)  # and the other side notices as well


def test_a_log_that_is_not_known_yet_is_looked_at_before_anything_is_said(
    world: World, ada: Device, bob: Device
) -> None:
    meet(ada)
    post = ada.send("hello", bob.account.uid)  # bob has never looked at ada's log
    bob.queue = [one for one in bob.queue if one is post]
    bob.hear(bob.queue.pop())
    assert bob.read[post.id].sealed is not None
    assert not bob.read[post.id].sealed.settled
    assert bob.doubts() == []
    bob.enter()
    assert bob.read[post.id].sealed.settled
    assert bob.doubts() == []


def test_what_is_not_sealed_among_what_is_is_said(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    post = ada.send("1", bob.account.uid)
    bob.take()
    assert bob.database.do(lambda c: bob.trust.plain(c, ada.account.uid, post.id)) == (judging.NOT_SEALED,)
    assert bob.database.do(lambda c: bob.trust.plain(c, "B" * 32, post.id)) == ()
    assert bob.database.do(lambda c: bob.trust.plain(c, ada.account.uid, "")) == ()
