# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small messages come to their handler in batches, and a batch is acknowledged at once (B3)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client_peer import POSTED, PeerLink, ScriptedPeer, delivery_event, ping_event, scripted_peer
from tmtp_client import limits
from tmtp_client.connection import Connection, Disconnected, Payload
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

Batch = Sequence[tuple[m2.StoredEvent, bytes]]
WINDOW = 16


class Keeper:
    """Keeps what it gets when it may."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, bytes]]] = []
        self.large: list[tuple[str, int]] = []
        self.order: list[str] = []
        self.may = asyncio.Event()
        self.may.set()
        self.entered = asyncio.Event()

    async def batch(self, events: Batch) -> None:
        self.entered.set()
        await self.may.wait()
        self.batches.append([(event.id, data) for event, data in events])
        self.order += [event.id for event, _ in events]

    async def event(self, event: m2.StoredEvent, payload: Payload) -> None:
        size = 0
        async for piece in payload:
            size += len(piece)
        self.large.append((event.id, size))
        self.order.append(event.id)


@asynccontextmanager
async def entered(folder: Path, keeper: Keeper, revision: str = "2") -> AsyncIterator[tuple[Connection, PeerLink]]:
    """A client that is logged in and keeps batches, and the other end of its link."""
    async with scripted_peer(folder) as peer:
        greeting = asyncio.create_task(_greet(peer, revision))
        connection = await Connection.open(peer.endpoint, keeper.event, revision=revision, on_batch=keeper.batch)
        await connection.login("A" * 32, "N" * 40)
        try:
            yield connection, await greeting
        finally:
            await connection.close()


async def _greet(peer: ScriptedPeer, revision: str) -> PeerLink:
    link = await peer.link()
    await link.request()
    if revision == "2":
        link.parse = m2.parse_request
    service = m.ServiceKey("K" * 43, "public", "Scripted") if revision == "2" else None
    await link.send(m.TmtpRevAnswer(revision, "Scripted", service=service))
    await link.request()
    await link.send(m.Info("login ok", window=WINDOW if revision == "2" else 0))
    return link


async def _send(link: PeerLink, first: int, count: int) -> None:
    for number in range(first, first + count):
        link.writer.write(m.encode_head(ping_event(number, b"%d" % number)) + b"%d" % number)
    await link.writer.drain()


async def _acked(link: PeerLink, count: int) -> list[list[str]]:
    """The ids of acks, frame by frame, until there are so many."""
    frames: list[list[str]] = []
    async with asyncio.timeout(60):
        while sum(len(frame) for frame in frames) < count:
            request, _ = await link.request()
            assert isinstance(request, m.Ack)
            frames.append([*([request.id] if request.id else []), *request.ids])
    return frames


def _ids(first: int, count: int) -> list[str]:
    return [f"{number:016x}" for number in range(first, first + count)]


async def test_what_came_while_one_was_kept_is_one_batch_and_one_ack(tmp_path: Path) -> None:
    keeper = Keeper()
    keeper.may.clear()
    async with entered(tmp_path, keeper) as (_, link):
        await _send(link, 0, 1)
        await keeper.entered.wait()
        await _send(link, 1, 5)
        await asyncio.sleep(0.05)
        keeper.may.set()
        frames = await _acked(link, 6)
        assert [one for frame in frames for one in frame] == _ids(0, 6)
        assert len(frames) < 6
        assert keeper.batches[0] == [(_ids(0, 1)[0], b"0")]
        assert max(len(batch) for batch in keeper.batches) > 1


async def test_a_batch_is_half_a_window_so_that_the_service_is_never_idle(tmp_path: Path) -> None:
    keeper = Keeper()
    keeper.may.clear()
    async with entered(tmp_path, keeper) as (_, link):
        await _send(link, 0, 1 + WINDOW)
        await keeper.entered.wait()
        await asyncio.sleep(0.05)
        keeper.may.set()
        await _acked(link, 1 + WINDOW)
        assert max(len(batch) for batch in keeper.batches) <= WINDOW // 2
        assert keeper.order == _ids(0, 1 + WINDOW)


async def test_nothing_of_a_batch_is_acknowledged_before_all_of_it_is_kept(tmp_path: Path) -> None:
    class Failing(Keeper):
        async def batch(self, events: Batch) -> None:
            if len(events) > 1:
                raise OSError("the disk is full")
            await super().batch(events)

    keeper = Failing()
    keeper.may.clear()
    async with entered(tmp_path, keeper) as (connection, link):
        await _send(link, 0, 1)
        await _send(link, 1, 3)
        await asyncio.sleep(0.05)
        keeper.may.set()
        assert "the disk is full" in await connection.closed()
        acked: list[str] = []
        with pytest.raises(StopAsyncIteration):
            while True:
                request, _ = await link.request()
                acked.append(request.id if isinstance(request, m.Ack) else "")
        assert acked in ([], _ids(0, 1))


async def test_a_large_message_streams_by_itself_and_keeps_its_place(tmp_path: Path) -> None:
    keeper = Keeper()
    size = limits.BATCHED_EVENT_MAX_BYTES + 1
    async with entered(tmp_path, keeper) as (_, link):
        await _send(link, 0, 2)
        await link.send(delivery_event(2, size), bytes(size))
        await _send(link, 3, 2)
        await _acked(link, 5)
        assert keeper.large == [(_ids(2, 1)[0], size)]
        assert keeper.order == _ids(0, 5)


async def test_a_batch_is_bounded_in_octets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_MAX_BYTES", 2_500)
    keeper = Keeper()
    keeper.may.clear()
    async with entered(tmp_path, keeper) as (_, link):
        for number in range(6):
            await link.send(delivery_event(number, 1_000), bytes(1_000))
        await keeper.entered.wait()
        await asyncio.sleep(0.05)
        keeper.may.set()
        await _acked(link, 6)
        assert {len(batch) for batch in keeper.batches} <= {1, 2}


async def test_revision_1_gets_batches_and_says_an_ack_for_each(tmp_path: Path) -> None:
    keeper = Keeper()
    keeper.may.clear()
    async with entered(tmp_path, keeper, "1") as (_, link):
        await _send(link, 0, 1)
        await keeper.entered.wait()
        await _send(link, 1, 4)
        await asyncio.sleep(0.05)
        keeper.may.set()
        frames = await _acked(link, 5)
        assert frames == [[one] for one in _ids(0, 5)]


async def test_what_waits_is_bounded_whatever_a_service_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_WAITING_MAX_BYTES", 100_000)
    keeper = Keeper()
    keeper.may.clear()
    async with entered(tmp_path, keeper) as (connection, link):
        size = 20_000
        sending = asyncio.create_task(_flood(link, 200, size))
        await keeper.entered.wait()
        await asyncio.sleep(0.2)
        assert len(connection._events._waiting) <= 100_000 // size
        keeper.may.set()
        await _acked(link, 200)
        await sending
        assert keeper.order == _ids(0, 200)


async def _flood(link: PeerLink, count: int, size: int) -> None:
    for number in range(count):
        await link.send(delivery_event(number, size), bytes(size))


async def test_one_that_breaks_off_takes_none_with_it(tmp_path: Path) -> None:
    keeper = Keeper()
    async with entered(tmp_path, keeper) as (connection, link):
        await _send(link, 0, 3)
        await _acked(link, 3)
        link.writer.write(m.encode_head(delivery_event(3, 1_000)) + bytes(10))
        await link.writer.drain()
        await link.close()
        await connection.closed()
        await asyncio.sleep(0.05)
        assert keeper.order == _ids(0, 3)
        with pytest.raises(Disconnected):
            await connection.ping("p", "Ada Lovelace", "Bob Builder", POSTED)
