# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commit, then speak: nothing is acknowledged before it is on the disk, what is sent has one id for all its tries, and is
at every moment in the outbox or in the history (B3). Against a peer that breaks off whenever the test says.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection as Rows
from sqlalchemy import func, select

from tests.support.client_peer import POSTED, PeerLink, ScriptedPeer, delivery_event, scripted_peer
from tests.support.homes import look_until, places, running_home, send
from tmtp_client import limits
from tmtp_client.engine.account import Account
from tmtp_client.store import identity as identities
from tmtp_client.store import people
from tmtp_client.store.identity import Identity
from tmtp_client.store.tables import message, outbox
from tmtp_core.grouped import Grouped
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import Attached, PostHead, encode_post_head

ADA, BOB = "A" * 32, "U" * 32


@asynccontextmanager
async def running(folder: Path, peer: ScriptedPeer) -> AsyncIterator[tuple[Account, PeerLink]]:
    """Ada's account of revision 1, made at the first time, with a link to a scripted service. She knows Bob."""
    where = peer.endpoint
    async with running_home(folder) as home:
        if not home.accounts():
            async with places(home)("work") as place:
                identity = Identity(ADA, "N" * 40, "Ada Lovelace", where.host, where.port, where.pin, None, "Scripted")
                await place.database.write(lambda c: identities.put(c, identity))
                await place.database.write(lambda c: people.learn(c, BOB, "Bob Builder", "ping", 0))
        starting = asyncio.create_task(home.start("work"))
        link = await peer.link()
        await link.greet()
        account = await starting
        try:
            yield account, link
        finally:
            await link.close()  # else it would be waited for


async def posted(link: PeerLink) -> tuple[m.Post, bytes]:
    """The next post of the account; other requests are left alone."""
    async with asyncio.timeout(30):
        while True:
            request, data = await link.request()
            if isinstance(request, m.Post):
                return request, data


async def acked(link: PeerLink, number: int) -> None:
    """Wait for the ack of an event."""
    async with asyncio.timeout(30):
        while True:
            request, _ = await link.request()
            if isinstance(request, m.Ack) and request.id == f"{number:016x}":
                return


def places_of(c: Rows) -> tuple[int, int]:
    """How many messages of hers are in the outbox, and how many in the history."""
    waiting = c.scalar(select(func.count()).select_from(outbox).where(outbox.c.kind == "message")) or 0
    kept = c.scalar(select(func.count()).where(message.c.outgoing == 1, message.c.kind == "message")) or 0
    return waiting, kept


async def test_a_post_without_an_answer_goes_again_as_it_was(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, link):
        await send(account, "Bob Builder", text="Only once, please")
        first = await posted(link)
        await link.close()
        other = await peer.link()
        await other.greet()
        assert await posted(other) == first
        await other.send(m.Acked(first[0].id, f"{5:016x}", POSTED))
        assert await look_until(account, lambda c: places_of(c) == (0, 1))
        await other.close()


async def test_a_post_outlives_the_process_that_was_asked(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer:
        async with running(tmp_path / "home", peer) as (account, link):
            await send(account, "Bob Builder", text="Only once, please")
            first = await posted(link)
        async with running(tmp_path / "home", peer) as (account, link):
            assert await posted(link) == first


async def test_at_no_moment_is_a_message_in_both_places_or_in_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at after every commit: what a crash at that moment would leave."""
    stood: list[tuple[int, int]] = []
    commit = Grouped._commit

    def watched(database: Any, group: Any) -> None:
        commit(database, group)
        with database._engine.begin() as c:
            stood.append(places_of(c))

    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, link):
        monkeypatch.setattr(Grouped, "_commit", watched)
        for number in (1, 2, 3):
            await send(account, "Bob Builder", text=f"Message {number}")
            post, _ = await posted(link)
            await link.send(m.Acked(post.id, f"{number:016x}", POSTED))
            assert await look_until(account, lambda c, number=number: places_of(c) == (0, number))  # type: ignore[misc]
    assert {sum(one) for one in stood} <= {0, 1, 2, 3}
    assert [sum(one) for one in stood] == sorted(sum(one) for one in stood), stood
    assert {one for one in stood if one[0]} == {(1, 0), (1, 1), (1, 2)}


@pytest.mark.parametrize("size", [10, limits.BATCHED_EVENT_MAX_BYTES + 1], ids=["in a batch", "by itself"])
async def test_nothing_is_acknowledged_before_it_is_on_the_disk(tmp_path: Path, size: int) -> None:
    """The disk is busy until the test lets it go on."""
    free = threading.Event()
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, link):
        busy = asyncio.create_task(account.context.database.write(lambda c: free.wait(300)))
        head = encode_post_head(PostHead())
        acknowledged = asyncio.create_task(acked(link, 1))
        try:
            await link.send(delivery_event(1, len(head) + size, len(head), BOB), head + b"x" * size)
            await asyncio.sleep(0.5)
            assert not acknowledged.done()
        finally:
            free.set()
        assert await busy
        await acknowledged
        assert await account.context.database.read(lambda c: c.scalar(select(func.count()).select_from(message))) == 1


async def test_one_that_comes_twice_at_once_leaves_nothing_twice(tmp_path: Path) -> None:
    """Both are in one batch, before either is known."""
    head = encode_post_head(PostHead(attach=(Attached("u:a.txt", 3),)))
    data = head + b"text" + b"abc"
    once = m.encode_head(delivery_event(1, len(data), len(head), BOB)) + data
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, link):
        link.writer.write(once + once)
        await link.writer.drain()
        await acked(link, 1)
        await acked(link, 1)
        assert await account.context.database.read(lambda c: c.scalar(select(func.count()).select_from(message))) == 1
        assert len([one for one in account.context.files.folder.rglob("*") if one.is_file()]) == 1
