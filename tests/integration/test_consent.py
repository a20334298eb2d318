# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nobody reaches a person who has not agreed (A3, D3): acquaintance, quotas, invitations, the directory."""

import json
from pathlib import Path

import pytest

from tests.support.devices import acquainted, fresh_id, newcomer, refusal
from tests.support.people import DAY_S, instance_with, may_post, people
from tmtp_client.connection import Connection, Disconnected, Endpoint
from tmtp_core.domain.policy import Quotas
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2


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
        for introduced in (eve, ada):  # Bob never wrote to them himself; they are answered as before, and not heard
            assert (await introduced.post(bob.uid, data=b"after the block")).msgid
        await bob.all_of(m.Delivery)
        assert b"after the block" not in [data for _, data in bob.got]
        await bob.post(ada.uid)
        assert await may_post(ada, bob)  # now he did


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


async def test_pinging_oneself_proves_nothing(tmp_path: Path) -> None:
    async with instance_with(tmp_path, quotas=Quotas(failed_pings_in_a_row=2)) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        assert "not found" in await refusal(ada.ping("Nobody at all"))
        await ada.ping("Ada Lovelace")
        assert "not found" in await refusal(ada.ping("Nobody at all"))
        assert "reached nobody" in await refusal(ada.ping("Nobody at all"))


async def test_a_quota_of_the_hour_outlives_what_others_do(tmp_path: Path) -> None:
    """The caches of the service are emptied when an account is removed; what was used up is not among them."""
    async with instance_with(tmp_path, "everyone", quotas=Quotas(posts_per_hour=2)) as instance:
        ada, bob, _ = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare")
        for _ in range(2):
            await ada.post(bob.uid)
        await instance.service.remove_account("Dan Dare")
        assert "quota: 2 posts an hour" in await refusal(ada.post(bob.uid))


async def test_names_told_to_own_devices_are_counted(tmp_path: Path) -> None:
    async with instance_with(tmp_path, quotas=Quotas(posts_per_hour=2)) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        again = m.UserEdit("1", newalias="Ada Lovelace")
        for _ in range(2):
            await ada.connection.ask(again)
        assert "quota: 2 posts an hour" in await refusal(ada.connection.ask(again))


async def test_prekeys_are_counted(tmp_path: Path) -> None:
    async with instance_with(tmp_path, quotas=Quotas(posts_per_hour=2)) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        wrong = m2.KeyEdit("1", "no key", 0, "no signature")
        for _ in range(2):
            assert "KeyEdit: key" in await refusal(ada.connection.ask(wrong))
        assert "quota: 2 posts an hour" in await refusal(ada.connection.ask(wrong))


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


@pytest.mark.parametrize("registration", ["open", "invite"])
async def test_a_token_is_nobodys_name(tmp_path: Path, registration: str) -> None:
    """A client that knows no field for it brings an invitation as its whole alias, wherever it registers."""
    async with instance_with(tmp_path, registration=registration) as instance:
        token = await instance.new_invitation()
        old = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
        assert (await old.register("n", token)).error == "choose an alias"
        await old.quit()
        assert [account.aliases for account in await instance.service.list_accounts()] == [()]
        again = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
        if registration == "invite":
            with pytest.raises(Disconnected, match="invitation required"):
                await again.register("n", token)  # it was used up
        await again.close()


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
    async with instance_with(tmp_path / "2") as instance:
        (ada, *_) = await people(instance, "Ada Lovelace", "Änne Öztürk")
        for text in ("änn", "ÄNNE Ö", "Änne öz"):
            _, data = await ada.connection.inquire(m2.Find("1", text))
            assert json.loads(data) == ["Änne Öztürk"]
    async with instance_with(tmp_path / "3", directory=False) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        assert "no directory" in await refusal(ada.connection.inquire(m2.Find("1", "bob")))


async def test_a_clock_that_ran_ahead_uses_up_no_quota(tmp_path: Path) -> None:
    year_s = 365 * DAY_S
    async with instance_with(tmp_path, "everyone", quotas=Quotas(pings_per_day=2)) as instance:
        ada, _ = await people(instance, "Ada Lovelace", "Bob Builder")
        instance.clock.step_wall(year_s)
        for _ in range(2):
            await ada.ping("Bob Builder")
        assert "quota: 2 pings a day" in await refusal(ada.ping("Bob Builder"))
        instance.clock.step_wall(-year_s)
        await ada.ping("Bob Builder")


async def test_no_invitation_outlasts_the_calendar(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone", members_invite=True) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        wanted = m2.InviteEdit(fresh_id(), "create", expires=2**60)
        assert "invalid header" in await refusal(ada.connection.ask(wanted))
