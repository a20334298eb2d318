# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bridge is broken into: its key and its machine are in the attacker's hand (C2, D1; docs/protocol.md, *Bridges*)."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.devices import KeyDevice, fresh_box, fresh_id, fresh_signer, genesis_of, newcomer, refusal
from tests.support.instance import TestInstance, running_instance
from tests.support.outside import bridge
from tests.support.people import form_group
from tmtp_client.connection import AccountKeys, Connection, Endpoint, Payload, Refused
from tmtp_core.domain.policy import Acquaintance, Policy, Quotas
from tmtp_core.domain.port import Account
from tmtp_core.errors import RequestRefused
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

ROUTES = {"support@example.org": "Support Desk", "sales@example.org": "The Sales Team"}


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    policy = Policy(acquaintance=Acquaintance.INTRODUCTION, members_invite=True)
    async with running_instance(tmp_path / "instance", policy=policy) as running:
        yield running


async def scene(instance: TestInstance) -> tuple[KeyDevice, KeyDevice, KeyDevice]:
    """A desk, a member of the sales team, and somebody whom no route names."""
    desk, seller, ada = [await newcomer(instance, name) for name in ("Support Desk", "Sam Seller", "Ada Lovelace")]
    await seller.connection.group_invite("1", "The Sales Team", "Sam Seller", "Support Desk")
    return desk, seller, ada


async def test_it_reaches_its_routes_marked_as_what_it_is_and_nobody_else(instance: TestInstance) -> None:
    desk, seller, ada = await scene(instance)
    async with bridge(instance, ROUTES) as thief:
        to_ada = [m.Recipient(ada.uid, m.TO_UID)]
        outsider = m.Outsider("boss@example.org", "dkim")
        for attempt in (
            thief.connection.post("1", to_ada, b"x"),
            thief.connection.post("2", to_ada, b"x", as_=outsider),
            thief.connection.post("3", [m.Recipient("Ada Lovelace", m.TO_UID)], b"x", as_=outsider),
            thief.connection.post("4", [m.Recipient("The Sales Team", m.TO_GROUP)], b"x", as_=outsider),
            thief.connection.post("5", [m.Recipient("support@example.org", m.TO_UID), *to_ada], b"x", as_=outsider),
            thief.connection.post("6", [], b"x", as_=outsider),
            thief.connection.post("7", [m.Recipient("support@example.org", m.TO_UID)], b"in my own name"),
            thief.connection.ping("8", "Support Desk", "Ada Lovelace", "x"),
            thief.connection.group_invite("9", "A group of theirs", "Support Desk", "Ada Lovelace"),
            thief.connection.ask(m.UserEdit("10", newalias="Friendly Helper")),
            thief.connection.ask(m.UserEdit("11", newnode="backdoor")),
            thief.connection.ask(m.OhiEdit("12", "add", (m.Recipient(ada.uid),))),
            thief.connection.ask(m.GroupEdit("13", "join", "The Sales Team")),
            thief.connection.ask(m2.InviteEdit("14", "create")),
            thief.connection.ask(m2.BlockEdit("15", "block", ada.uid)),
            thief.connection.inquire(m2.Find("16", "Ada")),
            thief.connection.inquire(m2.GroupInfo("17", "The Sales Team")),
            thief.connection.inquire(m2.LogFetch("18", ada.uid)),
            thief.append("add", thief, fresh_signer(), device=fresh_signer().public, box=fresh_box()),
        ):
            with pytest.raises(Refused):
                await attempt
        note = m.PostNotify("19", tuple(to_ada), datalen=2, notelen=1)
        await thief.connection._send(m.encode_head(note) + b"nx")

        await thief.post("support@example.org", "boss@example.org", b"pay this")
        event, data = await desk.next(m.Delivery)
        assert data == b"pay this"
        assert event.via == m.Via("intake", "boss@example.org", "network")
        assert (event.alias, event.from_) != ("Ada Lovelace", ada.uid)
        await thief.post("sales@example.org", "boss@example.org", b"to the team")
        assert (await seller.next(m.Delivery))[0].via == event.via
        assert await ada.all_of(m.Delivery) == []
        assert await ada.all_of(m.PingEvent) == []


async def test_a_route_that_is_named_a_thousand_times_is_looked_up_once(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody waits while a post's recipients are looked up, and it counts as one."""
    asked: list[str] = []
    original = SqlLedger.route

    def route(ledger: SqlLedger, account: Account, recipient: str) -> str | None:
        asked.append(recipient)
        return original(ledger, account, recipient)

    monkeypatch.setattr(SqlLedger, "route", route)
    desk, _, _ = await scene(instance)
    async with bridge(instance, ROUTES) as thief:
        often = [m.Recipient("support@example.org", m.TO_UID)] * 1_000
        await thief.connection.post(fresh_id(), often, b"x", as_=m.Outsider("boss@example.org", "dkim"))
    await desk.next(m.Delivery)
    assert asked == ["support@example.org"]


async def test_a_ghost_is_one_person_for_each_address_and_can_be_blocked(instance: TestInstance) -> None:
    desk, _, _ = await scene(instance)
    async with bridge(instance, ROUTES) as intake:
        await intake.post("support@example.org", "a@partner.example", b"1")
        first, _ = await desk.next(m.Delivery)
        await intake.post("support@example.org", "a@partner.example", b"2")
        second, _ = await desk.next(m.Delivery)
        await intake.post("support@example.org", "b@partner.example", b"3")
        third, _ = await desk.next(m.Delivery)
        assert first.from_ == second.from_ != third.from_
        await desk.block(first.from_)
        acked = await intake.post("support@example.org", "a@partner.example", b"4")
        assert acked.msgid
        await intake.post("support@example.org", "b@partner.example", b"5")
        assert (await desk.next(m.Delivery))[1] == b"5"


async def test_an_answer_goes_to_the_bridge_that_takes_answers(instance: TestInstance) -> None:
    desk, _, ada = await scene(instance)
    async with bridge(instance, ROUTES, replies=True) as intake:
        await intake.post("support@example.org", "a@partner.example", b"a question")
        question, _ = await desk.next(m.Delivery)
        await desk.post(question.from_, data=b"an answer" * 20_000)
        answer, data = await intake.next(m.Delivery)
        assert (answer.to, answer.from_, answer.alias) == ("a@partner.example", desk.uid, "Support Desk")
        assert data == b"an answer" * 20_000
        assert await refusal(ada.post(question.from_)) == "not acquainted"  # she was not written to
        assert "cannot be notified" in await refusal(_notify(desk, question.from_))
        assert "not found" in await refusal(ada.ping("a@partner.example"))
    deaf = {"support@example.org": "Support Desk"}
    uid = await instance.service.ensure_bridge("intake", deaf, genesis_of(instance, AccountKeys.new(os.urandom)))
    assert uid == intake.uid
    assert "cannot be answered" in await refusal(desk.post(question.from_))


async def test_it_reaches_who_wrote_to_a_ghost_as_that_ghost_and_nobody_else(instance: TestInstance) -> None:
    """Whoever answers one correspondent has agreed to hear of that one, and of no other (A3, D1, D3)."""
    desk, seller, ada = await scene(instance)
    async with bridge(instance, ROUTES, replies=True) as thief:
        await thief.post("support@example.org", "a@partner.example", b"a question")
        await thief.post("support@example.org", "b@partner.example", b"another")
        await thief.post("sales@example.org", "a@partner.example", b"to the team")
        ghost, other = [(await desk.next(m.Delivery))[0].from_ for _ in range(2)]
        await thief.post("support@example.org", "c@partner.example", b"a third")
        assert await refusal(thief.post(desk.uid, "a@partner.example")) == f"route {desk.uid} not known"
        await desk.post(ghost, data=b"an answer")
        assert (await thief.next(m.Delivery))[0].from_ == desk.uid

        acked = await thief.post(desk.uid, "A@Partner.example", b"[gateway] not sent")
        event, _ = await desk.next(m.Delivery, lambda event: event.id == acked.msgid)
        assert (event.from_, event.alias) == (ghost, "a@partner.example")
        assert event.via == m.Via("intake", "a@partner.example", "network")
        before = {one.uid: len(await one.all_of(m.Delivery)) for one in (desk, seller, ada)}
        accounts = len(await instance.service.list_accounts())

        unknown = f"route {desk.uid} not known"
        assert await refusal(thief.post(desk.uid, "b@partner.example")) == unknown  # a ghost that he did not write to
        assert await refusal(thief.post(desk.uid, "new@partner.example")) == unknown
        assert await refusal(thief.post(desk.uid)) == "a bridge names in `as` for whom it speaks"
        for uid in (seller.uid, ada.uid, ghost, other, thief.uid, "nobody"):
            assert await refusal(thief.post(uid, "a@partner.example")) == f"route {uid} not known"
        to_group = [m.Recipient(desk.uid, m.TO_GROUP)]
        outsider = m.Outsider("a@partner.example", "network")
        assert "not known" in await refusal(thief.connection.post(fresh_id(), to_group, b"x", as_=outsider))
        both = [m.Recipient(desk.uid, m.TO_UID), m.Recipient(ada.uid, m.TO_UID)]
        assert "not known" in await refusal(thief.connection.post(fresh_id(), both, b"x", as_=outsider))
        assert {one.uid: len(await one.all_of(m.Delivery)) for one in (desk, seller, ada)} == before
        assert len(await instance.service.list_accounts()) == accounts  # a refused post makes no ghost

        await desk.block(ghost)
        assert (await thief.post(desk.uid, "a@partner.example")).msgid  # it learns nothing of that (D3)
        await instance.restart()
        await desk.log_in()
        assert len(await desk.all_of(m.Delivery)) == before[desk.uid]
        await thief.log_in()
        assert (await thief.post(desk.uid, "a@partner.example")).msgid
        await instance.service.bar_account(ghost)
        assert await refusal(thief.post(desk.uid, "a@partner.example")) == "a@partner.example is barred here"


async def test_a_payload_for_a_member_and_a_ghost_outlives_either(instance: TestInstance) -> None:
    """One file, two messages: the first device to acknowledge does not take it from the other."""
    desk, seller, _ = await scene(instance)
    async with bridge(instance, ROUTES, replies=True) as intake:
        await intake.post("support@example.org", "a@partner.example")
        ghost = (await desk.next(m.Delivery))[0].from_
        await seller.ping("Support Desk")
        await intake.quit()
        large = b"z" * 300_000
        await desk.post(ghost, seller.uid, data=large)
        assert (await seller.next(m.Delivery))[1] == large
        await seller.all_of(m.Delivery)
        await intake.log_in()
        assert (await intake.next(m.Delivery))[1] == large
        await intake.quit()
        await desk.all_of(m.Delivery)
        assert list((instance.folder / "payloads").iterdir()) == []
        await intake.log_in()


async def test_a_lost_key_ends_with_a_new_one(instance: TestInstance) -> None:
    await scene(instance)
    async with bridge(instance, ROUTES) as stolen:
        keys = AccountKeys.new(os.urandom)
        uid = await instance.service.ensure_bridge("intake", ROUTES, genesis_of(instance, keys))
        assert uid == stolen.uid
        assert await stolen.ends() == "device revoked"
        assert await refusal(stolen.log_in()) == "login failed"
        new = KeyDevice(instance, uid, keys.device.signer, keys.recovery)
        await new.log_in()
        await new.quit()


async def test_refused_mail_makes_nobody(tmp_path: Path) -> None:
    """A bridge in the wrong hands cannot fill the service with people who never wrote."""
    policy = Policy(quotas=Quotas(posts_per_hour=1))
    async with running_instance(tmp_path / "instance", policy=policy) as instance:
        await newcomer(instance, "Support Desk")
        async with bridge(instance, {"support@example.org": "Support Desk"}) as thief:
            await thief.post("support@example.org", "a@partner.example")
            before = len(await instance.service.list_accounts())
            for number in range(5):
                assert "quota" in await refusal(thief.post("support@example.org", f"{number}@partner.example"))
            await instance.restart()
            assert len(await instance.service.list_accounts()) == before


async def test_a_device_that_cannot_show_where_mail_comes_from_gets_none(instance: TestInstance) -> None:
    """A revision 1 client shows the name in the payload, which is the bridge's to choose (D1)."""
    old = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), keep := _Keep())
    await old.register("n", "Old Timer")
    async with bridge(instance, {"old@example.org": "Old Timer"}) as thief:
        forged = b'{"threadid":"","alias":"Ada Lovelace","subject":"pay"}pay'
        refused = await refusal(thief.post("old@example.org", "a@partner.example", forged))
        assert refused == "the recipient has no device with a key yet"
        assert len(await instance.service.list_accounts()) == 2  # no ghost for it
    assert [type(event) for event in keep.got if isinstance(event, m.Delivery)] == []
    await old.quit()


class _Keep:
    """What a client got."""

    def __init__(self) -> None:
        self.got: list[m2.StoredEvent] = []

    async def __call__(self, event: m2.StoredEvent, payload: Payload) -> None:
        self.got.append(event)


async def test_a_bridge_that_was_removed_is_made_anew(instance: TestInstance) -> None:
    await scene(instance)
    async with bridge(instance, ROUTES) as old:
        await instance.service.remove_account(old.uid)
    async with bridge(instance, ROUTES) as new:
        assert new.uid != old.uid
        assert (await new.post("support@example.org", "a@partner.example")).msgid


async def test_no_bridge_and_no_ghost_in_a_members_instance(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "members", policy=Policy(members=True)) as instance:
        with pytest.raises(RequestRefused, match="a members instance has no bridges"):
            await instance.service.ensure_bridge("intake", {}, genesis_of(instance, AccountKeys.new(os.urandom)))


async def _notify(sender: KeyDevice, uid: str) -> None:
    note = m.PostNotify(fresh_id(), (m.Recipient(uid, m.TO_UID),), datalen=2, notelen=1)
    await sender.connection._request(note.id, m.encode_head(note), b"nx", 2)


async def test_a_barred_ghost_is_heard_no_more_and_cannot_be_made_anew(instance: TestInstance) -> None:
    desk = await newcomer(instance, "Support Desk")
    async with bridge(instance, {"support@example.org": "Support Desk"}) as intake:
        await intake.post("support@example.org", "spam@x.example")
        ghost = (await desk.next(m.Delivery))[0].from_
        await instance.service.bar_account(ghost)
        again = intake.post("support@example.org", "spam@x.example")
        assert await refusal(again) == "spam@x.example is barred here"
        with pytest.raises(RequestRefused, match="bar them instead"):
            await instance.service.remove_account(ghost)


async def test_a_bridge_hears_of_members_of_a_group_who_have_no_device(instance: TestInstance) -> None:
    desk, bob = await newcomer(instance, "Support Desk"), await newcomer(instance, "Bob Builder")
    await form_group("Sales Team", desk, bob)
    sheet = KeyDevice(instance, bob.uid, bob.signer, bob.recovery)
    await sheet.enter_by_recovery()
    await sheet.append("revoke", recovery=True, target=bob.name)
    async with bridge(instance, {"sales@example.org": "Sales Team"}) as intake:
        acked = await intake.post("sales@example.org", "orders@partner.example")
        await desk.next(m.Delivery)
        event, _ = await intake.next(m2.ReturnEvent)
        assert (event.msgid, event.for_, event.reason) == (acked.msgid, (), "the recipient has no device")
