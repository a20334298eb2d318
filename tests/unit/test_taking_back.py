# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the service surely has not all of can be taken back, also while there is no connection (B3)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.client_peer import POSTED, scripted_peer
from tests.support.homes import look_until, send, until
from tests.unit.test_client_kept_and_sent import places_of, posted, running
from tmtp_client import limits
from tmtp_client.engine import posting
from tmtp_client.engine.composing import Composing
from tmtp_client.store import outbox
from tmtp_core.wire import messages as m


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has broken off, the connection does not come back while a test looks."""
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 600.0)


async def test_what_broke_off_half_said_can_be_taken_back_while_there_is_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def half(body: posting.Body, files: posting.ReadsFiles) -> AsyncIterator[bytes]:
        yield body.head_octets
        begun.set()
        await ended.wait()
        yield body.text[:1]

    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, link):
        monkeypatch.setattr(posting, "pieces", half)
        waiting = await send(account, "Bob Builder", text="I resign")
        await begun.wait()
        await link.close()
        connection = account.context.connection
        await until(lambda: connection is not None and not connection.is_connected)
        ended.set()
        await asyncio.sleep(0.2)  # it is tried no more
        async with asyncio.timeout(30):
            await Composing(account.context).act(waiting.request, "undo")
        assert await account.context.database.read(places_of) == (0, 0)


async def test_what_was_begun_and_not_said_since_the_connection_was_gone_can_be_taken_back(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, link):
        await send(account, "Bob Builder", text="First")
        second = await send(account, "Bob Builder", text="Second")
        post, _ = await posted(link)
        connection = account.context.connection
        assert connection is not None
        current = await connection.current()
        write = account.context.database.write

        async def ends_meanwhile(work):  # type: ignore[no-untyped-def]
            found = await write(work)
            if "_sent" in work.__code__.co_names:
                await current.close()
                await until(lambda: not connection.is_connected)
            return found

        account.context.database.write = ends_meanwhile  # type: ignore[method-assign]
        await link.send(m.Acked(post.id, f"{5:016x}", POSTED))
        assert await look_until(account, lambda c: outbox.find(c, second.request) is not None and places_of(c)[1] == 1)
        async with asyncio.timeout(30):
            await Composing(account.context).act(second.request, "undo")
        assert await account.context.database.read(places_of) == (0, 1)
