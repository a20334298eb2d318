# SPDX-License-Identifier: AGPL-3.0-or-later
"""The last hour and day of an instance, and looks that several share (C1)."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.administration import ROLES, Actor, Administration, models
from gateway.administration.backup_folder import BackupFolder
from gateway.administration.history import InstanceHistory, Kept
from gateway.app import Gateway
from gateway.settings.models import BackupSettings
from tests.support.gateway import member, running_gateway
from tests.support.instance import ManualClock, TestInstance, running_instance
from tests.support.people import people
from tmtp_core import limits


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "instance") as running:
        yield running


async def test_a_sample_says_what_was_since_the_one_before(instance: TestInstance) -> None:
    ada, bob = await people(instance, "Ada Lovelace", "Bob Stone")
    await instance.settle()
    history = InstanceHistory(instance.service, instance.clock)
    assert history.shown() == models.History(hour=[], day=[])
    for _ in range(5):
        await ada.post(bob.uid)
    await instance.settle()
    await bob.quit()
    await instance.settle()
    await ada.post(bob.uid)
    await instance.advance(10)
    await history.take()
    await instance.advance(10)
    await history.take()
    first, second = history.shown().hour
    assert (first.links, first.messages_queued, first.posts_per_s, first.deliveries_per_s) == (1, 1, 0.6, 0.5)
    assert (first.oldest_queued_s, second.oldest_queued_s) == (10.0, 20.0)
    assert first.ack_ms_p99 is not None
    assert (second.posts_per_s, second.deliveries_per_s, second.ack_ms_p99) == (0.0, 0.0, None)
    assert second.at_ms - first.at_ms == 10_000
    await ada.quit()


async def test_an_hour_and_a_day_are_kept_and_no_more(instance: TestInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_STEPS", 6)
    monkeypatch.setattr(limits, "HISTORY_DAY_EVERY", 3)
    monkeypatch.setattr(limits, "HISTORY_DAY_STEPS", 4)
    history = InstanceHistory(instance.service, instance.clock)
    ada, bob = await people(instance, "Ada Lovelace", "Bob Stone")
    posts = []
    for step in range(21):
        if step % 3 == 0:
            await ada.post(bob.uid)
        instance.clock.advance(10)
        await history.take()
        posts.append(history.shown().hour[-1].posts_per_s)
    shown = history.shown()
    assert (len(shown.hour), len(shown.day)) == (6, 4)
    assert {later.at_ms - earlier.at_ms for earlier, later in zip(shown.hour, shown.hour[1:], strict=False)} == {10_000}
    assert {later.at_ms - earlier.at_ms for earlier, later in zip(shown.day, shown.day[1:], strict=False)} == {30_000}
    assert posts[-3:] == [0.1, 0.0, 0.0]
    assert [one.posts_per_s for one in shown.day] == [0.033] * 4
    await ada.quit()
    await bob.quit()


# -- looks that several share ----------------------------------------------------------------------------------------
class Slow:
    """A look that takes as long as the test says."""

    def __init__(self, clock: ManualClock, took_s: float) -> None:
        self.looked = 0
        self._clock, self._took_s = clock, took_s

    async def look(self) -> int:
        """How often it was looked."""
        self.looked += 1
        await asyncio.sleep(0)
        self._clock.advance(self._took_s)
        return self.looked


async def test_what_takes_long_is_kept_for_longer() -> None:
    clock = ManualClock()
    slow = Slow(clock, took_s=2.0)
    kept = Kept(slow.look, clock)
    assert [await kept.get(), await kept.get()] == [1, 1]
    clock.advance(2.0 * limits.LOOK_KEPT_TIMES - 1)
    assert await kept.get() == 1
    clock.advance(2)
    assert await kept.get() == 2


async def test_what_takes_no_time_is_looked_up_each_time() -> None:
    clock = ManualClock()
    kept = Kept(Slow(clock, took_s=0.01).look, clock)
    assert [await kept.get(), await kept.get()] == [1, 2]


async def test_who_asks_while_somebody_looks_waits_for_the_next_look_and_shares_it() -> None:
    """Not for the one under way: it may not have seen what he has just done."""
    clock = ManualClock()
    slow = Slow(clock, took_s=0.01)
    kept = Kept(slow.look, clock)
    first = asyncio.create_task(kept.get())
    await asyncio.sleep(0)
    clock.advance(0.001)
    assert await asyncio.gather(first, *(kept.get() for _ in range(9))) == [1] + [2] * 9


# -- backups ---------------------------------------------------------------------------------------------------------
async def test_how_old_the_newest_backup_is(tmp_path: Path) -> None:
    assert await BackupFolder(BackupSettings(to=tmp_path)).look() == models.Backups(
        state="not_set_up", kept=0, newest_ms=None
    )
    folder = BackupFolder(BackupSettings(recipient="somebody", to=tmp_path))
    assert await folder.look() == models.Backups(state="none", kept=0, newest_ms=None)
    for name in ("tmtp-19700101T000002000Z", "tmtp-19700101T000003500Z", ".tmtp-19700101T000009000Z"):
        (tmp_path / f"{name}.tmtpbackup").touch()
    assert await folder.look() == models.Backups(state="kept", kept=2, newest_ms=3_500)


async def test_a_disk_of_backups_that_does_not_answer_keeps_one_thread_and_nobody_who_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BACKUPS_PATIENCE_S", 0.01)
    answers, looks = threading.Event(), []

    def hang(folder: Path) -> list[tuple[int, Path]]:
        looks.append(folder)
        answers.wait()
        return [(7, folder)]

    folder = BackupFolder(BackupSettings(recipient="somebody", to=tmp_path), hang)
    assert [(await folder.look()).state for _ in range(3)] == ["unreadable"] * 3
    assert looks == [tmp_path]
    monkeypatch.setattr(limits, "BACKUPS_PATIENCE_S", 30)
    answers.set()
    assert (await folder.look()).newest_ms == 7


# -- what an actor sees ----------------------------------------------------------------------------------------------
@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path) as one:
        yield one


async def seen(administration: Administration, *instances: str) -> models.Overview:
    restricted = Actor("somebody", ROLES["auditor"], frozenset(instances) if instances else None)
    overview = await administration.perform(restricted, "overview", {})
    assert isinstance(overview, models.Overview)
    return overview


async def test_the_overview_is_of_what_one_may_see(gateway: Gateway) -> None:
    async with member(gateway, "members", "Ada Lovelace"):
        overview = await seen(gateway.administration)
        assert [one.instance for one in overview.instances] == ["members", "public"]
        members = overview.instances[0]
        assert (members.accounts, members.accounts_barred, members.devices_connected, members.links) == (1, 0, 1, 1)
        assert members.healthy
        assert members.link == gateway.client_address("members").link()
        assert overview.disk_total_bytes > overview.disk_free_bytes > 0
        assert overview.rss_bytes > 10_000_000
        assert overview.certificate_ends_ms is not None
        assert overview.certificate_ends_ms > overview.now_ms
    assert [one.instance for one in (await seen(gateway.administration, "public")).instances] == ["public"]
    auditor = Actor("somebody", ROLES["auditor"], frozenset({"members"}))
    assert await gateway.administration.perform(auditor, "bridges.list", {}) == []
    auditor = Actor("somebody", ROLES["auditor"], frozenset({"public"}))
    bridges = await gateway.administration.perform(auditor, "bridges.list", {})
    assert isinstance(bridges, list)
    assert [(one.name, one.running) for one in bridges] == [("intake", True)]
