# SPDX-License-Identifier: AGPL-3.0-or-later
"""Peers that are slow, stop reading, vanish or are cut, over TCP and WebSocket, on both event loops (storage.md, Sockets)."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.instance import ListenOn
from gateway.listeners import link as link_module
from gateway.listeners.link import Link
from tests.support.devices import KeyDevice, newcomer
from tests.support.instance import TestInstance, running_instance
from tests.support.raw_peer import PATIENCE_S, RawPeer, framed
from tmtp_client.connection import Connection, Endpoint
from tmtp_core import limits
from tmtp_core.store.payloads import Reading
from tmtp_core.wire import messages as m

SEND_BUFFER_BYTES = 16_384


@pytest.fixture(params=[False, True], ids=["tcp", "websocket"])
def peer(request: pytest.FixtureRequest) -> Iterator[RawPeer]:
    peer = RawPeer(websocket=request.param)
    yield peer
    peer.close()


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    also = ListenOn("127.0.0.1", 0, websocket=True)
    async with running_instance(tmp_path / "instance", listen=(also,)) as running:
        yield running


def link_of(instance: TestInstance, uid: str) -> Link:
    """The service's side of a member's link; its kernel keeps little for the peer from now on."""
    (link,) = (
        link
        for listener in instance.running.listeners
        for link in listener.links
        if link._session is not None and link._session.asker is not None and link._session.asker.uid == uid
    )
    kernel = link._transport.get_extra_info("socket")
    kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return link


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nobody tells."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def friend(instance: TestInstance) -> Connection:
    """Another member, whose connection is as it should be."""
    connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
    await connection.register("n", "Alice Liddell")
    return connection


def long_request(number: int) -> bytes:
    """What is answered with as much as it has itself, and changes nothing."""
    return framed({"op": 9, "id": f"{number:05d}" + "x" * 50_000, "from": "nobody!!", "to": "nobody!!"})


async def test_answers_that_nobody_reads_are_few_and_a_peer_that_vanishes_meanwhile_is_forgotten(
    instance: TestInstance, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: list[int] = []
    send = Link.send
    monkeypatch.setattr(limits, "OUTLET_MAX_BYTES", 200_000)
    monkeypatch.setattr(limits, "SESSION_ANSWERS_MAX_BYTES", 200_000)
    monkeypatch.setattr(Link, "send", lambda link, *frame: (send(link, *frame), most.append(link._queued_bytes)))
    await peer.register(instance, "The Silent One")
    link = link_of(instance, peer.uid)
    asking = asyncio.create_task(_ask_on(peer))
    assert link._session is not None
    await until(lambda: link.clogged and not link._session._reading)
    await asyncio.sleep(0.1)  # everything that was asked has been answered
    assert max(most) < 200_000 + 200_000 + limits.HEADER_MAX_BYTES
    assert instance.service.figures()["links"] == 1
    asking.cancel()
    peer.vanish()
    await until(lambda: instance.service.figures()["links"] == 0)
    assert not any(listener.links for listener in instance.running.listeners)
    await until(lambda: not instance.running.listeners[1]._http.connections)
    assert instance.service.figures()["devices_connected"] == 0


async def _ask_on(peer: RawPeer) -> None:
    for number in range(1_000):
        await peer.send(long_request(number))


async def test_many_small_frames_hold_a_link_up_for_a_moment_and_not_for_ever(
    instance: TestInstance, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound that is reached is the one on frames; the bytes are few."""
    monkeypatch.setattr(limits, "OUTLET_FRAMES_MAX", 5)
    monkeypatch.setattr(limits, "OHI_IN_INFO_MAX", 1)
    await peer.register(instance, "Bob Builder")
    await peer.send(framed({"op": 12}))
    await peer.read_to_end()
    peer.close()
    again = RawPeer(websocket=peer.websocket)
    instance.service._board._listed_by[peer.uid] = {f"U{number:031d}": 0 for number in range(50)}
    await again.connect(instance)
    await again.send(framed({"op": 0, "id": "1"}) + framed({"op": 2, "uid": peer.uid, "node": peer.node}))
    read = await again.until(f"U{49:031d}".encode())
    for number in range(20):
        await again.send(framed({"op": 9, "id": f"r{number}", "from": "nobody!!", "to": "nobody!!"}))
    read += await again.until(b'"id":"r19"')
    assert read.count(b'"op":"ohi"') == 49
    again.close()


async def test_deliveries_go_on_after_a_slow_moment(instance: TestInstance, peer: RawPeer) -> None:
    alice = await friend(instance)
    await peer.register(instance, "Bob Builder")
    link = link_of(instance, peer.uid)
    for number in range(12):
        await alice.post(f"{number}", [m.Recipient(peer.uid, m.TO_UID)], bytes(60_000))
    await until(lambda: link.congested)
    for number in range(12, 24):
        await alice.post(f"{number}", [m.Recipient(peer.uid, m.TO_UID)], bytes(60_000))
    read, acknowledged = b"", 0
    while acknowledged < 24:
        read += await peer.read(1)
        while read.count(b'"op":"delivery"') > acknowledged:
            head = read.split(b'"op":"delivery"')[acknowledged]
            await peer.send(framed({"op": 10, "id": head.rsplit(b'"id":"')[-1][:16].decode(), "type": "ok"}))
            acknowledged += 1
    await alice.quit()


async def test_a_late_ack_costs_nobody_his_link(instance: TestInstance, peer: RawPeer) -> None:
    """What is due a second time is in the queue already when the ack comes and the file goes."""
    alice = await friend(instance)
    await peer.register(instance, "Bob Builder")
    link = link_of(instance, peer.uid)
    for number in range(6):
        await alice.post(f"{number}", [m.Recipient(peer.uid, m.TO_UID)], bytes(100_000))
    read = bytearray()
    while len(read) < 600_000 or read.count(b'"op":"delivery"') < 6:
        read += await peer.read(1)
    ids = [part.rsplit(b'"id":"', 1)[1][:16].decode() for part in bytes(read).split(b'"op":"delivery"')[:-1]]
    await until(lambda: not link.congested)
    await instance.advance(limits.REDELIVERY_S + 1)
    await until(lambda: link._half_sent and len(link._frames) > 1)
    await peer.send(b"".join(framed({"op": 10, "id": one, "type": "ok"}) for one in ids))
    payloads = instance.folder / "payloads"
    await until(lambda: not list(payloads.iterdir()))
    read = bytearray(await peer.read(1))
    await peer.send(framed({"op": 3, "id": "still here", "newalias": "Bob the Builder"}))
    while b"still here" not in read:
        read += await peer.read(1)
    begun = read.count(b'"op":"delivery"')
    assert 1 <= begun < 6
    await alice.quit()


async def test_who_does_not_read_holds_up_neither_the_poster_nor_another_recipient(
    instance: TestInstance, peer: RawPeer
) -> None:
    alice = await friend(instance)
    await peer.register(instance, "Bob Builder")
    link = link_of(instance, peer.uid)
    carol = await RawPeer().register(instance, "Carol Danvers")
    both = [m.Recipient(peer.uid, m.TO_UID), m.Recipient(carol.uid, m.TO_UID)]
    for number in range(40):
        await alice.post(f"{number}", both, bytes(60_000))
        await carol.acknowledge(await carol.until(b'"op":"delivery"'))
    assert link.congested
    assert link._queued_bytes <= limits.DELIVERY_WINDOW_BYTES
    assert instance.service.figures()["messages_queued"] == 40
    carol.close()
    await alice.quit()


async def test_who_reads_slowly_is_not_taken_for_stalled_and_who_does_not_read_is(
    instance: TestInstance, peer: RawPeer
) -> None:
    alice = await friend(instance)
    await peer.register(instance, "Bob Builder")
    link = link_of(instance, peer.uid)
    await alice.post("1", [m.Recipient(peer.uid, m.TO_UID)], bytes(2_000_000))
    await alice.quit()
    await until(lambda: link.congested)
    await instance.advance(0.0)
    for _ in range(5):
        await peer.read(30_000)
        await peer.send(framed({"op": 11}))
        await instance.advance(limits.WRITE_STALL_DEADLINE_S - 10)
        assert instance.service.figures()["links"] == 1
    await instance.advance(1.0)
    await peer.send(framed({"op": 11}))
    await instance.advance(limits.WRITE_STALL_DEADLINE_S + 1)
    await until(lambda: instance.service.figures()["links"] == 0)


async def test_where_the_kernel_does_not_tell_a_slow_reader_counts_by_what_leaves_the_program(
    instance: TestInstance, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_acknowledged_bytes", lambda transport: 0)
    alice = await friend(instance)
    await peer.register(instance, "Bob Builder")
    link = link_of(instance, peer.uid)
    await alice.post("1", [m.Recipient(peer.uid, m.TO_UID)], bytes(4_000_000))
    await alice.quit()
    await until(lambda: link.congested)
    await instance.advance(0.0)
    for _ in range(4):
        await peer.read(500_000)
        await peer.send(framed({"op": 11}))
        await instance.advance(limits.WRITE_STALL_DEADLINE_S - 10)
        assert instance.service.figures()["links"] == 1


async def _suspended_while_it_reads(instance: TestInstance, peer: RawPeer, before: bytes = b"") -> None:
    laptop = await newcomer(instance, "Ada Lovelace")
    phone: KeyDevice = await laptop.add_full_device()
    await phone.quit()
    await peer.log_in_by_key(instance, laptop.uid, phone.signer)
    await peer.acknowledge(await peer.until(b'"op":"login"'))
    bob = await newcomer(instance, "Bob Builder")
    (link,) = (
        link
        for listener in instance.running.listeners
        for link in listener.links
        if link._session is not None and link._session.asker is not None and link._session.asker.public == phone.name
    )
    kernel = link._transport.get_extra_info("socket")
    kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    await bob.post(laptop.uid, data=os.urandom(48 << 20))
    await until(lambda: link._half_sent)
    await peer.until(b'"op":"delivery"')
    await peer.read(300_000)
    if before:
        await peer.send(before)
        await until(lambda: link._closing)
    kept = kernel.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) + peer.kernel_bytes
    await laptop.append("suspend", target=phone.name)
    at_suspension = peer.read_bytes + len(peer.unread)
    await peer.read_to_end()
    assert peer.read_bytes - at_suspension <= kept
    await instance.advance(limits.CUT_GRACE_S)
    await instance.advance(limits.CUT_GRACE_S)
    assert link not in {one for listener in instance.running.listeners for one in listener.links}
    assert instance.service.figures()["links"] == 2
    await bob.quit()
    await laptop.quit()


async def test_a_suspended_device_gets_nothing_more(instance: TestInstance, peer: RawPeer) -> None:
    """B4: not the rest of the payload that it was just reading, however long it takes for it."""
    await _suspended_while_it_reads(instance, peer)


async def test_a_device_that_has_logged_out_before_its_suspension_gets_nothing_more_either(
    instance: TestInstance, peer: RawPeer
) -> None:
    await _suspended_while_it_reads(instance, peer, framed({"op": 12}))


async def test_who_is_cut_and_does_not_take_the_last_word_is_gone_after_a_second(
    instance: TestInstance, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_CLOSE_DEADLINE_S", 10 * PATIENCE_S)
    monkeypatch.setattr(limits, "LOGIN_DEADLINE_S", 10 * PATIENCE_S)  # for the closing handshake of a WebSocket
    await peer.register(instance, "Bob Builder")
    link = link_of(instance, peer.uid)
    await instance.service.bar_account("Bob Builder")
    assert link in {one for listener in instance.running.listeners for one in listener.links}
    await instance.advance(limits.CUT_GRACE_S)
    await instance.advance(limits.CUT_GRACE_S)
    await until(lambda: instance.service.figures()["links"] == 0)
    assert b"account barred" in await peer.read_to_end()


async def test_a_payload_shorter_than_announced_ends_the_link_and_no_other(
    instance: TestInstance, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await friend(instance)
    await peer.register(instance, "Bob Builder")
    monkeypatch.setattr(Reading, "read", lambda reading, size: b"")
    await alice.post("1", [m.Recipient(peer.uid, m.TO_UID)], bytes(100_000))
    await peer.read_to_end()
    await alice.post("2", [], b"x")
    await alice.quit()


async def test_descriptors_that_are_short_for_a_while_delay_a_payload(
    instance: TestInstance, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DESCRIPTOR_RETRY_S", 0.01)
    missing = [24, 23]  # EMFILE, ENFILE
    opened = Reading.open

    def open_later(reading: Reading) -> bool:
        if missing:
            raise OSError(missing.pop(), "too many open files")
        return opened(reading)

    monkeypatch.setattr(Reading, "open", open_later)
    alice = await friend(instance)
    await peer.register(instance, "Bob Builder")
    await alice.post("1", [m.Recipient(peer.uid, m.TO_UID)], bytes(100_000) + b"the end")
    await peer.until(b"the end")
    assert not missing
    await alice.quit()
