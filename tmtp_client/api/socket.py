# SPDX-License-Identifier: AGPL-3.0-or-later
"""One WebSocket of a page or a program: requests in, answers and events out, as JSON texts.

What it may cost is bounded: so long a frame, so many requests unanswered, one answer at a time on its way, and whoever
takes nothing for `API_SLOW_READER_S` is cut off.
"""

import asyncio
import contextlib
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import Struct

from tmtp_client import limits
from tmtp_client.api.dispatcher import WATCH, Dispatcher
from tmtp_client.api.events import Source, Watch
from tmtp_client.api.models import Answer, Problem, Request, Watching
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
        self._asked: set[asyncio.Task[None]] = set()
        self._events: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Until the other side, or `close`, ends it. What was asked before is done to its end, heard or not."""
        self._transport = request.transport
        if self._transport is not None:
            self._transport.set_write_buffer_limits(limits.API_SEND_BUFFER_BYTES)
        await self._web.prepare(request)
        try:
            async for message in self._web:
                if message.type is not WSMsgType.TEXT:
                    await self._web.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"only texts are taken")
                    break
                await self._slots.acquire()
                task = asyncio.create_task(self._answer(message.data))
                self._asked.add(task)
                task.add_done_callback(self._answered)
        finally:
            self._watch.stop()
            if self._events is not None:
                self._events.cancel()
            await asyncio.gather(*self._asked, *([self._events] if self._events else []), return_exceptions=True)
        return self._web

    async def close(self) -> None:
        """The server ends."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(limits.API_CLOSE_TIMEOUT_S):
                await self._web.close(code=WSCloseCode.GOING_AWAY, message=b"the engine ends")

    async def _answer(self, text: str) -> None:
        try:
            request = _READER.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            await self._send(Answer(_NO_REQUEST, problem=Problem("usage", f"this is no request: {error}")))
            return
        if request.method == WATCH:
            await self._start_watching(request)
        else:
            await self._send(await self._dispatcher.answer(request))

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._asked.discard(task)
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
            await self._send(Answer(request.id, problem=error.problem))
            return
        watching: Watching = await self._watch.start(params.since)
        await self._send(Answer(request.id, watching))
        self._events = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        try:
            while True:
                for event in await self._watch.next():
                    await self._send(event)
        except asyncio.CancelledError:
            raise
        except Exception:
            self._cut_off()  # who resumes from its last number gets what is missing
            raise

    async def _send(self, what: Struct) -> None:
        """One text. Cuts off a reader that does not take it."""
        frame = msgspec.json.encode(what)
        async with self._sending:
            if self._web.closed:
                return
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
