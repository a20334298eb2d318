# SPDX-License-Identifier: AGPL-3.0-or-later
"""D4: with one phished password an attacker takes all your past correspondence; and here, with one stolen device?

The thief has the device whole: its keys, its connection, its time. What it may reach in the worst case is a frozen
account, never the account (B4). Run with `-s` to read what happens as a transcript.
"""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.support.devices import KeyDevice, acquainted, fresh_box, fresh_id, fresh_signer, newcomer, refusal
from tests.support.instance import TestInstance, running_instance
from tests.support.people import may_post
from tmtp_client.connection import Connection, Disconnected, Endpoint
from tmtp_core import limits
from tmtp_core.crypto.account_log import Entry
from tmtp_core.crypto.log_records import compose
from tmtp_core.domain.policy import Policy
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

HOUR_S = 3600.0


class Transcript:
    """Says what is done and what came of it."""

    def __init__(self) -> None:
        print()

    def say(self, text: str) -> None:
        """One line."""
        print(f"    {text}")

    async def refused(self, what: str, attempt: Awaitable[Any]) -> str:
        """Something the thief tries, which must be refused."""
        answer = await refusal(attempt)
        self.say(f"thief: {what:<62} -> {answer}")
        return answer


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "instance", policy=Policy()) as running:
        yield running


async def again(device: KeyDevice) -> m.Info:
    """Log in again after a link was cut, or kept open for too long."""
    await device.connection.close()
    return await device.log_in()


async def test_two_devices_of_an_account_and_a_third_stolen(instance: TestInstance) -> None:
    story = Transcript()
    laptop, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await acquainted(laptop, bob)
    tablet, stolen = await laptop.add_full_device(), await laptop.add_full_device()
    story.say("Ada has a laptop, a tablet and a phone, all full. The phone is stolen, unlocked, with all it holds.")

    accomplice = fresh_signer()
    await stolen.append("add", stolen, accomplice, device=accomplice.public, box=fresh_box())
    thief2 = KeyDevice(instance, stolen.uid, accomplice, fresh_signer())
    await thief2.log_in()
    story.say("thief: adds a device of its own: it is provisional, and everybody is told")
    for watcher in (laptop, tablet, bob):
        await watcher.next(m2.LogEvent, lambda event: event.uid == laptop.uid and event.place == 5)
    await story.refused("confirms its own second device", stolen.append("confirm", target=thief2.name))
    await story.refused("the second device confirms itself", thief2.append("confirm", target=thief2.name))
    await story.refused("the second device suspends the laptop", thief2.append("suspend", target=laptop.name))
    await story.refused("revokes the laptop alone", stolen.append("revoke", target=laptop.name))
    await story.refused("revokes it with its accomplice", stolen.append("revoke", stolen, thief2, target=laptop.name))
    await story.refused("changes the recovery key with the device's key", _rekey(stolen))
    await story.refused("begins the log anew", _new_beginning(stolen))
    await story.refused("asks for a password", stolen.connection.ask(m.UserEdit(fresh_id(), newnode="backdoor")))
    await story.refused("brings a device in by a recovery key of its own", _recover(stolen))

    await stolen.append("suspend", target=laptop.name)
    story.say("thief: suspends the laptop, to be first")
    assert await laptop.ends() == "device suspended"
    assert (await laptop.log_in()).info == "device suspended"
    await laptop.append("contest")
    story.say("laptop: contests: the phone is suspended too, and what it planted with it; their links are cut")
    for cut in (stolen, thief2):
        assert await cut.ends() == "device suspended"
    assert (await thief2.log_in()).info == "device suspended"
    await story.refused("the second device contests", thief2.append("contest"))

    assert (await stolen.log_in()).info == "device suspended"
    await story.refused("posts from the suspended phone", stolen.post(bob.uid))
    await again(stolen)
    await stolen.append("contest")
    story.say("thief: contests in turn: the laptop is suspended anyway; nothing changes")
    await story.refused("contests again", stolen.append("contest"))
    await story.refused(
        "resumes the phone with its accomplice", stolen.append("resume", stolen, thief2, target=stolen.name)
    )

    for device in (tablet, thief2, bob):
        await device.connection.close()
    await instance.advance(100 * HOUR_S)
    await again(stolen)
    story.say("thief: waits 100 hours")
    await story.refused("the second device suspends the tablet", _late(thief2, tablet))

    await tablet.log_in()
    await tablet.append("resume", recovery=True, target=laptop.name)
    await tablet.append("revoke", recovery=True, target=stolen.name)
    await laptop.log_in()
    await laptop.append("revoke", laptop, tablet, target=thief2.name)
    story.say(
        "Ada: with the recovery sheet resumes the laptop and revokes the phone; laptop and tablet revoke the rest"
    )
    await story.refused("logs in with the phone", stolen.log_in())
    await story.refused("logs in with the second device", thief2.log_in())
    state = await laptop.log()
    assert {device.key for device in state.unrevoked()} == {laptop.name, tablet.name}
    await bob.log_in()
    assert (await bob.log(laptop.uid)).head == state.head
    story.say("The account is Ada's: laptop and tablet, both full; Bob has verified the same log.")
    for device in (laptop, tablet, bob):
        await device.quit()


async def test_a_stolen_only_device_loses_to_the_recovery_sheet(instance: TestInstance) -> None:
    stolen = await newcomer(instance, "Ada Lovelace")
    backdoors = [await stolen.add_device() for _ in range(3)]
    new = await stolen.recover()
    for device in (stolen, *backdoors):
        await new.append("revoke", recovery=True, target=device.name)
        assert await device.ends() == ("device revoked" if device is stolen else "device suspended")
        assert await refusal(device.log_in()) == "login failed"
    assert {device.key for device in (await new.log()).unrevoked()} == {new.name}
    await new.quit()


async def test_planted_devices_pull_nobody_down(instance: TestInstance) -> None:
    """The thief has one full device and plants others, so that each honest device that finds one is lost over it."""
    story = Transcript()
    laptop, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await acquainted(laptop, bob)
    tablet, stolen = await laptop.add_full_device(), await laptop.add_full_device()
    plants = [await stolen.add_device() for _ in range(3)]
    story.say("thief: plants three devices")
    await laptop.append("suspend", target=plants[0].name)
    assert (await plants[0].log_in()).info == "device suspended"
    await story.refused("the first one contests", plants[0].append("contest"))
    await stolen.append("suspend", target=laptop.name)
    await laptop.ends()
    await laptop.log_in()
    await laptop.append("contest")
    story.say("thief: suspends the laptop; the laptop contests")
    for device in (stolen, *plants[1:]):
        assert await device.ends() == "device suspended"
    assert await may_post(tablet, bob)
    story.say("Of the account only Ada's tablet is heard.")
    state = await tablet.log()
    live = {device.key for device in state.unrevoked() if device.suspended_by is None}
    assert live == {tablet.name}


async def test_as_many_devices_as_an_account_may_have_do_not_lock_the_sheet_out(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NODES_PER_ACCOUNT_MAX", 4)
    monkeypatch.setattr(limits, "RECOVERY_DEVICES_MAX", 5)
    stolen = await newcomer(instance, "Ada Lovelace")
    for _ in range(3):
        await stolen.add_device()
    assert "at most 4 devices" in await refusal(stolen.add_device())
    new = await stolen.recover()
    await new.append("revoke", recovery=True, target=stolen.name)
    assert [device.key for device in (await new.log()).unrevoked() if device.suspended_by is None] == [new.name]


async def test_a_stolen_device_does_not_write_the_log_full(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it flood those who are told; and what it uses up is its own."""
    monkeypatch.setattr(limits, "LOG_APPENDS_PER_DAY", 3)
    laptop = await newcomer(instance, "Ada Lovelace")
    stolen = await laptop.add_full_device()
    for _ in range(3):
        await stolen.add_device()
    assert "quota: 3 entries of the log a day" in await refusal(stolen.add_device())
    await laptop.append("suspend", target=stolen.name)
    assert await stolen.ends() == "device suspended"
    await stolen.log_in()
    await stolen.append("contest")  # the one right that it has, whatever it did before


async def test_the_past_is_not_with_the_service(instance: TestInstance) -> None:
    """What was delivered is gone: whoever enters today reads nothing of yesterday (A4)."""
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await bob.post(ada.uid, data=b"yesterday's secret")
    await ada.next(m.Delivery)
    await ada.quit()
    await ada.log_in()
    intruder = await ada.add_device()
    assert all(b"yesterday" not in data for _, data in intruder.got)
    assert await intruder.all_of(m.Delivery) == []


async def test_a_phished_password_opens_nothing(tmp_path: Path) -> None:
    """A members instance knows no passwords: there is no message in which one could be given away or tried."""
    async with running_instance(tmp_path / "instance", policy=Policy(revision1=False)) as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        phisher = await ada.open()
        await phisher._send(m.encode_head(m.Login(ada.uid, "1" * 40)))
        assert await phisher.closed() == "login failed"
        await phisher.close()
        with pytest.raises(Disconnected, match="revision 1 is not spoken here"):
            await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))


async def _rekey(device: KeyDevice) -> None:
    mine = fresh_signer()
    head = (await device.log()).head_text
    entry, sigs = compose(Entry("rekey", head, recovery=mine.public), {device.name: device.signer}, device.service_key)
    await device.connection.ask(m2.LogAppend(fresh_id(), entry, sigs))


async def _new_beginning(device: KeyDevice) -> None:
    mine, recovery = fresh_signer(), fresh_signer()
    genesis = Entry("genesis", "", device=mine.public, box=fresh_box(), recovery=recovery.public)
    entry, sigs = compose(genesis, {mine.public: mine, "recovery": recovery}, device.service_key)
    await device.connection.ask(m2.LogAppend(fresh_id(), entry, sigs))


async def _recover(device: KeyDevice) -> None:
    await KeyDevice(device.instance, device.uid, fresh_signer(), fresh_signer()).recover()


async def _late(device: KeyDevice, target: KeyDevice) -> None:
    await device.log_in()
    await device.append("suspend", target=target.name)
