# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much of what each member receives comes by SMTP still (C5): counted by the service, with real posts."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.support.devices import acquainted, fresh_id
from tests.support.instance import TestInstance
from tests.support.outside import bridge
from tests.support.people import DAY_S, form_group, instance_with, people, to_group
from tmtp_core.store import tables as t
from tmtp_core.wire import messages as m

ROUTES = {"support@example.org": "Ada Lovelace", "club@example.org": "The Chess Club"}
ANN = "ann@partner.example"


async def shares(instance: TestInstance, days: int = 30) -> dict[str, tuple[int, int]]:
    """As administrators see them, when a minute has passed."""
    await instance.advance(61)
    await instance.settle()
    return {share.alias: (share.smtp, share.tmtp) for share in await instance.service.shares(days)}


async def rows(instance: TestInstance) -> int:
    return int(
        await instance.service.look(lambda connection: connection.scalar(select(func.count()).select_from(t.received)))
    )


async def test_each_way_in_is_counted(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob, eve = await people(instance, "Ada Lovelace", "Bob Builder", "Eve Dropper")
        await form_group("The Chess Club", ada, bob)
        async with bridge(instance, ROUTES) as intake:
            await intake.post("support@example.org", ANN)
            await intake.post("support@example.org", ANN)
            await intake.post("club@example.org", ANN)
            await bob.post(ada.uid)
            await bob.post(ada.uid, eve.uid, bob.uid)  # himself, too, which is nothing that he receives
            await ada.connection.post(fresh_id(), to_group("The Chess Club"), b"to the club")
            await eve.ping("Bob Builder")
            note = m.PostNotify(fresh_id(), (m.Recipient(ada.uid, m.TO_UID),), (), datalen=2, notelen=1)
            await bob.connection._send(m.encode_head(note) + b"nx")
            assert await rows(instance) == 0  # in memory only, until a minute is over
            assert await shares(instance) == {
                "Ada Lovelace": (3, 3),
                "Bob Builder": (1, 2),
                "Eve Dropper": (0, 1),
            }
            (first, *_) = await instance.service.shares(30)
            assert first.alias == "Ada Lovelace"  # who has most of it left


async def test_what_is_not_shown_is_not_received(tmp_path: Path) -> None:
    """Whom a member blocks (D3), a post that comes again under its id, and what the service refuses."""
    async with instance_with(tmp_path) as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        async with bridge(instance, ROUTES) as intake:
            await intake.post("support@example.org", ANN)
            refused = bob.connection.post(fresh_id(), [m.Recipient(ada.uid, m.TO_UID)], b"x")
            with pytest.raises(Exception, match="not acquainted"):
                await refused
            await acquainted(ada, bob)
            before = await shares(instance)
            again = fresh_id()
            for _ in range(2):
                await bob.connection.post(again, [m.Recipient(ada.uid, m.TO_UID)], b"once")
            await ada.block(bob.uid)
            await bob.post(ada.uid)
            after = await shares(instance)
            assert before["Ada Lovelace"][0] == after["Ada Lovelace"][0] == 1
            assert after["Ada Lovelace"][1] == before["Ada Lovelace"][1] + 1
            assert after["Bob Builder"] == before["Bob Builder"]


async def test_where_there_is_no_bridge_nothing_is_counted(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        await bob.post(ada.uid)
        assert await shares(instance) == {}
        async with bridge(instance, ROUTES):
            await bob.post(ada.uid)
            assert await shares(instance) == {"Ada Lovelace": (0, 1)}
        async with bridge(instance, {}):  # its last route is gone
            await bob.post(ada.uid)
            assert await shares(instance) == {"Ada Lovelace": (0, 1)}


async def test_counts_outlive_a_stop(tmp_path: Path) -> None:
    """What was counted since the last minute is written when the service stops, with the posts themselves."""
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        async with bridge(instance, ROUTES) as intake:
            await intake.post("support@example.org", ANN)
            await asyncio.gather(*(bob.post(ada.uid) for _ in range(20)))
        await bob.connection.close()
        await ada.connection.close()
        await instance.restart()
        assert await rows(instance) == 1
        assert await instance.service.shares(1) == [("Ada Lovelace", 1, 20)]
        await bob.log_in()
        await bob.post(ada.uid)  # and it goes on counting, without being told of the bridge
        assert await shares(instance) == {"Ada Lovelace": (1, 21)}


async def test_days_are_days(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        async with bridge(instance, ROUTES):
            for _ in range(3):
                await bob.post(ada.uid)
                await shares(instance)
                await instance.advance(DAY_S)
                await bob.log_in()
            assert [(await shares(instance, days)).get("Ada Lovelace") for days in (1, 2, 3, 4)] == [
                None,
                (0, 1),
                (0, 2),
                (0, 3),
            ]
            assert await rows(instance) == 3
            await instance.advance(397 * DAY_S)  # the first day was 400 days ago now
            await shares(instance)
            assert await rows(instance) == 2


async def test_counts_go_with_their_account(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob, eve = await people(instance, "Ada Lovelace", "Bob Builder", "Eve Dropper")
        async with bridge(instance, ROUTES):
            await ada.post(bob.uid, eve.uid)
            assert await shares(instance) == {"Bob Builder": (0, 1), "Eve Dropper": (0, 1)}
            await ada.post(bob.uid, eve.uid)
            await instance.service.remove_account(bob.uid)  # while more is in memory
            assert await shares(instance) == {"Eve Dropper": (0, 2)}
            assert await rows(instance) == 1


async def test_a_void_transaction_counts_once(tmp_path: Path) -> None:
    """What it stored was not received; what it wrote is written by the next one."""
    async with instance_with(tmp_path, "everyone") as instance:
        ada, bob = await people(instance, "Ada Lovelace", "Bob Builder")
        async with bridge(instance, ROUTES):
            await bob.post(ada.uid)
            await instance.settle()

            def spoil(ledger: object) -> None:
                ledger.received.count([1], 1_790_000_000_000, outside=True)  # type: ignore[attr-defined]
                ledger.write_received()  # type: ignore[attr-defined]
                raise ZeroDivisionError

            with pytest.raises(Exception, match="could not store"):
                await instance.service.decide(spoil)
            assert await rows(instance) == 0
            assert await shares(instance) == {"Ada Lovelace": (0, 1)}
            assert await shares(instance) == {"Ada Lovelace": (0, 1)}  # and not again
