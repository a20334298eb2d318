# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one watcher is told: kept events once and in order, account by account; passing ones while he keeps up.

A watcher has no queue of kept events: it has a place in each account's, and reads on from there when something was
committed. So it misses none, gets none twice, and one that does not read costs nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from tmtp_client import limits
from tmtp_client.api.models import Event, HomeEvent, Watching

if TYPE_CHECKING:  # a program that asks the API loads no database
    from tmtp_client.store.changes import Since


class Source(Protocol):
    """Where events come from: the home."""

    def listen(self, heard: Callable[[Event | None], None]) -> Callable[[], None]:
        """Be told of passing events, and by None that an account has committed; the answer ends that. Never waits."""

    async def latest(self) -> Mapping[str, int]:
        """The number of each open account's latest event; no account while the home is locked."""

    async def since(self, account: str, number: int, limit: int) -> "Since":
        """Kept events after a number, at most so many. An account that is not open: none, up to the same number."""


class Watch:
    """One watcher. `start` it, then `next` again and again, and `stop` it at the end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._places: dict[str, int] = {}
        self._passing: deque[Event] = deque(maxlen=limits.API_PASSING_EVENTS_MAX)
        self._heard = asyncio.Event()
        self._unlisten: Callable[[], None] | None = None

    async def start(self, since: Mapping[str, int]) -> Watching:
        """From these numbers on; from now on in accounts that are not named. Again: from elsewhere."""
        if self._unlisten is None:
            self._unlisten = self._source.listen(self._hear)
        latest = dict(await self._source.latest())
        self._places = latest | {account: max(0, number) for account, number in since.items()}
        self._heard.set()
        return Watching(dict(self._places))

    def stop(self) -> None:
        """Hear no more."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None

    async def next(self) -> list[Event]:
        """The next events, at least one; waits for it."""
        while True:
            self._heard.clear()
            found = await self._kept()
            # What passes comes after what was committed before it: who hears that the home is open finds it open.
            while self._passing:
                found.append(self._passing.popleft())
            if found:
                self._heard.set()  # there may be more than a page of them
                return found
            await self._heard.wait()

    async def _kept(self) -> list[Event]:
        """One page of each account's; of an account that came meanwhile from now on."""
        found: list[Event] = []
        for account, number in (await self._source.latest()).items():
            place = self._places.setdefault(account, number)
            if number == place:
                continue
            page = await self._source.since(account, place, limits.API_EVENTS_AT_ONCE)
            found += page.events
            self._places[account] = page.upto
        return found

    def _hear(self, event: Event | None) -> None:
        if event is not None:
            if isinstance(event.data, HomeEvent) and event.data.home.locked:
                self._passing.clear()  # nothing of an account is told any more
            self._passing.append(event)
        self._heard.set()
