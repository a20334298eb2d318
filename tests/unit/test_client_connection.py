# SPDX-License-Identifier: AGPL-3.0-or-later
"""A connection against a peer that does what no real service does when asked to: reorder, stall, break."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client_peer import POSTED, PeerLink, ScriptedPeer, delivery_event, ping_event, scripted_peer
from tmtp_client import limits
from tmtp_client.connection import (
    Connection,
    Disconnected,
    Endpoint,
    PasswordLogin,
    Payload,
    PersistentConnection,
    Refused,
    WrongService,
)
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

Handler = Callable[[m2.StoredEvent, Payload], Awaitable[None]]
BOB = [m.Recipient("B" * 32, m.TO_UID)]


async def _ignore(event: m2.StoredEvent, payload: Payload) -> None:
    return


@asynccontextmanager
async def logged_in(folder: Path, on_event: Handler = _ignore) -> AsyncIterator[tuple[Connection, PeerLink]]:
    """A client that is logged in, and the other end of its link."""
    async with scripted_peer(folder) as peer:
        connection, link = await enter(peer, on_event)
        try:
            yield connection, link
        finally:
            await connection.close()


async def enter(peer: ScriptedPeer, on_event: Handler = _ignore) -> tuple[Connection, PeerLink]:
    """Open and log in."""

    async def greet() -> PeerLink:
        link = await peer.link()
        await link.greet()
        return link

    greeting = asyncio.create_task(greet())
    connection = await Connection.open(peer.endpoint, on_event)
    await connection.login("A" * 32, "N" * 40)
    return connection, await greeting


# -- who is there ----------------------------------------------------------------------------------------------------
async def test_a_wrong_pin_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer:
        other = Endpoint(peer.endpoint.host, peer.port, "sha256:" + "A" * 43)
        with pytest.raises(WrongService, match="nothing was sent"):
            await Connection.open(other)
        link = await peer.link()
        with contextlib.suppress(ConnectionError):
            assert await link.reader.read(1) == b""


async def test_a_service_with_a_certificate_of_its_own_needs_a_pin_or_its_authority(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer:
        with pytest.raises(ssl.SSLCertVerificationError):
            await Connection.open(Endpoint("127.0.0.1", peer.port))
        greeting = asyncio.create_task(_greet_first(peer))
        connection = await Connection.open(Endpoint("localhost", peer.port, ca_file=peer.certificate))
        await connection.login("A" * 32, "N" * 40)
        await greeting
        await connection.close()


async def _greet_first(peer: ScriptedPeer) -> None:
    await (await peer.link()).greet()


async def test_the_name_in_the_certificate_counts_when_an_authority_vouches(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer:
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            await Connection.open(Endpoint("127.0.0.1", peer.port, ca_file=peer.certificate))


# -- requests --------------------------------------------------------------------------------------------------------
async def test_answers_find_their_requests_in_any_order(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (connection, link):
        posts = [asyncio.create_task(connection.post(f"r{n}", BOB, b"text")) for n in range(3)]
        asked = [(await link.request())[0] for _ in posts]
        assert [request.id for request in asked if isinstance(request, m.Post)] == ["r0", "r1", "r2"]
        for n in (2, 0, 1):
            await link.send(m.Acked(f"r{n}", f"{n:016x}", POSTED))
        assert [(await post).msgid for post in posts] == [f"{n:016x}" for n in range(3)]


async def test_an_error_ack_is_refused_and_the_link_stays(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (connection, link):
        ping = asyncio.create_task(connection.ping("p1", "Ada Lovelace", "Nobody Here", "hello"))
        request, data = await link.request()
        assert isinstance(request, m.Ping)
        assert data == b"hello"
        await link.send(m.Acked("p1", error="Lookup: iAlias Nobody Here not found"))
        with pytest.raises(Refused, match="Nobody Here not found"):
            await ping
        assert connection.is_open


async def test_quit_fails_what_waits_with_the_words_of_the_service(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (connection, link):
        post = asyncio.create_task(connection.post("r1", BOB, b"text"))
        await link.request()
        await link.send(m.QuitNotice("data too long for request type"))
        with pytest.raises(Disconnected, match="data too long"):
            await post
        assert await connection.closed() == "data too long for request type"
        with pytest.raises(Disconnected):
            await connection.post("r2", BOB, b"text")


async def test_data_in_pieces_arrives_whole(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (connection, link):
        post = asyncio.create_task(connection.post("r1", BOB, _pieces(b"abc" * 50_000, b"d"), 150_001, datahead=3))
        request, data = await link.request()
        assert isinstance(request, m.Post)
        assert (request.datalen, request.datahead) == (150_001, 3)
        assert data == b"abc" * 50_000 + b"d"
        await link.send(m.Acked("r1", "1" * 16, POSTED))
        assert (await post).posted == POSTED


@pytest.mark.parametrize("pieces", [(b"abc",), (b"abcd", b"ef")])
async def test_data_that_does_not_add_up_ends_the_link_and_is_never_taken_for_a_post(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    async with logged_in(tmp_path) as (connection, link):
        with pytest.raises(Disconnected, match="length"):
            await connection.post("r1", BOB, _pieces(*pieces), 5)
        with pytest.raises(StopAsyncIteration):
            await link.request()


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_one_id_is_not_asked_twice_at_once(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (connection, link):
        first = asyncio.create_task(connection.post("r1", BOB, b"text"))
        await link.request()
        with pytest.raises(ValueError, match="under way"):
            await connection.post("r1", BOB, b"text")
        await link.send(m.Acked("r1", "1" * 16, POSTED))
        await first


# -- what comes ------------------------------------------------------------------------------------------------------
async def test_a_message_is_acknowledged_only_after_its_handler_returned(tmp_path: Path) -> None:
    recorded, entered = asyncio.Event(), asyncio.Event()

    async def record(event: m2.StoredEvent, payload: Payload) -> None:
        entered.set()
        await recorded.wait()

    async with logged_in(tmp_path, record) as (connection, link):
        await link.send(ping_event(7, b"hello"), b"hello")
        await entered.wait()
        asked = asyncio.create_task(connection.ask(m.UserEdit("u1", newalias="Another Name")))
        request, _ = await link.request()
        assert isinstance(request, m.UserEdit)  # and no ack before it
        recorded.set()
        request, _ = await link.request()
        assert isinstance(request, m.Ack)
        assert request.id == f"{7:016x}"
        await link.send(m.Acked("u1"))
        await asked


async def test_what_could_not_be_recorded_is_not_acknowledged(tmp_path: Path) -> None:
    async def fail(event: m2.StoredEvent, payload: Payload) -> None:
        raise OSError("the disk is full")

    async with logged_in(tmp_path, fail) as (connection, link):
        await link.send(ping_event(7, b"hello"), b"hello")
        assert "the disk is full" in await connection.closed()
        with pytest.raises(StopAsyncIteration):
            await link.request()


async def test_a_handler_that_gives_up_as_if_the_connection_broke_leaves_none_that_nobody_handles(
    tmp_path: Path,
) -> None:
    async def gives_up(event: m2.StoredEvent, payload: Payload) -> None:
        raise Disconnected("there is nothing more to come")

    async with logged_in(tmp_path, gives_up) as (connection, link):
        await link.send(ping_event(1, b"hi"), b"hi")
        async with asyncio.timeout(30):
            assert await connection.closed() == "there is nothing more to come"


async def test_messages_are_handled_one_after_the_other_in_their_order(tmp_path: Path) -> None:
    seen: list[tuple[str, bytes]] = []

    async def record(event: m2.StoredEvent, payload: Payload) -> None:
        data = await payload.read()
        await asyncio.sleep(0)
        seen.append((event.id, data))

    async with logged_in(tmp_path, record) as (_, link):
        for number in range(20):
            await link.send(ping_event(number, b"%d" % number), b"%d" % number)
        acked = [(await link.request())[0] for _ in range(20)]
        assert [request.id for request in acked if isinstance(request, m.Ack)] == [f"{n:016x}" for n in range(20)]
        assert seen == [(f"{n:016x}", b"%d" % n) for n in range(20)]


async def test_a_large_payload_passes_a_slow_handler_in_bounded_memory(tmp_path: Path) -> None:
    size = 8 << 20
    most = read = 0

    async def record(event: m2.StoredEvent, payload: Payload) -> None:
        nonlocal most, read
        async for chunk in payload:
            read += len(chunk)
            most = max(most, payload._buffered)
            await asyncio.sleep(0)

    async with logged_in(tmp_path, record) as (_, link):
        await link.send(delivery_event(1, size), bytes(size))
        request, _ = await link.request()
        assert isinstance(request, m.Ack)
    assert read == size
    assert most <= limits.PAYLOAD_BUFFER_BYTES + limits.READ_CHUNK_BYTES


async def test_what_the_handler_leaves_unread_is_thrown_away(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (_, link):
        await link.send(delivery_event(1, 4 << 20), bytes(4 << 20))
        await link.send(ping_event(2, b"x"), b"x")
        acks = [(await link.request())[0] for _ in range(2)]
        assert [ack.id for ack in acks if isinstance(ack, m.Ack)] == [f"{n:016x}" for n in (1, 2)]


async def test_a_message_that_breaks_off_is_an_error_for_its_handler(tmp_path: Path) -> None:
    broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def record(event: m2.StoredEvent, payload: Payload) -> None:
        try:
            await payload.read()
        except Disconnected as error:
            broken.set_result(error)
            raise

    async with logged_in(tmp_path, record) as (_, link):
        link.writer.write(m.encode_head(delivery_event(1, 1_000)) + bytes(10))
        await link.writer.drain()
        await link.close()
        assert isinstance(await broken, Disconnected)


@pytest.mark.parametrize(
    "nonsense",
    [b"zzzz" + b" " * 20, b'000e{"op":"fancy"}', b"0010" + b'{"op":"ack"}    ', b'0017{"op":"ohi","from":"A"}'],
)
async def test_a_service_that_speaks_nonsense_is_left(tmp_path: Path, nonsense: bytes) -> None:
    async with logged_in(tmp_path) as (connection, link):
        link.writer.write(nonsense)
        await link.writer.drain()
        assert "does not speak TMTP" in await connection.closed()


async def test_silence_is_broken_by_a_pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PULSE_AFTER_S", 0.02)
    async with logged_in(tmp_path) as (_, link):
        assert isinstance((await link.request())[0], m.Pulse)
        assert isinstance((await link.request())[0], m.Pulse)


async def test_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer:
        before = asyncio.all_tasks()
        connection, _ = await enter(peer)
        await connection.close()
        await connection.close()
        assert asyncio.all_tasks() - before == set() or all(
            "tmtp_client" not in str(task.get_coro()) for task in asyncio.all_tasks() - before
        )


# -- coming back -----------------------------------------------------------------------------------------------------
async def test_a_persistent_connection_comes_back_and_logs_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 0.01)
    async with scripted_peer(tmp_path) as peer:
        persistent = PersistentConnection(peer.endpoint, PasswordLogin("A" * 32, "N" * 40), jitter=lambda: 0.0)
        first_link = await peer.link()
        await first_link.greet()
        first = await persistent.current(5.0)
        await first_link.close()
        second_link = await peer.link()
        await second_link.greet()
        assert "closed" in await first.closed() or "broke" in await first.closed()
        second = await persistent.current(5.0)
        assert second is not first
        stopping = asyncio.create_task(persistent.stop())
        assert isinstance((await second_link.request())[0], m.Quit)
        await second_link.send(m.QuitNotice("logout ok"))
        await stopping
        assert not second.is_open


async def test_a_log_in_that_is_refused_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer:
        persistent = PersistentConnection(peer.endpoint, PasswordLogin("A" * 32, "N" * 40))
        link = await peer.link()
        await link.request()
        await link.send(m.TmtpRevAnswer("1", "Scripted"))
        await link.request()
        await link.send(m.QuitNotice("login failed"))
        with pytest.raises(Disconnected, match="login failed"):
            await persistent.current(5.0)
        await persistent.stop()


async def test_pauses_grow_and_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 0.001)
    monkeypatch.setattr(limits, "RECONNECT_LONGEST_S", 0.004)
    async with scripted_peer(tmp_path) as peer:
        nobody = Endpoint("127.0.0.1", peer.port, peer.endpoint.pin)
    pauses: list[float] = []
    sleep = asyncio.sleep
    done = asyncio.Event()

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            done.set()
        await sleep(0)

    monkeypatch.setattr("tmtp_client.connection.persistent.asyncio.sleep", noted)
    persistent = PersistentConnection(nobody, PasswordLogin("A" * 32, "N" * 40), jitter=lambda: 0.5)
    await done.wait()
    await persistent.stop()
    assert pauses[:5] == [0.001, 0.002, 0.004, 0.004, 0.004]
    assert persistent.trouble


async def test_stopping_in_the_middle_of_a_log_in_leaves_nothing(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer:
        persistent = PersistentConnection(peer.endpoint, PasswordLogin("A" * 32, "N" * 40))
        link = await peer.link()
        await link.request()
        await link.send(m.TmtpRevAnswer("1", "Scripted"))
        await link.request()
        waiting = asyncio.create_task(persistent.current())
        await asyncio.sleep(0)
        await persistent.stop()
        with pytest.raises(Disconnected):
            await asyncio.wait_for(waiting, 60)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(link.request(), 60)


async def test_acks_wait_behind_an_upload_without_stopping_what_comes(tmp_path: Path) -> None:
    """Else both ends wait: the service for acks before it reads on, the client for its upload before it acks."""
    handled = asyncio.Queue[str]()
    size = 2 * limits.PAYLOAD_BUFFER_BYTES

    async def record(event: m2.StoredEvent, payload: Payload) -> None:
        async for _ in payload:
            pass
        handled.put_nowait(event.id)

    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        for _ in range(3):
            await handled.get()
        yield b"b"

    async with logged_in(tmp_path, record) as (connection, link):
        posting = asyncio.create_task(connection.post("r1", BOB, slow(), 2))
        await asyncio.sleep(0)
        for number in range(3):
            await asyncio.wait_for(link.send(delivery_event(number, size), bytes(size)), 5.0)
        request, data = await asyncio.wait_for(link.request(), 60)
        assert isinstance(request, m.Post)
        assert data == b"ab"
        acks = [(await asyncio.wait_for(link.request(), 60))[0] for _ in range(3)]
        assert [ack.id for ack in acks if isinstance(ack, m.Ack)] == [f"{number:016x}" for number in range(3)]
        await link.send(m.Acked("r1", "1" * 16, POSTED))
        await posting


async def test_a_service_that_drops_every_link_is_not_stormed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 0.001)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if 0 < seconds < limits.PULSE_AFTER_S / 2:
            pauses.append(seconds)
        await sleep(min(seconds, 0.01) if seconds < limits.PULSE_AFTER_S / 2 else seconds)

    async with scripted_peer(tmp_path) as peer:
        monkeypatch.setattr("tmtp_client.connection.persistent.asyncio.sleep", noted)
        persistent = PersistentConnection(peer.endpoint, PasswordLogin("A" * 32, "N" * 40), jitter=lambda: 0.5)
        for _ in range(4):
            link = await peer.link()
            await link.greet()
            link.writer.transport.abort()
        await peer.link()
        await persistent.stop()
    assert pauses[:4] == [0.001, 0.002, 0.004, 0.008]


async def test_a_handler_of_presence_that_fails_does_not_leave_a_deaf_connection(tmp_path: Path) -> None:
    def fail(ohi: m.Ohi) -> None:
        raise KeyError(ohi.from_)

    async with scripted_peer(tmp_path) as peer:
        greeting = asyncio.create_task(_greet_next(peer))
        connection = await Connection.open(peer.endpoint, on_presence=fail)
        await connection.login("A" * 32, "N" * 40)
        link = await greeting
        await link.send(m.Ohi("U" * 32, 1))
        assert "KeyError" in await asyncio.wait_for(connection.closed(), 5.0)
        await connection.close()


async def _greet_next(peer: ScriptedPeer) -> PeerLink:
    link = await peer.link()
    await link.greet()
    return link
