# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the service brings: streamed in, kept in one transaction each, and only then acknowledged (B3).

Many small events share one commit; a large one passes through in constant memory. Whatever breaks in the middle leaves
nothing, and comes again.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from tmtp_client import limits
from tmtp_client.connection import Payload
from tmtp_client.engine import opening
from tmtp_client.engine.arrival import After, Arrival
from tmtp_client.engine.arriving import arrive, known, pass_over
from tmtp_client.engine.context import Context
from tmtp_client.engine.reading import AsItCame, Landing, Octets, check_head, remove, to_its_end
from tmtp_client.engine.unforeseen import report
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import Attached, E2e, decode_post_head, text_size

_AS_IT_CAME = Attached("u:message.bin")

OnArrived = Callable[[Sequence[After]], None]
"""Hears, on the event loop, what follows from what was kept just now."""


class Receiving:
    """The handlers of one account's connection."""

    def __init__(self, context: Context, on_arrived: OnArrived) -> None:
        self._context = context
        self._on_arrived = on_arrived

    async def batch(self, events: Sequence[tuple[m2.StoredEvent, bytes]]) -> None:
        """Small events, in order; all of them are durable when this returns. Raises `OSError`."""
        ids = [event.id for event, _ in events]
        here = await self._context.database.read(partial(known, ids=ids))
        async with AsyncExitStack() as stack:
            landings, arrivals = [], []
            for event, data in events:
                if event.id not in here:
                    landings.append(await stack.enter_async_context(Landing(self._context.files)))
                    arrivals.append(await self._read(event, _once(data), landings[-1]))
            await self._keep(arrivals, landings)

    async def event(self, event: m2.StoredEvent, payload: Payload) -> None:
        """One event of any size; durable when this returns. Raises `OSError`, or `Disconnected` where it breaks off."""
        if await self._context.database.read(partial(known, ids=[event.id])):
            return
        async with Landing(self._context.files) as landing:
            await self._keep([await self._read(event, payload, landing)], [landing])

    async def _keep(self, arrivals: Sequence[Arrival], landings: Sequence[Landing]) -> None:
        """Each in a transaction of its own; they share the commit, in their order.

        To its end, whoever stops the account: what is committed names its files.
        """
        kept = await to_its_end(self._write(arrivals, landings))
        done = [after for after in kept if isinstance(after, After)]
        self._on_arrived(done)
        await remove(self._context.files, (file for after in done for file in after.remove))
        for failed in kept:
            if isinstance(failed, BaseException):
                raise failed

    async def _write(self, arrivals: Sequence[Arrival], landings: Sequence[Landing]) -> list[After | BaseException]:
        """What follows from each, or why the disk did not do its part."""
        context = self._context
        kept: list[After | BaseException] = await asyncio.gather(
            *(context.database.write(partial(arrive, context=context, arrival=one)) for one in arrivals),
            return_exceptions=True,
        )
        for place, (arrival, landing, after) in enumerate(zip(arrivals, landings, kept, strict=True)):
            if isinstance(after, Exception) and not isinstance(after, OSError):
                kept[place] = await self._keep_broken(arrival, after)
            if isinstance(kept[place], After):
                landing.keep()
        return kept

    async def _keep_broken(self, arrival: Arrival, error: Exception) -> After | OSError:
        """Whatever a message says, it stops nobody: it is kept as one that cannot be read, with its files. What cannot
        even be that, and what is no message, is passed over.
        """
        context, event = self._context, arrival.event
        problem = f"this device could not take it in: {type(error).__name__}"
        broken = replace(Arrival(event, arrival.received_ms), files=arrival.files, state="unreadable", problem=problem)
        report(f"{context.name} {type(event).__name__}", error)
        try:
            return await context.database.write(partial(arrive, context=context, arrival=broken))
        except OSError as disk:
            return disk
        except Exception as again:
            report(f"{context.name} {type(event).__name__} once more", again)
        try:
            await context.database.write(partial(pass_over, id=event.id))
        except OSError as disk:
            return disk
        return After(remove=tuple(one.file for one in arrival.files))

    # -- reading -----------------------------------------------------------------------------------------------------
    async def _read(self, event: m2.StoredEvent, data: AsyncIterable[bytes], landing: Landing) -> Arrival:
        now_ms = self._context.clock()
        octets = Octets(data)
        if isinstance(event, m.Delivery | m.Notify):
            return await self._read_post(event, octets, landing, now_ms)
        if event.datalen > limits.ANSWER_MAX_BYTES:
            return Arrival(event, now_ms, state="unreadable", problem="it is too long")
        raw = await octets.take(event.datalen)
        if isinstance(event, m.PingEvent | m.InviteEvent):
            return Arrival(event, now_ms, text=raw.decode(errors="replace"))
        return Arrival(event, now_ms, data=raw)

    async def _read_post(self, event: m.Delivery | m.Notify, octets: Octets, landing: Landing, now_ms: int) -> Arrival:
        """Head, text, attachments. What does not add up is kept as it came, and says so."""
        raw = b""
        try:
            if event.datahead > min(event.datalen, limits.PAYLOAD_HEAD_MAX_BYTES):
                raise ValueError("its head is too long")  # noqa: TRY301
            raw = await octets.take(event.datahead)
            head = decode_post_head(raw) if raw else None
            if head is not None and head.e2e is not None:
                return await self._read_sealed(event, raw, octets, landing, now_ms)
            arrival = Arrival(event, now_ms) if head is None else Arrival(event, now_ms, head)
            check_head(arrival.head)
            size = text_size(arrival.head, event.datahead, event.datalen)
            if size > limits.TEXT_MAX_BYTES:
                raise ValueError("it has too much text")  # noqa: TRY301
        except ValueError as error:
            octets.unread(raw)
            file = await landing.take(_AS_IT_CAME, octets.pieces(event.datalen))
            return Arrival(event, now_ms, files=(file,), state="unreadable", problem=str(error))
        text = (await octets.take(size)).decode(errors="replace")
        files = [
            await landing.take(one, octets.pieces(one.size)) for one in arrival.head.attach if one.transfer is None
        ]
        return Arrival(event, now_ms, arrival.head, text, files=tuple(files))

    async def _read_sealed(
        self, event: m.Delivery | m.Notify, raw: bytes, octets: Octets, landing: Landing, now_ms: int
    ) -> Arrival:
        """A sealed one: opened while it passes, or kept until there is a key. Raises ValueError, with nothing taken."""
        context = self._context
        if context.trust is None:
            raise EnvelopeRefused("it is encrypted, and this account has no keys")
        e2e = decode_outer(raw)
        trust = context.trust
        key = await context.database.read(lambda c: trust.key_for(c, event.id, e2e))
        rest = octets.pieces(event.datalen - len(raw))
        if key is None:
            file = await landing.take(opening.SEALED_FILE, opening.with_length(raw, rest))
            return Arrival(event, now_ms, files=(file,), state="sealed", suite=e2e.suite)
        return await self._open(event, key, raw, e2e, rest, landing, now_ms)

    async def _open(
        self,
        event: m.Delivery | m.Notify,
        key: bytes,
        outer: bytes,
        e2e: E2e,
        rest: AsyncIterator[bytes],
        landing: Landing,
        now_ms: int,
    ) -> Arrival:
        came = AsItCame(self._context.files, limits.UNOPENED_IN_MEMORY_BYTES)
        try:
            await came.keep(outer)
            now = opening.Opening(self._context, landing, key, outer, event.datalen - len(outer), event.from_)
            async for piece in rest:
                await came.keep(piece)
                await now.push(piece)
            inside = now.finish()
        except EnvelopeRefused as refused:
            await landing.drop()
            await came.move(landing)
            file = await landing.take(_AS_IT_CAME, rest)
            problem = f"it cannot be opened: {refused}"
            return Arrival(event, now_ms, files=(file,), state="unreadable", problem=problem, suite=e2e.suite)
        finally:
            await came.drop()
        return Arrival(
            event, now_ms, inside.head, inside.text, files=inside.files, suite=e2e.suite, opened=inside.opened
        )


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data
