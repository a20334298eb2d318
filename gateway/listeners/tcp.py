# SPDX-License-Identifier: AGPL-3.0-or-later
"""TMTP over TLS: sockets on one side, `tmtp_core.session` on the other."""

import asyncio
from typing import cast

from gateway.listeners.link import Link
from gateway.listeners.listener import Listener


class TcpLink(Link, asyncio.Protocol):
    """One connection: a link that is its transport's protocol."""

    def __init__(self, listener: "TcpListener") -> None:
        super().__init__(listener.service)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TLS handshake is done."""
        if self._begin(cast(asyncio.Transport, transport), self._listener.shown_on(transport)) is None:
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


class TcpListener(Listener):
    """Accepts TMTP as it is."""

    def _new_protocol(self) -> TcpLink:
        return TcpLink(self)
