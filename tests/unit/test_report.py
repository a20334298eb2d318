# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report of the way out of SMTP (C5), on a log that is made by hand: every number is known beforehand."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.evidence import ActDone, Decided, Entry, Evidence, Found, Machine, MailDecided, Outcome
from bridges.smtp.reports.report import report, zero_date
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions
from bridges.smtp.store.tables import correspondent
from tests.support.instance import ManualClock

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
SIGNED = (Found("dkim", "x.example", "pass", True),)
SENT_BY_ITS_HOST = (Found("spf", "x.example", "pass", True),)
SAID_BY_OTHERS = (Found("dkim", "x.example", "pass", True, by="mx.example.org"),)
FORGED = (Found("dkim", "x.example", "fail", True), Found("dkim", "other.example", "pass", False))


class Log:
    """A log that is written at any time of the past, in any order."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.now_ms = self.clock.wall_ns() // 10**6
        self.database = BridgeDatabase(path)
        self.decisions = Decisions(self.database, self.clock, kept_days=400)

    async def entry(self, entry: Entry, days: float) -> None:
        at_ms = self.now_ms - int(days * DAY_MS)
        await self.database.write(lambda connection: self.decisions.append(connection, entry, at_ms))

    async def mail(
        self,
        author: str,
        mail: str,
        days: float,
        *outcomes: Outcome,
        found: tuple[Found, ...] = SIGNED,
        machine: Machine = "",
        record: int | None = 7,
    ) -> None:
        """A transaction so many days ago, with so many recipients."""
        evidence = Evidence("192.0.2.1", author, author, "x.example", mail, 100, found=found, machine=machine)
        decided = tuple(
            Decided(f"r{place}@example.org", outcome, (), record)
            for place, outcome in enumerate(outcomes or ("delivered",))
        )
        await self.entry(MailDecided(evidence, decided), days)

    async def act(self, mail: str, days: float, *outcomes: Outcome, act: str = "held.decide") -> None:
        decided = tuple(Decided(f"r{place}@example.org", outcome, ()) for place, outcome in enumerate(outcomes))
        await self.entry(ActDone("admin", act, "1", "", decided, mail), days)

    async def correspondent(
        self, address: str, state: m.LifeState, invited: float | None, joined: float | None
    ) -> None:
        """`invited`, `joined`: so many days ago."""
        row = {
            "address": address,
            "state": state,
            "machine": "",
            "proof": "strong",
            "changed_by": "admin",
            "link": "",
            "joined_as": "",
            **dict.fromkeys(("first_seen_ms", "last_seen_ms", "changed_ms"), self.now_ms),
            "invited_ms": None if invited is None else self.now_ms - int(invited * DAY_MS),
            "joined_ms": None if joined is None else self.now_ms - int(joined * DAY_MS),
        }
        await self.database.write(lambda connection: connection.execute(insert(correspondent), row) and None)

    async def report(self) -> m.Report:
        return await report(self.database, self.now_ms)

    async def window(self, days: m.Window = 90) -> m.ReportWindow:
        return next(window for window in (await self.report()).windows if window.days == days)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = Log(tmp_path / "bridge.sqlite3")
    await opened.database.open()
    yield opened
    await opened.database.close()


def window(days: int, **numbers: int) -> m.ReportWindow:
    none = dict.fromkeys(
        ("senders", "messages", "delivered", "held", "refused", "human", "machine", "weak", "unproved"), 0
    )
    return m.ReportWindow(days=days, **{**none, **numbers})


async def test_nothing_yet(log: Log) -> None:
    made = await log.report()
    assert made.windows == [window(7), window(30), window(90)]
    assert len(made.days) == 90
    assert {(day.messages, day.senders) for day in made.days} == {(0, 0)}
    assert made.states == dict.fromkeys(("seen", "vetted", "invited", "joined", "refused"), 0)
    assert (made.invited, made.joined, made.joined_rate, made.median_days) == (0, 0, None, None)
    assert (made.residue, made.zero_date, made.members) == ([], None, [])


async def test_one_mail_is_one_message(log: Log) -> None:
    """Several recipients, several transactions, tries after 4xx, and a copy that comes again: one each (C5)."""
    await log.mail("ann@x.example", "several recipients", 2, "delivered", "delivered", "refused")
    await log.mail("ann@x.example", "several transactions", 2, "delivered")
    await log.mail("ann@x.example", "several transactions", 2, "refused")
    await log.mail("ann@x.example", "tried again", 2, "deferred", found=())
    await log.mail("ann@x.example", "tried again", 1.9, "deferred")
    await log.mail("ann@x.example", "tried again", 1.8, "delivered")
    await log.mail("ann@x.example", "sent again", 1, "delivered")
    await log.mail("ann@x.example", "sent again", 0.5, "duplicate")
    expected = {"senders": 1, "messages": 4, "delivered": 4, "human": 4}
    assert await log.window() == window(90, **expected)
    (ann,) = (await log.report()).residue
    assert (ann.messages, ann.last_seen_ms) == (4, log.now_ms - DAY_MS // 2)


async def test_without_a_name_each_transaction_is_a_message(log: Log) -> None:
    """A mail whose header cannot be read has none."""
    for _ in range(3):
        await log.mail("", "", 1, "refused", found=(), record=None)
    assert await log.window() == window(90, messages=3, refused=3, unproved=3)


@pytest.mark.parametrize(
    ("steps", "fate"),
    [
        ([("mail", "held", "held"), ("act", "delivered", "delivered")], "delivered"),
        ([("mail", "held"), ("act", "refused")], "refused"),
        ([("mail", "held"), ("mail", "refused")], "held"),  # a second transaction, for another recipient
        ([("mail", "refused"), ("mail", "held")], "held"),
        ([("mail", "held", "delivered"), ("act", "refused")], "delivered"),
        ([("mail", "held"), ("held.expire",)], "refused"),
        ([("mail", "held"), ("act", "deferred")], "held"),  # the service was away; it is decided once more
        ([("mail", "spooled")], "delivered"),
        ([("mail", "spooled"), ("spool.deliver", "delivered")], "delivered"),
        ([("mail", "spooled"), ("spool.deliver", "held")], "held"),
        ([("mail", "spooled"), ("spool.deliver", "refused"), ("spool.deliver", "delivered")], "delivered"),
        ([("mail", "deferred")], None),
        ([("act", "delivered")], "nothing"),
    ],
)
async def test_a_message_fares_as_it_did_in_the_end(log: Log, steps: list[tuple[str, ...]], fate: str | None) -> None:
    for step, *outcomes in steps:
        if step == "mail":
            await log.mail("ann@x.example", "1", 3, *outcomes)  # type: ignore[arg-type]
        else:
            await log.act("1", 2, *outcomes, act="held.decide" if step == "act" else step)  # type: ignore[arg-type]
    got = await log.window()
    counted = {name: getattr(got, name) for name in ("delivered", "held", "refused")}
    assert counted == {name: int(name == fate) for name in counted}
    assert got.messages == (fate != "nothing")


async def test_windows_end_to_the_second(log: Log) -> None:
    for days in (0, 6.999, 7.001, 29.999, 30.001, 89.999):
        await log.mail(f"p{days}@x.example", f"{days}", days)
    await log.mail("too-old@x.example", "too old", 90.001)
    numbers = [(one.days, one.senders, one.messages) for one in (await log.report()).windows]
    assert numbers == [(7, 2, 2), (30, 4, 4), (90, 6, 6)]


async def test_senders_are_those_who_are_proved(log: Log) -> None:
    await log.mail("signed@x.example", "1", 1, found=SIGNED)
    await log.mail("host@x.example", "2", 1, found=SENT_BY_ITS_HOST)
    await log.mail("said@x.example", "3", 1, found=SAID_BY_OTHERS)
    await log.mail("network@x.example", "4", 1, found=())  # a record's own proof, by which it was delivered
    await log.mail("forged@x.example", "5", 1, "refused", found=FORGED)
    await log.mail("put-off@x.example", "6", 1, "deferred", found=())
    expected = {"messages": 6, "delivered": 4, "refused": 1, "senders": 4, "human": 4, "weak": 3, "unproved": 2}
    assert await log.window() == window(90, **expected)
    found = {one.address: one.proof for one in (await log.report()).residue}
    assert found == {
        "signed@x.example": "strong",
        "host@x.example": "weak",
        "said@x.example": "weak",
        "network@x.example": "weak",
    }


async def test_humans_and_machines(log: Log) -> None:
    await log.mail("ann@x.example", "1", 1)
    await log.mail("ann@x.example", "2", 1, machine="auto-submitted")
    await log.mail("robot@x.example", "3", 1, machine="list")
    await log.mail("spam@x.example", "4", 1, "refused", found=FORGED, machine="bulk")
    got = await log.window()
    assert (got.human, got.machine) == (1, 2)


async def test_a_day_for_each_date(log: Log) -> None:
    """UTC, whatever the hour at which the report is made: the newest is today."""
    midnight_ms = log.now_ms - log.now_ms % DAY_MS
    since_midnight = (log.now_ms - midnight_ms) / DAY_MS
    await log.mail("ann@x.example", "1", since_midnight)
    await log.mail("ann@x.example", "2", since_midnight + 0.0001)
    await log.mail("bo@x.example", "3", since_midnight + 0.0001)
    await log.mail("cy@x.example", "4", since_midnight + 0.0001, "refused")
    days = (await log.report()).days
    assert [day.day for day in days[-2:]] == ["2026-09-20", "2026-09-21"]
    assert [(day.messages, day.senders) for day in days[-2:]] == [(2, 3), (1, 1)]
    assert sum(day.messages for day in days) == 3


async def test_from_invitation_to_joining(log: Log) -> None:
    await log.correspondent("seen@x.example", "seen", None, None)
    await log.correspondent("invited@x.example", "invited", 5, None)
    for number, took in enumerate((1, 2, 10)):
        await log.correspondent(f"p{number}@x.example", "joined" if number else "refused", 20, 20 - took)
    await log.correspondent("by-hand@x.example", "joined", None, 3)
    made = await log.report()
    assert made.states == {"seen": 1, "vetted": 0, "invited": 1, "joined": 3, "refused": 1}
    assert (made.invited, made.joined, made.joined_rate, made.median_days) == (4, 4, 0.75, 2.0)


async def test_the_residue_is_whose_mail_is_let_in(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for author, outcome, count in (
        ("most@x.example", "delivered", 3),
        ("held@x.example", "held", 2),
        ("refused@x.example", "refused", 9),
        ("joined@x.example", "delivered", 1),
        ("away@x.example", "delivered", 5),
    ):
        for number in range(count):
            await log.mail(author, f"{author} {number}", 10, outcome)
    await log.mail("most@x.example", "newest", 1, machine="no-reply", found=SENT_BY_ITS_HOST)
    await log.correspondent("joined@x.example", "joined", 9, 2)
    await log.correspondent("away@x.example", "refused", 9, 8)
    residue = (await log.report()).residue
    assert [(one.address, one.state, one.messages) for one in residue] == [
        ("most@x.example", "seen", 4),
        ("held@x.example", "seen", 2),
        ("joined@x.example", "joined", 1),
    ]
    assert (residue[0].machine, residue[0].proof, residue[0].last_seen_ms) == ("no-reply", "weak", log.now_ms - DAY_MS)
    monkeypatch.setattr(limits, "RESIDUE_MAX", 2)
    assert (await log.report()).residue == residue[:2]


@pytest.mark.parametrize(
    ("weekly", "weeks_ahead"),
    [
        ([4, 5, 6, 7], 3.5),  # newest first: by one a week, 4 in the middle of the last one
        ([0, 10, 20, 30], 0),  # it is there already
        ([7, 6, 5, 4], None),
        ([5, 5, 5, 5], None),
        ([4, 5, 6], None),
        ([], None),
        ([0, 0, 0, 0], None),
        ([1_000_000] * 5 + [1_000_001], None),  # not within a century
    ],
)
def test_a_straight_line_reaches_none(weekly: list[int], weeks_ahead: float | None) -> None:
    assert zero_date(weekly, 0) == (None if weeks_ahead is None else f"1970-01-{1 + int(weeks_ahead * 7):02d}")


async def test_the_line_goes_through_the_weeks_that_there_are(log: Log) -> None:
    """Five, four, three, two senders; of the twelve weeks only the last four were looked at."""
    for weeks_ago, senders in enumerate((2, 3, 4, 5)):
        for number in range(senders):
            await log.mail(f"p{number}@x.example", f"{weeks_ago} {number}", weeks_ago * 7 + 3)
            await log.mail(f"q{number}@x.example", f"{weeks_ago} {number} r", weeks_ago * 7 + 3, "refused")
    assert (await log.report()).zero_date is None  # the log begins 24 days ago
    await log.mail("", "", 28, "refused", found=())
    assert (await log.report()).zero_date == "2026-10-02"  # a week and a half from 2026-09-21


async def test_what_somebody_has_changed_does_not_stop_it(log: Log) -> None:
    await log.mail("ann@x.example", "1", 1)

    def tamper(connection: object) -> None:
        connection.exec_driver_sql("DROP TRIGGER decision_no_update")  # type: ignore[attr-defined]
        connection.exec_driver_sql("INSERT INTO decision VALUES (2, 1790000000000, 'mail', '{', x'00')")  # type: ignore[attr-defined]

    await log.database.write(tamper)
    assert (await log.window()).messages == 1


async def test_parts_are_as_good_as_the_whole(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a count that is made in the simplest way, over a log of chance."""
    chance = random.Random(5)
    expected: dict[str, set[str]] = {"delivered": set(), "held": set(), "refused": set(), "deferred": set()}
    for _ in range(300):
        mail, author = f"{chance.randrange(120)}", f"p{chance.randrange(20)}@x.example"
        outcome = chance.choice(["delivered", "held", "refused", "deferred"])
        await log.mail(author, mail, chance.uniform(0, 80), outcome)  # type: ignore[arg-type]
        expected[outcome].add(mail)
    made = await log.report()
    held = expected["held"] - expected["delivered"]
    refused = expected["refused"] - expected["delivered"] - expected["held"]
    got = made.windows[-1]
    assert (got.delivered, got.held, got.refused) == (len(expected["delivered"]), len(held), len(refused))
    assert got.messages == len(set.union(*expected.values()))
    monkeypatch.setattr(limits, "DECISIONS_AT_ONCE", 7)
    assert await log.report() == made
