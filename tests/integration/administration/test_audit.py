# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit log: every change is in it before it is told, and no entry goes, moves or changes unseen (C1)."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gateway.administration import Administration, AdministrationDatabase, Performs, local_user, models, tables
from gateway.administration.audit import Act, AuditLog
from gateway.administration.errors import NotFound
from tests.support.gateway import running_gateway
from tests.support.instance import ManualClock
from tmtp_core import limits
from tmtp_core.errors import ServiceUnavailable
from tmtp_core.store.database import Database

ENTRIES = 9
AN_ACT = Act("token 1 (a test)", "accounts.bar", "members", "Ada Lovelace")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[AdministrationDatabase]:
    opened = AdministrationDatabase(tmp_path)
    yield opened
    await opened.close()


async def filled(folder: Path) -> None:
    """A log of `ENTRIES` entries in a database that is closed."""
    database = AdministrationDatabase(folder)
    audit = AuditLog(database, ManualClock())
    for number in range(ENTRIES):
        await audit.end(await audit.begin(AN_ACT), AN_ACT, "done", f"number {number}")
    await database.close()


async def verdict(folder: Path) -> models.AuditVerdict:
    database = AdministrationDatabase(folder)
    try:
        return await AuditLog(database, ManualClock()).verify()
    finally:
        await database.close()


def tamper(folder: Path, *statements: str) -> None:
    """As somebody with the file in his hands would, who first takes the triggers away."""
    with closing(sqlite3.connect(folder / "administration.sqlite3")) as connection, connection:
        for trigger in ("audit_no_update", "audit_no_delete"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)


SWAP = """UPDATE audit SET {0} = (SELECT {0} FROM audit AS other WHERE other.number = 9 - audit.number)
    WHERE number IN (4, 5)"""


async def test_a_log_that_nobody_touched_is_intact(tmp_path: Path) -> None:
    await filled(tmp_path)
    found = await verdict(tmp_path)
    assert (found.entries, found.intact, found.first_broken) == (ENTRIES, True, None)
    assert len(bytes.fromhex(found.head)) == 32


@pytest.mark.parametrize(
    ("statements", "first_broken"),
    [
        *(
            ([f"UPDATE audit SET {column} = 'x' WHERE number = 5"], 5)
            for column in ("actor", "operation", "instance", "target", "detail", "outcome")
        ),
        (["UPDATE audit SET at_ms = at_ms + 1 WHERE number = 5"], 5),
        (["UPDATE audit SET hash = zeroblob(32) WHERE number = 5"], 5),
        (["UPDATE audit SET hash = zeroblob(32) WHERE number = 9"], 9),
        (["UPDATE audit SET number = 100 WHERE number = 9"], 9),
        (["DELETE FROM audit WHERE number = 5"], 5),
        (["DELETE FROM audit WHERE number = 1"], 1),
        (["DELETE FROM audit WHERE number BETWEEN 3 AND 7"], 3),
        # taken out, and the others moved up
        (["DELETE FROM audit WHERE number = 5", "UPDATE audit SET number = number - 1 WHERE number > 5"], 5),
        # reordered: two change places, with and without their hashes
        (
            [
                "UPDATE audit SET number = 100 WHERE number = 4",
                "UPDATE audit SET number = 4 WHERE number = 5",
                "UPDATE audit SET number = 5 WHERE number = 100",
            ],
            4,
        ),
        ([SWAP.format("detail")], 4),
        ([SWAP.format("hash")], 4),
        # one put in between, with a hash from elsewhere
        (
            [
                "UPDATE audit SET number = -number WHERE number > 5",
                "UPDATE audit SET number = 1 - number WHERE number < 0",
                "INSERT INTO audit SELECT 6, at_ms, actor, operation, instance, target, outcome, detail, hash"
                " FROM audit WHERE number = 5",
            ],
            6,
        ),
    ],
)
async def test_what_was_tampered_with_is_noticed(tmp_path: Path, statements: list[str], first_broken: int) -> None:
    await filled(tmp_path)
    tamper(tmp_path, *statements)
    found = await verdict(tmp_path)
    assert (found.intact, found.first_broken, found.entries) == (False, first_broken, first_broken - 1)


async def test_the_database_itself_refuses_changes(database: AdministrationDatabase) -> None:
    audit = AuditLog(database, ManualClock())
    await audit.end(None, AN_ACT, "denied", "")
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(ServiceUnavailable):
            await database.run(lambda connection, statement=statement: connection.exec_driver_sql(statement))
    assert (await audit.verify()).intact


async def test_a_log_of_many_parts_is_verified_and_paged(
    database: AdministrationDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmtp_core.limits.AUDIT_VERIFIED_AT_ONCE", 3)
    audit = AuditLog(database, ManualClock())
    for number in range(1, 8):
        await audit.end(None, AN_ACT, "done", str(number))
    assert (await audit.verify()).entries == 7
    first = await audit.page(None, 5)
    second = await audit.page(first.next, 5)
    assert [one.number for one in (*first.entries, *second.entries)] == [7, 6, 5, 4, 3, 2, 1]
    assert second.next is None
    exactly = await audit.page(None, 7)
    assert exactly.next is None


async def test_who_asks_without_end_for_what_he_may_not_do_does_not_fill_the_log(
    database: AdministrationDatabase,
) -> None:
    clock = ManualClock()
    audit = AuditLog(database, clock)
    most = limits.AUDIT_DENIALS_PER_MINUTE
    for _ in range(most + 7):
        await audit.deny(AN_ACT, "he may not")
    await audit.deny(Act("token 2 (another)", "accounts.bar", "members", "Ada Lovelace"), "he may not")
    await audit.fold()
    assert (await audit.verify()).entries == most + 1
    clock.advance(60)
    await audit.deny(AN_ACT, "he may not")
    newest, told, *_ = (await audit.page(None, 100)).entries
    assert (newest.operation, newest.detail) == (AN_ACT.operation, "he may not")
    assert (told.actor, told.outcome, told.detail) == (AN_ACT.actor, "denied", "7 more within a minute")
    await audit.fold(all_of_them=True)
    assert (await audit.verify()).entries == most + 3


async def test_texts_that_are_long_or_none_do_not_get_in_the_way(database: AdministrationDatabase) -> None:
    audit = AuditLog(database, ManualClock())
    await audit.end(None, Act("a" * 5_000, "x", "\ud800", "b\0c"), "denied", "d" * 5_000)
    (entry,) = (await audit.page(None, 1)).entries
    assert len(entry.actor) == len(entry.detail) == 1_000
    assert (await audit.verify()).intact


async def test_what_was_begun_and_not_answered_is_told_at_the_next_start(tmp_path: Path) -> None:
    database = AdministrationDatabase(tmp_path)
    clock = ManualClock()
    begun_ms = clock.wall_ns() // 1_000_000
    await AuditLog(database, clock).begin(AN_ACT)
    await database.close()
    clock.advance(1_000)
    database = AdministrationDatabase(tmp_path)
    audit = AuditLog(database, clock)
    for _ in range(2):  # once, however often it starts
        await audit.end_interrupted()
    (entry,) = (await audit.page(None, 10)).entries
    assert (entry.actor, entry.target, entry.outcome) == (AN_ACT.actor, AN_ACT.target, "failed")
    assert entry.at_ms == begun_ms
    await database.close()


def test_the_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    database = Database(tmp_path / "administration.sqlite3", "migrations:administration")
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, tables.metadata)
    database.close()
    assert differences == []


# -- with a gateway --------------------------------------------------------------------------------------------------
async def outcomes(administration: Administration) -> list[tuple[str, str]]:
    page = await administration.audit.page(None, 100)
    return [(one.operation, one.outcome) for one in reversed(page.entries)]


def owner_of(administration: Administration) -> Performs:
    return administration.on_behalf_of(local_user())


async def test_each_change_has_its_entry_and_no_look_has(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        owner = owner_of(gateway.administration)
        here = {"instance": "members"}
        await owner.perform("overview", {})
        await owner.perform("accounts.list", here)
        made = await owner.perform("invitations.create", here, models.CreateInvitation(note="for Ada"))
        assert isinstance(made, models.NewInvitation)
        with pytest.raises(NotFound):
            await owner.perform("accounts.bar", {**here, "who": "Nobody Here"})
        with pytest.raises(Exception, match="uses"):
            await owner.perform("invitations.create", here, models.CreateInvitation(uses=0))
        with pytest.raises(NotFound):
            await owner.perform("accounts.bar", {"instance": "elsewhere", "who": "Nobody Here"})
        token = await owner.perform("tokens.create", {}, models.CreateToken(name="x", scopes=["audit:read"]))
        assert isinstance(token, models.NewToken)
        assert await outcomes(gateway.administration) == [
            ("invitations.create", "done"),
            ("accounts.bar", "refused"),
            ("invitations.create", "refused"),
            ("accounts.bar", "refused"),
            ("tokens.create", "done"),
        ]
        page = await gateway.administration.audit.page(None, 100)
        assert "for Ada" in page.entries[-1].detail
        written = "".join(map(str, page.entries))
        assert made.token not in written
        assert token.token not in written
    assert made.token.encode() not in (tmp_path / "data" / "administration.sqlite3").read_bytes()
    assert token.token.encode() not in (tmp_path / "data" / "administration.sqlite3").read_bytes()


async def test_nothing_is_done_that_cannot_be_written_down(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        owner, here = owner_of(gateway.administration), {"instance": "members"}
        await gateway.administration.database.run(lambda c: c.exec_driver_sql("ALTER TABLE begun RENAME TO gone"))
        with pytest.raises(ServiceUnavailable):
            await owner.perform("invitations.create", here, models.CreateInvitation())
        assert await gateway.instances["members"].service.list_invitations() == []


@pytest.mark.parametrize("by", ["the next act", "itself", "the stop"])
async def test_what_was_done_and_could_not_be_recorded_is_so_later(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails between an act and its entry: the answer says that it was done, and the entry comes."""
    monkeypatch.setattr(limits, "AUDIT_SETTLE_INTERVAL_S", 0.1 if by == "itself" else 1_000)
    full = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    expected = [("invitations.create", "done")]
    async with running_gateway(tmp_path) as gateway:
        owner, here = owner_of(gateway.administration), {"instance": "members"}
        database = gateway.administration.database
        await database.run(lambda connection: connection.exec_driver_sql(full))
        with pytest.raises(ServiceUnavailable, match="this was done"):
            await owner.perform("invitations.create", here, models.CreateInvitation(note="one"))
        with pytest.raises(ServiceUnavailable, match="nothing is done"):
            await owner.perform("invitations.create", here, models.CreateInvitation(note="two"))
        notes = [one.note for one in await gateway.instances["members"].service.list_invitations()]
        assert notes == ["one"]
        await database.run(lambda connection: connection.exec_driver_sql("DROP TRIGGER full"))
        if by == "the next act":
            await owner.perform("invitations.create", here, models.CreateInvitation(note="three"))
            expected *= 2
            assert await outcomes(gateway.administration) == expected
        while by == "itself" and not await outcomes(gateway.administration):
            await asyncio.sleep(0.01)
    async with running_gateway(tmp_path) as gateway:
        assert await outcomes(gateway.administration) == expected
        assert (await gateway.administration.audit.verify()).intact


async def test_a_change_goes_on_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        owner, here = owner_of(gateway.administration), {"instance": "members"}
        asking = asyncio.create_task(owner.perform("invitations.create", here, models.CreateInvitation()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(60):
            while not await outcomes(gateway.administration):
                await asyncio.sleep(0.01)
        assert await outcomes(gateway.administration) == [("invitations.create", "done")]
        assert len(await gateway.instances["members"].service.list_invitations()) == 1


async def test_a_gateway_that_dies_between_the_act_and_its_answer_says_so_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(tmp_path) as gateway:
        owner, here = owner_of(gateway.administration), {"instance": "members"}

        async def dies(*arguments: Any) -> None:
            raise ServiceUnavailable("as if the process ended here")

        with monkeypatch.context() as patch:
            patch.setattr(gateway.administration.audit, "end", dies)
            with pytest.raises(ServiceUnavailable):
                await owner.perform("invitations.create", here, models.CreateInvitation())
    async with running_gateway(tmp_path) as gateway:
        assert await outcomes(gateway.administration) == [("invitations.create", "failed")]
