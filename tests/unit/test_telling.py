# SPDX-License-Identifier: AGPL-3.0-or-later
"""Edits go out together, a little later, through the outbox; on the account's real database (B3)."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from tmtp_client.store import outbox, tables
from tmtp_client.store.database import Database
from tmtp_client.sync import journal, registers, state
from tmtp_client.sync.clock import device_name
from tmtp_client.sync.registers import At
from tmtp_client.sync.telling import keep_telling, tell

AT = At(device_name(b"one"), 1_000_000)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path, bytes(32))
    await opened.open()
    yield opened
    await opened.close()


def posts(c: Connection) -> list[outbox.Content]:
    rows = c.execute(select(tables.outbox.c.request_id).where(tables.outbox.c.kind == "sync"))
    return [entry.content for (name,) in rows if (entry := outbox.find(c, name)) is not None]


def set_undo(value: int) -> Callable[[Connection], None]:
    return lambda c: state.set_setting(c, AT, "undo_s", value)


def sent(c: Connection) -> None:
    for (name,) in c.execute(select(tables.outbox.c.request_id)).all():
        outbox.ended(c, name, "")


async def test_while_a_post_waits_no_other_is_made_and_then_one_has_all(database: Database) -> None:
    look = lambda c: tell(c, 1, os.urandom, alone=False)  # noqa: E731
    await database.write(set_undo(1))
    assert await database.write(look) == 1
    for value in range(2, 20):
        await database.write(set_undo(value))
        assert await database.write(look) == 0
    assert len(await database.read(posts)) == 1
    await database.write(sent)
    assert await database.write(look) == 1
    (content,) = await database.read(posts)
    assert content.to == ()
    assert [change.value for change in journal.read(content.text.encode())] == ["19"]
    await database.write(sent)
    assert await database.write(look) == 0


async def test_a_failed_change_leaves_edits_untold(database: Database) -> None:
    def fail(c: Connection) -> None:
        assert tell(c, 1, os.urandom, alone=False) == 1
        raise KeyError

    await database.write(set_undo(1))
    with pytest.raises(KeyError):
        await database.write(fail)
    assert await database.read(posts) == []
    assert await database.read(registers.is_untold)


async def test_the_only_device_posts_nothing_and_a_later_one_is_told_everything(database: Database) -> None:
    await database.write(set_undo(1))
    assert await database.write(lambda c: tell(c, 1, os.urandom, alone=True)) == 0
    assert not await database.read(registers.is_untold)
    await database.write(registers.tell_everything)
    assert await database.write(lambda c: tell(c, 1, os.urandom, alone=False)) == 1


async def test_edits_are_told_by_themselves_and_together(database: Database) -> None:
    to_sync, to_send = asyncio.Event(), asyncio.Event()
    await database.write(set_undo(1))
    running = asyncio.create_task(
        keep_telling(
            database,
            to_sync,
            to_send,
            now_ms=lambda: 1,
            random_bytes=os.urandom,
            alone=lambda c: False,
            edited=lambda: None,
            pause_s=0.05,
        )
    )
    try:
        async with asyncio.timeout(60):
            await to_send.wait()  # what was untold when it started
            to_send.clear()
            await database.write(sent)
            for value in range(2, 6):
                await database.write(set_undo(value))
                to_sync.set()
            await to_send.wait()
        assert await database.read(lambda c: c.scalar(select(func.count()).select_from(tables.outbox))) == 1
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
