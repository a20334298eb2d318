# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections of one service on one address (C1): who is linked, and with which certificate."""

import asyncio
import contextlib
import ssl
from weakref import WeakKeyDictionary

from gateway.listeners.accepting import Acceptor
from gateway.listeners.link import Link
from tmtp_core.clock import Clock
from tmtp_core.service import Service


class Listener(Acceptor):
    """Accepts connections for one service on one address.

    `context` None means no TLS, which the settings allow on loopback only. `spki_hashes`: see `Service.connect`.
    """

    def __init__(
        self, service: Service, host: str, port: int, context: ssl.SSLContext | None, spki_hashes: tuple[bytes, ...]
    ) -> None:
        super().__init__(host, port, context)
        self.service = service
        self.spki_hashes = spki_hashes
        self.links: set[Link] = set()
        self.ended = 0  # links since the start
        self._shown: WeakKeyDictionary[ssl.SSLContext, tuple[bytes, ...]] = WeakKeyDictionary()
        self._remember_shown()
        self._links_gone = asyncio.Event()

    def use(self, context: ssl.SSLContext, spki_hashes: tuple[bytes, ...]) -> None:
        """From now on handshakes begin with another certificate; links that stand, or shake hands, keep theirs."""
        self._context = context
        self.spki_hashes = spki_hashes
        self._remember_shown()

    def shown_on(self, transport: asyncio.BaseTransport) -> tuple[bytes, ...]:
        """`spki_hashes` of the certificate with which this connection's handshake was made."""
        if len(self._shown) < 2:  # nobody has seen another one, that is still here
            return self.spki_hashes
        return self._shown.get(transport.get_extra_info("sslcontext"), self.spki_hashes)

    def _remember_shown(self) -> None:
        if self._context is not None:
            self._shown[self._context] = self.spki_hashes

    def lost(self, link: Link) -> None:
        """A connection is gone."""
        self.links.discard(link)
        self.ended += 1
        if not self.links:
            self._links_gone.set()

    def sweep(self, clock: Clock) -> None:
        """Once a second: links whose peers stopped reading, and whether accepting can go on."""
        self.go_on_accepting()
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
        await self.entered()

    def _has_room(self) -> bool:
        return self.service.has_room
