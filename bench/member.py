# SPDX-License-Identifier: AGPL-3.0-or-later
"""One simulated member on a revision 1 link: it posts, acknowledges, and checks what comes.

Made to cost little, so that the server is measured and not the bench: one receive buffer for all members of a process,
headers decoded as far as they are looked at, and one write for everything that answers one read.
"""

import asyncio
import ssl
import struct
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

from bench.server import BenchFailed
from tmtp_core.wire import messages as m

__all__ = ["STAMP_BYTES", "BenchFailed", "Member", "Tally"]

_BUFFER: Final = memoryview(bytearray(256 << 10))  # all links of a process: what is read is taken at once
_DIGITS: Final = 4
_STAMP: Final = struct.Struct(">IIQ")  # poster, its how manyeth post, monotonic nanoseconds
STAMP_BYTES: Final = _STAMP.size
_PATIENCE_S: Final = 60.0
_NOT_ACKNOWLEDGED: Final = frozenset({"ack", "info", "ohi", "quit", "registered", "tmtprev"})


class _Head(msgspec.Struct):
    """Of a header, what is looked at."""

    op: str
    id: str = ""
    uid: str = ""
    nodeid: str = ""
    info: str = ""
    error: str = ""
    datalen: int = 0


_PULSE: Final = m.encode_head(m.Pulse())
_decode: Final = msgspec.json.Decoder(_Head).decode


@dataclass(slots=True)
class Tally:
    """What the members of one process saw. Latencies in nanoseconds, within the measured window only."""

    window: tuple[int, int] = (0, 0)
    posts: int = 0
    deliveries: int = 0
    busy: float = 0.0  # CPU seconds a second of this process
    ack_ns: "array[int]" = field(default_factory=lambda: array("q"))
    delivery_ns: "array[int]" = field(default_factory=lambda: array("q"))
    problems: list[str] = field(default_factory=list)

    def counts(self, now: int) -> bool:
        """Whether this moment is measured."""
        return self.window[0] <= now < self.window[1]

    def problem(self, text: str) -> None:
        """Note a broken promise; the first ones are enough."""
        if len(self.problems) < 20:
            self.problems.append(text)


class Member(asyncio.BufferedProtocol):
    """A member's link. `on_ack` is called after each answered post."""

    def __init__(self, number: int, tally: Tally) -> None:
        self.number = number
        self.uid = self.node = ""
        self.entered = False  # it is logged in
        self.posted = 0
        self.acked = 0
        self.expected: dict[int, int] = {}  # poster -> its next post
        self.aside = False  # what it sees is checked, and not counted
        self.on_ack: Callable[[Member], None] | None = None
        self.tally = tally
        self._post_head = b""
        self._filler = b""
        self._due: dict[str, int] = {}  # request id -> when it was posted, or should have been
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._skip = 0  # of a payload longer than a read
        self._answer: asyncio.Future[_Head] | None = None
        self._wanted = ("", "")  # op, and request id where it matters
        self._out: list[bytes] = []
        self._reading = False
        self._leaving = False

    @property
    def connected(self) -> bool:
        """Whether its link stands."""
        return self._transport is not None

    # -- life --------------------------------------------------------------------------------------------------------
    async def connect(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Open the link. Raises OSError or `BenchFailed`."""
        self._leaving, self._rest, self._skip, self.entered = False, b"", 0, False
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, host, port, ssl=context)
        await self._ask(m.encode_head(m.TmtpRev("1")), "tmtprev")

    async def register(self, alias: str) -> None:
        """A new account. Raises `BenchFailed`."""
        registered = await self._ask(m.encode_head(m.Register("bench", alias)), "registered")
        if registered.error:
            raise BenchFailed(f"{alias} could not be registered: {registered.error}")
        self.uid, self.node, self.entered = registered.uid, registered.nodeid, True

    async def log_in(self) -> None:
        """Come back. Raises `BenchFailed`."""
        await self._ask(m.encode_head(m.Login(self.uid, self.node)), "info")
        self.entered = True

    async def request(self, head: bytes, request_id: str) -> None:
        """Any other request, which must be granted. Raises `BenchFailed`."""
        answer = await self._ask(head, "ack", request_id)
        if answer.error:
            raise BenchFailed(f"refused: {answer.error}")

    def pulse(self) -> None:
        """Say that it is there, if it is."""
        if self.entered:
            self._write(_PULSE)

    def stall(self, stalled: bool) -> None:
        """Read nothing any more, as if its device hung; or go on."""
        assert self._transport is not None
        if stalled:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def leave(self) -> None:
        """Drop the link."""
        self._leaving = True
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # -- load --------------------------------------------------------------------------------------------------------
    def address(self, recipients: tuple[m.Recipient, ...], size: int) -> None:
        """To whom it will post, and how much each time."""
        head = m.encode_head(m.Post("XXXXXXXX", recipients, size))
        self._post_head = head.replace(b"%", b"%%").replace(b"XXXXXXXX", b"%08x")
        self._filler = bytes(size - STAMP_BYTES)

    def post(self, due_ns: int | None = None) -> None:
        """Post the next one. `due_ns`: when it should have been posted, where a schedule says so."""
        now = time.monotonic_ns() if due_ns is None else due_ns
        number = self.posted
        self.posted += 1
        self._due[f"{number:08x}"] = now
        self._write(self._post_head % number, self.stamp(self.number, number, now), self._filler)

    @staticmethod
    def stamp(poster: int, number: int, posted_ns: int) -> bytes:
        """What a post begins with."""
        return _STAMP.pack(poster, number, posted_ns)

    def take_delivery(self, stamp: bytes, now: int) -> None:
        """A post came with this stamp: the next one of its poster, or something is wrong."""
        poster, number, posted = _STAMP.unpack(stamp)
        tally = self.tally
        expected = self.expected.get(poster, 0)
        if number != expected:
            tally.problem(f"member {self.number} got post {number} of member {poster}, not {expected}")
        self.expected[poster] = max(expected, number + 1)
        if tally.counts(now) and not self.aside:
            tally.deliveries += 1
            tally.delivery_ns.append(now - posted)

    # -- asyncio.BufferedProtocol ------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The link is there."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Act on what came, then send everything that answers it at once."""
        start = min(self._skip, nbytes)
        self._skip -= start
        data = self._rest + bytes(_BUFFER[start:nbytes])
        self._reading = True
        try:
            at = self._take_all(data)
        finally:
            self._reading = False
        self._rest = data[at:]
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The link is gone; nobody asked for that."""
        self._transport = None
        if not self._leaving:
            self._fail(f"the link was lost: {exc or 'closed by the server'}")

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _ask(self, frame: bytes, op: str, request_id: str = "") -> _Head:
        """Send a request and wait for the message `op`. Raises `BenchFailed` when the link ends instead."""
        self._wanted = (op, request_id)
        self._answer = asyncio.get_running_loop().create_future()
        self._out.append(frame)
        self._flush()
        async with asyncio.timeout(_PATIENCE_S):
            return await self._answer

    def _take_all(self, data: bytes) -> int:
        """Act on the whole messages in it; where the first one begins that is not whole."""
        at, size = 0, len(data)
        now = time.monotonic_ns()
        while size - at >= _DIGITS:
            head_end = at + _DIGITS + int(data[at : at + _DIGITS], 16)
            if size < head_end:
                break
            head = _decode(data[at + _DIGITS : head_end])
            end = head_end + head.datalen
            if size < end and (head.datalen <= len(_BUFFER) or size - head_end < STAMP_BYTES):
                break
            self._take(head, data[head_end : head_end + STAMP_BYTES], now)
            if size < end:
                self._skip = end - size
                return size
            at = end
        return at

    def _take(self, head: _Head, stamp: bytes, now: int) -> None:
        if head.op == "delivery":
            self.take_delivery(stamp, now)
        elif head.op == "ack" and (due := self._due.pop(head.id, None)) is not None:
            self._take_ack(head, due, now)
        elif self._answer is not None and (head.op, head.id if self._wanted[1] else "") == self._wanted:
            self._answer.set_result(head)
            self._answer = None
        elif head.op == "quit":
            self._fail(f"the server ended the link: {head.error}")
        if head.op not in _NOT_ACKNOWLEDGED:
            self._out.append(m.encode_head(m.Ack(head.id, "ok")))

    def _take_ack(self, head: _Head, due: int, now: int) -> None:
        tally = self.tally
        if head.error:
            self._fail(f"a post was refused: {head.error}")
            return
        self.acked += 1
        if tally.counts(now):
            tally.posts += 1
            tally.ack_ns.append(now - due)
        if self.on_ack is not None:
            self.on_ack(self)

    def _write(self, *parts: bytes) -> None:
        self._out += parts
        if not self._reading:
            self._flush()

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchFailed(why))
            self._answer = None
        else:
            self.tally.problem(f"member {self.number}: {why}")
