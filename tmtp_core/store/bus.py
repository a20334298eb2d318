# SPDX-License-Identifier: AGPL-3.0-or-later
"""PostgreSQL's LISTEN and NOTIFY between the processes of one instance, and the lease by which each of them lives.

What must not be lost is in the database, and a notice only says: look. Notices that carry something themselves
(presence) may be lost; who was cut off asks for it anew.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import asyncpg

from tmtp_core import limits
from tmtp_core.store.sharing import ALIVE, CHANNEL, LIVE, LOCK_KEY, RENEW

_RETRY_S: Final = 0.5
_NOTIFY: Final = "SELECT pg_notify($1, $2)"


class Bus(threading.Thread):
    """One process's ear and mouth, on a thread and over a connection of its own.

    `hear` gets each notice; `alive` the slots of the living processes, after each renewal of the lease, and None when
    this process itself was taken for dead; `cut_off` is told when notices do not come any more, `connected` when they
    come again. All on the caller's thread, by way of `wake`.
    """

    def __init__(
        self,
        dsn: str,
        slot: int,
        token: str,
        wake: Callable[[Callable[[], None]], None],
        report: Callable[[str, dict[str, object]], None],
    ) -> None:
        super().__init__(name="tmtp-bus", daemon=True)
        self.slot = slot
        self._dsn = dsn
        self._token = token
        self._wake = wake
        self._report = report
        self._waiting: deque[tuple[str, str]] = deque(maxlen=limits.NOTICES_WAITING_MAX)
        self._due = False  # the lease is to be renewed
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awake: asyncio.Event
        self.hear: Callable[[str], None] = lambda notice: None
        self.alive: Callable[[list[int] | None], None] = lambda slots: None
        self.connected: Callable[[], None] = lambda: None
        self.cut_off: Callable[[], None] = lambda: None

    # -- from the caller's thread ------------------------------------------------------------------------------------
    def tell(self, notice: str, slot: int | None = None) -> None:
        """Send a notice to all other processes, or to one."""
        self._waiting.append((CHANNEL if slot is None else f"{CHANNEL}_{slot}", notice))
        self._rouse()

    def renew(self) -> None:
        """This process lives: the caller's thread says so, since a process whose loop hangs is as good as dead."""
        self._due = True
        self._rouse()

    def stop(self) -> None:
        """Send what waits, and end."""
        self._stopping = True
        self._rouse()

    # -- on this thread ----------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Connect, and connect again, until told to stop."""
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._awake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not self._stopping:
            try:
                await self._speak()
            except Exception as error:  # whatever it is, another connection may not have it
                self._wake(self._are_cut_off)
                self._report("bus_broken", {"error": f"{type(error).__name__}: {error}".splitlines()[0]})
                await asyncio.sleep(_RETRY_S)

    async def _speak(self) -> None:
        """Over one connection, until it ends."""
        timeout = limits.DATABASE_COMMAND_TIMEOUT_S
        connection = await asyncpg.connect(self._dsn, timeout=timeout, command_timeout=timeout)
        try:
            for channel in (CHANNEL, f"{CHANNEL}_{self.slot}"):
                await connection.add_listener(channel, self._heard)
            await connection.fetchval(LIVE, LOCK_KEY, self.slot)
            self._due = True
            connection.add_termination_listener(lambda ended: self._awake.set())
            self._wake(self._are_back)
            while True:
                await self._say_what_waits(connection)
                if self._stopping:
                    return
                if connection.is_closed():
                    raise ConnectionResetError("the database has ended the connection")
                await self._awake.wait()
                self._awake.clear()
        finally:
            with contextlib.suppress(Exception):
                await connection.close(timeout=_RETRY_S)

    async def _say_what_waits(self, connection: Any) -> None:
        if self._due:
            self._due = False
            renewed = await connection.fetchval(RENEW, self.slot, self._token)
            slots = [row[0] for row in await connection.fetch(ALIVE)] if renewed is not None else None
            self._wake(lambda: self.alive(slots))
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(len(self._waiting))]
            await connection.executemany(_NOTIFY, some)

    def _heard(self, connection: Any, pid: int, channel: str, notice: Any) -> None:
        self._wake(lambda: self.hear(notice))

    def _are_back(self) -> None:
        self.connected()

    def _are_cut_off(self) -> None:
        self.cut_off()

    def _rouse(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._awake.set)
