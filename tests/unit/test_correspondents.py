# SPDX-License-Identifier: AGPL-3.0-or-later
"""The life cycle of correspondents (C5): by hand any step, by rule only forward, each in the log with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import Connection, func, select

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import Evidence, Machine, Strength
from bridges.smtp.senders.correspondents import STEPS, Correspondents
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions
from bridges.smtp.store.tables import correspondent, correspondent_mail
from tests.support.instance import ManualClock

DAY_S = 86_400
LINK = "tmtp-invite:secret"
INVITED = m.Invited(invitation=7, link=LINK)


@dataclass(frozen=True)
class Cycle:
    invite: Literal["by_hand", "when_vetted"] = "by_hand"
    refuse_after_joined_days: int | None = None


class People:
    """The correspondents of an intake, as it opens them."""

    def __init__(self, path: Path, cycle: Cycle, clock: ManualClock) -> None:
        self.path = path
        self.clock = clock
        self.vetted: set[str] = set()
        self.database = BridgeDatabase(path)
        self.decisions = Decisions(self.database, clock, kept_days=400)
        self.them = Correspondents(self.database, self.decisions, clock, cycle, self.vetted.__contains__)

    async def open(self) -> None:
        await self.database.open()
        await self.them.open()

    async def reopened(self) -> "People":
        await self.database.close()
        again = People(self.path, Cycle(), self.clock)
        await again.open()
        return again

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ns() // 10**6

    async def mail(
        self,
        author: str,
        mail: str = "00",
        *,
        strength: Strength = "strong",
        machine: Machine = "",
        undone: bool = False,
        taken: bool = True,
    ) -> None:
        evidence = Evidence("192.0.2.1", author, author, author.rpartition("@")[2], mail, 100, machine=machine)

        def note(connection: Connection) -> None:
            self.them.note(connection, evidence, strength, self.now_ms, taken=taken)
            if undone:
                raise LookupError(author)

        await self.database.write(note)

    async def cover(self, address: str = "", domain: str = "") -> int:
        return await self.database.write(
            lambda connection: self.them.cover(connection, 3, address, domain, self.now_ms)
        )

    async def acts(self) -> list[tuple[str, str, str, str]]:
        page = await self.decisions.page(None, 500)
        found: list[dict[str, Any]] = [json.loads(bytes(entry.body)) for entry in reversed(page.entries)]
        return [(act["by"], act["act"], act["target"], act.get("detail", "")) for act in found]

    async def addresses(self, **wanted: Any) -> list[str]:
        return [one.address for one in (await self.them.list(**wanted)).correspondents]


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[People]:
    opened = People(tmp_path / "bridge.sqlite3", Cycle("when_vetted", 14), ManualClock())
    await opened.open()
    yield opened
    await opened.database.close()


async def test_who_is_proved_is_seen_and_nobody_else(people: People) -> None:
    await people.mail("ann@x.example")
    await people.mail("bo@x.example", strength="none")
    await people.mail("", strength="weak")
    assert (people.them.state("ann@x.example"), people.them.state("bo@x.example")) == ("seen", None)
    ann = await people.them.show("Ann@X.example")
    assert (ann.state, ann.mails, ann.proof, ann.machine, ann.changed_by) == ("seen", 1, "strong", "", "rule: seen")
    assert ann.first_seen_ms == ann.last_seen_ms == ann.changed_ms == people.now_ms
    assert await people.addresses() == ["ann@x.example"]
    with pytest.raises(BridgeRefused, match="no mail") as refused:
        await people.them.show("bo@x.example")
    assert refused.value.kind == "not found"
    assert await people.acts() == []  # the mail's own decision is what there is of it


async def test_what_is_undone_was_not_seen(people: People) -> None:
    """What is in memory is what is on the disk, whatever becomes of a change (C5)."""
    got = await asyncio.gather(
        people.mail("ann@x.example", undone=True), people.mail("bo@x.example"), return_exceptions=True
    )
    assert [type(one) for one in got] == [LookupError, type(None)]
    assert (people.them.state("ann@x.example"), people.them.state("bo@x.example")) == (None, "seen")


async def test_its_newest_mail_says_what_it_is(people: People) -> None:
    await people.mail("ann@x.example", "1")
    first_ms = people.now_ms
    people.clock.advance(DAY_S)
    await people.mail("ann@x.example", "2", strength="weak", machine="list")
    ann = await people.them.show("ann@x.example")
    assert (ann.first_seen_ms, ann.last_seen_ms) == (first_ms, people.now_ms)
    assert (ann.proof, ann.machine, ann.changed_ms) == ("weak", "list", first_ms)


async def test_mails_are_messages_of_thirty_days(people: People) -> None:
    """C5: counts sum messages, not rows: tries and transactions of one mail are one."""
    for mail in ("1", "1", "2", "1"):
        await people.mail("ann@x.example", mail)
    await people.mail("bo@x.example", "1")
    assert (await people.them.show("ann@x.example")).mails == 2
    people.clock.advance(29 * DAY_S)
    await people.mail("ann@x.example", "3")
    assert (await people.them.show("ann@x.example")).mails == 3
    people.clock.advance(2 * DAY_S)
    assert (await people.them.show("ann@x.example")).mails == 1
    await people.mail("cy@x.example", "1")
    left = await people.database.read(
        lambda connection: connection.exec_driver_sql("SELECT count(*) FROM correspondent_mail").scalar_one()
    )
    assert left == 2


async def test_a_record_moves_whom_it_covers_and_never_back(people: People) -> None:
    for author in ("ann@x.example", "bo@x.example", "cy@sub.x.example", "dan@notx.example"):
        await people.mail(author)
    await people.them.move("bo@x.example", "joined", "admin", "")
    assert await people.cover(domain="x.example") == 1
    states = {one.address: one.state for one in (await people.them.list()).correspondents}
    assert states == {
        "ann@x.example": "vetted",
        "bo@x.example": "joined",
        "cy@sub.x.example": "seen",
        "dan@notx.example": "seen",
    }
    assert {address: people.them.state(address) for address in states} == states
    assert (await people.acts())[1:] == [
        ("rule: vetted", "correspondents.move", "x.example", "record 3: 1 from seen to vetted")
    ]
    assert await people.cover(address="dan@notx.example") == 1
    assert await people.cover(address="dan@notx.example") == 0
    assert len(await people.acts()) == 3


async def test_who_is_covered_already_is_vetted_with_his_first_mail(people: People) -> None:
    people.vetted.add("ann@x.example")
    await people.mail("ann@x.example")
    assert people.them.state("ann@x.example") == "vetted"
    await people.mail("bo@x.example")
    people.vetted.add("bo@x.example")  # by a record that counts again, for example
    await people.mail("bo@x.example")
    assert people.them.state("bo@x.example") == "vetted"
    assert await people.acts() == [("rule: vetted", "correspondents.move", "bo@x.example", "")]


async def test_from_seen_to_refused(people: People) -> None:
    await people.mail("ann@x.example")
    await people.cover(address="ann@x.example")
    assert await people.them.wanting_invitation() == ["ann@x.example"]
    invited = await people.them.invited("ann@x.example", INVITED, "rule: when_vetted")
    assert (invited.state, invited.invitation, invited.link, invited.invited_ms) == ("invited", 7, LINK, people.now_ms)
    assert people.them.link("ann@x.example") == LINK
    assert await people.them.wanting_invitation() == []
    people.clock.advance(3 * DAY_S)
    whom = m.Joined(invitation=7, joined_as="Ann", joined_ms=people.now_ms - 5)
    joined = await people.them.joined("ann@x.example", whom)
    assert (joined.state, joined.joined_as, joined.joined_ms) == ("joined", "Ann", people.now_ms - 5)
    assert (joined.link, people.them.link("ann@x.example")) == ("", "")
    assert await people.them.joined("ann@x.example", whom) == joined  # told again
    people.clock.advance(14 * DAY_S - 1)
    assert await people.them.apply_rules(people.now_ms) == 0
    people.clock.advance(1)
    assert await people.them.apply_rules(people.now_ms) == 1
    assert people.them.state("ann@x.example") == "refused"
    assert (await people.them.show("ann@x.example")).refused_ms == people.now_ms
    acts = await people.acts()
    assert acts == [
        ("rule: vetted", "correspondents.move", "ann@x.example", "record 3: 1 from seen to vetted"),
        ("rule: when_vetted", "correspondents.invited", "ann@x.example", "invitation 7"),
        ("gateway", "correspondents.joined", "ann@x.example", "invitation 7, as Ann"),
        ("rule: refuse_after_joined_days", "correspondents.move", "ann@x.example", "from joined to refused"),
    ]
    assert LINK not in json.dumps(acts)
    assert (await people.decisions.verify()).intact


async def test_who_is_put_back_has_as_much_time_again(people: People) -> None:
    await people.mail("ann@x.example")
    await people.them.move("ann@x.example", "joined", "admin", "")
    people.clock.advance(14 * DAY_S)
    await people.them.apply_rules(people.now_ms)
    await people.them.move("ann@x.example", "joined", "admin", "her ticket system cannot yet")
    assert await people.them.apply_rules(people.now_ms) == 0
    assert (await people.acts())[-1] == (
        "admin",
        "correspondents.move",
        "ann@x.example",
        "from refused to joined: her ticket system cannot yet",
    )
    people.clock.advance(14 * DAY_S)
    assert await people.them.apply_rules(people.now_ms) == 1


@pytest.mark.parametrize("before", STEPS)
@pytest.mark.parametrize("after", STEPS)
async def test_by_hand_any_step_is_possible(people: People, before: m.LifeState, after: m.LifeState) -> None:
    await people.mail("ann@x.example")
    await people.them.move("ann@x.example", before, "admin", "")
    count = len(await people.acts())
    moved = await people.them.move("ann@x.example", after, "admin", "")
    assert moved.state == people.them.state("ann@x.example") == after
    assert len(await people.acts()) - count == (before != after)
    step = STEPS.index(after)
    assert (moved.refused_ms is not None) == (step == 4)
    if step < 3:
        assert moved.joined_ms is None
    if step < 2:
        assert moved.invited_ms is None


async def test_a_machine_is_not_invited_by_rule(people: People) -> None:
    await people.mail("robot@x.example", machine="auto-submitted")
    await people.cover(domain="x.example")
    assert await people.them.wanting_invitation() == []
    again = await people.reopened()  # by hand only
    await again.mail("ann@x.example")
    await again.cover(domain="x.example")
    assert await again.them.wanting_invitation() == []
    await again.database.close()


async def test_states_outlive_the_process(people: People) -> None:
    for author in ("ann@x.example", "bo@x.example"):
        await people.mail(author)
    await people.them.invited("ann@x.example", INVITED, "admin")
    again = await people.reopened()
    assert (again.them.state("ann@x.example"), again.them.state("bo@x.example")) == ("invited", "seen")
    assert (again.them.link("ann@x.example"), again.them.link("bo@x.example")) == (LINK, "")
    await again.database.close()


async def test_also_who_was_never_proved_can_be_invited_but_not_who_has_joined(people: People) -> None:
    """A held mail that somebody released and whose author he invites."""
    invited = await people.them.invited("Ann@x.example", INVITED, "admin")
    assert (invited.address, invited.first_seen_ms, invited.last_seen_ms, invited.proof) == (
        "ann@x.example",
        None,
        None,
        "none",
    )
    second = m.Invited(invitation=8, link="tmtp-invite:other")
    assert (await people.them.invited("ann@x.example", second, "admin")).invitation == 8
    await people.them.move("ann@x.example", "joined", "admin", "")
    with pytest.raises(BridgeRefused, match="needs no invitation"):
        await people.them.invited("ann@x.example", INVITED, "admin")
    with pytest.raises(BridgeRefused, match="no mail"):
        await people.them.move("eve@x.example", "joined", "admin", "")
    assert people.them.state("eve@x.example") is None


async def test_who_was_invited_first_is_seen_from_the_first_mail_on(people: People) -> None:
    await people.them.invited("ann@x.example", INVITED, "admin")
    await people.them.invited("bob@x.example", INVITED, "admin")
    first = await people.them.list(limit=1)
    assert [one.address for one in first.correspondents] == ["ann@x.example"]
    second = await people.them.list(limit=1, after=first.next or "")
    assert [one.address for one in second.correspondents] == ["bob@x.example"]
    await people.mail("ann@x.example")
    ann = await people.them.show("ann@x.example")
    assert (ann.state, ann.first_seen_ms, ann.last_seen_ms) == ("invited", people.now_ms, people.now_ms)


async def test_pages_and_search(people: People) -> None:
    for number in range(7):
        await people.mail(f"p{number}@{'x' if number % 2 else 'y'}.example")
        if number != 3:  # two of one moment
            people.clock.advance(1)
    newest_first = [f"p{number}@{'x' if number % 2 else 'y'}.example" for number in (6, 5, 3, 4, 2, 1, 0)]
    found, after, pages = [], None, 0
    while True:
        page = await people.them.list(after=after, limit=2)
        found += [one.address for one in page.correspondents]
        pages, after = pages + 1, page.next
        if after is None:
            break
    assert (sorted(found), pages) == (sorted(newest_first), 4)
    assert found == newest_first
    assert await people.addresses(search="@X.ex") == ["p5@x.example", "p3@x.example", "p1@x.example"]
    await people.them.move("p2@y.example", "vetted", "admin", "")
    assert await people.addresses(state="vetted") == ["p2@y.example"]
    with pytest.raises(BridgeRefused, match="after"):
        await people.them.list(after="p2@y.example")


async def test_of_too_many_whom_nobody_knows_the_oldest_are_forgotten(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CORRESPONDENTS_SEEN_MAX", 3)
    monkeypatch.setattr(limits, "RULED_AT_ONCE", 2)
    for number in range(10):
        await people.mail(f"p{number}@x.example")
        people.clock.advance(1)
        if not number:
            await people.them.move("p0@x.example", "vetted", "admin", "")
    await people.them.apply_rules(people.now_ms)
    assert await people.addresses() == ["p9@x.example", "p8@x.example", "p7@x.example", "p0@x.example"]
    assert [people.them.state(f"p{number}@x.example") for number in (0, 1, 9)] == ["vetted", None, "seen"]


async def test_of_whoever_proves_mail_of_ever_more_authors_little_is_kept(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can sign for a domain of his own; between two looks for what is due he must not fill disk and memory."""
    monkeypatch.setattr(limits, "CORRESPONDENTS_SEEN_MAX", 3)
    monkeypatch.setattr(limits, "RULED_AT_ONCE", 4)

    def rows(connection: Connection) -> list[int]:
        return [
            connection.scalar(select(func.count()).select_from(one)) or 0 for one in (correspondent, correspondent_mail)
        ]

    for number in range(40):
        await people.mail(f"p{number}@x.example", "aa", taken=False)
        people.clock.advance(1)
    known, mails = await people.database.read(rows)
    assert mails == known == sum(people.them.state(f"p{number}@x.example") is not None for number in range(40)) <= 7
    for number in range(200):
        await people.mail("p39@x.example", f"{number:04x}", taken=False)
    assert (await people.them.show("p39@x.example")).mails == limits.CORRESPONDENT_MAILS_REFUSED
    for number in range(200, 240):
        await people.mail("p39@x.example", f"{number:04x}", taken=True)
    assert (await people.them.show("p39@x.example")).mails == limits.CORRESPONDENT_MAILS_REFUSED + 40
