# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole SMTP session in memory: octets in, in any cuts; the mails that it takes and what it says out (C2)."""

import asyncio
import itertools
import re
from typing import Any

from bridges.smtp.line.session import GuardedSession, Traffic
from bridges.smtp.peers import Networks
from bridges.smtp.settings import Door, IntakeLimits

BEGIN = b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@d.example>\r\nDATA\r\nFrom: evil\r\n\r\n.\r\n"
WELL_FORMED = re.compile(rb"(?:[^\r\n\x00]|\r\n)*")
END = re.compile(rb"(?:\A|(?<=\r\n))\.\r\n")


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, peer: str = "192.0.2.1") -> None:
        super().__init__()
        self.said = bytearray()
        self.session: GuardedSession | None = None
        self._peer = peer
        self._closing = False

    def write(self, data: Any) -> None:
        self.said += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            assert self.session is not None
            asyncio.get_running_loop().call_soon(self.session.connection_lost, None)

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._peer, 1) if name == "peername" else default


class Taker:
    """Hooks that take everything, and keep it."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, tuple[str, ...], bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.mail_from, tuple(envelope.rcpt_tos), envelope.original_content))
        server.mail_is_over()
        return "\r\n".join("250 2.0.0 taken" for _ in (envelope.rcpt_tos if server.door.lmtp else [0]))


async def turns(count: int = 12) -> None:
    """Let the session read what it was given."""
    for _ in range(count):
        await asyncio.sleep(0)


async def spoken(chunks: list[bytes], **options: Any) -> tuple[list[tuple[str, tuple[str, ...], bytes]], bytes]:
    """What a session takes of these chunks, and what it says after the greeting and what begins a mail.

    An empty chunk: the client says no more.
    """
    taker, wire = Taker(), Wire(options.pop("peer", "192.0.2.1"))
    traffic = Traffic(options.pop("bounds", IntakeLimits()), options.pop("proxies", Networks()), None)
    session = wire.session = GuardedSession(taker, traffic, "mx.example", Door(lmtp=options.pop("lmtp", False)))
    session.connection_made(wire)
    begin = options.pop("begin", BEGIN)
    if begin:
        session.data_received(begin)
    await turns(30)
    heard = len(wire.said)
    for chunk, following in itertools.zip_longest(chunks, chunks[1:]):
        if not wire.is_closing():
            session.data_received(chunk) if chunk else session.eof_received()
        if following != b"":  # the end comes with what was said last
            await turns()
    wire.close()
    await turns()
    assert traffic.buffered_bytes == 0
    assert not traffic.sessions
    return taker.taken, bytes(wire.said[heard:])


def right(data: bytes) -> bytes | None:
    """The one mail that these octets are, or None: RFC 5321 §4.1.1.4, §4.5.2, and nothing else."""
    end = END.search(data)
    if end is None or not WELL_FORMED.fullmatch(data[: end.end()]):
        return None
    return re.sub(rb"(\A|(?<=\r\n))\.", b"", data[: end.start()])


def check(data: bytes, taken: list[Any], said: bytes) -> None:
    """One mail, and the right one; or none, and a refusal."""
    wanted = right(data)
    if WELL_FORMED.fullmatch(data):
        assert [one[2] for one in taken[:1]] == [wanted], data
    for sender, recipients, content in taken[:1]:
        assert (sender, recipients, content) == ("a@b.example", ("c@d.example",), wanted), data
    if wanted is None:
        assert taken == [], data
        assert re.search(rb"(?m)^5\d\d ", said), (data, said)
    assert len(taken) <= len(END.findall(data)), data  # what comes after the end of a mail is commands, and only then
