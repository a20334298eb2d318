# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a further device is told that the service does not say again (B3, B4): people, blocks, groups, introductions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from tests.support.stepping import Device
from tmtp_client.api import models
from tmtp_client.store import groups, people, tables
from tmtp_client.sync import handing_on, registers, state
from tmtp_client.sync.handing_on import INTRODUCTIONS, heard_of_block

BOB, CARA, DAN, EVE, FAY, GUS = (letter * 32 for letter in "BCDEFG")


@pytest.fixture
def elder(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path / "elder.db", "elder", 0)
    device.write(lambda c: _history(c, device))
    yield device
    device.close()


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path / "new.db", "new", 0)
    yield device
    device.close()


def _history(c: Connection, device: Device) -> None:
    """As the service told it over the years."""
    people.learn(c, "A" * 32, "Ada Lovelace", "self", 0)
    for uid, alias, stands in (
        (BOB, "Bob Builder", "contact"),
        (CARA, "Cara Cook", "asks"),
        (DAN, "Dan Dee", "asked"),
        (EVE, "Eve Example", "stranger"),
    ):
        people.learn(c, uid, alias, "ping", 0)
        people.set_stands(c, uid, stands)
    people.learn(c, FAY, "fay@example.org", "ping", 0, via="smtp", proof="DKIM")
    people.set_blocked(c, EVE, True)
    heard_of_block(c, device.at(), EVE)
    state.set(c, device.at(), "person", CARA, {"stands": "ignored"})
    groups.put(c, "Builders of Engines", "joined", "Ada Lovelace", BOB, 0)
    groups.put(c, "Wreckers of Engines", "left", "", BOB, 0)
    registers.set(c, device.at(), registers.HERE, INTRODUCTIONS, {INTRODUCTIONS: False})


def told(by: Device, *to: Device) -> None:
    by.write(lambda c: handing_on.tell_everything(c, by.at()))
    for post in by.tell():
        for one in to:
            one.hear(post)


def shown(device: Device) -> list[models.Person]:
    return [one for one in device.write(people.listed) if one.stands != "self"]


def test_a_new_device_knows_whom_its_elder_knows_and_how_one_stands_with_them(elder: Device, new: Device) -> None:
    told(elder, new)
    assert shown(new) == shown(elder)
    stands = {one.uid: (one.stands, one.blocked) for one in shown(new)}
    assert stands[BOB] == ("contact", False)
    assert stands[CARA] == ("ignored", False)
    assert stands[DAN] == ("asked", False)
    assert stands[EVE] == ("stranger", True)
    assert new.write(lambda c: people.uid_of(c, "Bob Builder")) == BOB
    assert [one.gid for one in new.write(groups.listed)] == ["Builders of Engines"]
    assert not new.write(handing_on.introductions)
    assert new.tell() == [], "its elder said it to all"


def test_what_the_service_said_to_a_device_itself_counts_more(elder: Device, new: Device) -> None:
    def hear(c: Connection) -> None:
        people.learn(c, GUS, "Dan Dee", "ping", 0)  # whose alias it is now
        people.learn(c, EVE, "Eve Example", "group", 0)
        heard_of_block(c, new.at(), EVE)  # she is blocked no more
        people.learn(c, CARA, "Cara Cook", "ping", 0)
        people.set_stands(c, CARA, "contact")
        groups.put(c, "Builders of Engines", "barred", "", BOB, 0)

    new.write(hear)
    told(elder, new)
    stands = {one.uid: (one.stands, one.blocked) for one in shown(new)}
    assert stands[EVE] == ("stranger", False)
    assert stands[CARA] == ("ignored", False), "that a person decided"
    assert new.write(lambda c: people.uid_of(c, "Dan Dee")) == GUS
    assert [one.stands for one in new.write(groups.listed)] == ["barred"]


def test_what_was_told_once_and_is_not_so_any_more_is_told_to_the_next(
    elder: Device, new: Device, tmp_path: Path
) -> None:
    told(elder, new)

    def change(c: Connection) -> None:
        people.set_blocked(c, EVE, False)
        groups.put(c, "Builders of Engines", "left", "", "", 0)

    elder.write(change)
    third = Device(tmp_path / "third.db", "third", 0)
    told(elder, new, third)
    assert not any(one.blocked for one in shown(third))
    assert third.write(groups.listed) == []
    third.close()


def test_garbage_of_another_device_makes_nobody(new: Device) -> None:
    def say(c: Connection) -> None:
        for uid, fields in (
            (BOB, {"alias": 7, "known_by": "ping", "stands": "contact"}),
            (CARA, {"alias": "x" * 1_000, "known_by": "ping"}),
            (DAN, {"alias": "Dan", "known_by": "self"}),
            (EVE, {"alias": "Eve", "known_by": "hearsay", "blocked": True}),
        ):
            state.set(c, new.at(), "person", uid, fields)
        state.set(c, new.at(), "group", "Builders", {"alias": None})
        state.set(c, new.at(), "group", "Wreckers", {"alias": ["x"]})

    new.write(say)
    assert new.write(lambda c: c.execute(select(tables.person.c.uid)).all()) == []
    assert new.write(groups.listed) == []
