# SPDX-License-Identifier: AGPL-3.0-or-later
"""The local API for a program: the same calls to a running daemon, and to an engine in this process.

async with connected(home) as client:
    people = await client.call("people.list", OfAccount("work"))
    async for event in client.events():
        ...
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from msgspec import Struct

from tmtp_client import limits
from tmtp_client.api import problems
from tmtp_client.api.daemon_file import API, DaemonFile
from tmtp_client.api.dispatcher import WATCH, Dispatcher, parameters
from tmtp_client.api.events import Source, Watch
from tmtp_client.api.frames import Problem, Request
from tmtp_client.api.models import EVENTS, Event, Watching
from tmtp_client.api.operations import BY_NAME, Nothing, Operation
from tmtp_client.api.operations import Watch as WatchParams
from tmtp_client.api.problems import ProblemError

_ENDED: Final = "the engine has ended"


class Client(Protocol):
    """Whoever asks. Every failure is a `ProblemError`."""

    async def call(self, name: str, params: Struct | None = None) -> Any:
        """An operation's answer, as its type says: a struct, or a list of structs where there are many."""

    def events(
        self, since: Mapping[str, int] | None = None, on_start: Callable[[], None] | None = None
    ) -> AsyncIterator[Event]:
        """Events after these numbers, in other accounts from now on; `data` is of the type that `EVENTS` names.

        One at a time; `on_start` hears that from here on none is missed. Ends only when the engine does, by raising
        `ProblemError` (not_now).
        """


class Local:
    """An engine in this process."""

    def __init__(self, dispatcher: Dispatcher, source: Source) -> None:
        self._dispatcher = dispatcher
        self._source = source

    async def call(self, name: str, params: Struct | None = None) -> Any:
        """See `Client`."""
        return await self._dispatcher.ask(name, params or Nothing())

    async def events(
        self, since: Mapping[str, int] | None = None, on_start: Callable[[], None] | None = None
    ) -> AsyncIterator[Event]:
        """See `Client`."""
        watch = Watch(self._source)
        try:
            await watch.start(since or {})
            if on_start is not None:
                on_start()
            while True:
                for event in await watch.next():
                    yield typed_event(event)
        finally:
            watch.stop()


class _Frame(Struct):
    """What comes from a daemon: an answer or an event."""

    id: int | None = None
    result: Any = None
    problem: Problem | None = None
    type: str = ""
    account: str = ""
    number: int = 0
    data: Any = None


class Remote:
    """A daemon, by its WebSocket. Each `events` has a socket of its own: who is slow with them waits for no answer."""

    def __init__(self, http: aiohttp.ClientSession, file: DaemonFile) -> None:
        self._http = http
        self._file = file
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._socket: aiohttp.ClientWebSocketResponse

    async def call(self, name: str, params: Struct | None = None) -> Any:
        """See `Client`."""
        operation = BY_NAME[name]
        request = _request(next(self._numbers), name, parameters(operation, params or Nothing()))
        future = self._asked[request.id] = asyncio.get_running_loop().create_future()
        try:
            await _send(self._socket, request)
            return typed_answer(operation, await future)
        finally:
            self._asked.pop(request.id, None)

    async def events(
        self, since: Mapping[str, int] | None = None, on_start: Callable[[], None] | None = None
    ) -> AsyncIterator[Event]:
        """See `Client`. Cut off for being slow, it goes on where it was."""
        numbers = dict(since or {})
        while True:
            socket = await self._open()
            try:
                await _send(socket, _request(next(self._numbers), WATCH, WatchParams(numbers)))
                async for frame in _frames(socket):
                    if frame.problem is not None:
                        raise ProblemError(frame.problem.code, frame.problem.text, frame.problem.field)
                    if frame.id is not None:
                        numbers = msgspec.convert(frame.result, Watching).numbers
                        if on_start is not None:
                            on_start()
                        continue
                    if frame.number:
                        numbers[frame.account] = frame.number
                    yield typed_event(Event(frame.type, frame.account, frame.number, frame.data))
            finally:
                await socket.close()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["Remote"]:
        """Answers come in for the length of the block."""
        self._socket = await self._open()
        listening = asyncio.create_task(self._listen())
        try:
            yield self
        finally:
            await self._socket.close()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            async for frame in _frames(self._socket):
                future = self._asked.get(frame.id or 0)
                if future is None or future.done():
                    continue
                if frame.problem is None:
                    future.set_result(frame.result)
                else:
                    future.set_exception(ProblemError(frame.problem.code, frame.problem.text, frame.problem.field))
        finally:
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(problems.not_now(_ENDED))

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        """A further socket. Raises `ProblemError` (not_now) when nobody answers."""
        headers = {"Authorization": f"Bearer {self._file.key}"}
        try:
            return await self._http.ws_connect(self._file.url + API, headers=headers, max_msg_size=0, compress=0)
        except (aiohttp.ClientError, OSError):
            raise problems.not_now("the engine of this device does not answer") from None


@asynccontextmanager
async def to_daemon(file: DaemonFile) -> AsyncIterator[Client]:
    """The daemon that this file tells of. Raises `ProblemError` (not_now) when it does not answer."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.API_CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http, Remote(http, file).connected() as remote:
        yield remote


def _request(number: int, name: str, params: Struct) -> Request:
    return Request(number, name, msgspec.to_builtins(params))


async def _send(socket: aiohttp.ClientWebSocketResponse, request: Request) -> None:
    if socket.closed:
        raise problems.not_now(_ENDED)
    try:
        await socket.send_frame(msgspec.json.encode(request), aiohttp.WSMsgType.TEXT)
    except ConnectionError:
        raise problems.not_now(_ENDED) from None


async def _frames(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[_Frame]:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            yield msgspec.json.decode(message.data, type=_Frame)


def typed_answer(operation: Operation, result: Any) -> Any:
    """A result as its structs. Raises `msgspec.ValidationError` for what is none."""
    if operation.many:
        assert not isinstance(operation.answer, tuple)
        return msgspec.convert(result, list[operation.answer])  # type: ignore[name-defined]
    if not isinstance(operation.answer, tuple):
        return msgspec.convert(result, operation.answer)
    return msgspec.convert(result, _fitting(operation.answer, result))


def typed_event(event: Event) -> Event:
    """An event whose `data` is the struct of its type; of a type that is not known here as it is."""
    kind = EVENTS.get(event.type)
    if kind is None or isinstance(event.data, kind):
        return event
    return Event(event.type, event.account, event.number, msgspec.convert(event.data, kind))


def _fitting(kinds: tuple[type[Struct], ...], result: Any) -> type[Struct]:
    """Which of several structs it is: the one with most required fields, all of which are there."""

    def required(kind: type[Struct]) -> set[str]:
        return {field.name for field in msgspec.structs.fields(kind) if field.required}

    given = result.keys() if isinstance(result, Mapping) else frozenset()
    fitting = [kind for kind in kinds if required(kind) <= set(given)]
    return max(fitting or kinds, key=lambda kind: len(required(kind)))
