# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client for programs: the same calls and events to a daemon and in one's own process."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.small_engine import Visitor, visited
from tmtp_client import limits
from tmtp_client.api import frames
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client, Local, to_daemon
from tmtp_client.api.daemon_file import DaemonFile, read
from tmtp_client.api.problems import ProblemError


@pytest.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    async with visited(tmp_path) as made:
        yield made


@pytest.fixture(params=["daemon", "here"])
async def client(visitor: Visitor, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    if request.param == "here":
        yield Local(visitor.engine.dispatcher, visitor.engine)
        return
    async with to_daemon(visitor.file) as made:
        yield made


async def test_answers_are_structs(client: Client) -> None:
    assert await client.call("home.state") == m.Home(1, False, (), 0, False)
    [person] = await client.call("people.list", o.OfAccount("work"))
    assert person.alias == "Ada Lovelace"
    assert (await client.call("threads.list", o.ListThreads(limit=3))).next == "3"


async def test_many_calls_at_once(client: Client) -> None:
    texts = [f"{number}" for number in range(300)]
    rendered = await asyncio.gather(*(client.call("render", o.Render(text)) for text in texts))
    assert [one.html for one in rendered] == texts


async def test_a_large_answer(client: Client) -> None:
    assert len(await client.call("people.find", o.Find("work", "5000"))) == 5_000


async def test_failures_are_problems(client: Client) -> None:
    with pytest.raises(ProblemError) as raised:
        await client.call("messages.show", o.OfMessage("work", "m"))
    assert raised.value.problem == frames.Problem("not_found", "no message has this id", "message")
    with pytest.raises(ProblemError) as raised:
        await client.call("messages.seen", o.MarkSeen("work"))
    assert raised.value.problem.code == "internal"


async def test_events_come_typed_and_calls_work_meanwhile(client: Client, visitor: Visitor) -> None:
    visitor.engine.happens("work", 1_000)
    numbers = []
    async for event in client.events({"work": 10}):
        assert isinstance(event.data, m.SettingEvent)
        numbers.append(event.number)
        if event.number % 100 == 0:
            await client.call("render", o.Render("x"))
        if event.number == 1_000:
            break
    assert numbers == list(range(11, 1_001))


async def test_a_slow_listener_is_cut_off_and_goes_on_by_itself(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_SLOW_READER_S", 0.3)
    async with to_daemon(visitor.file) as client:
        numbers = []
        visitor.engine.happens("work", 200, "x" * 200_000)
        async for event in client.events({"work": 0}):
            numbers.append(event.number)
            if event.number == 1:
                async with asyncio.timeout(60):
                    while visitor.engine.listeners_of_watches:  # cut off
                        await asyncio.sleep(0.02)
            if event.number == 200:
                break
        assert numbers == list(range(1, 201))


async def test_who_waits_is_told_when_the_daemon_ends(tmp_path: Path) -> None:
    async with visited(tmp_path) as visitor:
        visitor.engine.may_answer.clear()
        async with to_daemon(visitor.file) as client:
            asked = asyncio.create_task(client.call("people.list", o.OfAccount("work")))
            heard = asyncio.create_task(anext(client.events()))
            while not visitor.engine.asked or not visitor.engine.listeners:
                await asyncio.sleep(0.01)
            closing = asyncio.create_task(_end(visitor))
            for waiting in (asked, heard):
                with pytest.raises(ProblemError) as raised:
                    await waiting
                assert raised.value.problem.code == "not_now"
            visitor.engine.may_answer.set()
            await closing


async def _end(visitor: Visitor) -> None:
    await asyncio.gather(*(one.close() for one in visitor.server._sockets))
    visitor.server._entrance.key = "another run's"


async def test_nobody_answers_at_a_stale_file(tmp_path: Path) -> None:
    async with visited(tmp_path) as visitor:
        file = visitor.file
    with pytest.raises(ProblemError) as raised:
        async with to_daemon(file):
            pass
    assert raised.value.problem.code == "not_now"


async def test_another_server_at_the_port_is_not_taken_for_the_daemon(visitor: Visitor) -> None:
    file = visitor.file
    with pytest.raises(ProblemError):
        async with to_daemon(DaemonFile(1, file.pid, file.port, file.url, "wrong")):
            pass


def test_a_file_that_cannot_be_put_there_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "daemon.json" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        DaemonFile(1, 7, 1, "http://127.0.0.1:1", "key").write(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["daemon.json"]


def test_the_file_is_the_owners_alone_and_does_not_print_its_key(tmp_path: Path) -> None:
    file = DaemonFile(1, 7, 80, "http://127.0.0.1:80", "secret")
    file.write(tmp_path)
    assert (tmp_path / "daemon.json").stat().st_mode & 0o777 == 0o600
    assert read(tmp_path) == file
    assert "secret" not in repr(file)
    DaemonFile(1, 8, 81, "http://127.0.0.1:81", "other").remove(tmp_path)
    assert read(tmp_path) == file
    file.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("octets", [b"", b"{", b"[]", b'{"port": 1}', b"\xff" * 10_000])
def test_a_broken_file_is_none(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "daemon.json").write_bytes(octets)
    assert read(tmp_path) is None
