# SPDX-License-Identifier: AGPL-3.0-or-later
"""The last hour and the last day of each instance, kept in memory, a sample every 10 s and every 5 minutes (C1)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.administration import models as m
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.errors import ServiceUnavailable
from tmtp_core.latency import Counts, quantile_ms, since
from tmtp_core.service import Service

T = TypeVar("T")

_RECENT_STEPS: Final = 30  # what the overview says of acks is of these: five minutes


class Kept(Generic[T]):
    """What takes long to look up: looked up once for all who ask meanwhile, and the longer it takes the longer kept."""

    def __init__(self, look: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._alone = asyncio.Lock()
        self._found: tuple[T, float, float] | None = None  # what, from when, until when it is good

    async def get(self) -> T:
        """At most `limits.LOOK_KEPT_TIMES` as old as it took to look, or looked up since this was asked."""
        asked_s = self._clock.monotonic_s()
        async with self._alone:
            if self._found is not None and (self._found[1] >= asked_s or self._found[2] > asked_s):
                return self._found[0]
            begun_s = self._clock.monotonic_s()
            found = await self._look()
            took_s = self._clock.monotonic_s() - begun_s
            kept_s = took_s * limits.LOOK_KEPT_TIMES if took_s > limits.LOOK_CHEAP_S else 0.0
            self._found = found, begun_s, begun_s + took_s + kept_s
            return found


@dataclass(slots=True)
class _Seen:
    """What was counted at a moment since the start."""

    at_s: float
    posts: float
    deliveries: float
    acks: Counts


class InstanceHistory:
    """Of one instance, since this process began."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._hour: deque[m.Sample] = deque(maxlen=limits.HISTORY_STEPS)
        self._day: deque[m.Sample] = deque(maxlen=limits.HISTORY_DAY_STEPS)
        self._steps = 0
        seen = self._see()
        self._last = self._last_of_day = seen
        self._recent: deque[Counts] = deque([seen.acks], maxlen=_RECENT_STEPS)

    async def take(self) -> None:
        """One step has passed. Raises `ServiceUnavailable` where the database cannot be read."""
        oldest_ms = await self._service.oldest_queued_ms()
        seen = self._see()
        self._hour.append(self._sample(self._last, seen, oldest_ms))
        self._recent.append(seen.acks)
        self._last = seen
        self._steps += 1
        if self._steps % limits.HISTORY_DAY_EVERY == 0:
            self._day.append(self._sample(self._last_of_day, seen, oldest_ms))
            self._last_of_day = seen

    def shown(self) -> m.History:
        """Oldest first."""
        return m.History(hour=list(self._hour), day=list(self._day))

    def recent_acks(self) -> Counts:
        """How long acks took in about the last five minutes."""
        return since(self._recent[0], self._service.ack_latencies.counts())

    def _see(self) -> _Seen:
        figures = self._service.figures()
        acks = self._service.ack_latencies.counts()
        return _Seen(self._clock.monotonic_s(), figures["posts_total"], figures["deliveries_total"], acks)

    def _sample(self, before: _Seen, seen: _Seen, oldest_ms: int | None) -> m.Sample:
        figures = self._service.figures()
        now_ms = self._clock.wall_ns() // 1_000_000
        passed_s = max(seen.at_s - before.at_s, 1e-3)
        return m.Sample(
            at_ms=now_ms,
            links=int(figures["links"]),
            messages_queued=int(figures["messages_queued"]),
            oldest_queued_s=max(0.0, (now_ms - oldest_ms) / 1000) if oldest_ms is not None else 0.0,
            posts_per_s=round((seen.posts - before.posts) / passed_s, 3),
            deliveries_per_s=round((seen.deliveries - before.deliveries) / passed_s, 3),
            ack_ms_p99=quantile_ms(since(before.acks, seen.acks), 0.99),
        )


async def record(histories: Mapping[str, InstanceHistory]) -> None:
    """Take a sample of each at every step, for ever."""
    while True:
        await asyncio.sleep(limits.HISTORY_STEP_S)
        for history in histories.values():
            try:
                await history.take()
            except ServiceUnavailable:
                continue  # the service has said so in its log
