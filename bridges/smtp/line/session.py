# SPDX-License-Identifier: AGPL-3.0-or-later
"""One SMTP or LMTP session: aiosmtpd behind the line guard, with the bounds and the TLS it lacks (RFC 5321, 2033).

Octets pass a PROXY header (from listed proxies only), then TLS, then the guard, and only then aiosmtpd.
"""

import asyncio
import re
from collections import Counter, defaultdict
from typing import Any, Final

from aiosmtpd.smtp import SMTP

from bridges import limits
from bridges.smtp.line.data import MailData
from bridges.smtp.line.guard import LineGuard, LineViolation
from bridges.smtp.line.proxy import ProxyHeaderWrong, read_proxy_header
from bridges.smtp.line.tls import TlsEnd, TlsFailed
from bridges.smtp.peers import Networks, customer_of
from bridges.smtp.settings import Door, IntakeLimits

_TOO_MANY: Final = "421 4.7.0 Too many connections, try again later"
_TOO_BUSY: Final = "452 4.3.1 Too much mail at once, try again later"
_TOO_LONG: Final = "421 4.4.2 This session has lasted too long"
_TOO_WRONG: Final = "421 4.7.0 Too many errors in this session"
_TOO_MUCH: Final = "552 5.3.4 The mail is larger than the announced SIZE"
_BARE_REPLY: Final = re.compile(r"([245]\d\d)([ -])(?!\d\.\d{1,3}\.\d{1,3} )")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_PATH: Final = re.compile(rf"<({_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)> *([A-Za-z0-9 =.-]*)")
_ENHANCED: Final = {  # of what aiosmtpd says without one; RFC 2034 wants it in every reply once it was announced
    "221": "2.0.0",
    "250": "2.0.0",
    "421": "4.3.2",
    "451": "4.3.0",
    "500": "5.5.2",
    "501": "5.5.4",
    "502": "5.5.1",
    "503": "5.5.1",
    "552": "5.3.4",
    "553": "5.1.3",
    "555": "5.5.4",
}


class Traffic:
    """What all sessions of an intake share: how many there are, how much they hold, and what they are let in by."""

    def __init__(self, bounds: IntakeLimits, proxies: Networks, tls_context: Any) -> None:
        self.bounds = bounds
        self.proxies = proxies
        self.tls_context = tls_context
        self.sessions: set[GuardedSession] = set()
        self.by_address: Counter[str] = Counter()  # sessions, by address, or /64 of IPv6
        self.buffered_bytes = 0
        self.buffered_by: Counter[str] = Counter()

    def count(self, owner: str, size: int) -> bool:
        """Count so much more (or less) of an owner's mail; whether that is still within what all and he may hold.

        Those on a Unix socket are a mail server of this machine, with everybody's mail: they have no share.
        """
        self.buffered_bytes += size
        self.buffered_by[owner] += size
        if self.buffered_by[owner] <= 0:
            del self.buffered_by[owner]
        share = max(limits.BUFFERED_SHARE_MAX_BYTES, self.bounds.message_max_bytes)
        return self.buffered_bytes <= limits.BUFFERED_BYTES_MAX and (not owner or self.buffered_by[owner] <= share)


class _Front(asyncio.Transport):
    """What aiosmtpd takes for its connection: says things through TLS, once there is any."""

    def __init__(self, raw: Any, peer: str) -> None:
        super().__init__()
        self.raw = raw
        self.peer = peer
        self.tls: TlsEnd | None = None
        self._drop: asyncio.TimerHandle | None = None

    def write(self, data: Any) -> None:
        if self.tls is None:
            self.raw.write(data)
        elif self.tls.ready:
            self.tls.write(bytes(data))

    def close(self) -> None:
        if self.raw.is_closing():
            return
        if self.tls is not None and self.tls.ready:
            self.tls.close()
        # It closes when all is written, which whoever reads nothing could put off for ever, and so hold a place.
        self._drop = asyncio.get_running_loop().call_later(limits.SESSION_CLOSE_S, self.raw.abort)
        self.raw.close()

    def closed(self) -> None:
        """There is nothing more to drop."""
        if self._drop is not None:
            self._drop.cancel()

    def abort(self) -> None:
        self.raw.abort()

    def is_closing(self) -> bool:
        return bool(self.raw.is_closing())

    def pause_reading(self) -> None:
        self.raw.pause_reading()

    def resume_reading(self) -> None:
        self.raw.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.peer, 0) if name == "peername" else default


class GuardedSession(SMTP):
    """aiosmtpd's engine; every octet passes the guard first, and every session has an end."""

    line_length_limit = limits.DATA_LINE_MAX_BYTES
    command_size_limit = limits.COMMAND_LINE_MAX_BYTES

    def __init__(self, handler: Any, traffic: Traffic, hostname: str, door: Door) -> None:
        # After EHLO it goes by these, which else are 512, and all sessions' together.
        self.command_size_limits = defaultdict(lambda: limits.COMMAND_LINE_MAX_BYTES)
        super().__init__(
            handler,
            data_size_limit=traffic.bounds.message_max_bytes,
            hostname=hostname,
            ident="TMTP gateway" + (" LMTP" if door.lmtp else ""),
            enable_SMTPUTF8=True,
            timeout=limits.SESSION_IDLE_S,
            command_call_limit=limits.SESSION_COMMANDS_MAX,
        )
        self.door = door
        self._traffic = traffic
        self._guard = LineGuard()
        self._mail: MailData | None = None  # what comes now is this mail's
        self._mail_ended: asyncio.Future[bool] | None = None  # at its end, or too early
        self._received = 0  # of it
        self._buffered = 0  # of that, what is held
        self._counted = ""
        self._errors = 0
        self._refused = False
        self._announced: bytearray | None = None  # the PROXY header, while it is awaited
        self._front: Any = None
        self._begun = False
        self._end: asyncio.TimerHandle | None = None
        self._replies_due = 0
        self._greeting = False

    # -- the connection ----------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected: let it in, or tell it to come back later."""
        raw: Any = transport
        peer = raw.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._front = _Front(raw, address)
        traffic = self._traffic
        traffic.sessions.add(self)
        self._end = asyncio.get_running_loop().call_later(limits.HANDSHAKE_S, self.abort)
        if len(traffic.sessions) > traffic.bounds.connections_max:
            self._refuse(_TOO_MANY)
        elif address and address in traffic.proxies:
            self._announced = bytearray()
        else:
            self._let_in(address)

    def data_received(self, data: bytes) -> None:
        """Octets from the client."""
        if self._refused:
            return
        if self._announced is not None:
            data = self._after_proxy_header(data)
        if data and self._front.tls is not None:
            data = self._after_tls(data)
        if data and not self._refused:
            self._after_guard(data)
        if self._front.tls is not None and self._front.tls.ended:
            self.eof_received()

    def eof_received(self) -> bool | None:
        """The client says no more. It still gets the answers to what it said: Exim says QUIT early and ends so."""
        if not self._begun:
            return False
        reader: Any = self._reader
        reader.feed_eof()
        if self._mail_ended is not None and not self._mail_ended.done():
            self._mail_ended.set_result(False)
        return True

    async def handle_exception(self, error: Exception) -> str:
        """What went wrong in a command; the end of what the client says is the end of the session."""
        if isinstance(error, asyncio.IncompleteReadError):
            self._front.close()
            raise asyncio.CancelledError
        return str(await super().handle_exception(error))

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        traffic = self._traffic
        traffic.sessions.discard(self)
        if self._counted:
            traffic.by_address[self._counted] -= 1
            if not traffic.by_address[self._counted]:
                del traffic.by_address[self._counted]
        self.mail_is_over()
        if self._end is not None:
            self._end.cancel()
        self._front.closed()
        if self._begun:
            super().connection_lost(error)

    def mail_is_over(self) -> None:
        """What was buffered for the current mail is free again."""
        self._traffic.count(self._owner, -self._buffered)
        self._received = self._buffered = 0

    def abort(self) -> None:
        """Drop the connection."""
        self._front.abort()

    @property
    def peer_key(self) -> bytes:
        """SHA-256 of the key of the client's certificate; empty without one."""
        return self._front.tls.peer_key if self._front.tls is not None else b""

    def _let_in(self, address: str) -> None:
        """This is who it is: count it, then TLS or the greeting."""
        traffic = self._traffic
        customer = customer_of(address)
        if customer:  # all on a Unix socket are one, and bounded by connections_max
            self._counted = customer
            traffic.by_address[customer] += 1
        if traffic.by_address[customer] > traffic.bounds.connections_per_address_max:
            self._refuse(_TOO_MANY)
        elif self.door.tls:
            self._front.tls = TlsEnd(traffic.tls_context, self._front.raw.write)
        else:
            self._begin()

    def _begin(self) -> None:
        """Hand over to aiosmtpd, which greets."""
        assert self._end is not None
        self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(limits.SESSION_MAX_S, self._refuse, _TOO_LONG)
        self._begun = True
        super().connection_made(self._front)

    def _after_proxy_header(self, data: bytes) -> bytes:
        assert self._announced is not None
        self._announced += data
        try:
            header = read_proxy_header(bytes(self._announced))
        except ProxyHeaderWrong:
            self._refused = True
            self.abort()
            return b""
        if header is None:
            return b""
        self._announced = None
        if header.peer is not None:
            self._front.peer = header.peer
        self._let_in(self._front.peer)
        return b"" if self._refused else header.rest

    def _after_tls(self, data: bytes) -> bytes:
        try:
            said: bytes = self._front.tls.feed(data)
        except TlsFailed:
            self._refused = True
            self._front.close()
            return b""
        if self._front.tls.ready and not self._begun:
            self._begin()
        return said

    def _after_guard(self, data: bytes) -> None:
        try:
            self._guard.check(data)
        except LineViolation as violation:
            self._refuse(violation.reply)
            return
        if self._mail is None:
            super().data_received(data)
        elif self._count(len(data)):
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Octets of the mail; what follows its end is commands again."""
        assert self._mail is not None
        assert self._mail_ended is not None
        following = self._mail.feed(data)
        if following is None:
            return
        self._mail = None
        if following:
            super().data_received(following)
        if not self._mail_ended.done():
            self._mail_ended.set_result(True)

    def _count(self, size: int) -> bool:
        """Count octets of a mail; False where that was too much, and the session has ended."""
        self._reset_timeout()
        self._received += size
        size_max = self._traffic.bounds.message_max_bytes
        more = size if self._received <= size_max else -self._buffered  # aiosmtpd lets go of what is too long
        self._buffered += more
        if not self._traffic.count(self._owner, more):
            self._refuse(_TOO_BUSY)
        elif self._received > 2 * size_max:
            self._refuse(_TOO_MUCH)
        return not self._refused

    @property
    def _owner(self) -> str:
        """Whose share the buffered octets are of."""
        return customer_of(self._front.peer)

    def _refuse(self, reply: str) -> None:
        """Say one last thing and close; nothing that is still being read is accepted."""
        self._refused = True
        self._front.write(reply.encode() + b"\r\n")
        self._front.close()

    # -- commands ----------------------------------------------------------------------------------------------------
    async def push(self, status: Any) -> None:
        """Say something: with an enhanced status code, and in LMTP once for each recipient after the data."""
        if status is None:  # aiosmtpd's way out of `handle_exception`
            return
        text = status if isinstance(status, str) else status.decode()
        if not self._greeting:
            text = "\r\n".join(_enhanced(line) for line in text.split("\r\n"))
        if text.startswith("354") and self.door.lmtp:
            assert self.envelope is not None
            self._replies_due = len(self.envelope.rcpt_tos)
        elif self._replies_due:  # RFC 2033 §4.2; what aiosmtpd refuses by itself, it says once
            if text.count("\r\n") + 1 != self._replies_due:
                text = "\r\n".join([text] * self._replies_due)
            self._replies_due = 0
        await super().push(text)
        if text.startswith("50"):  # of the session; what is refused of a mail is 55x
            self._errors += 1
            if self._errors >= limits.SESSION_ERRORS_MAX:
                self._refuse(_TOO_WRONG)
                raise asyncio.CancelledError

    async def smtp_HELO(self, arg: str) -> None:
        """RFC 5321 §4.1.1.1; not in LMTP (RFC 2033 §4.1)."""
        await self._greet(super().smtp_HELO, arg, here=not self.door.lmtp)

    async def smtp_EHLO(self, arg: str) -> None:
        """RFC 5321 §4.1.1.1; not in LMTP."""
        await self._greet(super().smtp_EHLO, arg, here=not self.door.lmtp)

    async def smtp_LHLO(self, arg: str) -> None:
        """RFC 2033 §4.1: EHLO of LMTP."""
        await self._greet(super().smtp_EHLO, arg, here=self.door.lmtp)

    async def _greet(self, command: Any, arg: str, *, here: bool) -> None:
        if not here:
            await self.push("500 5.5.1 This is " + ("LMTP: say LHLO" if self.door.lmtp else "SMTP: say EHLO"))
            return
        if len(arg or "") > limits.DOMAIN_MAX_BYTES:
            await self.push("501 5.5.4 This name is too long")
            return
        self._greeting = True  # RFC 2034 §3: no enhanced codes in a greeting
        try:
            await command(arg)
        finally:
            self._greeting = False

    async def smtp_STARTTLS(self, arg: str) -> None:
        """RFC 3207. What came before TLS, and what was sent ahead of it, is forgotten (§4.2)."""
        if arg:
            await self.push("501 5.5.4 Syntax: STARTTLS")
        elif not self.starttls_offered:
            await self.push("503 5.5.1 TLS is not to be had here, or has begun")
        else:
            # No wait from here on: what arrives next is TLS.
            self._front.write(b"220 2.0.0 Ready to start TLS\r\n")
            reader: Any = self._reader
            reader._buffer.clear()
            self._front.tls = TlsEnd(self._traffic.tls_context, self._front.raw.write)
            self._guard = LineGuard()
            self.envelope = self._create_envelope()
            self.mail_is_over()
            assert self.session is not None
            self.session.host_name = None
            self.session.extended_smtp = False

    @property
    def starttls_offered(self) -> bool:
        """Whether STARTTLS can be said now."""
        return self._traffic.tls_context is not None and self._front.tls is None

    async def smtp_DATA(self, arg: str) -> None:
        """RFC 5321 §4.1.1.4. Only what is said here is buffered. However this ends, the next mail begins anew."""
        assert self.envelope is not None
        if await self.check_helo_needed():
            return
        if not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 Say RCPT TO first")
        elif arg:
            await self.push("501 5.5.4 Syntax: DATA")
        else:
            try:
                await self._take_mail()
            finally:
                self._mail = self._mail_ended = None
                self.mail_is_over()
                self._set_post_data_state()  # type: ignore[no-untyped-call]

    async def _take_mail(self) -> None:
        assert self.envelope is not None
        mail = self._mail = MailData(self._traffic.bounds.message_max_bytes)
        ended = self._mail_ended = asyncio.get_running_loop().create_future()
        reader: Any = self._reader
        if reader._buffer:  # said ahead of our 354; no wait, as there is something
            self._take(await reader.read(len(reader._buffer)))
        if reader.at_eof() and not ended.done():
            ended.set_result(False)
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        if not await ended:
            raise asyncio.IncompleteReadError(b"", None)
        if mail.content is None:
            reply = _TOO_MUCH
        else:
            self.envelope.content = self.envelope.original_content = mail.content
            reply = await self._decided()
        await self.push(reply)

    async def _decided(self) -> str:
        """While a mail is worked on, the client has to wait, and is not idle; `SESSION_MAX_S` is the end of that."""
        assert self._timeout_handle is not None
        self._timeout_handle.cancel()
        try:
            return str(await self._call_handler_hook("DATA"))
        finally:
            if self.transport is not None:
                self._reset_timeout()

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The address of MAIL or RCPT, and what follows it; plain ones without all that RFC 5322 allows for."""
        plain = _PLAIN_PATH.fullmatch(arg)
        return (plain[1], plain[2]) if plain is not None else super()._getaddr(arg)

    async def smtp_VRFY(self, arg: str) -> None:
        """RFC 5321 §7.3: who lives here is nobody's business."""
        await self.push("502 5.5.1 VRFY is not offered")

    async def smtp_AUTH(self, arg: str) -> None:
        """Senders prove who they are by their mail, not by passwords."""
        await self.push("502 5.5.1 AUTH is not offered")


def _enhanced(line: str) -> str:
    match = _BARE_REPLY.match(line)
    code = _ENHANCED.get(match[1]) if match is not None else None
    return f"{match[1]}{match[2]}{code} {line[match.end() :]}" if match is not None and code is not None else line
