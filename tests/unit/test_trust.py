# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a device of the client trusts, case by case (B4, B9): logs, prekeys, whom to seal to, what to doubt."""

import pytest

from tests.support.trust_world import DAY_MS, Device, Post, Read, World, meet, run
from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import changes, people
from tmtp_client.store import tables as t
from tmtp_client.trust import Held, Plan, SharedKey, ToSeal, Unsealable, logs, shared_keys
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


def test_watchers_hear_that_somebody_has_keys_once_they_are_known(world: World, ada: Device, bob: Device) -> None:
    """Else a message that is being written is said to go open, when it will not."""
    uid = bob.account.uid
    ada.database.do(lambda c: people.learn(c, uid, "Bob Builder", "ping", 0))
    before = ada.database.do(changes.latest)
    ada.plan(uid)
    ada.plan(uid)
    heard = ada.database.do(lambda c: changes.since(c, "a", before, 100))
    assert [(one.type, one.data.person.uid) for one in heard] == [("person", uid)]
    assert heard[0].data.person.keys not in {"", "none"}


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
