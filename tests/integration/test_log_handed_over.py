# SPDX-License-Identifier: AGPL-3.0-or-later
"""A service whose database is older than what its devices know (B4, D4): records come back as they were, and only those."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.devices import KeyDevice, fresh_id, newcomer, refusal
from tests.support.instance import TestInstance, running_instance
from tmtp_core.crypto.log_records import Record, decode_records
from tmtp_core.wire import revision2 as m2


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "instance") as running:
        yield running


class Site:
    """Ada's laptop and phone, both full; a copy of the database of this moment; and what happened since."""

    def __init__(self, instance: TestInstance, laptop: KeyDevice, phone: KeyDevice) -> None:
        self.instance = instance
        self.laptop = laptop
        self.phone = phone
        self.records: list[Record] = []

    async def go_back(self) -> None:
        """The service comes up with the database that it had."""
        self.records = await records_of(self.laptop)
        await self.instance.stop()
        for path in self.instance.folder.glob("service.sqlite3*"):
            path.unlink()
        shutil.copyfile(self.instance.folder / "old", self.instance.folder / "service.sqlite3")
        await self.instance.start()

    async def hand_over(self, device: KeyDevice, place: int, **changes: object) -> object:
        """One record, as a device hands it over, or changed."""
        one = self.records[place]
        fields = {"entry": one.entry, "sigs": one.sigs, "time": one.time, "stamp": one.stamp, **changes}
        return await device.connection.ask(m2.LogAppend(fresh_id(), **fields))  # type: ignore[arg-type]


async def records_of(device: KeyDevice) -> list[Record]:
    _, data = await device.connection.inquire(m2.LogFetch(fresh_id(), device.uid))
    return decode_records(data)


@pytest.fixture
async def site(instance: TestInstance) -> Site:
    if instance.running._shared:
        pytest.skip("a database on PostgreSQL goes back by its own means")
    laptop = await newcomer(instance, "Ada Lovelace")
    phone = await laptop.add_full_device()
    await asyncio.gather(laptop.quit(), phone.quit())
    await instance.stop()
    shutil.copyfile(instance.folder / "service.sqlite3", instance.folder / "old")
    await instance.start()
    await laptop.log_in()
    return Site(instance, laptop, phone)


async def test_records_come_back_with_their_times_and_stamps(site: Site) -> None:
    tablet = await site.laptop.add_device()
    site.instance.clock.advance(100)
    await site.laptop.append("suspend", target=site.phone.name)
    before = await site.laptop.log()
    await site.go_back()
    await site.phone.log_in()  # the thief is in again
    site.instance.clock.advance(1_000)
    await site.laptop.log_in()
    for place in (3, 4):
        await site.hand_over(site.laptop, place)
    assert await records_of(site.laptop) == site.records
    assert (await site.laptop.log()).head == before.head
    assert await site.phone.ends() == "device suspended"  # and out
    assert (await tablet.log_in()).info == "login ok"
    await site.instance.restart()  # as it is stored
    await site.laptop.log_in()
    await site.laptop.append("revoke", recovery=True, target=site.phone.name)  # and it goes on from there
    await site.laptop.quit()


async def test_only_what_this_service_made_comes_back_and_only_where_it_stood(site: Site) -> None:
    await site.laptop.add_device()
    await site.laptop.append("suspend", target=site.phone.name)
    mallory = await newcomer(site.instance, "Mallory the First")
    await mallory.add_device()
    theirs = await records_of(mallory)
    await site.go_back()
    await site.laptop.log_in()
    suspending = site.records[4]
    for place, changes, said in (
        (4, {}, "moved on"),  # one is left out
        (3, {"time": site.records[3].time + 1}, "stamp does not hold"),
        (3, {"stamp": suspending.stamp}, "stamp does not hold"),
        (3, {"stamp": "A" * 86}, "stamp does not hold"),
        (3, {"time": 0}, "time runs back"),
        (3, {"sigs": site.records[3].sigs[:1]}, "2:"),
        (3, {"entry": theirs[1].entry, "sigs": theirs[1].sigs, "stamp": theirs[1].stamp}, "moved on"),
        (2, {}, "moved on"),  # which it knows
    ):
        assert said in await refusal(site.hand_over(site.laptop, place, **changes)), (place, changes)
    assert len(await records_of(site.laptop)) == 3
    await site.hand_over(site.laptop, 3)
    await site.hand_over(site.laptop, 4)
    await site.laptop.quit()


async def test_a_reset_comes_back_and_no_other_beginning(site: Site) -> None:
    """A genesis without an administrator's leave is none, whatever it is called; one that had it is known by its stamp."""
    token = await site.instance.service.reset_account(site.laptop.uid)
    await site.laptop.quit()
    anew = await newcomer(site.instance, "Ada Anew", token)
    site.laptop = anew
    await site.go_back()
    await site.phone.log_in()
    assert "not as this service made it" in await refusal(site.hand_over(site.phone, 3, stamp="A" * 86))
    await site.hand_over(site.phone, 3)
    assert await site.phone.ends() == "device revoked"
    assert (await anew.log_in()).info == "login ok"
    await anew.quit()
