# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nobody reaches a person who has not agreed (A3, D3): acquaintance, blocks, quotas, invitations, over the wire."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.devices import KeyDevice, acquainted, fresh_id, newcomer, refusal
from tests.support.instance import TestInstance, running_instance
from tmtp_client.connection import Connection, Disconnected, Endpoint
from tmtp_core.domain.policy import Acquaintance, Policy, Quotas
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

DAY_S = 24 * 3600


@asynccontextmanager
async def instance_with(folder: Path, strictness: str = "introduction", **policy: Any) -> AsyncIterator[TestInstance]:
    rules = Policy(acquaintance=Acquaintance(strictness), **policy)
    async with running_instance(folder / "instance", policy=rules) as instance:
        yield instance


async def people(instance: TestInstance, *aliases: str) -> list[KeyDevice]:
    return [await newcomer(instance, alias) for alias in aliases]


async def may_post(one: KeyDevice, other: KeyDevice) -> bool:
    """Whether a post goes through, and arrives."""
    text = fresh_id().encode()
    try:
        await one.post(other.uid, data=text)
    except Exception as refused:
        assert str(refused) == "not acquainted"
        return False
    while (await other.next(m.Delivery))[1] != text:
        pass
    return True


# -- acquaintance ----------------------------------------------------------------------------------------------------
async def test_strangers_ping_and_do_not_post(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        assert not await may_post(ada, bob)
        await ada.ping("Bob Builder")
        assert not await may_post(ada, bob)  # a ping is no answer
        assert await may_post(bob, ada)  # whoever was pinged may answer
        assert await may_post(ada, bob)  # and has agreed by doing so


async def test_revision_1_clients_live_under_the_same_rule(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping") as instance:
        (bob,) = await people(instance, "Bob Builder")
        old = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
        await old.register("n", "Old Timer")
        post = old.post("1", [m.Recipient(bob.uid, m.TO_UID)], b"x")
        assert await refusal(post) == "not acquainted"
        note = m.PostNotify("2", (), (m.Recipient(bob.uid, m.TO_UID),), datalen=2, notelen=1)
        await old._send(m.encode_head(note) + b"nx")
        await old.post("3", [], b"x")
        assert await bob.all_of(m.Notify) == []
        await bob.ping("Old Timer")
        await old.post("4", [m.Recipient(bob.uid, m.TO_UID)], b"x")
        await bob.next(m.Delivery)
        await old.quit()


async def test_a_post_through_a_common_group_needs_no_acquaintance(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await ada.connection.group_invite("1", "The Chess Club", "Ada Lovelace", "Bob Builder")
        group = [m.Recipient("The Chess Club", m.TO_GROUP_NOT_SELF)]
        await ada.connection.post(fresh_id(), group, b"nobody hears")
        await bob.connection.ask(m.GroupEdit("1", "join", "The Chess Club"))
        await ada.connection.post(fresh_id(), group, b"to the club")
        assert (await bob.next(m.Delivery))[1] == b"to the club"
        await bob.connection.post(fresh_id(), group, b"from the club")
        assert (await ada.next(m.Delivery))[1] == b"from the club"
        assert not await may_post(ada, bob)


async def test_everyone_may_post_where_everyone_is_acquainted(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        assert await may_post(ada, bob)


@pytest.mark.parametrize(("strictness", "introduces"), [("ping", False), ("introduction", True)])
async def test_an_introduction(tmp_path: Path, strictness: str, introduces: bool) -> None:
    async with instance_with(tmp_path, strictness) as instance:
        carol, ada, bob = await people(instance, "Carol Danvers", "Ada Lovelace", "Bob Builder")
        await acquainted(carol, ada)
        await acquainted(carol, bob)
        assert not await may_post(ada, bob)
        await carol.post(ada.uid, bob.uid, data=b"you two should talk")
        assert await may_post(ada, bob) is introduces
        assert await may_post(bob, ada) is introduces
        if introduces:
            ada2, dan = carol, (await people(instance, "Dan Dare"))[0]
            await acquainted(ada, dan)
            await ada.post(dan.uid, ada2.uid)  # Ada knows both by herself
            assert await may_post(dan, carol)


async def test_who_was_introduced_introduces_nobody_to_him(tmp_path: Path) -> None:
    async with instance_with(tmp_path) as instance:
        carol, ada, bob, eve = await people(instance, "Carol Danvers", "Ada Lovelace", "Bob Builder", "Eve Dropper")
        await acquainted(carol, ada)
        await acquainted(carol, bob)
        await acquainted(ada, eve)
        await carol.post(ada.uid, bob.uid)
        await ada.post(bob.uid, eve.uid)
        assert not await may_post(eve, bob)


async def test_blocking_the_introducer_ends_what_he_introduced(tmp_path: Path) -> None:
    async with instance_with(tmp_path) as instance:
        carol, ada, bob = await people(instance, "Carol Danvers", "Ada Lovelace", "Bob Builder")
        await acquainted(carol, ada)
        await acquainted(carol, bob)
        await carol.post(ada.uid, bob.uid)
        assert await may_post(ada, bob)
        await carol.post(ada.uid, bob.uid)
        eve = (await people(instance, "Eve Dropper"))[0]
        await acquainted(carol, eve)
        await carol.post(eve.uid, bob.uid)
        await bob.block(carol.uid)
        assert not await may_post(eve, bob)
        assert await may_post(ada, bob) is False  # Bob never wrote to her himself


async def test_introductions_can_be_switched_off(tmp_path: Path) -> None:
    async with instance_with(tmp_path) as instance:
        carol, ada, bob = await people(instance, "Carol Danvers", "Ada Lovelace", "Bob Builder")
        await acquainted(carol, ada)
        await acquainted(carol, bob)
        await bob.connection.ask(m2.BlockEdit(fresh_id(), "introductions_off"))
        await carol.post(ada.uid, bob.uid)
        assert not await may_post(ada, bob)
        await bob.connection.ask(m2.BlockEdit(fresh_id(), "introductions_on"))
        await carol.post(ada.uid, bob.uid)
        assert await may_post(ada, bob)


async def test_introductions_have_limits(tmp_path: Path) -> None:
    async with instance_with(tmp_path, quotas=Quotas(introductions_per_day=20)) as instance:
        carol, *others = await people(instance, "Carol Danvers", *(f"Person {number}" for number in range(7)))
        for other in others:
            await acquainted(carol, other)
        everybody = [other.uid for other in others]

        async def pairs() -> int:
            state = await instance.service.decide(
                lambda ledger: [
                    (one, other)
                    for one in everybody
                    for other in everybody
                    if ledger.account(other).key in ledger.account(one).admits
                ]
            )
            return len(state) // 2

        await carol.post(*everybody)
        assert await pairs() == 16  # of 21, in one message
        await carol.post(*everybody)
        assert await pairs() == 20  # in one day
        await instance.advance(DAY_S)
        for other in (carol, *others):
            await other.connection.close()
        await carol.log_in()
        await carol.post(*everybody)
        assert await pairs() == 21


async def test_presence_goes_to_acquaintances(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        listed = (m.Recipient(bob.uid),)
        await ada.connection.ask(m.OhiEdit(fresh_id(), "add", listed))
        await bob.all_of(m.Delivery)
        assert bob.present == []
        await bob.ping("Ada Lovelace")
        await ada.connection.ask(m.OhiEdit(fresh_id(), "add", listed))
        await bob.all_of(m.Delivery)
        assert bob.present == [(ada.uid, 1)]
        await bob.block(ada.uid)
        assert bob.present == [(ada.uid, 1), (ada.uid, 2)]


# -- blocks ----------------------------------------------------------------------------------------------------------
async def test_a_blocked_sender_cannot_tell(tmp_path: Path) -> None:
    """The same requests, once to somebody who has blocked the sender and once to somebody who has not.

    Asserted on effects: the answers, their order, and what the commit path is asked to do.
    """
    async with instance_with(tmp_path, "introduction") as instance:
        ada, bob, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare")
        await acquainted(ada, bob)
        await acquainted(ada, dan)
        await bob.block(ada.uid)
        before = (len(bob.got), len(dan.got))

        async def attempts(other: KeyDevice, group: str) -> list[Any]:
            acks: list[m.Acked] = [
                await ada.post(other.uid, data=b"1"),
                await ada.ping((await other.aliases())[0]),
                await ada.connection.group_invite(fresh_id(), group, "Ada Lovelace", (await other.aliases())[0]),
                await ada.connection.ask(m.OhiEdit(fresh_id(), "add", (m.Recipient(other.uid),))),
                await ada.post(other.uid, data=b"x" * 200_000),
            ]
            repeated = acks[0]
            again = await ada.connection.post(
                f"request {int(repeated.id.split()[1])}", [m.Recipient(other.uid, m.TO_UID)], b"1"
            )
            assert (again.msgid, again.posted) == (repeated.msgid, repeated.posted)
            own = [event for event in await ada.all_of(m.MemberEvent) if event.gid == group]
            return [[bool(ack.msgid), bool(ack.posted), ack.error] for ack in acks] + [len(own), own[0].act]

        decided = instance.service.figures()["decisions_total"]
        blocked = await attempts(bob, "The Chess Club")
        for_blocked = instance.service.figures()["decisions_total"] - decided
        unblocked = await attempts(dan, "The Go Circle")
        assert blocked == unblocked
        assert instance.service.figures()["decisions_total"] - decided == 2 * for_blocked
        await bob.all_of(m.Delivery)
        await dan.all_of(m.Delivery)
        heard = [type(event).__name__ for event, _ in bob.got[before[0] :]]
        assert set(heard) <= {"UserEvent"}
        assert {"Delivery", "PingEvent", "InviteEvent"} <= {type(event).__name__ for event, _ in dan.got[before[1] :]}
        assert (ada.uid, 1) not in bob.present


async def test_blocks_reach_own_devices_and_can_be_lifted(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        phone = await bob.add_device()
        await bob.block(ada.uid)
        event, _ = await phone.next(m2.BlockEvent)
        assert (event.act, event.uid) == ("block", ada.uid)
        await ada.post(bob.uid, data=b"lost")
        await bob.block(ada.uid, "unblock")
        await ada.post(bob.uid, data=b"heard")
        assert (await bob.next(m.Delivery))[1] == b"heard"
        assert "not found" in await refusal(bob.block("B" * 32))


async def test_a_block_does_not_silence_a_common_group(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await ada.connection.group_invite("1", "The Chess Club", "Ada Lovelace", "Bob Builder")
        await bob.connection.ask(m.GroupEdit("1", "join", "The Chess Club"))
        await bob.block(ada.uid)
        await ada.connection.post(fresh_id(), [m.Recipient("The Chess Club", m.TO_GROUP_NOT_SELF)], b"to the club")
        assert (await bob.next(m.Delivery))[1] == b"to the club"


async def test_the_log_of_a_blocked_one_is_not_pushed(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await acquainted(ada, bob)
        await bob.block(ada.uid)
        await ada.add_device()
        await bob.add_device()
        assert [event.uid for event in await bob.all_of(m2.LogEvent)] == []
        assert [event.uid for event in await ada.all_of(m2.LogEvent)] == []


# -- quotas ----------------------------------------------------------------------------------------------------------
async def test_pings_have_a_quota_a_day(tmp_path: Path) -> None:
    async with instance_with(tmp_path, quotas=Quotas(pings_per_day=3)) as instance:
        ada, _ = await people(instance, "Ada Lovelace", "Bob Builder")
        await ada.ping("Bob Builder")
        await ada.ping("Bob Builder")
        await ada.connection.group_invite("1", "The Chess Club", "Ada Lovelace", "Bob Builder")
        assert await refusal(ada.ping("Bob Builder")) == "quota: 3 pings a day; try again later"
        assert "quota: 3 pings a day" in await refusal(
            ada.connection.group_invite("2", "The Chess Club", "Ada Lovelace", "Bob Builder")
        )
        await instance.restart()  # a quota of pings is durable
        await ada.log_in()
        assert "quota: 3 pings" in await refusal(ada.ping("Bob Builder"))
        await ada.connection.close()
        await instance.advance(DAY_S)
        await ada.log_in()
        await ada.ping("Bob Builder")


async def test_pings_that_reach_nobody_have_a_quota_in_a_row(tmp_path: Path) -> None:
    async with instance_with(tmp_path, quotas=Quotas(failed_pings_in_a_row=2)) as instance:
        ada, _ = await people(instance, "Ada Lovelace", "Bob Builder")
        for _ in range(3):
            assert "not found" in await refusal(ada.ping("Nobody at all"))
            await ada.ping("Bob Builder")
        assert "not found" in await refusal(ada.ping("Nobody at all"))
        assert "not found" in await refusal(ada.ping("Nobody at all"))
        assert await refusal(ada.ping("Bob Builder")) == ("quota: 2 pings in a row reached nobody; try again tomorrow")


async def test_posts_and_octets_have_quotas_an_hour(tmp_path: Path) -> None:
    quotas = Quotas(posts_per_hour=3, bytes_per_hour=1_000)
    async with instance_with(tmp_path, "everyone", quotas=quotas) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        assert await refusal(ada.post(bob.uid, data=b"x" * 1_001)) == "quota: 1000 bytes an hour; try again later"
        for _ in range(3):
            await ada.post(bob.uid, data=b"x")
        assert await refusal(ada.post(bob.uid, data=b"x")) == "quota: 3 posts an hour; try again later"
        await bob.post(ada.uid, data=b"x")  # another one's quota
        await ada.connection.close()
        await instance.advance(3600)
        await ada.log_in()
        await ada.post(bob.uid, data=b"x")


# -- invitations -----------------------------------------------------------------------------------------------------
async def test_members_invite_where_they_may(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping", members_invite=True) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        made = await ada.connection.ask(m2.InviteEdit("1", "create", uses=2, note="for the team"))
        assert made.token
        bob = await newcomer(instance, "Bob Builder", made.token)
        assert await may_post(ada, bob)
        assert await may_post(bob, ada)
        listing, data = await ada.connection.inquire(m2.InviteEdit("2", "list"))
        assert isinstance(listing, m2.Listing)
        assert json.loads(data) == [{"invitation": made.invitation, "uses_left": 1, "note": "for the team"}]
        assert made.token.encode() not in data
        await ada.connection.ask(m2.InviteEdit("3", "revoke", invitation=made.invitation))
        with pytest.raises(Disconnected, match="invitation required"):
            await newcomer(instance, "Carol Danvers", made.token)
        assert "no invitation" in await refusal(bob.connection.ask(m2.InviteEdit("1", "revoke", invitation="1")))


async def test_an_invitation_into_a_group(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping", members_invite=True) as instance:
        ada, dan = await people(instance, "Ada Lovelace", "Dan Dare")
        await ada.connection.group_invite("1", "The Chess Club", "Ada Lovelace", "Dan Dare")
        made = await ada.connection.ask(m2.InviteEdit("2", "create", uses=2, gid="The Chess Club"))
        assert "not a member" in await refusal(dan.connection.ask(m2.InviteEdit("1", "create", gid="The Chess Club")))
        bob = await newcomer(instance, "Bob Builder", made.token)
        event, _ = await bob.next(m.InviteEvent)
        assert (event.gid, event.alias, event.to) == ("The Chess Club", "Ada Lovelace", "Bob Builder")
        await bob.connection.ask(m.GroupEdit("1", "join", "The Chess Club"))
        await ada.connection.ask(m.GroupEdit("3", "drop", "The Chess Club", to="Ada Lovelace"))
        carol = await newcomer(instance, "Carol Danvers", made.token)  # the inviter has left
        assert "not invited" in await refusal(carol.connection.ask(m.GroupEdit("1", "join", "The Chess Club")))


async def test_invitations_are_bounded_and_end_with_their_maker(tmp_path: Path) -> None:
    async with instance_with(tmp_path, members_invite=True, quotas=Quotas(invitations_per_day=3)) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        made = await ada.connection.ask(m2.InviteEdit("1", "create", uses=3))
        assert "quota" in await refusal(ada.connection.ask(m2.InviteEdit("2", "create")))
        await instance.service.bar_account("Ada Lovelace")
        with pytest.raises(Disconnected, match="invitation required"):
            await newcomer(instance, "Bob Builder", made.token)
    async with instance_with(tmp_path / "2") as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        assert "only administrators invite" in await refusal(ada.connection.ask(m2.InviteEdit("1", "create")))


async def test_an_invitation_expires(tmp_path: Path) -> None:
    async with instance_with(tmp_path, members_invite=True) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        soon_ms = instance.clock.wall_ns() // 1_000_000 + 1_000
        made = await ada.connection.ask(m2.InviteEdit("1", "create", expires=soon_ms))
        await instance.advance(1.0)
        with pytest.raises(Disconnected, match="invitation expired"):
            await newcomer(instance, "Bob Builder", made.token)
        assert "past" in await refusal(ada.connection.ask(m2.InviteEdit("2", "create", expires=soon_ms)))


# -- looking up ------------------------------------------------------------------------------------------------------
async def test_the_directory_tells_aliases_and_not_many(tmp_path: Path) -> None:
    async with instance_with(tmp_path, quotas=Quotas(finds_per_hour=3)) as instance:
        (ada, *_) = await people(instance, "Ada Lovelace", "Bob Builder", "Bob_ Builder")
        _, data = await ada.connection.inquire(m2.Find("1", "bob"))
        assert json.loads(data) == ["Bob Builder", "Bob_ Builder"]
        _, data = await ada.connection.inquire(m2.Find("2", "bob_"))
        assert json.loads(data) == ["Bob_ Builder"]
        assert "at least 3" in await refusal(ada.connection.inquire(m2.Find("3", "bo")))
        await ada.connection.inquire(m2.Find("4", "nobody"))
        assert "quota" in await refusal(ada.connection.inquire(m2.Find("5", "nobody")))
    async with instance_with(tmp_path / "2", directory=False) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        assert "no directory" in await refusal(ada.connection.inquire(m2.Find("1", "bob")))


async def test_who_has_joined_a_group_is_told_to_who_has(tmp_path: Path) -> None:
    async with instance_with(tmp_path) as instance:
        ada, bob, eve = await people(instance, "Ada Lovelace", "Bob Builder", "Eve Dropper")
        await ada.connection.group_invite("1", "The Chess Club", "Ada Lovelace", "Bob Builder")
        for outsider in (bob, eve):
            assert "not a member" in await refusal(outsider.connection.inquire(m2.GroupInfo("1", "The Chess Club")))
        await bob.connection.ask(m.GroupEdit("2", "join", "The Chess Club"))
        _, data = await bob.connection.inquire(m2.GroupInfo("3", "The Chess Club"))
        assert json.loads(data) == [
            {"uid": ada.uid, "alias": "Ada Lovelace", "owner": True},
            {"uid": bob.uid, "alias": "Bob Builder"},
        ]


@pytest.mark.parametrize("owners", [False, True])
async def test_who_moderates_a_group(tmp_path: Path, owners: bool) -> None:
    async with instance_with(tmp_path, owners_moderate=owners) as instance:
        ada, bob, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare")
        for number, other in enumerate((bob, dan)):
            alias = (await other.aliases())[0]
            await ada.connection.group_invite(f"i{number}", "The Chess Club", "Ada Lovelace", alias)
            await other.connection.ask(m.GroupEdit("j", "join", "The Chess Club"))
        drop = m.GroupEdit("1", "drop", "The Chess Club", to="Dan Dare")
        if not owners:
            await bob.connection.ask(drop)
            return
        assert "only the owner drops" in await refusal(bob.connection.ask(drop))
        await ada.connection.ask(drop)
        back = bob.connection.group_invite("2", "The Chess Club", "Bob Builder", "Dan Dare")
        assert "only the owner lifts a bar" in await refusal(back)
        await ada.connection.group_invite("3", "The Chess Club", "Ada Lovelace", "Dan Dare")
        await dan.connection.ask(m.GroupEdit("2", "join", "The Chess Club"))
        await ada.connection.ask(m.GroupEdit("4", "drop", "The Chess Club", to="Ada Lovelace"))
        await bob.connection.ask(m.GroupEdit("5", "drop", "The Chess Club", to="Dan Dare"))  # Bob owns it now


# -- returns ---------------------------------------------------------------------------------------------------------
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
