# SPDX-License-Identifier: AGPL-3.0-or-later
"""Receives and sends for one account (B3): record first, ack after; one request id for all tries.

One process at a time runs an account's engine (`Profile.lock`); others leave what they want to send in the
outbox, from where the running one takes it.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tmtp_client import limits
from tmtp_client.connection import (
    Connection,
    Disconnected,
    Endpoint,
    Payload,
    PersistentConnection,
    Refused,
)
from tmtp_client.engine.history import History, Identity, Outgoing, Recorded, StoredFile
from tmtp_client.engine.own_log import OwnLog
from tmtp_core.ids import message_id_number
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import Attached, PostHead, Subscriber, decode_post_head, encode_post_head, text_size

_UNSAFE: Final = re.compile(r"[^\w. ()\[\]+,=-]")
_NOT_YET: Final = "."  # the date of a cc entry before the service has dated its post, as existing clients write it
_HOPELESS: Final = frozenset(  # quits that a request earns by what it is: it would earn them again (wire.md §2, §6)
    {
        "invalid header",
        "invalid header length",
        "data too long for request type",
        "data too short for request type",
        "data not valid UTF8",
    }
)

OnRecorded = Callable[[Recorded], None]


class Engine:
    """Runs while the `running` block lasts.

    `on_recorded` hears of every message that is new here; `on_log_trouble`: see `OwnLog`.
    """

    def __init__(
        self,
        history: History,
        identity: Identity,
        on_recorded: OnRecorded | None = None,
        on_log_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self._history = history
        self._identity = identity
        self._on_recorded = on_recorded
        self._heard = asyncio.Event()
        self._recording = False
        self._caught_up = False  # what was queued at log-in has come
        self.own_log = OwnLog(history, identity, on_log_trouble)
        self._log_moved = asyncio.Event()
        self.connection: PersistentConnection

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Engine"]:
        """Connect, keep connected, send what waits."""
        identity = self._identity
        endpoint = Endpoint(
            identity.host, identity.port, identity.pin, Path(identity.ca_file) if identity.ca_file else None
        )
        self.connection = PersistentConnection(endpoint, identity.login, self._record)
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._send_what_waits())]
        if identity.keys is not None:
            tasks.append(loop.create_task(self._keep_log()))
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.connection.stop()

    async def settled(self, quiet_s: float, longest_s: float) -> None:
        """Wait until all that was queued at log-in is here and nothing has come for `quiet_s`.

        Give up when not an octet has come for `longest_s`.
        """
        while True:
            self._heard.clear()
            complete = self._caught_up and not self._recording
            try:
                async with asyncio.timeout(quiet_s if complete else longest_s):
                    await self._heard.wait()
            except TimeoutError:
                return

    # -- receiving ---------------------------------------------------------------------------------------------------
    async def _record(self, event: m2.StoredEvent, payload: Payload) -> None:
        """Keep one message; when this returns it is durable, and the service may forget it."""
        if message_id_number(event.id) is None:  # it names files, too
            raise ValueError(f"the service gave a message the id {event.id!r}")
        self._recording = True
        self._heard.set()
        try:
            if not self._history.knows(event.id):
                await self._record_new(event, payload)
        finally:
            self._recording = False
            self._heard.set()

    async def _record_new(self, event: m2.StoredEvent, payload: Payload) -> None:
        message: Recorded | None = None
        files: list[StoredFile] = []
        if isinstance(event, m.PingEvent | m.InviteEvent):
            message = await self._ping(event, payload)
        elif isinstance(event, m.Delivery | m.Notify):
            message, files = await self._delivery(event, payload)
        elif isinstance(event, m2.ReturnEvent):
            message = self._return(event)
        elif isinstance(event, m.MemberEvent):
            self._learn_member(event)
        elif isinstance(event, m.LoginEvent):
            self._caught_up = True  # it stands behind all that was queued before (wire.md §3.7)
        elif isinstance(event, m2.LogEvent) and event.uid == self._identity.uid:
            self._log_moved.set()
        if message is not None and self._history.record(message, files) and self._on_recorded is not None:
            self._on_recorded(message)

    def _learn_member(self, event: m.MemberEvent) -> None:
        """Who joins or changes his alias in a group is named by the service; an invitation names its guest."""
        alias = {"join": event.alias, "alias": event.newalias}.get(event.act)
        if alias and event.from_ != self._identity.uid:
            self._history.learn_contact(alias, event.from_)

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

    def _return(self, event: m2.ReturnEvent) -> Recorded:
        """What somebody did not get, and why (A4); the message itself is in the history already."""
        sent = self._history.message(event.msgid)
        missed = [self._history.alias_of(uid) or uid for uid in event.for_]
        alias = ", ".join(missed) or (sent.alias if sent is not None else "")
        return Recorded(
            id=event.id,
            kind="return",
            outgoing=False,
            peer=event.for_[0] if event.for_ else "",
            alias=alias,
            subject=sent.subject if sent is not None else "",
            text=event.reason,
            thread=sent.thread if sent is not None else event.msgid,
            posted=event.posted,
        )

    async def _delivery(
        self, event: m.Delivery | m.Notify, payload: Payload
    ) -> tuple[Recorded | None, list[StoredFile]]:
        """A post: head, text, attachments. What does not add up is kept as it came, and says so."""
        reader = _Reader(payload, self._heard.set)
        raw = b""
        try:
            raw = await _raw_head(event, reader)
            head, size = _layout(event, raw)
        except ValueError as error:
            reader.unread(raw)
            file = await self._keep_file(event.id, 0, Attached("message.bin", event.datalen), reader)
            return self._received(event, PostHead(), f"(This message cannot be read: {error}.)"), [file]
        if head.nodesync and event.from_ == self._identity.uid:
            return None, []
        text = (await reader.take(size)).decode(errors="replace")
        files = [await self._keep_file(event.id, place, one, reader) for place, one in enumerate(head.attach)]
        return self._received(event, head, text), files

    def _received(self, event: m.Delivery | m.Notify, head: PostHead, text: str) -> Recorded:
        outgoing = event.from_ == self._identity.uid
        if event.alias and not outgoing and _via(event) is None:
            self._history.learn_contact(event.alias, event.from_)
        return Recorded(
            id=event.id,
            kind="message",
            outgoing=outgoing,
            peer=event.from_,
            alias=self._who(event, head),
            subject=head.subject,
            text=text,
            thread=head.threadid or event.id,
            posted=event.posted,
        )

    def _who(self, event: m.Delivery | m.Notify, head: PostHead) -> str:
        """Who speaks, as the service has verified it; the name in the payload is only a claim (D1)."""
        via = _via(event)
        if via is not None:
            return f"{via.address} (by SMTP)"
        known = event.alias or self._history.alias_of(event.from_)
        return known or f"{head.alias or event.from_} (unverified)"

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
        await asyncio.to_thread(_sync_folders, folder)
        return StoredFile(name, attached.size, str(path))

    async def _keep_log(self) -> None:
        """The account's log, here and at the service: with every connection, and whenever it has moved on (B4)."""
        while True:
            try:
                connection = await self.connection.current()
            except Disconnected:  # for good
                return
            head = connection.head
            while connection.is_open:
                self._log_moved.clear()
                with contextlib.suppress(Disconnected, Refused, TimeoutError):  # again with the next connection
                    await self.own_log.settle(connection, head)
                head = ""
                moved = asyncio.ensure_future(self._log_moved.wait())
                ended = asyncio.ensure_future(connection.closed())
                try:
                    await asyncio.wait({moved, ended}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    moved.cancel()
                    ended.cancel()

    # -- sending -----------------------------------------------------------------------------------------------------
    async def _send_what_waits(self) -> None:
        while True:
            for outgoing in self._history.waiting():
                await self._retried(outgoing)
            await asyncio.sleep(limits.OUTBOX_POLL_S)

    async def _retried(self, outgoing: Outgoing) -> None:
        """Send one entry, again and again under the same id, until the service has it or refuses it."""
        while True:
            connection = await self.connection.current()
            try:
                await self._send(connection, outgoing)
            except Refused as refused:
                self._history.refused(outgoing.request_id, str(refused))
            except TimeoutError:
                continue
            except OSError as error:
                self._history.refused(outgoing.request_id, f"{error.filename}: {error.strerror}")
            except ValueError as error:
                self._history.refused(outgoing.request_id, str(error))
            except Disconnected as error:
                if str(error) not in _HOPELESS:
                    continue
                self._history.refused(outgoing.request_id, str(error))
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
                    cc=() if outgoing.thread else self._readers(outgoing),
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

    def _readers(self, outgoing: Outgoing) -> tuple[Subscriber, ...]:
        """`cc` of a new thread: sender and recipient. Existing clients answer to those it names, and to nobody else."""
        identity = self._identity
        people = ((identity.alias, identity.uid, "author"), (outgoing.alias, outgoing.to, ""))
        return tuple(
            Subscriber(alias, uid, identity.alias, identity.uid, _NOT_YET, note, subscribe=True)
            for alias, uid, note in people
        )


def _via(event: m.Delivery | m.Notify) -> m.Via | None:
    """The bridge's mark, on what somebody outside wrote."""
    return event.via if isinstance(event, m.Delivery) else None


class _Reader:
    """Takes exact numbers of octets from a payload."""

    def __init__(self, payload: Payload, on_piece: Callable[[], None]) -> None:
        self._source = aiter(payload)
        self._on_piece = on_piece
        self._rest = b""

    def unread(self, data: bytes) -> None:
        """Put back what was taken last."""
        self._rest = data + self._rest

    async def take(self, size: int) -> bytes:
        return b"".join([piece async for piece in self.pieces(size)])

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        while size:
            if not self._rest:
                try:
                    self._rest = await anext(self._source)
                except StopAsyncIteration:
                    raise Disconnected("a message ended before its announced size") from None
                self._on_piece()
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece


async def _raw_head(event: m.Delivery | m.Notify, reader: _Reader) -> bytes:
    """The octets of a post's head. Raises ValueError, with nothing taken, for a size out of bounds."""
    if not 0 <= event.datahead <= min(event.datalen, limits.PAYLOAD_HEAD_MAX_BYTES):
        raise ValueError("the head of the post is too long")
    return await reader.take(event.datahead)


def _layout(event: m.Delivery | m.Notify, raw: bytes) -> tuple[PostHead, int]:
    """A post's head, and how many octets of text follow it. Raises ValueError for what is out of bounds."""
    head = decode_post_head(raw) if raw else PostHead()
    size = text_size(head, event.datahead, event.datalen)
    if size > limits.TEXT_MAX_BYTES or len(head.attach) > limits.ATTACHMENTS_MAX:
        raise ValueError("the post has too much text or too many attachments")
    return head, size


def safe_file_name(name: str) -> str:
    """A name that is only a name, for a file on this device."""
    bare = re.split(r"[/\\]", name.removeprefix("u:"))[-1]
    kept = _UNSAFE.sub("_", bare[-limits.FILE_NAME_MAX_BYTES :]).strip(" .")
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


def _sync_folders(folder: Path) -> None:
    """Make new names in a folder durable, and its own name in the one above."""
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
