# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a device of the client trusts, case by case (B4, B9): logs, prekeys, whom to seal to, what to doubt."""

import pytest

from tests.support.trust_world import DAY_MS, Device, Post, Read, World, run
from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import tables as t
from tmtp_client.trust import Held, Plan, SharedKey, ToSeal, Unsealable, chains, judging, logs, shared_keys
from tmtp_client.trust.following import device_names
from tmtp_client.trust.linking import Place, check_joined, read_offer
from tmtp_client.trust.wrapping import ASK, GIVE, Wish
from tmtp_core.crypto.log_records import Record
from tmtp_core.crypto.passphrase import Cost
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import PostHead, encode_post_head


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ada(world: World) -> Device:
    return world.account()


@pytest.fixture
def bob(world: World) -> Device:
    return world.account()


def meet(*devices: Device) -> None:
    """Everybody looks at everybody's log, and takes what waits."""
    for device in devices:
        run(device.trust.look_at(device, device.database, device.world.accounts, anew=True))
        device.take()


def standing(device: Device, uid: str) -> str:
    return device.database.do(lambda c: device.trust.stand(c, uid))


# -- sealing and opening ---------------------------------------------------------------------------------------------
def test_a_sealed_message_reaches_every_device_of_both(world: World, ada: Device, bob: Device) -> None:
    tablet = world.add(bob.account, bob)
    phone = world.add(ada.account, ada)
    meet(ada, bob)
    for device in (ada, bob):
        device.see_all()
    post = ada.send("hello", bob.account.uid)
    for device in (bob, tablet, phone):
        device.take()
        assert device.read[post.id].text == "hello"
        assert device.doubts() == []
    assert {name for name, _ in ada.sent_to} == {ada.name, phone.name, bob.name, tablet.name}


def test_nothing_is_sealed_to_whom_is_barred(world: World, ada: Device, bob: Device) -> None:
    lost, held = world.add(bob.account, bob), world.add(bob.account, bob)
    world.act(bob.account, "revoke", target=lost.name)
    world.act(bob.account, "suspend", bob, target=held.name)
    meet(ada)
    ada.see_all()
    ada.send("hello", bob.account.uid)
    assert {name for name, _ in ada.sent_to} == {ada.name, bob.name}


def test_who_has_no_keys_is_not_sealed_to(world: World, ada: Device) -> None:
    assert ada.database.do(lambda c: ada.trust.plan(c, ["B" * 32])) == Unsealable(("B" * 32,))


# -- what changes is seen first --------------------------------------------------------------------------------------
def test_a_change_is_held_until_it_is_seen_and_no_later_one_is_waved_through(
    world: World, ada: Device, bob: Device
) -> None:
    meet(ada, bob)
    assert standing(ada, bob.account.uid) == "seen"
    world.add(bob.account, bob)
    ada.take()
    held = ada.plan(bob.account.uid)
    assert isinstance(held, Held)
    assert "added" in held.text
    shown = held.unseen[0].head
    assert standing(ada, bob.account.uid) == "unseen"
    world.add(bob.account, bob)  # between showing and confirming
    ada.take()
    assert ada.database.do(lambda c: ada.trust.seen(c, bob.account.uid, shown))
    held = ada.plan(bob.account.uid)
    assert isinstance(held, Held)
    assert len(held.unseen[0].changes) == 1
    assert ada.database.do(lambda c: ada.trust.seen(c, bob.account.uid, held.unseen[0].head))
    assert isinstance(ada.plan(bob.account.uid), Plan)
    assert not ada.database.do(lambda c: ada.trust.seen(c, bob.account.uid, shown))  # nor back
    assert not ada.database.do(lambda c: ada.trust.seen(c, bob.account.uid, "A" * 43))


def test_a_change_of_ones_own_devices_is_held_too(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    world.add(ada.account)  # by the recovery key, on another device
    ada.take()
    held = ada.plan(bob.account.uid)
    assert isinstance(held, Held)
    assert [one.uid for one in held.unseen] == [ada.account.uid]
    assert "recovery key added" in held.text


def test_watchers_hear_of_a_change_in_plain_words(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    assert ada.told() == []
    added = world.add(bob.account, bob)
    ada.take()
    (event,) = ada.told()
    assert event.uid == bob.account.uid
    assert added.name[:8] in event.changes[0]
    assert event.head == ada.log(bob.account.uid).head


# -- logs ------------------------------------------------------------------------------------------------------------
def test_a_service_that_lost_records_is_not_one_that_lies(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    lost = world.add(bob.account, bob)
    world.act(bob.account, "revoke", target=lost.name)
    meet(ada, bob)
    ada.see_all()
    world.lose_records(bob.account, 1)
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid], anew=True))
    assert ada.trouble() == {}
    assert "restored from a backup" in ada.told()[-1].trouble
    plan = ada.plan(bob.account.uid)
    assert isinstance(plan, Plan)
    assert lost.name not in {one.device for one in plan.targets}  # what was known goes on to count
    bob.enter()  # which hands over what the service has lost
    assert len(bob.account.records) == 3
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid], anew=True))
    assert ada.database.do(lambda c: ada.trust.following.trouble(c, logs.standing(c, bob.account.uid))) == ""


def test_another_log_is_not_followed_and_holds_until_the_person_knows(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    before = ada.log(bob.account.uid)
    world.add(bob.account, bob)
    other = list(bob.account.records)
    world.lose_records(bob.account, 1)
    world.add(bob.account, bob)  # another one in its place
    for device in (ada, bob):
        device.queue.clear()
    world.shows = lambda asker, uid, records: (other if uid == bob.account.uid and asker is ada else records, "")
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid], anew=True))
    world.shows = None
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid], anew=True))
    assert len(ada.log(bob.account.uid).heads) == len(before.heads) + 1
    assert "another list" in ada.trouble()[bob.account.uid]
    assert standing(ada, bob.account.uid) == "trouble"
    held = ada.plan(bob.account.uid)
    assert isinstance(held, Held)
    assert "another list" in held.text
    ada.see_all()
    assert isinstance(ada.plan(bob.account.uid), Plan)


def test_trouble_that_comes_between_showing_and_confirming_is_not_waved_through(
    world: World, ada: Device, bob: Device
) -> None:
    meet(ada, bob)
    world.add(bob.account, bob)
    ada.take()
    shown = ada.plan(bob.account.uid)
    assert isinstance(shown, Held)
    world.shows = lambda asker, uid, records: (records, "A" * 43)
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid], anew=True))
    world.shows = None
    assert ada.database.do(lambda c: ada.trust.seen(c, bob.account.uid, shown.unseen[0].head))
    assert standing(ada, bob.account.uid) == "trouble"


def test_a_copy_that_cannot_be_read_is_fetched_again_and_holds_what_was_not_seen(
    world: World, ada: Device, bob: Device
) -> None:
    meet(ada, bob)
    ada.database.do(lambda c: c.execute(t.log_record.update().values(record=b"nonsense")))
    ada.trust.logs._cached.clear()
    assert isinstance(ada.database.do(lambda c: ada.trust.plan(c, [bob.account.uid])), Held)
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid, ada.account.uid], anew=True))
    assert ada.trouble() == {}
    assert isinstance(ada.plan(bob.account.uid), Plan)


def test_whose_log_does_not_hold_is_not_written_to_without_keys(world: World, ada: Device) -> None:
    """Of what a service shows up to the record that does not hold, the rest counts."""
    bob = world.account()
    true = bob.account.records[0]
    false = Record(true.entry, true.sigs, true.time + 1, true.stamp)
    ada.queue.clear()
    world.shows = lambda asker, uid, records: (
        ([false], "A" * 43) if uid == bob.account.uid else (records, ada.log().head)
    )
    plan = ada.plan(bob.account.uid)
    assert isinstance(plan, Held)
    assert "another list" in plan.text
    world.shows = lambda asker, uid, records: (
        ([true, false], "A" * 43) if uid == bob.account.uid else (records, ada.log().head)
    )
    run(ada.trust.look_at(ada, ada.database, [bob.account.uid], anew=True))
    assert len(ada.log(bob.account.uid).heads) == 1
    assert isinstance(ada.plan(bob.account.uid), Held)
    ada.see_all()
    assert isinstance(ada.plan(bob.account.uid), Plan)


# -- prekeys ---------------------------------------------------------------------------------------------------------
def test_prekeys_are_made_weekly_and_their_secrets_go_after_thirty_days(world: World, ada: Device) -> None:
    def secrets() -> int:
        return len(ada.database.do(lambda c: c.execute(t.prekey.select()).all()))

    assert secrets() == 1
    first = ada.account.prekeys[ada.name]
    world.pass_ms(limits.PREKEY_EVERY_MS - DAY_MS)
    ada.enter()
    assert ada.account.prekeys[ada.name] == first
    for _ in range(6):
        world.pass_ms(limits.PREKEY_EVERY_MS)
        ada.enter()
    assert ada.account.prekeys[ada.name] != first
    assert secrets() == 5  # made 0, 7, 14, 21 and 28 days ago
    world.pass_ms(40 * DAY_MS)  # away
    ada.database.do(ada.trust.logged_in)
    run(ada.trust.settle(ada, ada.database))
    assert secrets() == 6  # until what waited has come
    ada.database.do(ada.trust.caught_up)
    assert secrets() == 1


def test_a_prekey_that_the_service_did_not_take_is_offered_again(world: World, ada: Device) -> None:
    ada.database.do(lambda c: c.execute(t.prekey.update().values(published=0)))
    first = ada.account.prekeys.pop(ada.name)
    run(ada.trust.settle(ada, ada.database))
    assert ada.account.prekeys[ada.name] == first


def test_prekeys_of_others_are_used_while_they_are_young_and_signed(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)

    def key() -> str:
        ada.sent_to.clear()
        ada.send("x", bob.account.uid)
        return dict(ada.sent_to)[bob.name]

    young = bob.account.prekeys[bob.name]
    assert key() == young.key
    world.pass_ms(limits.PREKEY_USED_MS + 1)
    assert key() == bob.keys.box
    bob.enter()
    newer = bob.account.prekeys[bob.name]
    meet(ada)
    assert key() == newer.key
    world.shown_prekeys[bob.account.uid] = (young,)  # an older one
    meet(ada)
    assert key() == newer.key
    mallory = world.account().account.prekeys.popitem()[1]
    forged = m2.Prekey(bob.name, mallory.key, newer.time + 1, mallory.sig)
    world.shown_prekeys[bob.account.uid] = (forged, mallory, m2.Prekey(bob.name, "A" * 43, newer.time + 2, newer.sig))
    meet(ada)
    assert key() == newer.key
    for one in (bob,):
        one.take()
        assert one.doubts() == []


def test_a_message_to_an_older_prekey_opens_while_its_secret_is_here(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    post = ada.send("slow", bob.account.uid)
    world.pass_ms(8 * DAY_MS)
    run(bob.trust.settle(bob, bob.database))
    bob.take()
    assert bob.read[post.id].text == "slow"


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


# -- wrapping again --------------------------------------------------------------------------------------------------
def asks(device: Device, message: str, author: Device) -> tuple[Read, str]:
    """A device asks the author's device for a key."""
    post = device.send(device.trust.wrapping.ask(message).decode(), author.account.uid, control=ASK)
    author.take()
    read = author.read[post.id]
    assert read.sealed is not None
    assert read.sealed.doubts == ()
    assert read.text is not None
    return read, read.text


def test_a_key_is_wrapped_again_for_a_device_that_stood_in_the_log(world: World, ada: Device, bob: Device) -> None:
    tablet = world.add(bob.account, bob)
    meet(ada, bob, tablet)
    for one in (ada, bob, tablet):
        one.see_all()
    post = ada.send("hello", bob.account.uid)
    tablet.database.do(lambda c: c.execute(t.prekey.delete()))  # it was restored from a copy, say
    tablet.take()
    assert tablet.read[post.id] == Read(None, why="no key")
    world.pass_ms(limits.PREKEY_EVERY_MS)
    run(tablet.trust.settle(tablet, tablet.database))
    read, text = asks(tablet, post.id, ada)
    assert read.sealed is not None
    device = read.sealed.device
    answer = ada.database.do(lambda c: ada.trust.wrapping.asked(c, text.encode(), bob.account.uid, device))
    assert isinstance(answer, bytes)
    meet(ada)
    given = ada.send(answer.decode(), bob.account.uid, control=GIVE)
    for one in (bob, tablet):
        one.take()
    e2e = decode_outer(post.outer)

    def regain(device: Device) -> str:
        told = device.read[given.id].text
        assert told is not None
        return device.database.do(lambda c: device.trust.wrapping.regained(c, told.encode(), ada.account.uid, e2e))

    assert regain(bob) == ""  # the other device cannot use it
    assert regain(tablet) == post.id
    tablet.open(tablet.waits[post.id], waited=True)
    assert tablet.read[post.id].text == "hello"
    assert [one for one in tablet.doubts() if one] == []


def test_a_device_that_came_later_has_it_only_when_the_person_agrees(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    post = ada.send("hello", bob.account.uid)
    later = world.add(bob.account, bob)
    meet(ada, later)
    ada.see_all()
    later.see_all()
    read, text = asks(later, post.id, ada)
    assert read.sealed is not None
    asked = ada.database.do(lambda c: ada.trust.wrapping.asked(c, text.encode(), bob.account.uid, read.sealed.device))
    assert isinstance(asked, Wish)
    assert ada.database.do(ada.trust.wishes) == (asked,)
    who = (post.id, bob.account.uid, later.name)
    assert ada.database.do(lambda c: ada.trust.wrapping.answer(c, *who, agreed=False)) is None
    assert ada.database.do(lambda c: ada.trust.wrapping.answer(c, *who, agreed=True)) is None  # it was answered
    ada.database.do(lambda c: ada.trust.wrapping.asked(c, text.encode(), bob.account.uid, later.name))
    assert ada.database.do(lambda c: ada.trust.wrapping.answer(c, *who, agreed=True)) is not None


def test_nobody_else_has_it(world: World, ada: Device, bob: Device) -> None:
    mallory = world.account()
    meet(ada, bob, mallory)
    post = ada.send("hello", bob.account.uid)
    text = ada.trust.wrapping.ask(post.id)
    assert ada.database.do(lambda c: ada.trust.wrapping.asked(c, text, mallory.account.uid, mallory.name)) is None
    with pytest.raises(EnvelopeRefused):
        ada.database.do(lambda c: ada.trust.wrapping.asked(c, b"nonsense", bob.account.uid, bob.name))
    with pytest.raises(EnvelopeRefused):
        bob.database.do(lambda c: bob.trust.wrapping.regained(c, text, ada.account.uid, None))


# -- safety numbers --------------------------------------------------------------------------------------------------
def test_safety_numbers_are_the_same_on_both_sides_until_a_log_differs(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)

    def number(one: Device, other: Device):  # type: ignore[no-untyped-def]
        return one.database.do(lambda c: one.trust.safety_number(c, other.account.uid))

    mine, theirs = number(ada, bob), number(bob, ada)
    assert mine.digits == theirs.digits
    assert len(mine.digits.split()) == 12
    assert "<svg" in mine.qr
    assert ada.database.do(lambda c: ada.trust.seen(c, bob.account.uid, mine.head, compared=True))
    assert standing(ada, bob.account.uid) == "compared"
    assert number(ada, bob).compared
    world.add(bob.account, bob)
    bob.take()
    assert number(bob, ada).digits != mine.digits
    meet(ada)
    assert not number(ada, bob).compared


def test_names_of_devices_are_settings(world: World, ada: Device) -> None:
    row = {
        "kind": "setting",
        "key": f"device {ada.name}",
        "field": "value",
        "value": '"Laptop \\u00e4"',
        "stamp": "1",
        "told": 1,
    }
    ada.database.do(lambda c: c.execute(t.register.insert(), row))
    assert ada.database.do(device_names) == {ada.name: "Laptop ä"}
    listed = ada.database.do(lambda c: ada.trust.devices.listed(c, ada.account.uid))
    assert listed.devices[0].label == "Laptop ä"
    assert listed.log[0].text == "The account began, with Laptop ä."


# -- suite 1 ---------------------------------------------------------------------------------------------------------
def sends_under(device: Device, text: str, shared: SharedKey, *uids: str) -> Post:
    """A message under a shared key."""
    plan = device.plan(*uids)
    assert isinstance(plan, Plan)
    device.requests += 1
    request_id = f"{device.name} {device.requests}"
    recipients = tuple(m.Recipient(uid, m.TO_UID) for uid in uids)
    to_seal = ToSeal(request_id, recipients, encode_post_head(PostHead(threadid=shared.thread)), text.encode())
    composed = device.database.do(lambda c: device.trust.prepare(c, to_seal, plan, shared))
    return device.world.post(device, uids, composed.outer, device.stream(composed, text))


def test_a_random_key_is_passed_on_and_the_next_epoch_leaves_out_who_left(
    world: World, ada: Device, bob: Device
) -> None:
    cleo = world.account()
    meet(ada, bob, cleo)
    uids = (bob.account.uid, cleo.account.uid)
    first = shared_keys.random("thread", 0, world.random_bytes, ada.account.uid)
    passed = ada.send(shared_keys.passed_on(first).decode(), *uids, control=shared_keys.CONTROL)
    for one in (bob, cleo):
        one.take()
        text = one.read[passed.id].text
        assert text is not None
        got = shared_keys.received(text.encode(), ada.account.uid)
        assert one.database.do(lambda c, got=got: shared_keys.keep(c, got))
    for one in (bob, cleo):
        assert one.database.do(lambda c: shared_keys.of_thread(c, "thread")) == first
    post = sends_under(ada, "under one key", first, *uids)
    second = shared_keys.random("thread", 1, world.random_bytes, ada.account.uid)
    bob.database.do(lambda c: shared_keys.keep(c, second))
    later = sends_under(ada, "without cleo", second, *uids)
    for one in (bob, cleo):
        one.take()
        assert one.read[post.id].text == "under one key"
    assert bob.read[later.id].text == "without cleo"
    assert cleo.read[later.id] == Read(None, why="no key")
    assert bob.doubts() == []
    other = shared_keys.random("thread", 1, world.random_bytes, cleo.account.uid)
    assert not bob.database.do(lambda c: shared_keys.keep(c, other))  # an epoch's first key stays
    assert bob.database.do(lambda c: shared_keys.of_thread(c, "thread")) == second
    with pytest.raises(EnvelopeRefused):
        shared_keys.received(b'{"thread":"t","epoch":0,"key":"short"}', "x")


def test_a_passphrase_gives_both_the_same_key(world: World, ada: Device, bob: Device) -> None:
    meet(ada, bob)
    salt, cost = shared_keys.new_salt(world.random_bytes), Cost(2, 32 << 10)
    keys = [shared_keys.from_passphrase("thread", 0, "drei Äpfel", salt, cost, one.account.uid) for one in (ada, bob)]
    bob.database.do(lambda c: shared_keys.keep(c, keys[1]))
    post = sends_under(ada, "by word of mouth", keys[0], bob.account.uid)
    bob.take()
    assert bob.read[post.id].text == "by word of mouth"
    assert bob.doubts() == []
    assert decode_outer(post.outer).ops == 2


# -- devices ---------------------------------------------------------------------------------------------------------
def test_what_may_be_done_to_a_device_and_why_not_the_rest(world: World, ada: Device) -> None:
    phone = world.add(ada.account, ada)

    def listed(one: Device) -> dict[str, models.Device]:
        one.take()
        told = one.database.do(lambda c: one.trust.devices.listed(c, one.account.uid))
        return {device.key: device for device in told.devices}

    assert listed(ada)[phone.name].acts == ("suspend",)
    assert listed(ada)[phone.name].by_words == ("revoke", "confirm")
    assert any("To confirm it takes another full device" in why for why in listed(ada)[phone.name].cannot)
    assert any("there are 0 other full devices" not in why for why in listed(ada)[phone.name].cannot)
    assert listed(phone)[ada.name].acts == ()
    assert listed(phone)[ada.name].cannot[0].startswith("This device reads and writes, and decides nothing")
    world.act(ada.account, "suspend", ada, target=phone.name)
    assert listed(ada)[phone.name].acts == ()
    assert listed(ada)[phone.name].by_words == ("revoke", "resume")
    phone.queue.clear()
    run(phone.trust.settle(phone, phone.database))
    assert listed(phone)[phone.name].acts == ("contest",)
    world.act(ada.account, "revoke", target=phone.name)
    assert listed(ada)[phone.name].stands == "revoked"
    assert listed(ada)[phone.name].acts == listed(ada)[phone.name].by_words == ()


def test_a_new_device_does_not_take_another_account_for_the_one_that_was_offered(
    world: World, ada: Device, bob: Device
) -> None:
    """Who swaps the first text on its way gets it into his own account; and it notices when another device adds it."""
    place = Place("127.0.0.1", 1, "test")
    offer = read_offer(run(ada.trust.linking.offer(ada, ada.database, place)).text)
    tablet = world.add(ada.account, ada)
    joined = tablet.database.do(lambda c: check_joined(c, tablet.trust.logs, tablet.trust.own, offer))
    assert joined == ""
    by_words = world.add(ada.account)
    wrong = by_words.database.do(lambda c: check_joined(c, by_words.trust.logs, by_words.trust.own, offer))
    assert "added by another device" in wrong
    wrong = bob.database.do(lambda c: check_joined(c, bob.trust.logs, bob.trust.own, offer))
    assert "not the account" in wrong


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
