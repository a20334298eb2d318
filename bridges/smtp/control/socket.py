# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control socket of an intake that is a process of its own: operations in, answers out (C2).

A Unix socket of mode 0600: who can open it owns the bridge's data. A connection carries one request and one answer,
each JSON with its length, four octets, before it.
"""

import asyncio
import contextlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from bridges import limits
from bridges.smtp.control.door import BRIDGE_OPERATIONS, BridgeDoor, BridgeRefused, Kind

log = structlog.get_logger()

SOCKET_NAME: Final = "control.sock"
_PATH_MAX_BYTES: Final = 107  # sun_path, with its final zero
_LENGTH: Final = struct.Struct("!I")
_OTHER_RELEASE: Final = "the bridge's process is of another release than this program: restart it"


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`by`: for whom it is asked."""

    operation: str
    arguments: dict[str, str | int]
    by: str
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Done(msgspec.Struct, frozen=True, tag="done"):
    """It was performed."""

    answer: msgspec.Raw


class _Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It was not; see `BridgeRefused`."""

    kind: Kind
    text: str


class ControlSocket:
    """Performs, from `start` to `stop`, what is asked for at `path`, which the caller alone uses."""

    def __init__(self, door: BridgeDoor, path: Path) -> None:
        self._door = door
        self._path = path
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen; a socket that a dead process left is replaced. Raises `OSError`."""
        if len(os.fsencode(self._path)) > _PATH_MAX_BYTES:
            raise OSError(f"{self._path} is too long for a socket: {_PATH_MAX_BYTES} bytes at most")
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Listen no more, and finish what is being done. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._path.unlink(missing_ok=True)
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._connections:
            _, unanswered = await asyncio.wait(self._connections, timeout=limits.CONTROL_STOP_S)
            for task in unanswered:
                task.cancel()
            await asyncio.gather(*unanswered, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > limits.CONTROL_CONNECTIONS_MAX:
                answer: _Done | _Refused = _Refused("away", "too much is being asked of this bridge: try again")
            else:
                answer = await self._answer(reader)
            async with asyncio.timeout(limits.CONTROL_READ_S):
                await _write(writer, msgspec.json.encode(answer))
        except (OSError, asyncio.IncompleteReadError) as error:  # whoever asked is gone, or too slow
            log.info("bridge_control_cut_off", error=type(error).__name__)
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> _Done | _Refused:
        try:
            async with asyncio.timeout(limits.CONTROL_READ_S):
                raw = await _read(reader, limits.CONTROL_REQUEST_MAX_BYTES)
        except _TooLong:
            return _Refused("invalid", f"a request has {limits.CONTROL_REQUEST_MAX_BYTES} octets at most")
        try:
            request = msgspec.json.decode(raw, type=_Request)
            known = BRIDGE_OPERATIONS[request.operation]
            body = msgspec.json.decode(request.body, type=known.body or None)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _Refused("invalid", str(error))
        except KeyError:
            return _Refused("away", _OTHER_RELEASE)
        if self._server is None:  # it was there before the stop, and the desk goes now
            return _Refused("away", "the bridge's process stops just now: try again")
        # What is begun is done, also where whoever asked does not wait for it.
        doing = asyncio.ensure_future(self._perform(request, body))
        self._under_way.add(doing)
        doing.add_done_callback(self._under_way.discard)
        return await asyncio.shield(doing)

    async def _perform(self, request: _Request, body: msgspec.Struct | None) -> _Done | _Refused:
        try:
            answer = await self._door.perform(request.operation, request.arguments, body, request.by)
        except BridgeRefused as refused:
            return _Refused(refused.kind, str(refused))
        except Exception:
            log.exception("bridge_operation_failed", operation=request.operation)
            return _Refused("away", "the bridge failed; its log says where")
        encoded = msgspec.json.encode(answer)
        if len(encoded) >= limits.CONTROL_ANSWER_MAX_BYTES:
            return _Refused("refused", "the answer is too long: ask for less at once")
        return _Done(msgspec.Raw(encoded))


class SocketDoor:
    """Implements `BridgeDoor` by asking the process behind the socket. `start`: the command that starts that."""

    def __init__(self, path: Path, start: str) -> None:
        self._path = path
        self._start = start

    async def answers(self) -> bool:
        """Whether somebody listens there."""
        try:
            _, writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None, by: str
    ) -> Any:
        """See `BridgeDoor`."""
        known = BRIDGE_OPERATIONS[operation]
        asked = {"operation": operation, "arguments": arguments, "by": by, "body": body}
        try:
            raw = await self._ask(msgspec.json.encode(asked))
        except TimeoutError:
            raise BridgeRefused(
                "away", "the bridge's process did not answer in time; a change goes on, and its log of decisions says"
            ) from None
        except (OSError, asyncio.IncompleteReadError):
            raise BridgeRefused("away", f"the bridge's process does not answer; start it: {self._start}") from None
        try:
            answer = msgspec.json.decode(raw, type=_Done | _Refused)
            if isinstance(answer, _Done):
                return msgspec.json.decode(answer.answer, type=known.answer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise BridgeRefused("away", _OTHER_RELEASE) from None
        raise BridgeRefused(answer.kind, answer.text)

    async def _ask(self, request: bytes) -> bytes:
        if len(request) > limits.CONTROL_REQUEST_MAX_BYTES:
            raise BridgeRefused("invalid", f"this is too much: {limits.CONTROL_REQUEST_MAX_BYTES} octets at most")
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            async with asyncio.timeout(limits.CONTROL_READ_S):
                await _write(writer, request)
            async with asyncio.timeout(limits.CONTROL_ANSWER_S):
                return await _read(reader, limits.CONTROL_ANSWER_MAX_BYTES + limits.CONTROL_REQUEST_MAX_BYTES)
        except _TooLong:
            raise BridgeRefused("away", _OTHER_RELEASE) from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _TooLong(Exception):
    """What is announced is longer than what is taken."""


async def _read(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    """One piece. Raises `_TooLong`, IncompleteReadError or OSError."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > max_bytes:
        raise _TooLong
    return await reader.readexactly(length)


async def _write(writer: asyncio.StreamWriter, piece: bytes) -> None:
    writer.write(_LENGTH.pack(len(piece)) + piece)
    await writer.drain()
