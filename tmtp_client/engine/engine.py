# SPDX-License-Identifier: AGPL-3.0-or-later
"""Receives and sends for one account (B3): record first, ack after; one request id for all tries.

One process at a time runs an account's engine (`Profile.lock`); others leave what they want to send in the
outbox, from where the running one takes it.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tmtp_client import limits
from tmtp_client.connection import Connection, Disconnected, Endpoint, Payload, PersistentConnection, Refused
from tmtp_client.engine.history import History, Identity, Outgoing, Recorded, StoredFile
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import Attached, PostHead, decode_post_head, encode_post_head, text_size

_OUTBOX_POLL_S: Final = 0.3
_UNSAFE: Final = re.compile(r"[^\w. ()\[\]+,=-]")

OnRecorded = Callable[[Recorded], None]


class Engine:
    """Runs while the `running` block lasts. `on_recorded` hears of every message that is new here."""

    def __init__(self, history: History, identity: Identity, on_recorded: OnRecorded | None = None) -> None:
        self._history = history
        self._identity = identity
        self._on_recorded = on_recorded
        self._heard = asyncio.Event()
        self.connection: PersistentConnection

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Engine"]:
        """Connect, keep connected, send what waits."""
        identity = self._identity
        endpoint = Endpoint(
            identity.host, identity.port, identity.pin, Path(identity.ca_file) if identity.ca_file else None
        )
        self.connection = PersistentConnection(endpoint, identity.uid, identity.node, self._record)
        sending = asyncio.get_running_loop().create_task(self._send_what_waits())
        try:
            yield self
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await self.connection.stop()

    async def settled(self, quiet_s: float, longest_s: float) -> None:
        """Wait until nothing has come for `quiet_s`, or for `longest_s` in all."""
        try:
            async with asyncio.timeout(longest_s):
                while True:
                    self._heard.clear()
                    try:
                        async with asyncio.timeout(quiet_s):
                            await self._heard.wait()
                    except TimeoutError:
                        return
        except TimeoutError:
            return

    # -- receiving ---------------------------------------------------------------------------------------------------
    async def _record(self, event: m.StoredEvent, payload: Payload) -> None:
        """Keep one message; when this returns it is durable, and the service may forget it."""
        self._heard.set()
        if self._history.knows(event.id):
            return
        message: Recorded | None = None
        files: list[StoredFile] = []
        if isinstance(event, m.PingEvent | m.InviteEvent):
            message = await self._ping(event, payload)
        elif isinstance(event, m.Delivery):
            message, files = await self._delivery(event, payload)
        if message is not None and self._history.record(message, files) and self._on_recorded is not None:
            self._on_recorded(message)

    async def _ping(self, event: m.PingEvent | m.InviteEvent, payload: Payload) -> Recorded:
        """A first contact, or an invitation to a group. The service has checked that `alias` is the sender's."""
        text = (await payload.read()).decode(errors="replace")
        outgoing = event.from_ == self._identity.uid
        if not outgoing:
            self._history.learn_contact(event.alias, event.from_)
        invitation = isinstance(event, m.InviteEvent)
        return Recorded(
            id=event.id,
            kind="invitation" if invitation else "ping",
            outgoing=outgoing,
            peer=event.from_,
            alias=event.to if outgoing else event.alias,
            subject=event.gid if isinstance(event, m.InviteEvent) else "",
            text=text,
            thread="",
            posted=event.posted,
        )

    async def _delivery(self, event: m.Delivery, payload: Payload) -> tuple[Recorded | None, list[StoredFile]]:
        """A post: head, text, attachments. What does not add up is kept as text, and says so."""
        reader = _Reader(payload)
        try:
            head, size = await _head_and_text_size(event, reader)
        except ValueError as error:
            return self._received(event, PostHead(), f"(This message cannot be read: {error}.)"), []
        if head.nodesync:
            return None, []
        text = (await reader.take(size)).decode(errors="replace")
        files = [await self._keep_file(event.id, place, one, reader) for place, one in enumerate(head.attach)]
        return self._received(event, head, text), files

    def _received(self, event: m.Delivery, head: PostHead, text: str) -> Recorded:
        outgoing = event.from_ == self._identity.uid
        known = self._history.alias_of(event.from_)
        claimed = f"{head.alias or event.from_} (unverified)"  # revision 1: the payload's alias is a claim (D1)
        return Recorded(
            id=event.id,
            kind="message",
            outgoing=outgoing,
            peer=event.from_,
            alias=known or claimed,
            subject=head.subject,
            text=text,
            thread=head.threadid or event.id,
            posted=event.posted,
        )

    async def _keep_file(self, message_id: str, place: int, attached: Attached, reader: "_Reader") -> StoredFile:
        folder = self._history.folder / "attachments"
        folder.mkdir(mode=0o700, exist_ok=True)
        name = safe_file_name(attached.name)
        path = folder / f"{message_id}-{place}-{name}"
        with path.open("wb") as file:
            async for piece in reader.pieces(attached.size):
                await asyncio.to_thread(file.write, piece)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return StoredFile(name, attached.size, str(path))

    # -- sending -----------------------------------------------------------------------------------------------------
    async def _send_what_waits(self) -> None:
        while True:
            for outgoing in self._history.waiting():
                await self._retried(outgoing)
            await asyncio.sleep(_OUTBOX_POLL_S)

    async def _retried(self, outgoing: Outgoing) -> None:
        """Send one entry, again and again under the same id, until the service has it or refuses it."""
        while True:
            connection = await self.connection.current()
            try:
                await self._send(connection, outgoing)
            except Refused as refused:
                self._history.refused(outgoing.request_id, str(refused))
            except OSError as error:
                self._history.refused(outgoing.request_id, f"{error.filename}: {error.strerror}")
            except (Disconnected, TimeoutError):
                continue
            return

    async def _send(self, connection: Connection, outgoing: Outgoing) -> None:
        identity = self._identity
        files: list[StoredFile] = []
        if outgoing.kind == "ping":
            acked = await connection.ping(outgoing.request_id, identity.alias, outgoing.to, outgoing.text)
        else:
            files = [_file_to_send(Path(path)) for path in outgoing.files]
            head = encode_post_head(
                PostHead(
                    threadid=outgoing.thread,
                    alias=identity.alias,
                    subject=outgoing.subject,
                    attach=tuple(Attached(f"u:{file.name}", file.size) for file in files),
                )
            )
            text = outgoing.text.encode()
            acked = await connection.post(
                outgoing.request_id,
                [m.Recipient(outgoing.to, m.TO_UID)],
                _pieces(head + text, files),
                len(head) + len(text) + sum(file.size for file in files),
                len(head),
            )
        message = Recorded(
            id=acked.msgid,
            kind=outgoing.kind,
            outgoing=True,
            peer=outgoing.to,
            alias=outgoing.alias,
            subject=outgoing.subject,
            text=outgoing.text,
            thread=outgoing.thread or acked.msgid,
            posted=acked.posted,
            seen=True,
        )
        self._history.sent(outgoing, message, files)


class _Reader:
    """Takes exact numbers of octets from a payload."""

    def __init__(self, payload: Payload) -> None:
        self._source = aiter(payload)
        self._rest = b""

    async def take(self, size: int) -> bytes:
        return b"".join([piece async for piece in self.pieces(size)])

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        while size:
            if not self._rest:
                try:
                    self._rest = await anext(self._source)
                except StopAsyncIteration:
                    raise Disconnected("a message ended before its announced size") from None
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece


async def _head_and_text_size(event: m.Delivery, reader: _Reader) -> tuple[PostHead, int]:
    """A post's head, and how many octets of text follow it. Raises ValueError for what is out of bounds."""
    if event.datahead > limits.PAYLOAD_HEAD_MAX_BYTES:
        raise ValueError("the head of the post is too long")
    head = decode_post_head(await reader.take(event.datahead)) if event.datahead else PostHead()
    size = text_size(head, event.datahead, event.datalen)
    if size > limits.TEXT_MAX_BYTES or len(head.attach) > limits.ATTACHMENTS_MAX:
        raise ValueError("the post has too much text or too many attachments")
    return head, size


def safe_file_name(name: str) -> str:
    """A name that is only a name, for a file on this device."""
    bare = re.split(r"[/\\]", name.removeprefix("u:"))[-1]
    kept = _UNSAFE.sub("_", bare).strip(" .")
    while len(kept.encode()) > limits.FILE_NAME_MAX_BYTES:
        kept = kept[1:]
    return kept or "attachment"


def _file_to_send(path: Path) -> StoredFile:
    return StoredFile(safe_file_name(path.name), path.stat().st_size, str(path))


async def _pieces(start: bytes, files: list[StoredFile]) -> AsyncIterator[bytes]:
    yield start
    for file in files:
        with await asyncio.to_thread(Path(file.path).open, "rb") as source:
            while piece := await asyncio.to_thread(source.read, limits.READ_CHUNK_BYTES):
                yield piece
