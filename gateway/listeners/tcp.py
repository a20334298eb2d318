# SPDX-License-Identifier: AGPL-3.0-or-later
"""TMTP over TLS: sockets on one side, `tmtp_core.session` on the other."""

import asyncio
import contextlib
import ssl
from typing import cast

from gateway.listeners.link import Link
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.service import Service


class TcpLink(Link, asyncio.Protocol):
    """One connection: a link that is its transport's protocol."""

    def __init__(self, listener: "TcpListener") -> None:
        super().__init__(listener.service)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TLS handshake is done."""
        if self._begin(cast(asyncio.Transport, transport), self._listener.spki_hashes) is None:
            self._transport.abort()
        else:
            self._listener.links.add(self)

    def data_received(self, data: bytes) -> None:
        """The peer sent something."""
        if self._session is not None:
            self._session.receive(data)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._listener.lost(self)
        self.lost()

    def set_reading(self, wanted: bool) -> None:
        """Read on, or leave what comes to the peer's own buffers."""
        if self._transport.is_closing() or wanted is self._transport.is_reading():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()


class TcpListener:
    """Accepts connections for one service on one address.

    `context` None means plain TCP, which the settings allow on loopback only. `spki_hashes`: see `Service.connect`.
    """

    def __init__(
        self, service: Service, host: str, port: int, context: ssl.SSLContext | None, spki_hashes: tuple[bytes, ...]
    ) -> None:
        self.service = service
        self.spki_hashes = spki_hashes
        self.links: set[Link] = set()
        self._host = host
        self._port = port
        self._context = context
        self._server: asyncio.Server | None = None
        self._links_gone = asyncio.Event()

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self._context is not None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one, also when 0 was asked for."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        tls = self._context is not None
        self._server = await loop.create_server(
            lambda: TcpLink(self),
            self._host,
            self._port,
            ssl=self._context,
            ssl_handshake_timeout=limits.LOGIN_DEADLINE_S if tls else None,
            ssl_shutdown_timeout=limits.TLS_CLOSE_DEADLINE_S if tls else None,
            backlog=limits.LISTEN_BACKLOG,
        )

    def lost(self, link: Link) -> None:
        """A connection is gone."""
        self.links.discard(link)
        if not self.links:
            self._links_gone.set()

    def stop_accepting(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()

    def sweep(self, clock: Clock) -> None:
        """Once a second: links whose peers stopped reading."""
        now_s = clock.monotonic_s()
        for link in list(self.links):
            link.sweep(now_s)

    async def close(self, grace_s: float) -> None:
        """Wait until the links are gone, then drop those that are still there."""
        self._links_gone.clear()
        if self.links:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._links_gone.wait(), grace_s)
        for link in list(self.links):
            link.abort()
