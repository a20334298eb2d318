# SPDX-License-Identifier: AGPL-3.0-or-later
"""Blocks (D3): whoever is blocked is not heard, and cannot tell. Asserted on effects, never on the clock."""

from pathlib import Path
from typing import Any

from tests.support.devices import KeyDevice, acquainted, fresh_id, refusal
from tests.support.outside import bridge
from tests.support.people import DAY_S, instance_with, may_post, people
from tmtp_core.domain.policy import Quotas
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2


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


async def test_a_block_is_not_seen_in_what_comes_back(tmp_path: Path) -> None:
    """What a blocked sender posts to somebody who is away comes back as anybody's does; nobody is shown it."""
    async with instance_with(tmp_path, "everyone", return_after_ms=30 * DAY_S * 1000) as instance:
        ada, eve, bob = await people(instance, "Ada Lovelace", "Eve Dropper", "Bob Builder")
        await bob.block(ada.uid)
        await bob.quit()
        sent = {}
        for sender in (ada, eve):
            acks = [
                await sender.post(bob.uid, data=b"x" * 100_000),
                await sender.ping("Bob Builder"),
                await sender.connection.group_invite(
                    fresh_id(), f"Group of {sender.uid[:8]}", (await sender.aliases())[0], "Bob Builder"
                ),
            ]
            sent[sender.uid] = [ack.msgid for ack in acks]
            await sender.quit()
        await instance.advance(31 * DAY_S)
        await instance.settle()
        for sender in (ada, eve):
            await sender.log_in()
            returns = await sender.all_of(m2.ReturnEvent)
            assert [event.msgid for event in returns] == sent[sender.uid]
            assert [event.for_ for event in returns] == [(bob.uid,), (), ()]
        await bob.log_in()
        assert {type(event) for event in [event for event, _ in bob.got]} <= {m.LoginEvent, m.UserEvent}
        assert list((instance.folder / "payloads").iterdir()) == []


async def test_what_is_hidden_is_taken_like_the_rest(tmp_path: Path) -> None:
    """A device that comes takes it, page after page, and never shows it; then nothing is kept and nothing comes back."""
    async with instance_with(tmp_path, "everyone", return_after_ms=30 * DAY_S * 1000) as instance:
        ada, eve, bob = await people(instance, "Ada Lovelace", "Eve Dropper", "Bob Builder")
        await bob.block(ada.uid)
        await ada.post(bob.uid, data=b"to a device that is there")
        await instance.settle()
        assert instance.service.figures()["messages_queued"] == 1  # as long as nothing is heard of it
        await bob.all_of(m.Delivery)
        await instance.settle()
        assert instance.service.figures()["messages_queued"] == 0
        await bob.quit()
        for number in range(150):  # more than a page
            await ada.post(bob.uid, data=b"hidden %d" % number)
        await eve.post(bob.uid, data=b"shown")
        await ada.post(bob.uid, eve.uid, data=b"hidden from one of two")
        assert (await eve.next(m.Delivery))[1] == b"hidden from one of two"
        await bob.log_in()
        assert (await bob.next(m.Delivery))[1] == b"shown"
        await bob.all_of(m.Delivery)
        await instance.settle()
        assert [data for event, data in bob.got if isinstance(event, m.Delivery)] == [b"shown"]
        await bob.quit()
        assert instance.service.figures()["messages_queued"] <= 1  # its last `user` message, perhaps
        await ada.quit()
        await instance.advance(31 * DAY_S)
        await ada.log_in()
        assert await ada.all_of(m2.ReturnEvent) == []


async def test_whom_a_blocked_one_introduces_cannot_tell_either(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "introduction") as instance:
        ada, bob, dan, puppet = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare", "Puppet Master")
        for other in (bob, dan, puppet):
            await acquainted(ada, other)
        await bob.block(ada.uid)
        for other in (bob, dan):
            await ada.post(other.uid, puppet.uid)
            assert (await puppet.post(other.uid, data=b"hello from the puppet")).msgid
        assert (await dan.next(m.Delivery, lambda event: event.from_ == puppet.uid))[1] == b"hello from the puppet"
        assert [event.from_ for event in await bob.all_of(m.Delivery)] == []
        await puppet.ping("Bob Builder", "nobody introduced me this time")
        await bob.next(m.PingEvent, lambda event: event.from_ == puppet.uid)
        await bob.block(ada.uid, "unblock")
        assert await may_post(puppet, bob)


async def test_a_log_is_pushed_to_whom_one_blocks_and_not_to_whom_one_is_blocked_by(tmp_path: Path) -> None:
    """The blocked one can fetch the log, so it would notice a push that is missing."""
    async with instance_with(tmp_path, "introduction") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await acquainted(ada, bob)
        await bob.block(ada.uid)
        await ada.add_device()
        await bob.add_device()
        assert [event.uid for event in await bob.all_of(m2.LogEvent)] == []
        assert [event.uid for event in await ada.all_of(m2.LogEvent)] == [bob.uid]
        assert (await ada.log(bob.uid)).count == 2


async def test_a_block_is_not_got_around_by_way_of_groups(tmp_path: Path) -> None:
    """Neither the invitation nor what follows from it reaches who blocks, and nothing of it is free."""
    async with instance_with(tmp_path, "ping", quotas=Quotas(pings_per_day=2, posts_per_hour=6)) as instance:
        ada, bob, eve = await people(instance, "Ada Lovelace", "Bob Builder", "Eve Dropper")
        await bob.block(ada.uid)
        gid = "PAY NOW at evil.example"
        for alias in ("Bob Builder", "Eve Dropper"):
            await ada.connection.group_invite(fresh_id(), gid, "Ada Lovelace", alias)
            for _ in range(2):
                await ada.connection.ask(m.GroupEdit(fresh_id(), "drop", gid, to=alias))
        assert [event.act for event in await bob.all_of(m.MemberEvent)] == []
        assert [event.act for event in await eve.all_of(m.MemberEvent)] == ["drop"]  # once for each change
        assert "quota: 6 posts" in await refusal(_alias_edits(ada, gid, 4))


async def _alias_edits(one: KeyDevice, gid: str, count: int) -> None:
    alias = (await one.aliases())[0]
    for _ in range(count):
        await one.connection.ask(m.GroupEdit(fresh_id(), "alias", gid, alias))


async def test_who_writes_by_mail_is_blocked_like_anybody(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "introduction") as instance:
        (desk,) = await people(instance, "Support Desk")
        async with bridge(instance, {"support@example.org": "Support Desk"}) as intake:
            await intake.post("support@example.org", "spam@x.example")
            ghost = (await desk.next(m.Delivery))[0].from_
            await desk.block(ghost)
            for address in ("spam@x.example", "Spam@X.example", "SPAM@x.EXAMPLE"):
                assert (await intake.post("support@example.org", address)).msgid
            await intake.post("support@example.org", "ham@x.example", b"heard")
            assert (await desk.next(m.Delivery))[1] == b"heard"
            assert len(await desk.all_of(m.Delivery)) == 2


async def test_a_suspended_device_is_told_of_nobodys_presence(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        phone = await ada.add_full_device()
        await ada.append("suspend", target=phone.name)
        await phone.ends()
        assert (await phone.log_in()).info == "device suspended"
        await bob.connection.ask(m.OhiEdit(fresh_id(), "add", (m.Recipient(ada.uid),)))
        await bob.quit()
        await ada.all_of(m.Delivery)
        assert ada.present == [(bob.uid, 1), (bob.uid, 2)]
        await phone.log()
        assert phone.present == []


async def test_a_blocked_one_takes_no_introduction_away(tmp_path: Path) -> None:
    """Whoever else introduces somebody has introduced him, also when the blocked one was first."""
    async with instance_with(tmp_path, "introduction") as instance:
        ada, bob, carol, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Carol Danvers", "Dan Dare 1st")
        for one in (ada, carol):
            for other in (bob, dan):
                await acquainted(one, other)
        await ada.post(bob.uid, dan.uid)
        await bob.block(ada.uid)
        await dan.post(bob.uid, data=b"introduced by Ada alone")
        await carol.post(bob.uid, dan.uid)
        await dan.post(bob.uid, data=b"introduced by Carol too")
        for one in (bob, dan):
            await one.quit()
        await instance.restart()  # it is remembered
        for one in (bob, dan):
            await one.log_in()
        await dan.post(bob.uid, data=b"and still")
        await bob.all_of(m.Delivery)
        said = [data for event, data in bob.got if isinstance(event, m.Delivery) and event.from_ == dan.uid]
        assert said == [b"introduced by Carol too", b"and still"]
