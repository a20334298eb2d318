# SPDX-License-Identifier: AGPL-3.0-or-later
"""What listeners are told: everything once, as it is by then, and a gap where something is not kept any more (B1)."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, func, select

from tests.support.history import ANNA, OWN, a_message, history, id_of
from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import changes, groups, messages, people, threads
from tmtp_client.store.tables import change


@pytest.fixture
def kept() -> Iterator[Connection]:
    with history() as connection:
        yield connection


def told(connection: Connection, since: int = 0, limit: int = 1_000) -> list[models.Event]:
    return changes.since(connection, "one", since, limit)


def test_a_new_message_is_told_with_its_thread(kept: Connection) -> None:
    messages.record(kept, a_message(1, "hello"), OWN)
    message, thread = messages.view(kept, id_of(1)), threads.view(kept, id_of(1))
    assert message is not None
    assert thread is not None
    assert told(kept) == [models.Event("message", "one", 1, models.MessageEvent(message, thread, new=True))]
    assert told(kept, since=1) == []


def test_what_changed_several_times_is_told_once_as_it_is_now(kept: Connection) -> None:
    messages.record(kept, a_message(1, "hello"), OWN)
    people.learn(kept, ANNA, "Anna Almond", "ping", 1)
    messages.mark_seen(kept, [id_of(1)], True)
    threads.set_flags(kept, id_of(1), archived=True)
    groups.put(kept, "Team", "joined", "Olga", "", 1)
    person, message, thread, group = told(kept)
    assert [one.type for one in (person, message, thread, group)] == ["person", "message", "thread", "group"]
    assert message.number == 3
    assert (message.data.new, message.data.message.seen, message.data.thread.archived) == (True, True, True)
    assert thread.data.thread.unseen == 0
    assert group.data.group.gid == "Team"
    (again, *_) = told(kept, since=2)
    assert (again.type, again.data.new) == ("message", False)  # it was told as new


def test_other_events_are_kept_as_they_were(kept: Connection) -> None:
    first = models.NotificationEvent("Service", "Anna", "hello")
    second = models.SettingEvent("undo", {"seconds": 10})
    changes.emit(kept, "notification", first)
    changes.emit(kept, "notification", first)
    changes.emit(kept, "setting", second)
    assert [one.data for one in told(kept)] == [first, first, second]


def test_what_is_gone_is_not_told_and_hides_nothing_behind_it(kept: Connection) -> None:
    for number in range(1, 6):
        messages.record(kept, a_message(number), OWN)
    messages.record(kept, a_message(9), OWN)
    messages.remove(kept, [id_of(number) for number in range(1, 6)])
    (one,) = told(kept, limit=2)
    assert one.data.message.id == id_of(9)


def test_a_listener_gets_everything_in_pages(kept: Connection) -> None:
    for number in range(1, 8):
        messages.record(kept, a_message(number), OWN)
    seen, since = [], 0
    while page := told(kept, since, limit=3):
        seen += [one.data.message.id for one in page]
        since = page[-1].number
    assert seen == [id_of(number) for number in range(1, 8)]


def test_who_was_away_too_long_is_told_of_a_gap(kept: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANGES_MAX", 10)
    monkeypatch.setattr(limits, "CHANGES_SLACK", 5)
    for number in range(1, 31):
        messages.record(kept, a_message(number), OWN)
        changes.trim(kept)
        assert kept.scalar(select(func.count()).select_from(change)) <= 15
    assert told(kept, since=3) == [models.Event("gap", "one", 30, models.GapEvent(3))]
    first = kept.scalar(select(func.min(change.c.number)))
    assert len(told(kept, since=first - 1)) == 30 - first + 1
    assert [one.type for one in told(kept, since=first - 2)] == ["gap"]


def test_numbers_never_come_again(kept: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANGES_MAX", 0)
    monkeypatch.setattr(limits, "CHANGES_SLACK", 0)
    messages.record(kept, a_message(1), OWN)
    changes.trim(kept)
    assert changes.latest(kept) == 1
    assert told(kept, since=1) == []
    assert [one.type for one in told(kept, since=0)] == ["gap"]
    messages.record(kept, a_message(2), OWN)
    assert [one.number for one in told(kept, since=1)] == [2]


def test_a_number_of_another_history_is_a_gap(kept: Connection) -> None:
    messages.record(kept, a_message(1), OWN)
    assert told(kept, since=77) == [models.Event("gap", "one", 1, models.GapEvent(77))]
