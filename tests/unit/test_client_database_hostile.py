# SPDX-License-Identifier: AGPL-3.0-or-later
"""A history that is closed, looked at and fails at once: everybody is answered, and nothing is told of what it has."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, text

from tmtp_client import limits
from tmtp_client.store.database import Database
from tmtp_client.store.tables import stamp

PATIENCE_S = 60.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "account", bytes(range(32)))
    await opened.open()
    yield opened
    await opened.close()


def adding(c: Connection) -> None:
    c.execute(insert(stamp).values(latest=str(count(c))))


def count(c: Connection) -> int:
    return c.scalar(select(func.count()).select_from(stamp)) or 0


async def test_whatever_waits_when_it_is_closed_is_done_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also more than makes one group."""
    monkeypatch.setattr(limits, "HISTORY_GROUP_MAX", 3)
    database = Database(tmp_path, bytes(32))
    await database.open()
    go_on = threading.Event()
    first = asyncio.ensure_future(database.write(lambda c: go_on.wait(PATIENCE_S) and None))
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(database.write(adding)) for _ in range(20)]
    await asyncio.sleep(0.05)
    closing = asyncio.ensure_future(database.close())
    await asyncio.sleep(0.05)
    late = asyncio.ensure_future(database.write(adding))
    go_on.set()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(first, *others)
        await closing
        with contextlib.suppress(OSError):
            await late
    again = Database(tmp_path, bytes(32))
    await again.open()
    assert await again.read(count) >= 20
    await again.close()


async def test_a_look_that_comes_too_late_takes_no_other_with_it(tmp_path: Path) -> None:
    database = Database(tmp_path, bytes(32))
    await database.open()
    go_on = threading.Event()
    looks = [asyncio.ensure_future(database.read(lambda c: go_on.wait(PATIENCE_S))) for _ in range(20)]
    await asyncio.sleep(0.05)
    closing = asyncio.ensure_future(asyncio.to_thread(database._reader.shutdown))
    await asyncio.sleep(0.05)
    with pytest.raises(OSError, match="closed"):
        await database.read(count)
    go_on.set()
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*looks) == [True] * 20
        await closing
    await database.close()


async def test_what_cannot_be_undone_is_told_to_all_who_wait(database: Database) -> None:
    """A mistake of this programme's that ends the transaction under the others leaves nobody waiting."""
    async with asyncio.timeout(PATIENCE_S):
        ended = await asyncio.gather(
            database.write(adding), database.write(lambda c: c.close()), database.write(adding), return_exceptions=True
        )
    assert any(isinstance(one, Exception) for one in ended)
    await database.write(adding)


async def test_no_error_repeats_what_was_to_be_kept(database: Database) -> None:
    for secret in ({"nothing": "the canary"}, {"latest": object(), "other": "the canary"}):
        with pytest.raises(Exception) as raised:
            await database.write(
                lambda c, secret=secret: c.execute(text("INSERT INTO stamp VALUES (:latest, :more)"), secret)  # type: ignore[misc]
            )
        assert "canary" not in str(raised.value)


async def test_a_checkpoint_that_does_not_empty_the_log_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody looks at the state before: what was deleted is still in the write-ahead log."""
    go_on, begun = threading.Event(), threading.Event()

    def look(c: Connection) -> None:
        count(c)
        begun.set()
        go_on.wait(60)

    await database.write(adding)
    looking = asyncio.ensure_future(database.read(look))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    await database.write(lambda c: c.execute(text("DELETE FROM stamp")) and None)
    log = database.path.with_name(f"{database.path.name}-wal")
    try:
        with pytest.raises(OSError, match="in use"):
            await database.checkpoint()
        assert log.stat().st_size > 0
    finally:
        go_on.set()
        await looking
    await database.checkpoint()
    assert log.stat().st_size == 0
