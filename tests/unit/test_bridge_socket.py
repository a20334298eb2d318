# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control socket of an intake: what goes in comes out, and nothing that comes in can hold it up (C2)."""

import asyncio
import contextlib
import stat
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.socket import ControlSocket, SocketDoor

DECIDED = m.DecisionPage(
    entries=[m.DecisionEntry(number=3, at_ms=1, kind="act", body=msgspec.Raw(b'{"kind":"act"}'), hash="00")], next=None
)

SENDER = m.Sender(
    number=1,
    address="",
    domain="partner.example",
    proof=[m.Proof(spf="aligned")],
    owner="Purchasing",
    reason="",
    source="administrator",
    created_ms=1,
    created_by="Ada",
    expires_ms=None,
    routes=None,
    quota_per_day=3,
    today=0,
    state="active",
    why="",
    changed_ms=1,
    passed_ms=None,
    failed_ms=None,
    failures=0,
)


class Counter:
    """A desk that says what it was asked for; `gate` lets it answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, object], object, str]] = []
        self.done = 0
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Any = DECIDED
        self.fails: Exception | None = None

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None, by: str
    ) -> Any:
        self.asked.append((operation, arguments, body, by))
        self.begun.set()
        await self.gate.wait()
        self.done += 1
        if self.fails is not None:
            raise self.fails
        return self.answer


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[tuple[Counter, SocketDoor]]:
    desk = Counter()
    server = ControlSocket(desk, path)
    await server.start()
    try:
        yield desk, SocketDoor(path, "tmtp-gateway bridge smtp")
    finally:
        await server.stop()


async def test_what_is_asked_arrives_and_so_does_the_answer(tmp_path: Path) -> None:
    async with served(tmp_path / "control.sock") as (desk, door):
        assert await door.perform("decisions.list", {"before": 9, "search": "jo"}, None, "Grace") == DECIDED
        vet = m.VetSender(domain="partner.example", proof=[m.Proof(spf="aligned")], quota_per_day=3)
        desk.answer = []
        assert await door.perform("senders.list", {}, None, "Grace") == []
        desk.answer = SENDER
        assert await door.perform("senders.vet", {}, vet, "Ada") == SENDER
        desk.answer = m.Status(**dict.fromkeys(_NUMBERS, 1), name="intake", connected=True, attention=["ä"])
        shown = await door.perform("status", {}, None, "local user root")
        assert shown == desk.answer
    assert desk.asked[0] == ("decisions.list", {"before": 9, "search": "jo"}, None, "Grace")
    assert desk.asked[2] == ("senders.vet", {}, vet, "Ada")


_NUMBERS = [name for name in m.Status.__struct_fields__ if name not in ("name", "connected", "attention")]


async def test_only_its_owner_may_open_it_and_it_goes_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("left by a process that was killed")
    async with served(path):
        found = path.stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
    assert not path.exists()


@pytest.mark.parametrize("kind", ["not found", "invalid", "refused", "away"])
async def test_a_refusal_arrives_as_it_was_said(tmp_path: Path, kind: Any) -> None:
    async with served(tmp_path / "control.sock") as (desk, door):
        desk.fails = BridgeRefused(kind, "there is no sender 7")
        with pytest.raises(BridgeRefused, match="there is no sender 7") as refused:
            await door.perform("senders.show", {"number": 7}, None, "Ada")
        assert refused.value.kind == kind


async def test_a_desk_that_fails_ends_nothing_and_tells_no_secret(tmp_path: Path) -> None:
    async with served(tmp_path / "control.sock") as (desk, door):
        desk.fails = RuntimeError("the key is 42")
        with pytest.raises(BridgeRefused, match="its log says where") as refused:
            await door.perform("status", {}, None, "Ada")
        assert refused.value.kind == "away"
        assert "42" not in str(refused.value)
        desk.fails = None
        assert await door.perform("decisions.list", {}, None, "Ada") == DECIDED


async def test_where_nobody_listens_the_command_is_said_that_starts_it(tmp_path: Path) -> None:
    door = SocketDoor(tmp_path / "control.sock", "tmtp-gateway bridge smtp -c x --name intake")
    assert not await door.answers()
    with pytest.raises(BridgeRefused, match="start it: tmtp-gateway bridge smtp -c x --name intake") as refused:
        await door.perform("status", {}, None, "Ada")
    assert refused.value.kind == "away"


async def raw(path: Path, sent: bytes, *, length: int | None = None) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(struct.pack("!I", len(sent) if length is None else length) + sent)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return msgspec.json.decode(answer[4:]) if answer else {}


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"", "invalid"),
        (b"{", "invalid"),
        (b"\xff\xfe", "invalid"),
        (b"[" * 100_000, "invalid"),
        (b'{"operation":"status"}', "invalid"),
        (b'{"operation":"status","arguments":{"number":[]},"by":"x"}', "invalid"),
        (b'{"operation":"status","arguments":{},"by":"x","more":1}', "invalid"),
        (b'{"operation":"senders.vet","arguments":{},"by":"x","body":{"proof":[]}}', "invalid"),
        (b'{"operation":"senders.vet","arguments":{},"by":"x"}', "invalid"),
        (b'{"operation":"status","arguments":{},"by":"x","body":{}}', "invalid"),
        (b'{"operation":"fly","arguments":{},"by":"x"}', "away"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_never_reaches_the_desk(
    tmp_path: Path, sent: bytes, kind: str
) -> None:
    path = tmp_path / "control.sock"
    async with served(path) as (desk, _):
        answer = await raw(path, sent)
        assert (answer["type"], answer["kind"]) == ("refused", kind)
        assert not desk.asked


async def test_a_request_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with served(path) as (desk, door):
        answer = await raw(path, b"", length=limits.CONTROL_REQUEST_MAX_BYTES + 1)
        assert "octets at most" in answer["text"]
        senders = [m.VetSender(address=f"{i}@x.example", proof=[m.Proof(spf="aligned")]) for i in range(60_000)]
        with pytest.raises(BridgeRefused, match="too much"):
            await door.perform("replay", {}, m.Replay(senders=senders, routes=[]), "Ada")
        assert not desk.asked


async def test_an_answer_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTROL_ANSWER_MAX_BYTES", 1_000)
    async with served(tmp_path / "control.sock") as (desk, door):
        desk.answer = m.DecisionPage(entries=DECIDED.entries * 500, next=None)
        with pytest.raises(BridgeRefused, match="ask for less"):
            await door.perform("decisions.list", {}, None, "Ada")


async def test_who_sends_nothing_or_half_of_it_is_dropped_and_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTROL_READ_S", 2.0)  # also of the one that is served
    path = tmp_path / "control.sock"
    async with served(path) as (_, door):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(struct.pack("!I", 100) + b"half")
        assert await door.perform("decisions.list", {}, None, "Ada") == DECIDED
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_more_than_so_many_at_once_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTROL_CONNECTIONS_MAX", 1)
    async with served(tmp_path / "control.sock") as (desk, door):
        desk.gate.clear()
        first = asyncio.ensure_future(door.perform("decisions.list", {}, None, "Ada"))
        await desk.begun.wait()
        with pytest.raises(BridgeRefused, match="try again") as refused:
            await door.perform("decisions.list", {}, None, "Bob")
        assert refused.value.kind == "away"
        desk.gate.set()
        assert await first == DECIDED


async def test_what_was_begun_is_done_also_when_nobody_waits_for_it(tmp_path: Path) -> None:
    async with served(tmp_path / "control.sock") as (desk, door):
        desk.gate.clear()
        asking = asyncio.ensure_future(door.perform("decisions.list", {}, None, "Ada"))
        await desk.begun.wait()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        desk.gate.set()
    assert desk.done == 1


async def test_a_stop_waits_for_what_is_being_done_and_not_for_who_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTROL_STOP_S", 0.1)
    path = tmp_path / "control.sock"
    async with served(path) as (desk, door):
        _, writer = await asyncio.open_unix_connection(path)
        desk.gate.clear()
        asking = asyncio.ensure_future(door.perform("decisions.list", {}, None, "Ada"))
        await desk.begun.wait()
        asyncio.get_running_loop().call_later(0.1, desk.gate.set)
    assert desk.done == 1
    assert await asking == DECIDED
    writer.close()
    await writer.wait_closed()


async def test_what_comes_while_it_stops_is_not_begun_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection was there before the stop, its request was not: the desk is gone when `stop` returns."""
    monkeypatch.setattr(limits, "CONTROL_STOP_S", 1.0)
    desk = Counter()
    desk.gate.clear()
    server = ControlSocket(desk, tmp_path / "control.sock")
    await server.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
    await asyncio.sleep(0.05)  # it is accepted
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.05)
    raw = msgspec.json.encode({"operation": "status", "arguments": {}, "by": "Ada", "body": None})
    writer.write(struct.pack("!I", len(raw)) + raw)
    with contextlib.suppress(asyncio.IncompleteReadError, OSError):
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        assert b"stops" in await reader.readexactly(length)
    await stopping
    assert len(desk.asked) == desk.done
    writer.close()


async def test_a_path_that_is_no_socket_is_said(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with pytest.raises(OSError, match="too long for a socket"):
        await ControlSocket(Counter(), folder / "control.sock").start()


async def test_an_answer_that_does_not_come_in_time_may_still_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTROL_ANSWER_S", 0.1)
    async with served(tmp_path / "control.sock") as (desk, door):
        desk.gate.clear()
        with pytest.raises(BridgeRefused, match="in time; a change goes on") as refused:
            await door.perform("decisions.list", {}, None, "Ada")
        assert refused.value.kind == "away"
        desk.gate.set()
    assert desk.done == 1


async def test_an_answer_of_another_release_is_told_as_one(tmp_path: Path) -> None:
    async with served(tmp_path / "control.sock") as (desk, door):
        desk.answer = {"something": "else"}
        with pytest.raises(BridgeRefused, match="another release") as refused:
            await door.perform("status", {}, None, "Ada")
        assert refused.value.kind == "away"
