# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many at once: uploads, sockets that say nothing, links that are closing, tiny messages; the others notice nothing (D3)."""

import asyncio
import errno
import os
import re
import resource
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import descriptors
from gateway.instance import ListenOn
from gateway.listeners import accepting
from tests.support.instance import TestInstance, running_instance
from tests.support.raw_peer import PATIENCE_S, RawPeer, framed, websocket_frame
from tmtp_client.connection import Connection, Disconnected, Endpoint, Refused
from tmtp_core import limits
from tmtp_core.session import Session
from tmtp_core.wire import messages as m


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    also = ListenOn("127.0.0.1", 0, websocket=True)
    async with running_instance(tmp_path / "instance", listen=(also,)) as running:
        yield running


async def a_member(instance: TestInstance, alias: str) -> Connection:
    connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
    await connection.register("n", alias)
    return connection


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_uploads_that_wait_for_the_disk_are_counted_and_all_of_them_arrive(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SERVICE_PENDING_BYTES_MAX", 500_000)
    released, write = threading.Event(), os.write

    def stalled(descriptor: int, data: Any) -> int:
        if len(data) > 1_000:
            released.wait(PATIENCE_S)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", stalled)
    members = [await a_member(instance, f"Uploader {number}") for number in range(6)]
    posting = [asyncio.create_task(one.post("1", [], bytes(3_000_000))) for one in members]
    backlog = instance.service.payloads.backlog
    await until(lambda: instance.service.room.full)
    await asyncio.sleep(0.2)
    most_read_at_once = 256 << 10
    assert backlog.size <= 500_000 + len(members) * (limits.PAYLOAD_INLINE_MAX_BYTES + most_read_at_once)
    assert not any(one.done() for one in posting)
    released.set()
    async with asyncio.timeout(PATIENCE_S):
        assert all(answer.msgid for answer in await asyncio.gather(*posting))
    assert backlog.size == 0
    for one in members:
        await one.quit()


async def test_who_was_held_back_goes_on_when_the_disk_does_whatever_becomes_of_the_upload(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SERVICE_PENDING_BYTES_MAX", 300_000)
    released, write = threading.Event(), os.write

    def stalled(descriptor: int, data: Any) -> int:
        if len(data) > 1_000:
            released.wait(PATIENCE_S)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", stalled)
    member = await a_member(instance, "Alice Liddell")
    uploader = await RawPeer().register(instance, "Bob Builder")
    await uploader.send(framed({"op": 7, "id": "1", "for": [], "datalen": 3_000_000}, bytes(1_000_000)))
    await until(lambda: instance.service.room.full)
    posting = asyncio.create_task(member.post("1", [], b"x"))
    await asyncio.sleep(0.1)
    assert not posting.done()
    released.set()
    assert (await asyncio.wait_for(posting, PATIENCE_S)).msgid
    uploader.close()
    await member.quit()


async def test_posts_half_read_stop_nobody(instance: TestInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a peer is not what the service's bound is about, or a few slow ones would fill it."""
    monkeypatch.setattr(limits, "SERVICE_PENDING_BYTES_MAX", 100_000)
    slow = [await RawPeer().register(instance, f"Slow Poster {number}") for number in range(4)]
    for one in slow:
        await one.send(framed({"op": 7, "id": "half", "for": [], "datalen": 60_000}, bytes(50_000)))
    member = await a_member(instance, "Alice Liddell")
    assert (await member.post("1", [], b"x" * 50_000)).msgid
    assert (await member.post("2", [], b"x" * 1_000_000)).msgid
    await member.quit()
    for one in slow:
        one.close()


async def test_a_large_post_without_descriptors_is_refused_and_works_later(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, opened, short = await a_member(instance, "Alice Liddell"), os.open, True

    def open_(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if short and flags & os.O_CREAT and "payloads" in str(path):
            raise OSError(errno.EMFILE, "too many open files")
        return opened(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", open_)
    with pytest.raises(Refused, match="temporarily unavailable"):
        await member.post("1", [], bytes(200_000))
    assert (await member.post("2", [], b"small")).msgid
    short = False
    assert (await member.post("1", [], bytes(200_000))).msgid
    await member.quit()


@pytest.mark.parametrize("websocket", [False, True])
async def test_sockets_that_never_begin_make_room_for_who_does(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch, websocket: bool
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKES_MAX", 3)
    monkeypatch.setattr(limits, "HANDSHAKE_SILENCE_S", 0.0)
    listener = instance.running.listeners[1 if websocket else 0]
    silent = [await asyncio.open_connection(*listener.address) for _ in range(20)]
    await until(lambda: len(listener._entering) == 3)
    peer = await RawPeer(websocket=websocket).register(instance, "Bob Builder")
    monkeypatch.setattr(limits, "HANDSHAKE_SILENCE_S", 100.0)
    monkeypatch.setattr(limits, "HANDSHAKE_PATIENCE_S", 100.0)
    silent += [await asyncio.open_connection(*listener.address) for _ in range(5)]
    waiting = asyncio.create_task(RawPeer(websocket=websocket).register(instance, "Carol Danvers"))
    await until(lambda: not listener._accepting)
    assert len(listener._entering) == 3
    assert not waiting.done()
    for _, writer in silent:
        writer.close()
    (await asyncio.wait_for(waiting, PATIENCE_S)).close()  # nobody is turned away in a storm
    peer.close()


async def test_who_has_said_something_is_given_time_to_finish(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent peers give way to others at once; one whose handshake is under way does not."""
    monkeypatch.setattr(limits, "HANDSHAKES_MAX", 2)
    monkeypatch.setattr(limits, "HANDSHAKE_SILENCE_S", 0.1)
    monkeypatch.setattr(limits, "HANDSHAKE_PATIENCE_S", 100.0)
    listener = instance.running.listeners[0]
    speaking = [socket.create_connection(listener.address) for _ in range(2)]
    for one in speaking:
        one.sendall(b"\x16")  # the first octet of a TLS record
    await until(lambda: len(listener._entering) == 2)
    under_way = list(listener._entering)
    waiting = asyncio.create_task(RawPeer().register(instance, "Bob Builder"))
    await until(lambda: not listener._accepting)
    assert list(listener._entering) == under_way
    speaking.pop().close()
    (await asyncio.wait_for(waiting, PATIENCE_S)).close()
    speaking.pop().close()
    await until(lambda: not listener._entering)


async def test_short_descriptors_turn_connections_away_until_there_are_more(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await a_member(instance, "Alice Liddell")
    monkeypatch.setattr(accepting, "is_for_files", lambda descriptor: True)
    with pytest.raises((EOFError, ConnectionError)):
        await RawPeer().connect(instance)
    assert (await member.post("1", [], b"x")).msgid
    monkeypatch.undo()
    peer = await RawPeer().register(instance, "Bob Builder")
    accept = socket.socket.accept

    def exhausted(listening: socket.socket) -> Any:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    later = asyncio.create_task(RawPeer().register(instance, "Carol Danvers"))
    await until(lambda: not instance.running.listeners[0]._accepting)
    assert (await member.post("2", [], b"x")).msgid
    monkeypatch.setattr(socket.socket, "accept", accept)
    await instance.advance(1.0)
    (await asyncio.wait_for(later, PATIENCE_S)).close()
    peer.close()
    await member.quit()


def test_the_soft_limit_is_raised_and_its_last_descriptors_are_for_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(900, soft), hard))
        assert [descriptors.is_for_files(one) for one in (600, 675, 899)] == [False, True, True]
        assert descriptors.raise_descriptors_max() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_link_counts_until_its_connection_is_gone(tmp_path: Path) -> None:
    """Who logs out and takes nothing of what is still to be sent makes no room for another."""
    async with running_instance(tmp_path / "instance", limits={"connections_max": 2}) as instance:
        alice = await a_member(instance, "Alice Liddell")
        peer = await RawPeer().register(instance, "Bob Builder")
        await alice.post("1", [m.Recipient(peer.uid, m.TO_UID)], bytes(16 << 20))
        await peer.until(b'"op":"delivery"')
        await peer.send(framed({"op": 12}))
        await until(lambda: instance.service.figures()["devices_connected"] == 1)
        with pytest.raises((OSError, Disconnected)):
            await a_member(instance, "Mallory Mal")
        peer.vanish()
        await until(lambda: instance.service.figures()["links"] == 1)
        (await RawPeer().register(instance, "Carol Danvers")).close()
        await alice.quit()


async def test_one_chunk_of_tiny_websocket_messages_takes_many_turns_of_the_loop(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, read, received = 0, Session.receive, []

    def receive(session: Session, chunk: Any) -> None:
        received.append(turn)
        read(session, chunk)

    peer = await RawPeer(websocket=True).register(instance, "Bob Builder")
    monkeypatch.setattr(Session, "receive", receive)

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    pings = websocket_frame(b"are you there", opcode=9) * 500
    await peer.send_raw(pings + websocket_frame(framed({"op": 11})) * 2_000)
    await until(lambda: len(received) == 2_000)
    counting.cancel()
    most = max(received.count(one) for one in set(received))
    assert most <= limits.WEBSOCKET_TURN_BYTES // 128 + 1
    assert peer.unread == b""  # of many pings one is answered, and a pong is no part of the stream
    peer.close()


@asynccontextmanager
async def the_disk_stalled(instance: TestInstance) -> AsyncIterator[None]:
    """Nothing is decided while the block runs."""
    begun, released = threading.Event(), threading.Event()

    def stall(ledger: object) -> bool:
        begun.set()
        return released.wait(PATIENCE_S)

    stalled = asyncio.create_task(instance.service.decide(stall))
    await until(begun.is_set)
    try:
        yield
    finally:
        released.set()
    assert await stalled


async def decided_before(msgid: str, floods: list[RawPeer], posts_of_each: int) -> int:
    """How many posts of a flood were decided before a message. Their numbers rise in that order."""
    numbers: list[bytes] = []
    for one in floods:
        read = bytearray()
        while read.count(b'"msgid":') < posts_of_each:
            read += await one.read(1)
        numbers += re.findall(rb'"msgid":"([0-9a-f]{16})"', read)
    return sum(number.decode() < msgid for number in numbers)


async def test_a_full_commit_queue_holds_no_more_than_a_links_share_before_another_link(instance: TestInstance) -> None:
    """Who posts a thousand times at once and who posts once: the second waits for few of the thousand."""
    flood = await RawPeer().register(instance, "Mallory Mal")
    member = await a_member(instance, "Alice Liddell")
    async with the_disk_stalled(instance):
        posts = (framed({"op": 7, "id": f"{number}", "for": [], "datalen": 1}, b"x") for number in range(1_000))
        flooding = asyncio.create_task(flood.send(b"".join(posts)))
        waiting = instance.service._writer._jobs
        await until(lambda: len(waiting) >= limits.SESSION_PENDING_REQUESTS_MAX)
        posting = asyncio.create_task(member.post("1", [], b"x"))
        await until(lambda: len(waiting) > limits.SESSION_PENDING_REQUESTS_MAX)
    msgid = (await asyncio.wait_for(posting, PATIENCE_S)).msgid
    assert await decided_before(msgid, [flood], 1_000) <= limits.SESSION_PENDING_REQUESTS_MAX
    await flooding
    flood.close()
    await member.quit()


async def test_who_posts_little_has_his_turn_among_many_who_fill_the_memory(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, size, posts_of_each = 300_000, 60_000, 40
    monkeypatch.setattr(limits, "SERVICE_PENDING_BYTES_MAX", room)
    monkeypatch.setattr(limits, "BATCH_COMMANDS_MAX", 1)  # so that there is a little room now and again
    floods = [await RawPeer().register(instance, f"Flooder {number}") for number in range(8)]
    members = [await a_member(instance, f"Member {number}") for number in range(4)]
    post = [framed({"op": 7, "id": f"{n}", "for": [], "datalen": size}, bytes(size)) for n in range(posts_of_each)]
    async with the_disk_stalled(instance):
        flooding = [asyncio.create_task(one.send(b"".join(post))) for one in floods]
        await until(lambda: instance.service.room.full)
        posting = [asyncio.create_task(one.post("1", [], b"x")) for one in members]
        await asyncio.sleep(0.1)
    async with asyncio.timeout(PATIENCE_S):
        last = max([(await one).msgid for one in posting])
    already_asked, a_turn = room // size + 1, limits.SESSION_TURN_BYTES // size + 1

    assert await decided_before(last, floods, posts_of_each) <= already_asked + 2 * a_turn * len(floods)
    await asyncio.gather(*flooding)
    for flood in floods:
        flood.close()
    for member in members:
        await member.quit()
