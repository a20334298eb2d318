# SPDX-License-Identifier: AGPL-3.0-or-later
"""What cannot be delivered goes back to its sender and is deleted (A4, B3): nothing that was acknowledged vanishes."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from tests.support.devices import KeyDevice, fresh_id, newcomer
from tests.support.instance import TestInstance
from tests.support.outside import bridge
from tests.support.people import DAY_S, instance_with, people
from tmtp_client.connection import Connection, Endpoint
from tmtp_core import limits
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.store.writer import Job
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

MONTH_MS = 30 * DAY_S * 1000


async def returned(sender: KeyDevice) -> list[tuple[str, tuple[str, ...], str]]:
    """What came back: message, for whom, why."""
    return [(event.msgid, event.for_, event.reason) for event in await sender.all_of(m2.ReturnEvent)]


async def month_later(instance: TestInstance, *sleepers: KeyDevice) -> None:
    """31 days pass; nobody is connected meanwhile."""
    for one in sleepers:
        await one.connection.close()
    await instance.advance(31 * DAY_S)
    await instance.settle()


async def test_what_nobody_takes_goes_back(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone", return_after_ms=30 * DAY_S * 1000) as instance:
        ada, bob, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare")
        old_phone = await dan.add_device()
        await old_phone.quit()
        await bob.quit()
        acked = await ada.post(bob.uid, dan.uid, data=b"x" * 100_000)
        await dan.next(m.Delivery)
        await dan.quit()
        await ada.quit()
        await instance.advance(29 * DAY_S)
        await ada.log_in()
        assert await ada.all_of(m2.ReturnEvent) == []
        await ada.quit()
        await instance.advance(2 * DAY_S)
        await ada.log_in()
        event, _ = await ada.next(m2.ReturnEvent)
        assert (event.msgid, event.for_) == (acked.msgid, (bob.uid,))  # a laggard device of Dan's does not count
        await bob.log_in()
        assert await bob.all_of(m.Delivery) == []
        assert list((instance.folder / "payloads").iterdir()) == []


async def test_nothing_goes_back_where_it_may_wait(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone", return_after_ms=None) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.quit()
        await ada.post(bob.uid)
        await ada.quit()
        await instance.advance(400 * DAY_S)
        await bob.log_in()
        await bob.next(m.Delivery)


async def test_all_that_is_due_goes_back_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not so much an hour: what comes in faster would pile up for ever."""
    monkeypatch.setattr(limits, "RETURNS_AT_ONCE_MAX", 10)
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.quit()
        sent = [(await ada.post(bob.uid)).msgid for _ in range(35)]
        await month_later(instance, ada)
        await ada.log_in()
        assert [msgid for msgid, _, _ in await returned(ada)] == sent
        assert (await bob.log_in()).info == "login ok"
        assert await bob.all_of(m.Delivery) == []


async def test_everybody_who_missed_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several `return` messages, where one header has no room for all."""
    monkeypatch.setattr(limits, "RETURN_UIDS_MAX", 2)
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, *others = await people(instance, "Ada Lovelace", *(f"Member number {n}" for n in range(5)))
        for one in others:
            await one.quit()
        acked = await ada.post(*(one.uid for one in others))
        await month_later(instance, ada)
        await ada.log_in()
        events = await returned(ada)
        assert [len(uids) for _, uids, _ in events] == [2, 2, 1]
        assert sorted(uid for _, uids, _ in events for uid in uids) == sorted(one.uid for one in others)
        assert {msgid for msgid, _, _ in events} == {acked.msgid}


async def test_what_was_taken_is_not_returned(tmp_path: Path) -> None:
    """Also when the device that took it is gone, and the other one never came."""
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        laggard = await bob.add_full_device()
        await laggard.quit()
        await ada.post(bob.uid)
        await bob.next(m.Delivery)
        await bob.quit()
        sheet = KeyDevice(instance, bob.uid, bob.signer, bob.recovery)
        await sheet.enter_by_recovery()
        await sheet.append("revoke", recovery=True, target=bob.name)
        await sheet.quit()
        await instance.restart()  # it is remembered
        await month_later(instance, ada)
        await ada.log_in()
        assert await returned(ada) == []


async def test_what_is_under_way_is_not_given_up(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.quit()
        await ada.post(bob.uid, data=b"hello")
        await ada.quit()
        await instance.advance(30 * DAY_S - 10)
        holding = await bob.open()
        holding._on_event = _never
        await holding.login_by_key(bob.uid, bob.signer)
        await instance.advance(20)
        await instance.advance(61)
        await instance.settle()
        await holding.close()
        await bob.log_in()
        assert (await bob.next(m.Delivery))[1] == b"hello"
        await ada.log_in()
        assert await returned(ada) == []


async def _never(event: m2.StoredEvent, payload: object) -> None:
    """Take a message and do not come to an end with it."""
    await asyncio.Event().wait()


async def test_notes_and_answers_to_outsiders_come_back_under_the_post_they_belong_to(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, bob, desk = await people(instance, "Ada Lovelace", "Bob Builder", "Support Desk")
        await bob.quit()
        note = m.PostNotify(fresh_id(), (), (m.Recipient(bob.uid, m.TO_UID),), datalen=2, notelen=1)
        posted = await ada.connection._request(note.id, m.encode_head(note), b"nx", 2)
        async with bridge(instance, {"support@example.org": "Support Desk"}, replies=True) as intake:
            await intake.post("support@example.org", "orders@partner.example")
            ghost = (await desk.next(m.Delivery))[0].from_
            await intake.quit()
            answered = await desk.post(ghost, data=b"thank you")
        await month_later(instance, ada, desk)
        for one, acked, uid in ((ada, posted, bob.uid), (desk, answered, ghost)):
            await one.log_in()
            assert await returned(one) == [(acked.msgid, (uid,), "no device took it in time")]


async def test_who_pinged_a_stranger_does_not_learn_whom(tmp_path: Path) -> None:
    """A uid is a handle; who pings an alias has not been given it."""
    async with instance_with(tmp_path, "ping", return_after_ms=MONTH_MS) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.quit()
        pinged = await ada.ping("Bob Builder")
        await month_later(instance, ada)
        await ada.log_in()
        assert await returned(ada) == [(pinged.msgid, (), "no device took it in time")]


# -- devices that go -------------------------------------------------------------------------------------------------
async def test_a_device_brought_by_the_recovery_key_gets_what_waited(tmp_path: Path) -> None:
    """For any of the lost ones: nothing that was acknowledged is lost with a phone."""
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        phone = await bob.add_full_device()
        await bob.connection.close()
        await ada.post(bob.uid, data=b"seen on the phone only")
        await phone.next(m.Delivery)
        await phone.connection.close()
        await ada.post(bob.uid, data=b"seen on none")
        new = await bob.recover()
        for lost in (bob, phone):
            await new.append("revoke", recovery=True, target=lost.name)
        await new.all_of(m.Delivery)
        got = [data for event, data in new.got if isinstance(event, m.Delivery)]
        assert got == [b"seen on the phone only", b"seen on none"]
        assert await returned(ada) == []
        await instance.settle()
        assert instance.service.figures()["messages_queued"] <= 3  # of log and user messages


async def test_what_waited_for_the_last_device_goes_back_when_that_is_revoked(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.connection.close()
        acked = await ada.post(bob.uid, data=b"x" * 100_000)
        sheet = KeyDevice(instance, bob.uid, bob.signer, bob.recovery)
        await sheet.enter_by_recovery()
        await sheet.append("revoke", recovery=True, target=bob.name)
        event, _ = await ada.next(m2.ReturnEvent)
        assert (event.msgid, event.for_) == (acked.msgid, (bob.uid,))
        assert event.reason == "the recipient's devices are gone"
        await instance.settle()
        assert list((instance.folder / "payloads").iterdir()) == []
        await sheet.quit()


async def test_what_waited_goes_back_when_an_account_begins_anew(tmp_path: Path) -> None:
    """It was for the devices that there were: a reset takes over the account, not its letters."""
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.connection.close()
        old = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
        old_uid = (await old.register("n", "Old Timer")).uid
        await old.close()
        sent = {uid: (await ada.post(uid)).msgid for uid in (bob.uid, old_uid)}
        for alias in ("Bob Builder", "Old Timer"):
            new = await newcomer(instance, "_", await instance.service.reset_account(alias))
            assert await new.all_of(m.Delivery) == []
            event, _ = await ada.next(m2.ReturnEvent)
            assert (event.msgid, event.for_) == (sent[new.uid], (new.uid,))
            await new.quit()


async def test_what_waited_goes_back_when_an_account_is_removed(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        phone = await bob.add_device()
        for device in (bob, phone):
            await device.connection.close()
        acked = [(await ada.post(bob.uid)).msgid for _ in range(3)]
        await instance.service.remove_account("Bob Builder")
        for msgid in acked:
            event, _ = await ada.next(m2.ReturnEvent)
            assert (event.msgid, event.reason) == (msgid, "the account was removed")


async def test_giving_back_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.quit()
        await ada.post(bob.uid)
        await ada.quit()
        await instance.service.decide(lambda ledger: _remove_quietly(ledger, bob.uid))
        await instance.restart()
        await instance.advance(limits.RETURN_INTERVAL_S + 1)
        await ada.log_in()
        await ada.next(m2.ReturnEvent)


def _remove_quietly(ledger: SqlLedger, uid: str) -> None:
    """The last device goes, and the process dies before anything was given back."""
    account = ledger.account(uid)
    ledger.remove_device(account, account.devices[0], "gone")


async def test_what_is_for_an_account_without_devices_goes_back_at_once(tmp_path: Path) -> None:
    """The last one was revoked with the sheet, and the new one is not there yet."""
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare")
        sheet = KeyDevice(instance, bob.uid, bob.signer, bob.recovery)
        await sheet.enter_by_recovery()
        await sheet.append("revoke", recovery=True, target=bob.name)
        posted = await ada.post(bob.uid, dan.uid)
        pinged = await ada.ping("Bob Builder")
        invited = await ada.connection.ask(m.GroupInvite(fresh_id(), "Sales Team", "Ada Lovelace", "Bob Builder"))
        assert await returned(ada) == [
            (posted.msgid, (bob.uid,), "the recipient has no device"),
            (pinged.msgid, (), "the recipient has no device"),
            (invited.msgid, (), "the recipient has no device"),
        ]
        await dan.next(m.Delivery)


async def test_a_bridge_hears_that_nobody_took_its_mail(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        (desk,) = await people(instance, "Support Desk")
        await desk.quit()
        async with bridge(instance, {"support@example.org": "Support Desk"}) as intake:
            acked = await intake.post("support@example.org", "orders@partner.example", b"an order")
            await month_later(instance, intake)
            await intake.log_in()
            event, _ = await intake.next(m2.ReturnEvent)
            assert (event.msgid, event.for_) == (acked.msgid, ())  # it learns no uid, not even so


async def test_what_a_device_is_just_taking_does_not_go_back(tmp_path: Path) -> None:
    """It logs in with the very commit in which its messages begin to go back; both chains of batches run on."""
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.quit()
        sent = [(await ada.post(bob.uid)).msgid for _ in range(260)]
        await ada.quit()
        held = threading.Event()
        instance.service._writer.submit(Job(lambda ledger: held.wait(10), lambda result: None))
        entering = asyncio.create_task(bob.log_in())
        await asyncio.sleep(0.3)  # its log-in waits for the writer
        instance.clock.advance(31 * DAY_S)
        instance.service.upkeep.give_back()
        held.set()
        await entering
        await instance.settle()
        taken = [event.id for event in await bob.all_of(m.Delivery)]
        await ada.log_in()
        back = [msgid for msgid, _, _ in await returned(ada)]
        assert sorted([*taken, *back]) == sorted(sent)  # each of them once


async def test_what_was_acknowledged_at_the_last_moment_does_not_go_back(tmp_path: Path) -> None:
    """The ack has come, the device is gone, and neither is in the commit that gives back."""
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        held = threading.Event()
        await ada.post(bob.uid)
        await bob.next(m.Delivery)
        await instance.settle()
        acked = await ada.post(bob.uid)
        instance.service._writer.submit(Job(lambda ledger: held.wait(10), lambda result: None))
        await bob.next(m.Delivery)
        instance.clock.advance(31 * DAY_S)
        instance.service.upkeep.give_back()
        await bob.connection.close()
        await asyncio.sleep(0.2)
        held.set()
        await instance.settle()
        assert acked.msgid not in [msgid for msgid, _, _ in await returned(ada)]


async def test_who_is_there_and_takes_nothing_keeps_nobody_elses_from_going_back(tmp_path: Path) -> None:
    """Not a suspended device, to which nothing flows; nor one that is slow, for others."""
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, bob, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare 1st")
        phone = await bob.add_full_device()
        await bob.append("suspend", target=phone.name)
        await phone.ends()
        assert (await phone.log_in()).info == "device suspended"
        await bob.quit()
        dan.deaf = True
        acked = await ada.post(bob.uid, dan.uid)
        instance.clock.advance(31 * DAY_S)
        instance.service.upkeep.give_back()
        await instance.settle()
        assert await returned(ada) == [(acked.msgid, (bob.uid,), "no device took it in time")]


async def test_what_a_device_is_about_to_hear_of_does_not_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was let in and its first page read by one commit; the next one gives back before the loop knows of either."""
    async with instance_with(tmp_path, "everyone", return_after_ms=MONTH_MS) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.quit()
        sent = (await ada.post(bob.uid)).msgid
        await ada.quit()
        held = threading.Event()
        monkeypatch.setattr(limits, "BATCH_COMMANDS_MAX", 1)
        instance.service._writer.submit(Job(lambda ledger: held.wait(10), lambda result: None))
        entering = asyncio.create_task(bob.log_in())
        await asyncio.sleep(0.3)  # its log-in waits for the writer
        instance.clock.advance(31 * DAY_S)
        instance.service.upkeep.give_back()
        held.set()
        time.sleep(0.5)  # noqa: ASYNC251 - the loop is busy while the writer commits both
        await entering
        assert [event.id for event in await bob.all_of(m.Delivery)] == [sent]
        await ada.log_in()
        assert await returned(ada) == []
