# SPDX-License-Identifier: AGPL-3.0-or-later
"""One SMTP session: aiosmtpd behind the line guard, with the bounds it lacks (RFC 5321)."""

import asyncio
from collections import Counter
from typing import Any, Final

from aiosmtpd.smtp import SMTP

from bridges import limits
from bridges.smtp.guard import LineGuard, LineViolation
from bridges.smtp.rules import IntakeLimits

_TOO_MANY: Final = "421 4.7.0 Too many connections, try again later"
_TOO_BUSY: Final = "452 4.3.1 Too much mail at once, try again later"
_TOO_LONG: Final = "421 4.4.2 This session has lasted too long"
_TOO_MUCH: Final = "552 5.3.4 The mail is larger than the announced SIZE"


class Traffic:
    """What all sessions of an intake share: how many there are, and how much they hold."""

    def __init__(self, bounds: IntakeLimits) -> None:
        self.bounds = bounds
        self.sessions: set[GuardedSession] = set()
        self.by_address: Counter[str] = Counter()
        self.buffered_bytes = 0


class GuardedSession(SMTP):
    """aiosmtpd's engine; every byte passes the guard first, and every session has an end."""

    line_length_limit = limits.DATA_LINE_MAX_BYTES
    command_size_limit = limits.COMMAND_LINE_MAX_BYTES

    def __init__(self, handler: Any, traffic: Traffic, hostname: str) -> None:
        super().__init__(
            handler,
            data_size_limit=traffic.bounds.message_max_bytes,
            hostname=hostname,
            ident="TMTP gateway",
            enable_SMTPUTF8=True,
            timeout=limits.SESSION_IDLE_S,
            command_call_limit=limits.SESSION_COMMANDS_MAX,
        )
        self._traffic = traffic
        self._guard = LineGuard()
        self._buffered = 0
        self._peer_address = ""
        self._refused = False
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected: let it in, or tell it to come back later."""
        self._raw_transport: Any = transport
        peer = transport.get_extra_info("peername")
        self._peer_address = str(peer[0]) if isinstance(peer, tuple) else ""
        traffic = self._traffic
        traffic.sessions.add(self)
        traffic.by_address[self._peer_address] += 1
        full = len(traffic.sessions) > traffic.bounds.connections_max
        if full or traffic.by_address[self._peer_address] > traffic.bounds.connections_per_address_max:
            self._refuse(_TOO_MANY)
            return
        self._end = asyncio.get_running_loop().call_later(limits.SESSION_MAX_S, self._refuse, _TOO_LONG)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._refused:
            return
        try:
            self._guard.check(data)
        except LineViolation as violation:
            self._refuse(violation.reply)
            return
        self._buffered += len(data)
        self._traffic.buffered_bytes += len(data)
        if self._traffic.buffered_bytes > limits.BUFFERED_BYTES_MAX:
            self._refuse(_TOO_BUSY)
        elif self._buffered > 2 * self._traffic.bounds.message_max_bytes:
            self._refuse(_TOO_MUCH)
        else:
            super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._traffic.sessions.discard(self)
        self._traffic.by_address[self._peer_address] -= 1
        if not self._traffic.by_address[self._peer_address]:
            del self._traffic.by_address[self._peer_address]
        self.mail_is_over()
        if self._end is not None:
            self._end.cancel()
        if getattr(self, "transport", None) is not None:
            super().connection_lost(error)

    def mail_is_over(self) -> None:
        """What was buffered for the current mail is free again."""
        self._traffic.buffered_bytes -= self._buffered
        self._buffered = 0

    def abort(self) -> None:
        """Drop the connection."""
        self._raw_transport.abort()

    async def smtp_VRFY(self, arg: str) -> None:
        """RFC 5321 §7.3: who lives here is nobody's business."""
        await self.push("502 5.5.1 VRFY is not offered")

    def _refuse(self, reply: str) -> None:
        """Say one last thing and close; nothing that is still being read is accepted."""
        self._refused = True
        self._raw_transport.write(reply.encode() + b"\r\n")
        self._raw_transport.close()
