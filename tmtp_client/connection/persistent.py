# SPDX-License-Identifier: AGPL-3.0-or-later
"""A connection that comes back (B3)."""

import asyncio
import random
import ssl
from collections.abc import Callable
from typing import Final

from tmtp_client import limits
from tmtp_client.connection.endpoint import Endpoint, WrongService, said
from tmtp_client.connection.link import Connection, OnBatch, OnEvent, OnPresence, ignore
from tmtp_client.connection.login import Login
from tmtp_client.connection.payload import Disconnected, LogInRefused

REFUSALS: Final = frozenset(  # of a device, for good, or until its owner does something about it
    {
        "login failed",
        "corrupt base32 value",
        "device suspended",
        "device revoked",
        "move this account to keys",
        "authentication required",
        "revision 1 is not spoken here",
    }
)


class PersistentConnection:
    """A connection that comes back: reconnects with growing, jittered pauses and logs in again.

    `current` waits for a connection that is logged in. A log-in that is refused ends it all: `failed` says why.
    `on_change` hears that a connection has come or gone: it looks at `is_connected`, `failed` and `trouble`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        login: Login,
        on_event: OnEvent = ignore,
        on_presence: OnPresence | None = None,
        jitter: Callable[[], float] = random.random,
        *,
        on_batch: OnBatch | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.endpoint = endpoint  # of the next connection
        self._login = login
        self._on_event = on_event
        self._on_batch = on_batch
        self._on_presence = on_presence
        self._on_change = on_change
        self._jitter = jitter
        self._changed = asyncio.Condition()
        self._connection: Connection | None = None
        self.features: frozenset[str] = frozenset()  # what the service has said that it offers, when last entered
        self.failed: str | None = None
        self.trouble: str | None = None  # why there is no connection just now
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def current(self, timeout_s: float | None = None) -> Connection:
        """A connection that is logged in. Raises `LogInRefused`, TimeoutError, or `Disconnected` once stopped."""
        async with asyncio.timeout(timeout_s), self._changed:
            while True:
                self._raise_failed()
                if self._connection is not None and self._connection.is_open:
                    return self._connection
                await self._changed.wait()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that is logged in."""
        return self._connection is not None and self._connection.is_open

    async def at_once(self, timeout_s: float) -> Connection:
        """A connection that is logged in. Raises `Disconnected` when one try has failed, and says why."""
        async with asyncio.timeout(timeout_s), self._changed:
            while self._connection is None or not self._connection.is_open:
                self._raise_failed()
                if self.trouble is not None:
                    raise Disconnected(self.trouble)
                await self._changed.wait()
            return self._connection

    def _raise_failed(self) -> None:
        if self.failed is not None:
            raise LogInRefused(self.failed) if self.failed in REFUSALS else Disconnected(self.failed)

    async def stop(self) -> None:
        """Log out and stay away; whoever waits for a connection hears it. Idempotent."""
        if self._connection is not None:
            await self._connection.quit()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._set(None, self.failed or "stopped")

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = limits.RECONNECT_FIRST_S
        while self.failed is None:
            began_s = loop.time()
            try:
                await self._live()
            except (OSError, ssl.SSLError, ValueError, WrongService, Disconnected, TimeoutError) as error:
                self.trouble = said(error)
            await self._set(None, self.trouble if self.trouble in REFUSALS else None)
            if loop.time() - began_s >= limits.STEADY_AFTER_S:
                pause_s = limits.RECONNECT_FIRST_S
            await asyncio.sleep(pause_s * (0.5 + self._jitter()))
            pause_s = min(2 * pause_s, limits.RECONNECT_LONGEST_S)

    async def _live(self) -> None:
        """One connection, from its beginning to its end."""
        connection = await Connection.open(
            self.endpoint, self._on_event, self._on_presence, self._login.revision, on_batch=self._on_batch
        )
        try:
            await connection.enter(self._login)
            self.trouble = None
            self.features = frozenset(connection.service.result().features)
            await self._set(connection)
            self.trouble = await connection.closed()
        finally:
            await connection.close()

    async def _set(self, connection: Connection | None, failed: str | None = None) -> None:
        async with self._changed:
            self._connection = connection
            self.failed = failed
            self._changed.notify_all()
        if self._on_change is not None:
            self._on_change()
