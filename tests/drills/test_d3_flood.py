# SPDX-License-Identifier: AGPL-3.0-or-later
"""D3: an attacker sends without limit and without consent."""

import contextlib
from pathlib import Path

import pytest

from tests.support.devices import fresh_id, newcomer, refusal
from tests.support.instance import running_instance
from tests.support.outside import bridge
from tmtp_client.connection import Disconnected, Refused
from tmtp_core import limits
from tmtp_core.domain.policy import Acquaintance, Policy, Quotas
from tmtp_core.wire import messages as m
from tmtp_core.wire.revision2 import BlockEvent, InviteEdit

QUOTAS = Quotas(pings_per_day=5, failed_pings_in_a_row=3, posts_per_hour=10)
POLICY = Policy(acquaintance=Acquaintance.INTRODUCTION, quotas=QUOTAS, members_invite=True)


async def test_many_accounts_reach_a_stranger_with_few_pings_and_nothing_else(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance", policy=POLICY) as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        horde = [await newcomer(instance, f"Flooder {number}") for number in range(8)]
        for flooder in horde:
            for _ in range(10):
                for attempt in (flooder.post(ada.uid, data=b"buy"), flooder.ping("Ada Lovelace", "buy")):
                    with contextlib.suppress(Refused):
                        await attempt
        assert await ada.all_of(m.Delivery) == []
        assert len(await ada.all_of(m.PingEvent)) == len(horde) * QUOTAS.pings_per_day


async def test_one_blocks_each_of_them_and_they_learn_nothing(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance", policy=POLICY) as instance:
        ada, mallory = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Mallory Mal")
        await mallory.ping("Ada Lovelace")
        await ada.next(m.PingEvent)
        await ada.block(mallory.uid)
        heard = len(ada.got)
        for _ in range(QUOTAS.pings_per_day - 1):
            acked = await mallory.ping("Ada Lovelace", "why no answer?")
            assert acked.msgid
            assert not acked.error
        assert "quota" in await refusal(mallory.ping("Ada Lovelace"))  # the quota is the same, too
        await ada.all_of(m.PingEvent)
        assert [event for event, _ in ada.got[heard:] if isinstance(event, m.PingEvent)] == []


async def test_names_are_not_guessed_without_limit(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance", policy=POLICY) as instance:
        mallory = await newcomer(instance, "Mallory Mal")
        for number in range(QUOTAS.failed_pings_in_a_row):
            assert "not found" in await refusal(mallory.ping(f"Guessed {number}"))
        assert "quota" in await refusal(mallory.ping("Guessed at last"))


async def test_a_device_in_a_loop_fills_nobodys_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it tells its account's other devices counts like posts; log-ins are told so many times an hour."""
    monkeypatch.setattr(limits, "LOGINS_TOLD_PER_HOUR", 3)
    async with running_instance(tmp_path / "instance", policy=POLICY) as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        phone = await ada.add_full_device()
        await phone.quit()
        for _ in range(QUOTAS.posts_per_hour):
            await ada.block("", "introductions_off")
        assert "quota" in await refusal(ada.block("", "introductions_on"))
        assert "quota" in await refusal(ada.connection.ask(m.OhiEdit(fresh_id(), "add", (m.Recipient(ada.uid),))))
        for _ in range(5):
            await ada.quit()
            assert (await ada.log_in()).info == "login ok"
        await instance.advance(3600)
        await ada.quit()
        await ada.log_in()
        await phone.log_in()
        assert len(await phone.all_of(BlockEvent)) == QUOTAS.posts_per_hour
        told = await phone.all_of(m.LoginEvent)
        assert len(told) == 3 + 2  # in the first hour, of both devices; in the second, of both again


async def test_accounts_do_not_breed(tmp_path: Path) -> None:
    """Where an invitation is needed, a flooder makes no more accounts than the quota of the day."""
    async with running_instance(tmp_path / "instance", policy=POLICY, registration="invite") as instance:
        mallory = await newcomer(instance, "Mallory Mal", await instance.new_invitation())
        tokens = []
        try:
            while True:
                tokens.append((await mallory.connection.ask(InviteEdit(fresh_id(), "create"))).token)
        except Refused as refused:
            assert "quota" in str(refused)
        assert len(tokens) == QUOTAS.invitations_per_day
        await instance.service.bar_account("Mallory Mal")
        try:
            await newcomer(instance, "Sock Puppet", tokens[0])
        except Disconnected as refused:
            assert str(refused) == "invitation required"
        else:
            raise AssertionError("an invitation of a barred account was taken")


async def test_a_bridge_floods_no_longer_than_an_hours_quota(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance", policy=POLICY) as instance:
        desk = await newcomer(instance, "Support Desk")
        async with bridge(instance, {"support@example.org": "Support Desk"}) as intake:
            for _ in range(QUOTAS.posts_per_hour):
                await intake.post("support@example.org", "orders@partner.example")
            assert "quota" in await refusal(intake.post("support@example.org", "orders@partner.example"))
            ghost = (await desk.next(m.Delivery))[0].from_
            await desk.block(ghost)
            await instance.advance(3600)
            await desk.log_in()
            await intake.connection.close()
            await intake.log_in()
            heard = len(await desk.all_of(m.Delivery))
            await intake.post("support@example.org", "orders@partner.example")
            await intake.post("support@example.org", "others@partner.example")
            assert len(await desk.all_of(m.Delivery)) == heard + 1
