# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an instance does by itself as time passes: it empties the database's log, gives back what nobody took, writes
down what it counted, and forgets what is kept for a time only (A4, C5, D5).
"""

from collections.abc import Iterable
from typing import Protocol

from tmtp_core import limits
from tmtp_core.domain.outcome import Copy, Moment
from tmtp_core.domain.returns import GivenBack, give_back
from tmtp_core.siblings import Siblings
from tmtp_core.store.forgetting import Forgetting, forgetting
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.store.writer import Job, Result, Writer


class Kept(Protocol):
    """What upkeep needs of its service."""

    siblings: Siblings

    def moment(self) -> Moment:
        """Now, for a decision."""
        ...

    def busy_devices(self) -> frozenset[int]:
        """Devices that may be taking what waits for them. From any thread."""
        ...

    def deliver(self, copies: Iterable[Copy]) -> None:
        """Offer committed messages to the devices that are connected."""
        ...


class Upkeep:
    """One instance's. `now_s` is monotonic seconds. All of it is asked of the writer, and stops when that does."""

    def __init__(self, host: Kept, writer: Writer, now_s: float) -> None:
        self._host = host
        self._writer = writer
        self._given_back_up_to = 0  # message, by the last look at what waited too long
        self._next_checkpoint_s = now_s + limits.CHECKPOINT_INTERVAL_S
        self._next_forgetting_s = now_s
        self._next_return_s = now_s
        self._next_received_s = now_s + limits.RECEIVED_WRITE_INTERVAL_S

    def tick(self, now_s: float) -> None:
        """Once a second: what is due now."""
        if not self._writer.figures.healthy:
            self._writer.retry()
        if self._writer.checkpoint_left:
            self._writer.request_checkpoint()
        if now_s >= self._next_checkpoint_s:
            self._next_checkpoint_s = now_s + limits.CHECKPOINT_INTERVAL_S
            self._writer.request_checkpoint()
            if self._host.siblings.there_may_be:
                self._writer.submit(Job(lambda ledger: ledger.count_messages(), lambda result: None, looks=True))
        if now_s >= self._next_return_s:
            self._next_return_s = now_s + limits.RETURN_INTERVAL_S
            self.give_back()
        if now_s >= self._next_received_s and self._writer.ledger.received.waits:
            self._next_received_s = now_s + limits.RECEIVED_WRITE_INTERVAL_S
            self.write_received()
        if now_s >= self._next_forgetting_s and self._host.siblings.is_first:
            self._next_forgetting_s = now_s + limits.REPOST_FORGET_INTERVAL_S
            for forget in forgetting(self._host.moment().ms):
                self._forget(forget)

    def give_back(self, looks: int = limits.RETURN_LOOKS_MAX) -> None:
        """What has waited too long, or for devices that are gone, goes back (A4): batch after batch."""
        moment, after, before = self._host.moment(), self._given_back_up_to, self._host.busy_devices()

        def decide(ledger: SqlLedger) -> GivenBack:
            busy = before | self._host.busy_devices() | ledger.linked_elsewhere()
            return give_back(ledger, moment, busy, after)  # `before`: who left meanwhile may have taken it

        def done(result: Result) -> None:
            if not isinstance(result, GivenBack):
                return
            self._host.deliver(result.outcome.copies)
            self._given_back_up_to = result.after or 0
            left = limits.RETURN_LOOKS_MAX if result.count else looks - 1
            if result.after is not None and left:
                self.give_back(left)

        self._writer.submit(Job(decide, done))

    def write_received(self) -> None:
        """What members received is counted in memory until then (C5)."""
        self._writer.submit(Job(lambda ledger: ledger.write_received(), lambda result: None))

    def _forget(self, forget: Forgetting) -> None:
        """One step after the other: between them others are served."""

        def done(result: Result) -> None:
            if callable(result):
                self._forget(result)

        self._writer.submit(Job(forget, done))
