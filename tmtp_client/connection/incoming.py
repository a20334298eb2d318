# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages that came and are not handled yet: in their order, and no more of them than fit."""

import asyncio
from collections import deque

from tmtp_client import limits
from tmtp_client.connection.payload import Payload
from tmtp_core.wire import revision2 as m2

Waiting = tuple[m2.StoredEvent, Payload]


class Incoming:
    """Between who reads the connection and who handles what came."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._size = 0  # octets that those waiting may take
        self._came = asyncio.Event()
        self._went = asyncio.Event()

    async def put(self, event: m2.StoredEvent, payload: Payload) -> None:
        """One more, whose data follows; waits while there is no room for it."""
        size = min(payload.size, limits.PAYLOAD_BUFFER_BYTES)
        while self._waiting and (
            len(self._waiting) >= limits.EVENTS_WAITING_MAX or self._size + size > limits.EVENTS_WAITING_MAX_BYTES
        ):
            self._went.clear()
            await self._went.wait()
        self._waiting.append((event, payload))
        self._size += size
        self._came.set()

    async def take(self, most: int) -> list[Waiting]:
        """The first; where it is small, up to `most` of them: those that follow it, are small, and are all here."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        taken = [self._pop()]
        size = taken[0][1].size
        if size <= limits.BATCHED_EVENT_MAX_BYTES:
            await taken[0][1].ended.wait()
            while self._waiting and len(taken) < most:
                payload = self._waiting[0][1]
                size += payload.size
                if not payload.is_whole or size > limits.BATCH_MAX_BYTES:
                    break
                if payload.size > limits.BATCHED_EVENT_MAX_BYTES:
                    break
                taken.append(self._pop())
        return taken

    def _pop(self) -> Waiting:
        event, payload = self._waiting.popleft()
        self._size -= min(payload.size, limits.PAYLOAD_BUFFER_BYTES)
        self._went.set()
        return event, payload
