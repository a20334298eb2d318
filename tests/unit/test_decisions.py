# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log of decisions (C2): nothing is changed, taken out or put in unseen, whatever is undone beside it."""

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from structlog.testing import capture_logs

from bridges import limits
from bridges.smtp.control.evidence import ActDone, Decided, Evidence, MailDecided
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions
from tests.support.instance import ManualClock

DAY_S = 86_400


class Log:
    """A log in a file, opened as the intake opens it; kept for ten days."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.database = BridgeDatabase(path)
        self.decisions = Decisions(self.database, self.clock, kept_days=10)

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ns() // 10**6

    async def act(self, target: str) -> int:
        return await self.database.write(self.adding(target))

    def adding(self, target: str) -> Callable[[Connection], int]:
        return lambda connection: self.decisions.append(connection, ActDone("ann", "senders.vet", target), self.now_ms)

    def undone(self, target: str) -> Callable[[Connection], int]:
        def add(connection: Connection) -> int:
            self.adding(target)(connection)
            raise LookupError(target)

        return add

    def tamper(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as raw, raw:
            raw.execute("DROP TRIGGER decision_no_update")
            for statement in statements:
                raw.execute(statement)

    async def targets(self) -> list[str]:
        page = await self.decisions.page(None, 500)
        return [json.loads(bytes(entry.body))["target"] for entry in reversed(page.entries)]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = Log(tmp_path / "bridge.sqlite3")
    await opened.database.open()
    yield opened
    await opened.database.close()


async def five(log: Log) -> None:
    for number in range(1, 6):
        assert await log.act(f"t{number}") == number
        log.clock.advance(1)


async def test_what_was_written_is_found_whole(log: Log) -> None:
    await five(log)
    verdict = await log.decisions.verify()
    assert (verdict.entries, verdict.first, verdict.intact, verdict.first_broken) == (5, 1, True, None)
    assert verdict.head == (await log.decisions.page(None, 1)).entries[0].hash


async def test_the_hash_is_the_one_that_is_documented(log: Log) -> None:
    """docs/decisions/0022: anybody can compute it from what the log shows."""
    await five(log)
    head = bytes(32)
    for entry in reversed((await log.decisions.page(None, 10)).entries):
        hashed = hashlib.blake2b(head, digest_size=32, person=b"tmtp-smtp")
        hashed.update(b'[%d,%d,"%s",%s]' % (entry.number, entry.at_ms, entry.kind.encode(), bytes(entry.body)))
        head = hashed.digest()
        assert entry.hash == head.hex()


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE decision SET body = replace(body, 't3', 't9') WHERE number = 3", 3),
        ("UPDATE decision SET body = CAST(replace(body, 't3', 't9') AS BLOB) WHERE number = 3", 3),
        ("UPDATE decision SET at_ms = at_ms + 1 WHERE number = 3", 3),
        ("UPDATE decision SET kind = 'mail' WHERE number = 3", 3),
        ("UPDATE decision SET hash = zeroblob(32) WHERE number = 3", 3),
        ("UPDATE decision SET hash = 'x' WHERE number = 5", 5),
        ("DELETE FROM decision WHERE number = 3", 3),
        ("DELETE FROM decision WHERE number <= 2", 1),
        ("UPDATE decision SET number = 9 WHERE number = 3", 3),
        ("UPDATE decision SET number = CASE number WHEN 2 THEN -2 ELSE -3 END WHERE number IN (2, 3)", 2),
        ("INSERT INTO decision SELECT 6, at_ms, kind, body, hash FROM decision WHERE number = 5", 6),
        ("INSERT INTO decision VALUES (6, 0, 'act', 'nonsense', zeroblob(32))", 6),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_each_kind_of_tampering_is_found(log: Log, statement: str, broken: int) -> None:
    await five(log)
    log.tamper(statement, "UPDATE decision SET number = 5 + number WHERE number < 0")
    verdict = await log.decisions.verify()
    assert (verdict.intact, verdict.first_broken) == (False, broken)
    await log.decisions.page(None, 10)  # and it can be shown all the same


async def test_two_entries_that_changed_places_are_found(log: Log) -> None:
    await five(log)
    log.tamper(
        "UPDATE decision SET number = -number WHERE number IN (2, 3)",
        "UPDATE decision SET number = 5 + number WHERE number < 0",
    )
    assert (await log.decisions.verify()).first_broken == 2


async def test_an_entry_put_in_with_a_hash_of_its_own_breaks_what_follows(log: Log) -> None:
    await five(log)
    with contextlib.closing(sqlite3.connect(log.path)) as raw:
        ((before,),) = raw.execute("SELECT hash FROM decision WHERE number = 2")
    body = b'{"kind":"act","by":"eve","act":"senders.vet","target":"x"}'
    hashed = hashlib.blake2b(before, digest_size=32, person=b"tmtp-smtp")
    hashed.update(b'[3,1,"act",%s]' % body)
    log.tamper(
        "UPDATE decision SET number = -number - 1 WHERE number >= 3",
        "UPDATE decision SET number = -number WHERE number < 0",
        f"INSERT INTO decision VALUES (3, 1, 'act', x'{body.hex()}', x'{hashed.hexdigest()}')",
    )
    assert (await log.decisions.verify()).first_broken == 4


async def test_the_file_forbids_changes(log: Log) -> None:
    await five(log)
    with contextlib.closing(sqlite3.connect(log.path)) as raw, pytest.raises(sqlite3.IntegrityError, match="only be"):
        raw.execute("UPDATE decision SET body = 'x'")


async def test_the_newest_entries_are_missed_only_by_who_keeps_a_hash(log: Log) -> None:
    """What the module says that it cannot find, so that nobody relies on it."""
    with capture_logs() as told:
        await five(log)
    kept = [line["hash"] for line in told if line["event"] == "decided"]
    log.tamper("DELETE FROM decision WHERE number > 3")
    verdict = await log.decisions.verify()
    assert verdict.intact
    assert verdict.head == kept[2] != kept[-1]


async def test_what_is_older_than_kept_is_cut_off_and_that_is_an_entry(log: Log) -> None:
    await five(log)
    log.clock.advance(9 * DAY_S)
    await log.act("t6")
    assert await log.decisions.cut_off() == 0
    log.clock.advance(DAY_S)
    assert await log.decisions.cut_off() == 5
    assert await log.targets() == ["t6", "5"]
    verdict = await log.decisions.verify()
    assert (verdict.entries, verdict.first, verdict.intact) == (2, 6, True)
    log.clock.advance(20 * DAY_S)
    assert await log.decisions.cut_off() == 2
    assert await log.act("t9") == 9
    assert await log.targets() == ["7", "t9"]
    assert (await log.decisions.verify()).intact
    page = await log.decisions.page(None, 1)
    assert page.next == 9
    assert (await log.decisions.page(page.next, 1)).next is None


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM decision WHERE number = 6",
        "DELETE FROM decision_begin",
        "UPDATE decision_begin SET number = 4",
        "UPDATE decision_begin SET hash = zeroblob(32)",
        "UPDATE decision_begin SET hash = 'x'",
        # A beginning that fits, and no entry that says so.
        "REPLACE INTO decision_begin SELECT number, hash FROM decision WHERE number = 6",
    ],
)
async def test_another_beginning_than_the_recorded_one_is_found(log: Log, statement: str) -> None:
    await five(log)
    log.clock.advance(11 * DAY_S)
    await log.act("t6")
    await log.decisions.cut_off()
    log.tamper(statement)
    assert not (await log.decisions.verify()).intact


async def test_a_beginning_that_fits_but_that_nobody_wrote_down_is_found(log: Log) -> None:
    await five(log)
    log.tamper(
        "INSERT INTO decision_begin SELECT number, hash FROM decision WHERE number = 2",
        "DELETE FROM decision WHERE number <= 2",
    )
    verdict = await log.decisions.verify()
    assert (verdict.intact, verdict.first, verdict.first_broken) == (False, 3, 3)


async def test_a_clock_that_goes_back_leaves_no_gap(log: Log) -> None:
    """Of what is older only the beginning is cut off, up to the first entry that is not."""
    await log.act("old")
    log.clock.advance(20 * DAY_S)
    await log.act("new")
    log.clock.step_wall(-20 * DAY_S)
    await log.act("old again")
    log.clock.advance(20 * DAY_S)
    assert await log.decisions.cut_off() == 1
    assert await log.targets() == ["new", "old again", "1"]
    assert (await log.decisions.verify()).intact


async def test_what_is_undone_in_a_group_does_not_break_the_chain(log: Log) -> None:
    """Many changes share a transaction; one of them takes back its own entries only."""
    with capture_logs() as told:
        changes = [
            log.database.write(log.undone(f"t{number}") if number % 3 == 1 else log.adding(f"t{number}"))
            for number in range(30)
        ]
        got = await asyncio.gather(*changes, return_exceptions=True)
    kept = [f"t{number}" for number in range(30) if number % 3 != 1]
    assert [one for one in got if not isinstance(one, Exception)] == list(range(1, 21))
    assert await log.targets() == kept
    assert (await log.decisions.verify()).intact
    hashes = {entry.number: entry.hash for entry in (await log.decisions.page(None, 500)).entries}
    assert [(line["number"], line["hash"]) for line in told if line["event"] == "decided"] == sorted(hashes.items())


async def test_what_a_failed_disk_took_back_is_not_told(log: Log) -> None:
    """The whole transaction is void: a copy of the log elsewhere must not have what this one never had."""

    def fail(connection: Connection) -> None:
        log.adding("t")(connection)
        connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    with capture_logs() as told:
        with pytest.raises(OSError, match="nowhere"):
            await log.database.write(fail)
        await log.act("t1")
    assert [line["number"] for line in told if line["event"] == "decided"] == [1]
    assert await log.targets() == ["t1"]


async def test_a_search_goes_through_all_of_it(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DECISIONS_AT_ONCE", 2)
    evidence = Evidence("192.0.2.1", "bo@x.example", "bo@x.example", "x.example", "00", 100)
    mail = MailDecided(evidence, (Decided("support@example.org", "refused", ('no record for "x.example"',)),))
    for number in range(9):
        await log.act(f"t{number}")
    await log.database.write(lambda connection: log.decisions.append(connection, mail, log.now_ms))
    page = await log.decisions.page(None, 2, search='FOR "X.example"')
    assert [(entry.number, entry.kind) for entry in page.entries] == [(10, "mail")]
    assert page.next is None
    numbers, before = [], None
    while True:
        page = await log.decisions.page(before, 2, search="senders.vet")
        numbers += [entry.number for entry in page.entries]
        before = page.next
        if before is None:
            break
    assert numbers == list(range(9, 0, -1))
    monkeypatch.setattr(limits, "DECISIONS_SEARCHED_MAX", 4)
    page = await log.decisions.page(None, 2, search="t0")
    assert (page.entries, page.next) == ([], 7)  # so much was looked at; the next page goes on from there
    assert (await log.decisions.page(3, 2, search="t0")).entries[0].number == 1


async def test_it_is_verified_beside_writing_and_cutting(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DECISIONS_AT_ONCE", 3)
    await asyncio.gather(*(log.act(f"t{number}") for number in range(60)))
    log.clock.advance(11 * DAY_S)
    acts = [log.act(f"t{number}") for number in range(60)]
    verdicts = await asyncio.gather(log.decisions.verify(), log.decisions.cut_off(), log.decisions.verify(), *acts)
    assert [one.intact for one in (verdicts[0], verdicts[2])] == [True, True]
    verdict = await log.decisions.verify()
    assert (verdict.intact, verdict.first) == (True, 61)
    assert verdict.entries == len(await log.targets()) == 60 + 20


STEPS = st.lists(
    st.one_of(
        st.lists(st.booleans(), min_size=1, max_size=5).map(lambda kept: ("write", kept)),
        st.integers(0, 8).map(lambda days: ("wait", days)),
        st.just(("cut", None)),
        st.just(("reopen", None)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_any_history_is_verified(tmp_path_factory: pytest.TempPathFactory, steps: list) -> None:
    """Whatever is written, undone, cut off and opened again: what was kept is there, in order, and verified."""
    log = Log(tmp_path_factory.mktemp("log") / "bridge.sqlite3")
    await log.database.open()
    expected: list[tuple[int, str]] = []
    for step, what in steps:
        if step == "write":
            targets = [f"t{len(expected)}-{place}" for place in range(len(what))]
            changes = [
                log.database.write(log.adding(target) if kept else log.undone(target))
                for target, kept in zip(targets, what, strict=True)
            ]
            await asyncio.gather(*changes, return_exceptions=True)
            expected += [(log.now_ms, target) for target, kept in zip(targets, what, strict=True) if kept]
        elif step == "wait":
            log.clock.advance(what * DAY_S)
        elif step == "cut":
            count = await log.decisions.cut_off()
            old = [one for one in expected if one[0] < log.now_ms - 10 * 86_400_000]
            assert count == len(old)
            if count:
                cut = (await log.decisions.page(None, 1)).entries[0].number - len(expected) + count - 1
                expected = [*expected[count:], (log.now_ms, str(cut))]
        else:
            await log.database.close()
            clock, log = log.clock, Log(log.path)
            log.clock.step_wall((clock.wall_ns() - log.clock.wall_ns()) / 1e9)
            await log.database.open()
        assert (await log.decisions.verify()).intact
    assert await log.targets() == [target for _, target in expected]
    await log.database.close()
