# SPDX-License-Identifier: AGPL-3.0-or-later
"""When devices tell one another: a little after an edit, so that what a person does in one go is one post (B3).

While an earlier post still waits in the outbox nothing is added to it: away from the service, a hundred edits of one
field are one change when it is back.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from sqlalchemy import Connection, select

from tmtp_client import limits
from tmtp_client.store import outbox, tables
from tmtp_client.sync import journal, registers
from tmtp_core.ids import RandomBytes

Got = TypeVar("Got")


class Kept(Protocol):
    """An account's database."""

    async def write(self, work: Callable[[Connection], Got]) -> Got: ...
    async def read(self, work: Callable[[Connection], Got]) -> Got: ...


async def keep_telling(
    database: Kept,
    to_sync: asyncio.Event,
    to_send: asyncio.Event,
    *,
    now_ms: Callable[[], int],
    random_bytes: RandomBytes,
    alone: Callable[[Connection], bool],
    edited: Callable[[], None],
    pause_s: float = limits.SYNC_PAUSE_S,
) -> None:
    """Tell what changes, until cancelled. `to_sync` is set after each edit; this sets `to_send` when there is a post.

    `edited` is called soon after edits: what follows settings looks at them. `alone`: whether this is surely the
    account's only device; then nothing is posted. Raises `OSError` where the disk does not do its part.
    """
    await database.write(registers.retry_refused)
    while True:
        to_sync.clear()
        edited()
        posts = await database.write(lambda c: tell(c, now_ms(), random_bytes, alone=alone(c)))
        if posts:
            to_send.set()
        left = await database.read(registers.is_untold)
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.SYNC_BUSY_PAUSE_S if left else None):
                await to_sync.wait()
        await asyncio.sleep(pause_s)


def tell(c: Connection, now_ms: int, random_bytes: RandomBytes, *, alone: bool) -> int:
    """Put what is untold into the outbox, unless an earlier post is still there; how many posts."""
    if alone:
        registers.call_told(c)
        return 0
    if not registers.is_untold(c) or _is_waiting(c):
        return 0

    def enqueue(c: Connection, text: bytes) -> None:
        outbox.enqueue(c, "sync", outbox.Content(text=text.decode()), now_ms, now_ms, random_bytes)

    return journal.gather(c, enqueue)


def _is_waiting(c: Connection) -> bool:
    return c.scalar(select(tables.outbox.c.number).where(tables.outbox.c.kind == "sync").limit(1)) is not None
