# SPDX-License-Identifier: AGPL-3.0-or-later
"""One WebSocket of a page or a program: requests in, answers and events out, as JSON texts.

What it may cost is bounded: so long a frame, so many requests unanswered, one answer at a time on its way, and whoever
takes nothing for `API_SLOW_READER_S` is cut off. Nothing of an account leaves it once the home is locked.
"""

import asyncio
import contextlib
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import Struct

from tmtp_client import limits
from tmtp_client.api import problems
from tmtp_client.api.dispatcher import WATCH, Dispatcher
from tmtp_client.api.events import Source, Watch
from tmtp_client.api.frames import Answer, Problem, Request
from tmtp_client.api.models import Watching
from tmtp_client.api.operations import BY_NAME
from tmtp_client.api.problems import ProblemError

_NO_REQUEST: Final = 0  # the `id` of the answer to what cannot be read as a request
_READER: Final = msgspec.json.Decoder(Request)


class Socket:
    """Serves one WebSocket until it ends."""

    def __init__(self, dispatcher: Dispatcher, source: Source) -> None:
        self._dispatcher = dispatcher
        self._watch = Watch(source)
        self._web = web.WebSocketResponse(
            max_msg_size=limits.API_FRAME_MAX_BYTES,
            compress=False,  # on loopback it only costs
            timeout=limits.API_CLOSE_TIMEOUT_S,
        )
        self._slots = asyncio.Semaphore(limits.API_REQUESTS_MAX)
        self._sending = asyncio.Lock()
        self._asked: dict[asyncio.Task[None], bool] = {}  # requests underway, and whether each of them only waits
        self._watching = asyncio.Lock()
        self._events: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._gone = False

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Until the other side, or `close`, ends it. See `unanswered`."""
        self._transport = request.transport
        if self._transport is not None:
            self._transport.set_write_buffer_limits(limits.API_SEND_BUFFER_BYTES)
        await self._web.prepare(request)
        try:
            async for message in self._web:
                if message.type is not WSMsgType.TEXT:
                    await self._web.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"only texts are taken")
                    break
                if not await self._has_slot():
                    break
                self._ask(message.data)
        finally:
            self._gone = True
            self._watch.stop()
            ended = [task for task, only_waits in self._asked.items() if only_waits]
            ended += [self._events] if self._events is not None else []
            for task in ended:
                task.cancel()
            await asyncio.gather(*ended, return_exceptions=True)
        return self._web

    @property
    def unanswered(self) -> tuple[asyncio.Task[None], ...]:
        """What was asked and is being done: to its end, whether anybody hears of it or not."""
        return tuple(self._asked)

    def locked(self) -> None:
        """The home was locked. What waits to be taken by the other side may be of an account: it is not told any more.

        Who comes again resumes with what he has got.
        """
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._cut_off()

    async def close(self) -> None:
        """The server ends."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(limits.API_CLOSE_TIMEOUT_S):
                await self._web.close(code=WSCloseCode.GOING_AWAY, message=b"the engine ends")

    async def _has_slot(self) -> bool:
        """Wait until one more may be asked; False: the other side has gone meanwhile."""
        while self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.API_GONE_LOOK_S):
                    return await self._slots.acquire()
        return False

    def _ask(self, text: str) -> None:
        try:
            request = _READER.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            unread = Answer(_NO_REQUEST, problem=Problem("usage", f"this is no request: {error}"))
            work, only_waits = self._send(unread, if_locked=unread), False
        else:
            operation = BY_NAME.get(request.method)
            work, only_waits = self._answer(request), operation is not None and operation.only_waits
        task = asyncio.create_task(work)
        self._asked[task] = only_waits
        task.add_done_callback(self._answered)

    async def _answer(self, request: Request) -> None:
        if request.method == WATCH:
            async with self._watching:
                await self._start_watching(request)
            return
        answer = await self._dispatcher.answer(request)
        operation = BY_NAME.get(request.method)
        if answer.problem is not None or (operation is not None and operation.locked):
            await self._send(answer, if_locked=answer)
        else:
            await self._send(answer, if_locked=Answer(request.id, problem=problems.locked().problem))

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._asked.pop(task, None)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            self._cut_off()

    async def _start_watching(self, request: Request) -> None:
        """The answer leaves before the first event; a watch that ran before ends."""
        if self._events is not None:
            self._events.cancel()
            await asyncio.gather(self._events, return_exceptions=True)
        try:
            params: Any = self._dispatcher.admit(BY_NAME[WATCH], request.params)
        except ProblemError as error:
            answer = Answer(request.id, problem=error.problem)
            await self._send(answer, if_locked=answer)
            return
        watching: Watching = await self._watch.start(params.since)
        answer = Answer(request.id, watching)
        await self._send(answer, if_locked=answer)
        if self._gone:
            self._watch.stop()
            return
        self._events = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        try:
            while True:
                for event in await self._watch.next():
                    await self._send(event, if_locked=event if event.type == "home" else None)
        except asyncio.CancelledError:
            raise
        except Exception:
            self._cut_off()  # who resumes from its last number gets what is missing
            raise

    async def _send(self, what: Struct, *, if_locked: Struct | None) -> None:
        """One text; `if_locked` instead of it once the home is locked; nothing: who resumes gets it when it is opened.

        Cuts off a reader that does not take it.
        """
        async with self._sending:
            if self._web.closed:
                return
            told = if_locked if self._dispatcher.locked else what
            if told is None:
                self._cut_off()
                return
            frame = msgspec.json.encode(told)
            try:
                async with asyncio.timeout(limits.API_SLOW_READER_S):
                    await self._web.send_frame(frame, WSMsgType.TEXT)
            except TimeoutError:
                self._cut_off()
            except ConnectionError:
                return

    def _cut_off(self) -> None:
        if self._transport is not None:
            self._transport.abort()
