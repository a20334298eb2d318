# SPDX-License-Identifier: AGPL-3.0-or-later
"""A watcher is told every kept event once and in order, wherever it begins and however it is interrupted."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_engine import SmallEngine
from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api.events import Watch


async def told(watch: Watch, count: int) -> list[m.Event]:
    events: list[m.Event] = []
    async with asyncio.timeout(60):
        while len(events) < count:
            events += await watch.next()
    return events


def numbers(events: list[m.Event], account: str = "work") -> list[int]:
    return [event.number for event in events if event.account == account]


steps = st.lists(st.sampled_from(["work", "home", "read", "again", "lock", "open"]), max_size=40)


@given(steps)
def test_none_is_missed_and_none_comes_twice_whatever_happens_meanwhile(what: list[str]) -> None:
    async def play() -> None:
        engine = SmallEngine(Path())
        engine.kept["home"] = []
        seen: dict[str, list[int]] = {"work": [], "home": []}
        watch = Watch(engine)
        await watch.start({"work": 0, "home": 0})

        async def read() -> None:
            for event in await watch.next():
                seen[event.account].append(event.number)

        def unread() -> bool:
            return not engine.locked and any(len(seen[one]) < len(engine.kept[one]) for one in seen)

        for step in what:
            match step:
                case "read" if unread():
                    await read()
                case "again":
                    watch.stop()
                    watch = Watch(engine)
                    await watch.start({account: len(got) for account, got in seen.items()})
                case "lock" | "open":
                    engine.locked = step == "lock"
                    engine.tell(None)
                case "work" | "home":
                    engine.happens(step)
        engine.locked = False
        while unread():
            await read()
        assert seen == {one: list(range(1, len(engine.kept[one]) + 1)) for one in seen}
        watch.stop()

    asyncio.run(play())


async def test_an_account_that_is_not_named_begins_now(tmp_path: Path) -> None:
    engine = SmallEngine(tmp_path)
    engine.happens("work", 5)
    watch = Watch(engine)
    assert (await watch.start({})).numbers == {"work": 5}
    engine.happens("work")
    assert numbers(await told(watch, 1)) == [6]
    watch.stop()
    assert engine.listeners == 0


async def test_what_is_not_kept_any_more_is_a_gap_and_events_go_on_from_there(tmp_path: Path) -> None:
    engine = SmallEngine(tmp_path)
    engine.happens("work", 50)
    engine.first["work"] = 20
    watch = Watch(engine)
    await watch.start({"work": 10})
    [gap] = await told(watch, 1)
    assert (gap.type, gap.number, gap.data) == ("gap", 50, m.GapEvent(10))
    engine.happens("work")
    assert numbers(await told(watch, 1)) == [51]
    watch.stop()


async def test_a_number_of_the_future_is_a_gap(tmp_path: Path) -> None:
    """An account that was left and joined anew counts from one again."""
    engine = SmallEngine(tmp_path)
    engine.happens("work", 3)
    watch = Watch(engine)
    await watch.start({"work": 1_000})
    assert [event.type for event in await told(watch, 1)] == ["gap"]
    engine.happens("work")
    assert numbers(await told(watch, 1)) == [4]
    watch.stop()


async def test_many_events_come_in_pages(tmp_path: Path) -> None:
    engine = SmallEngine(tmp_path)
    engine.happens("work", 3 * limits.API_EVENTS_AT_ONCE)
    watch = Watch(engine)
    await watch.start({"work": 0})
    assert len(await watch.next()) == limits.API_EVENTS_AT_ONCE
    rest = await told(watch, 2 * limits.API_EVENTS_AT_ONCE)
    assert numbers(rest) == list(range(limits.API_EVENTS_AT_ONCE + 1, 3 * limits.API_EVENTS_AT_ONCE + 1))
    watch.stop()


async def test_passing_events_are_bounded_and_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "API_PASSING_EVENTS_MAX", 3)
    engine = SmallEngine(tmp_path)
    watch = Watch(engine)
    await watch.start({})
    for number in range(10):
        engine.tell(m.Event("progress", "work", 0, m.ProgressEvent("x", number, 10)))
    assert [event.data.have for event in await watch.next()] == [7, 8, 9]
    watch.stop()


async def test_who_hears_of_an_opened_home_misses_nothing_that_comes_after(tmp_path: Path) -> None:
    engine = SmallEngine(tmp_path)
    engine.locked = True
    engine.happens("work", 7)
    watch = Watch(engine)
    assert (await watch.start({})).numbers == {}
    engine.locked = False
    engine.tell(m.Event("home", "", 0, m.HomeEvent(m.Home(1, False, (), 0, False))))
    assert [event.type for event in await told(watch, 1)] == ["home"]
    engine.happens("work")
    assert numbers(await told(watch, 1)) == [8]
    watch.stop()
