# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds on to the local server: connections that say nothing, pages that leave, and a home that locks (B1, B8, D4)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.test_local_server import ask
from tests.support.small_engine import Visitor, visited
from tmtp_client import limits
from tmtp_client.api import models as m


@pytest.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    async with visited(tmp_path) as made:
        yield made


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def locks(visitor: Visitor) -> None:
    visitor.engine.locked = True
    visitor.engine.tell(m.Event("home", "", 0, m.HomeEvent(m.Home(1, True, (), 0, True))))


# -- who does not say who he is ------------------------------------------------------------------------------------
async def connected(visitor: Visitor, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    return [await asyncio.open_connection("127.0.0.1", visitor.server.port) for _ in range(count)]


async def ended(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        return await reader.read() == b""
    return True


async def closed(connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    for _, writer in connections:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_thousand_silent_connections_are_few_at_any_time_and_keep_nobody_out(visitor: Visitor) -> None:
    ws = await visitor.socket()
    idle = await connected(visitor, 1_000)
    await until(lambda: len(_open(idle)) <= limits.API_STRANGERS_MAX)
    assert (await ask(ws, "render", text="a"))["result"] == {"html": "a"}
    assert (await visitor.get("/", await visitor.cookie())).status == 200
    await ws.close()
    await closed(idle)


def _open(connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> list[asyncio.StreamReader]:
    return [reader for reader, _ in connections if not reader.at_eof() and reader.exception() is None]


@pytest.mark.parametrize("said", ["", "GET / HTTP/1.1\r\nHost: 127.", "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"])
async def test_whoever_does_not_say_in_time_who_he_is_is_cut_off(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(limits, "API_STRANGER_S", 0.3)
    known = await visitor.socket()
    [(reader, writer)] = await connected(visitor, 1)
    writer.write(said.format(host=f"127.0.0.1:{visitor.server.port}").encode())
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
    assert (await ask(known, "render", text="a"))["result"] == {"html": "a"}
    await known.close()
    await closed([(reader, writer)])


# -- pages that leave ----------------------------------------------------------------------------------------------
async def test_a_page_that_left_takes_no_place_while_what_it_asked_for_is_done(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_SOCKETS_MAX", 1)
    monkeypatch.setattr(limits, "API_REQUESTS_LEFT_MAX", 3)
    visitor.engine.may_answer.clear()
    for number in range(3):
        ws = await _next_socket(visitor)
        await ws.send_json({"id": 1, "method": "people.list", "params": {"account": "work"}})
        await until(lambda number=number: len(visitor.engine.asked) == number + 1)  # type: ignore[misc]
        await ws.close()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:  # a page that does so in a loop is stopped
        await visitor.socket()
    assert refused.value.status == 503
    visitor.engine.may_answer.set()
    await (await _next_socket(visitor)).close()


async def _next_socket(visitor: Visitor) -> aiohttp.ClientWebSocketResponse:
    """The server hears of a closed one in its own time."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await visitor.socket()
            except aiohttp.WSServerHandshakeError:
                await asyncio.sleep(0.01)


async def test_a_page_that_leaves_with_all_its_requests_unanswered_is_noticed(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("API_SOCKETS_MAX", 1), ("API_REQUESTS_MAX", 2), ("API_GONE_LOOK_S", 0.05)):
        monkeypatch.setattr(limits, name, value)
    visitor.engine.may_answer.clear()
    ws = await visitor.socket()
    for number in range(5):
        await ws.send_json({"id": number, "method": "people.list", "params": {"account": "work"}})
    await until(lambda: len(visitor.engine.asked) == 2)
    await ws.close()
    await (await _next_socket(visitor)).close()
    visitor.engine.may_answer.set()


async def test_watching_twice_at_once_is_watching_once(visitor: Visitor) -> None:
    before = asyncio.all_tasks()
    ws = await visitor.socket()
    for number in range(20):
        await ws.send_json({"id": number, "method": "home.watch", "params": {}})
    answers = [await ws.receive_json() for _ in range(20)]
    assert {one["id"] for one in answers} == set(range(20))
    visitor.engine.happens("work", 5)
    assert [(await ws.receive_json())["number"] for _ in range(5)] == [1, 2, 3, 4, 5]
    await ws.close()
    await until(lambda: not visitor.engine.listeners_of_watches)
    await until(lambda: not [one for one in asyncio.all_tasks() - before if "_tell" in repr(one)])


# -- a home that locks ---------------------------------------------------------------------------------------------
async def _paused(visitor: Visitor) -> aiohttp.ClientWebSocketResponse:
    """A page that watches, and takes nothing."""
    ws = await visitor.socket()
    await ask(ws, "home.watch")
    assert ws._conn is not None
    ws._conn.protocol.pause_reading()  # type: ignore[union-attr]
    return ws


async def _rest(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
    assert ws._conn is None or ws._conn.protocol is not None
    if ws._conn is not None:
        ws._conn.protocol.resume_reading()  # type: ignore[union-attr]
    return [message.json() async for message in ws if message.type is aiohttp.WSMsgType.TEXT]


async def test_events_that_wait_for_a_page_are_not_told_after_the_home_is_locked(visitor: Visitor) -> None:
    """B8: they are told when it is opened again, to whoever resumes."""
    ws = await _paused(visitor)
    visitor.engine.happens("work", 100, "x" * 300_000)
    await asyncio.sleep(0.5)  # what the system's sockets hold has left
    locks(visitor)
    got = [one["number"] for one in await _rest(ws) if one.get("account") == "work"]
    assert len(got) < 90
    visitor.engine.locked = False
    again = await visitor.socket()
    await ask(again, "home.watch", since={"work": len(got)})
    assert [(await again.receive_json())["number"] for _ in range(3)] == [len(got) + 1, len(got) + 2, len(got) + 3]
    await again.close()
    await ws.close()


async def test_answers_that_are_being_made_are_not_told_after_the_home_is_locked(visitor: Visitor) -> None:
    ws = await visitor.socket()
    visitor.engine.may_answer.clear()
    await ws.send_json({"id": 1, "method": "people.list", "params": {"account": "work"}})
    await until(lambda: len(visitor.engine.asked) == 1)
    locks(visitor)
    visitor.engine.may_answer.set()
    answer = await ws.receive_json()
    assert (answer["id"], answer["problem"]["code"]) == (1, "locked")
    assert "Ada" not in str(answer)
    assert (await ask(ws, "home.state", 2))["result"]["locked"]
    await ws.close()


async def test_passing_events_that_wait_go_when_the_home_is_locked(visitor: Visitor) -> None:
    ws = await visitor.socket()
    await ask(ws, "home.watch")
    visitor.engine.tell(m.Event("presence", "work", 0, m.PresenceEvent("u", True)))
    locks(visitor)  # before the page was told
    assert (await ws.receive_json())["type"] == "home"
    await ws.close()


async def test_a_file_that_is_being_handed_out_stops_when_the_home_is_locked(visitor: Visitor, tmp_path: Path) -> None:
    size = 60_000_000
    (tmp_path / "work-m-0").write_bytes(bytes(size))
    async with visitor.http.get(f"{visitor.server.url}/files/work/m/0", headers=visitor.bearer) as answer:
        got = len(await answer.content.read(1_000))
        locks(visitor)
        with contextlib.suppress(aiohttp.ClientError):
            while piece := await answer.content.readany():
                got += len(piece)
    assert got < size
    assert not visitor.engine.failures


async def test_a_file_that_is_being_taken_in_is_abandoned_when_the_home_is_locked(visitor: Visitor) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(10_000)
            await asyncio.sleep(0.01)

    headers = visitor.bearer | {"Content-Type": "application/octet-stream"}
    asked = asyncio.create_task(visitor.get("/files/work?name=a", headers, "POST", data=endless()))
    upload = visitor.engine.folder / "upload"
    await until(lambda: upload.exists() and upload.stat().st_size > 0)
    locks(visitor)
    with pytest.raises(aiohttp.ClientError):
        await asked
    await until(lambda: visitor.engine.abandoned == 1)
