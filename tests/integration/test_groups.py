# SPDX-License-Identifier: AGPL-3.0-or-later
"""Groups as revision 2 has them (A6): who is in, who moderates, who inherits; the wire vectors have the rest."""

import json
from pathlib import Path

import pytest

from tests.support.devices import fresh_id, newcomer, refusal
from tests.support.instance import TestInstance
from tests.support.outside import bridge
from tests.support.people import form_group, instance_with, people, to_group
from tmtp_client.connection import Connection, Endpoint
from tmtp_core import limits
from tmtp_core.domain.policy import Quotas
from tmtp_core.errors import RequestRefused
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

CLUB = "The Chess Club"


async def owner_of(instance: TestInstance, gid: str) -> str:
    """The uid of a group's owner."""
    return await instance.service.decide(lambda ledger: ledger.account_by_key(ledger.group(gid).owner).uid)


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


# -- who inherits ----------------------------------------------------------------------------------------------------
async def test_a_group_passes_to_its_eldest_member(tmp_path: Path) -> None:
    """Who joined first, not who opened an account first."""
    async with instance_with(tmp_path, owners_moderate=True) as instance:
        bob, ada, dan = await people(instance, "Bob Builder", "Ada Lovelace", "Dan Dare")
        await form_group(CLUB, ada, dan)
        await instance.advance(1)
        await form_group(CLUB, ada, bob)
        await ada.connection.ask(m.GroupEdit(fresh_id(), "drop", CLUB, to="Ada Lovelace"))
        assert await owner_of(instance, CLUB) == dan.uid
        await instance.restart()
        assert await owner_of(instance, CLUB) == dan.uid


async def test_a_removed_owner_leaves_the_group_to_somebody(tmp_path: Path) -> None:
    async with instance_with(tmp_path, owners_moderate=True) as instance:
        ada, dan, bob = await people(instance, "Ada Lovelace", "Dan Dare", "Bob Builder")
        await form_group(CLUB, ada, dan, bob)
        await instance.service.remove_account("Ada Lovelace")
        assert await owner_of(instance, CLUB) == dan.uid
        await dan.connection.ask(m.GroupEdit(fresh_id(), "drop", CLUB, to="Bob Builder"))


async def test_who_joins_a_group_without_an_owner_has_it(tmp_path: Path) -> None:
    async with instance_with(tmp_path, owners_moderate=True) as instance:
        ada, dan = await people(instance, "Ada Lovelace", "Dan Dare")
        await ada.connection.group_invite(fresh_id(), CLUB, "Ada Lovelace", "Dan Dare")
        await ada.connection.ask(m.GroupEdit(fresh_id(), "drop", CLUB, to="Ada Lovelace"))  # before anybody joined
        await dan.connection.ask(m.GroupEdit(fresh_id(), "join", CLUB))
        assert await owner_of(instance, CLUB) == dan.uid


# -- who comes by invitation -----------------------------------------------------------------------------------------
async def test_nobody_is_in_a_group_without_a_name(tmp_path: Path) -> None:
    """A member who cannot be named cannot be barred."""
    async with instance_with(tmp_path, "ping", members_invite=True) as instance:
        ada, dan = await people(instance, "Ada Lovelace", "Dan Dare")
        await form_group(CLUB, ada, dan)
        made = await ada.connection.ask(m2.InviteEdit(fresh_id(), "create", gid=CLUB))
        eve = await newcomer(instance, "_", made.token)
        assert "not for iUid" in await refusal(eve.connection.ask(m.GroupEdit(fresh_id(), "join", CLUB)))
        await eve.connection.ask(m.UserEdit(fresh_id(), newalias="Eve Dropper"))
        await eve.connection.ask(m.GroupEdit(fresh_id(), "join", CLUB))
        joined = [event.alias for event in await dan.all_of(m.MemberEvent) if event.act == "join"]
        assert joined[-1] == "Eve Dropper"
        await ada.connection.ask(m.GroupEdit(fresh_id(), "drop", CLUB, to="Eve Dropper"))
        assert "not a member" in await refusal(eve.connection.post(fresh_id(), to_group(CLUB), b"x"))


async def test_an_invitation_is_announced_to_the_group_and_bounded_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with instance_with(tmp_path, "ping", members_invite=True) as instance:
        ada, dan = await people(instance, "Ada Lovelace", "Dan Dare")
        await form_group(CLUB, ada, dan)
        monkeypatch.setattr(limits, "GROUP_MEMBERS_MAX", 3)
        made = await ada.connection.ask(m2.InviteEdit(fresh_id(), "create", uses=2, gid=CLUB))
        bob = await newcomer(instance, "Bob Builder", made.token)
        invited = [event.alias for event in await dan.all_of(m.MemberEvent) if event.act == "invite"]
        assert invited[-1] == "Bob Builder"
        await bob.connection.ask(m.GroupEdit(fresh_id(), "join", CLUB))
        eve = await newcomer(instance, "Eve Dropper", made.token)  # an acquaintance, and no member
        assert "not invited" in await refusal(eve.connection.ask(m.GroupEdit(fresh_id(), "join", CLUB)))


# -- what costs ------------------------------------------------------------------------------------------------------
async def test_what_is_told_to_a_whole_group_is_counted(tmp_path: Path) -> None:
    async with instance_with(tmp_path, quotas=Quotas(posts_per_hour=3)) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await form_group(CLUB, bob, ada)
        edit = m.GroupEdit("1", "alias", CLUB, "Ada Lovelace")
        for _ in range(2):
            await ada.connection.ask(edit)
        assert "quota: 3 posts an hour" in await refusal(ada.connection.ask(edit))
        assert len([event for event in await bob.all_of(m.MemberEvent) if event.act == "alias"]) == 2


async def test_lists_of_members_are_counted(tmp_path: Path) -> None:
    """The list of a large group is long, and is made while others wait."""
    async with instance_with(tmp_path, quotas=Quotas(posts_per_hour=2)) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await form_group(CLUB, ada, bob)
        for _ in range(2):
            _, data = await ada.connection.inquire(m2.GroupInfo(fresh_id(), CLUB))
            assert len(json.loads(data)) == 2
        assert "quota: 2 posts an hour" in await refusal(ada.connection.inquire(m2.GroupInfo(fresh_id(), CLUB)))


# -- what end-to-end encryption needs --------------------------------------------------------------------------------
async def test_members_of_a_group_see_one_anothers_logs(tmp_path: Path) -> None:
    """Strangers in a common group write to one another's devices through it."""
    async with instance_with(tmp_path, "ping") as instance:
        ada, bob, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare")
        assert "no log" in await refusal(bob.log(dan.uid))
        await form_group(CLUB, ada, bob, dan)
        assert (await bob.log(dan.uid)).standing(dan.name, 0) == "full"
        await ada.connection.ask(m.GroupEdit(fresh_id(), "drop", CLUB, to="Dan Dare"))
        assert "no log" in await refusal(dan.log(bob.uid))


async def test_names_that_mail_is_routed_to_are_kept(tmp_path: Path) -> None:
    """Or the first who asks gets the organisation's mail, or gives himself out as who gets it (C2, D1)."""
    async with instance_with(tmp_path, members_invite=True) as instance:
        routes = {"support@example.org": "Support Desk", "sales@example.org": "Sales Team"}
        async with bridge(instance, routes):
            eve = await newcomer(instance, "Eve Dropper")
            for attempt in (
                eve.connection.ask(m.UserEdit(fresh_id(), newalias="Support Desk")),
                eve.connection.ask(m.UserEdit(fresh_id(), newalias="Suppоrt Desk")),
                eve.connection.group_invite(fresh_id(), "Sales Team", "Eve Dropper", "Eve Dropper"),
            ):
                assert "it takes an administrator" in await refusal(attempt)
            stranger = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
            assert "it takes an administrator" in (await stranger.register("n", "Support Desk")).error
            await stranger.quit()
            answer = await eve.connection.ask(m2.InviteEdit(fresh_id(), "create", uses=1))
            friend = await newcomer(instance, "_", answer.token)  # a member's word is not enough
            assert "it takes an administrator" in await refusal(
                friend.connection.ask(m.UserEdit(fresh_id(), newalias="Support Desk"))
            )
            desk = await newcomer(instance, "Support Desk", await instance.new_invitation(vouches=True))
            assert await desk.aliases() == ["Support Desk"]


async def test_an_administrator_gives_names_that_are_kept(tmp_path: Path) -> None:
    async with instance_with(tmp_path) as instance:
        routes = {"support@example.org": "Support Desk", "sales@example.org": "Sales Team"}
        async with bridge(instance, routes) as intake:
            ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
            await instance.service.give_alias("Ada Lovelace", "Support Desk")
            event, _ = await ada.next(m.UserEvent, lambda event: event.newalias == "Support Desk")
            assert event.from_ == ada.uid
            owner = await instance.service.found_group("Sales Team", ada.uid)
            assert owner.aliases == ("Ada Lovelace", "Support Desk")
            member, _ = await ada.next(m.MemberEvent)
            assert (member.act, member.gid, member.alias) == ("join", "Sales Team", "Ada Lovelace")
            await ada.connection.group_invite(fresh_id(), "Sales Team", "Ada Lovelace", "Bob Builder")
            await bob.connection.ask(m.GroupEdit(fresh_id(), "join", "Sales Team"))
            await intake.post("sales@example.org", "c@d.example", data=b"an order")
            for one in (ada, bob):
                assert (await one.next(m.Delivery))[1] == b"an order"
            for attempt, why in (
                (instance.service.give_alias("Bob Builder", "Support Desk"), "already taken"),
                (instance.service.give_alias("Bob Builder", "short"), "8\\+ characters"),
                (instance.service.give_alias("Nobody at all", "Long Enough"), "no account has"),
                (instance.service.give_alias(intake.uid, "Long Enough"), "is no member"),
                (instance.service.found_group("Sales Team", "Bob Builder"), "not available"),
                (instance.service.found_group("Support Desks", intake.uid), "is no member"),
            ):
                with pytest.raises(RequestRefused, match=why):
                    await attempt
