# SPDX-License-Identifier: AGPL-3.0-or-later
"""Peers that do not log in, do not speak, do not read: closed, and the others notice nothing (wire.md §3)."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from tests.support.instance import TestInstance, running_instance
from tmtp_client.connection import Connection, Disconnected, Endpoint, Payload
from tmtp_core import limits
from tmtp_core.domain.port import Posted
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2


async def a_peer_that_never_reads(instance: TestInstance) -> tuple[str, ssl.SSLSocket]:
    """A member on a blocking socket with a small receive buffer; its uid."""

    def connect() -> tuple[str, ssl.SSLSocket]:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect((instance.host, instance.port))
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        link = context.wrap_socket(plain)
        link.sendall(m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Register("n", "The Silent One")))
        read = b""
        while b"login ok" not in read:
            read += link.recv(4096)
        uid = read.split(b'"uid":"')[1].split(b'"')[0].decode()
        return uid, link

    return await asyncio.to_thread(connect)


async def test_a_peer_that_does_not_read_is_closed_and_costs_the_others_nothing(tmp_path: Path) -> None:
    got = asyncio.Event()

    async def hear(event: m2.StoredEvent, payload: Payload) -> None:
        got.set()

    async with running_instance(tmp_path / "instance") as instance:
        uid, silent = await a_peer_that_never_reads(instance)
        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        alice = await Connection.open(endpoint, hear)
        own = (await alice.register("n", "Alice Liddell")).uid
        for number in range(4):  # far more than buffers hold
            await alice.post(f"{number}", [m.Recipient(uid, m.TO_UID)], bytes(8 << 20))
        await alice.post("to myself", [m.Recipient(own, m.TO_UID)], b"x")
        await asyncio.wait_for(got.wait(), 60)
        links = instance.running.listeners[0].links
        assert len(links) == 2
        await instance.advance(limits.WRITE_STALL_DEADLINE_S / 2)  # the stall is noticed
        await alice.ask(m.UserEdit("still", newalias="Alice in Wonderland"))
        await instance.advance(limits.WRITE_STALL_DEADLINE_S + 1)
        await alice.ask(m.UserEdit("there", newalias="Alice of Oxford"))
        async with asyncio.timeout(60):
            while len(links) > 1:
                await asyncio.sleep(0.01)
        assert alice.is_open
        silent.close()
        await alice.quit()


async def test_a_link_over_the_limit_is_turned_away(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance", limits={"connections_max": 1}) as instance:
        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        first = await Connection.open(endpoint)
        await first.register("n", "Alice Liddell")
        with pytest.raises((OSError, Disconnected)):
            await Connection.open(endpoint)
        await first.quit()
        third = await Connection.open(endpoint)
        await third.close()


async def test_request_ids_are_forgotten_when_old_and_beyond_a_thousand(tmp_path: Path) -> None:
    """Known for 24 hours, and at least the last 1,000 of a node (protocol.md, One id per post)."""
    async with running_instance(tmp_path / "instance") as instance:
        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        alice = await Connection.open(endpoint)
        registered = await alice.register("n", "Alice Liddell")
        first = await alice.post("0", [], b"x")
        for start in range(1, 1_101, 100):
            await asyncio.gather(*(alice.post(f"{number}", [], b"x") for number in range(start, start + 100)))
        await alice.quit()

        async def again(request_id: str) -> str:
            connection = await Connection.open(endpoint)
            await connection.login(registered.uid, registered.nodeid)
            acked = await connection.post(request_id, [], b"x")
            await connection.quit()
            return acked.msgid

        assert await again("0") == first.msgid
        await instance.advance(limits.REPOST_MEMORY_S + limits.REPOST_FORGET_INTERVAL_S)
        await instance.settle()
        later = await again("0")  # older than a day, and more than 1,000 came after it
        assert later != first.msgid
        assert await again("0") == later


async def test_request_ids_of_many_devices_are_forgotten_some_devices_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are millions of them, and meanwhile others want to post."""
    monkeypatch.setattr(limits, "REPOSTS_LOOKED_AT", 25)
    monkeypatch.setattr(limits, "REPOST_MEMORY_COUNT", 4)
    seen: list[int] = []
    original = SqlLedger.forget_old_posts

    def forget(ledger: SqlLedger, before_ms: int, after: int = 0) -> int | None:
        seen.append(after)
        return original(ledger, before_ms, after)

    monkeypatch.setattr(SqlLedger, "forget_old_posts", forget)
    async with running_instance(tmp_path / "instance") as instance:
        posted = [(device, place) for device in range(1, 9) for place in range(1, 11)]

        def remember(ledger: SqlLedger) -> None:
            for device, place in posted:
                ledger.remember_post(device, str(place), Posted(place, instance.clock.wall_ns() // 1_000_000))

        await instance.service.decide(remember)
        await instance.advance(1)
        await instance.settle()
        assert seen == [0, 3, 6]
        await instance.advance(limits.REPOST_MEMORY_S + limits.REPOST_FORGET_INTERVAL_S)
        await instance.settle()
        assert seen == [0, 3, 6] * 2

        def known(ledger: SqlLedger) -> list[tuple[int, int]]:
            return [(device, place) for device, place in posted if ledger.posted_before(device, str(place))]

        assert await instance.service.decide(known) == [(device, place) for device, place in posted if place > 6]


async def test_a_member_may_post_while_a_large_message_is_on_its_way_to_it(tmp_path: Path) -> None:
    """The service goes on reading a link whose peer is slow to take a payload; the answers come after it."""
    async with running_instance(tmp_path / "instance") as instance:
        uid, slow = await a_peer_that_never_reads(instance)
        heard = asyncio.Event()

        async def hear(event: m2.StoredEvent, payload: Payload) -> None:
            heard.set()

        alice = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), hear)
        own = (await alice.register("n", "Alice Liddell")).uid
        await alice.post("large", [m.Recipient(uid, m.TO_UID)], bytes(16 << 20))
        await asyncio.to_thread(slow.sendall, m.encode_frame(m.Post("1", (m.Recipient(own, m.TO_UID),), 1), b"x"))
        await asyncio.wait_for(heard.wait(), 60)
        await instance.advance(limits.REDELIVERY_S + 1)  # still on its way: not sent again

        def read_all() -> bytes:
            read = b""
            while b'"id":"1"' not in read[-200:]:
                read += slow.recv(1 << 20)
            return read

        read = await asyncio.to_thread(read_all)
        assert read.count(b'"op":"delivery"') == 1
        assert len(read) > 16 << 20
        slow.close()
        await alice.quit()
