# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a service does where other processes serve the same instance: hears of them, and lets them hear of it.

See `tmtp_core.siblings` for what is said, and docs/scaling.md for what is promised. In a process that has its
database for itself nothing of this happens.
"""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tmtp_core import limits
from tmtp_core.domain.outcome import NO_DEVICE, PresenceEdit
from tmtp_core.domain.presence import PresenceBoard
from tmtp_core.entrance import Entrance
from tmtp_core.session import Session
from tmtp_core.siblings import Siblings
from tmtp_core.store.writer import Job, Result, Writer

if TYPE_CHECKING:
    from tmtp_core.store.bus import Bus


class BesideOthers(ABC):
    """Mixed into `tmtp_core.service.Service`; implements `tmtp_core.siblings.Kin`."""

    siblings: Siblings
    _writer: Writer
    _board: PresenceBoard
    _entrance: Entrance
    _links: dict[int, Session]
    _sessions: set[Session]
    _arriving: dict[Session, int]
    _stopping: bool
    _report: Callable[[str, dict[str, object]], None]

    def __init__(self, bus: "Bus | None") -> None:
        self._bus = bus
        self.siblings = Siblings(self, bus)
        self.processes = 1  # that serve this instance together
        self.evicted = asyncio.Event()  # the others have taken this one for dead
        self._alive_since_s: float | None = None
        self._renewed_s: float | None = None
        self._listens = False
        self._unsettled: Counter[int] = Counter()  # claims of a device's link whose notices have not come back
        self._next_burial_s = 0.0
        self._unreleased: list[int] = []
        self._shows: dict[Session, int] = {}  # links that have shown presence, by the numbers that others know
        self._show_numbers = itertools.count(1)
        self._announced: set[int] = set()  # something was queued for these while their devices were arriving

    @abstractmethod
    def monotonic_s(self) -> float:
        """Now, for waiting."""

    @abstractmethod
    def _tell_presence(self, uid: str, changes: Iterable[tuple[str, int]]) -> None: ...

    @abstractmethod
    def _cut_links(self, cuts: Mapping[int, str]) -> None: ...

    def _start_listening(self) -> None:
        if self._bus is not None:
            self._bus.hear = self.siblings.hear
            self._bus.alive = self._processes_alive
            self._bus.connected = self._hears_again
            self._bus.cut_off = self._hears_nothing
            self._bus.renew()
            self._bus.start()

    def _stop_listening(self) -> None:
        """Waits for what is being said."""
        if self._bus is not None and self._bus.is_alive():
            self._bus.stop()
            self._bus.join(limits.BUS_STOP_S)

    def _say_that_it_lives(self) -> None:
        """Once a second."""
        if self._bus is not None:
            self._bus.renew()
        released, self._unreleased = self._unreleased, []
        for device in released:
            self.release(device)

    def _was_announced(self, session: Session) -> bool:
        """A device has arrived on this link: whether something was queued for it after its first page was read."""
        device = self._arriving.pop(session, None)
        if device is None or device not in self._announced:
            return False
        self._announced.discard(device)
        return True

    def _show_elsewhere(self, session: Session, uid: str, change: PresenceEdit) -> None:
        number = self._shows.setdefault(session, next(self._show_numbers))
        self.siblings.show(uid, number, change)

    def _go_elsewhere(self, session: Session, uid: str) -> None:
        number = self._shows.pop(session, None)
        if number is not None:
            self.siblings.go(uid, number)

    def release(self, device: int) -> None:
        """A link that the database knows as this process's is none any more."""
        if not self.siblings.there_may_be or device == NO_DEVICE:
            return

        def done(result: Result) -> None:
            if isinstance(result, Exception) and not self._stopping:
                self._unreleased.append(device)

        self._writer.submit(Job(lambda ledger: ledger.release(device), done))

    def disown(self, device: int, then: Callable[[], None]) -> None:
        """`then`, once the database does not say that this process has the device, unless it has."""

        def done(result: Result) -> None:
            if not isinstance(result, Exception):  # else who asked asks again
                then()

        self._writer.submit(Job(lambda ledger: ledger.disown(device), done))

    def queued_elsewhere(self, devices: Sequence[int]) -> None:
        """Another process has queued something for these devices."""
        arriving = set(self._arriving.values())
        for device in devices:
            link = self._links.get(device)
            if link is not None and link.window is not None:
                link.window.behind()
                link.pump()
            if device in arriving:
                self._announced.add(device)

    def look_again(self) -> None:
        """Another process has changed something."""
        self._writer.look()

    def wanted_elsewhere(self, device: int, claim: int, slot: int) -> None:
        """Another process has a link that wants a node of this one's."""
        self._entrance.wanted_elsewhere(device, claim, slot)

    def settled_elsewhere(self, claim: int, *, free: bool) -> None:
        """The process that has a node has answered."""
        self._entrance.settled_elsewhere(claim, free=free)

    def shown_elsewhere(self, uid: str, link: object, change: PresenceEdit) -> None:
        """An account's presence has changed, by a link of another process."""
        self._tell_presence(uid, self._board.edit(uid, link, change))

    def gone_elsewhere(self, uid: str, link: object) -> None:
        """A link of another process that had shown presence has ended."""
        self._tell_presence(uid, self._board.link_closed(uid, link))

    def hidden_elsewhere(self, uid: str, other: str) -> None:
        """Two accounts show one another no presence any more."""
        for whose, to_whom, status in self._board.hide(uid, other):
            self._tell_presence(whose, [(to_whom, status)])

    def presence_here(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """Of each link that has shown presence: its account, its number, and whom the account tells."""
        return [
            (session.asker.uid, number, self._board.told_by(session.asker.uid))
            for session, number in self._shows.items()
            if session.asker is not None
        ]

    def _told_by_others(self, cuts: Mapping[int, str] | None) -> None:
        """These links end, as another process has decided; None: nobody here knows what is stored."""
        if cuts is not None:
            self._cut_links(cuts)
            return
        for link in list(self._links.values()):
            if link.window is not None:
                link.window.behind()
                link.pump()

    def has_claimed(self, device: int) -> None:
        """A claim of the device's link is durable: what the device has posted elsewhere may still be under way."""
        if self.siblings.there_may_be and device != NO_DEVICE:
            self._unsettled[device] += 1

    def has_settled(self, device: int) -> None:
        """The notice of a claim has come back, and before it all that was told before. It may come before the claim."""
        self._unsettled[device] -= 1
        if not self._unsettled[device]:
            del self._unsettled[device]

    def is_settled(self, device: int) -> bool:
        """Whether everything that this device has posted by way of other processes is known here."""
        return not self.siblings.there_may_be or (self._listens and self._unsettled[device] <= 0)

    @property
    def hears_others(self) -> bool:
        """Whether this process renews its lease, and nobody has taken it for dead."""
        if not self.siblings.there_may_be:
            return True
        late = self._renewed_s is not None and self.monotonic_s() - self._renewed_s > limits.LEASE_S
        return not late and not self.evicted.is_set() and self._bus is not None and self._bus.is_alive()

    def _hears_nothing(self) -> None:
        """Notices do not come."""
        self._listens = False
        self._alive_since_s = None

    def _hears_again(self) -> None:
        """Notices may have been missed: look at everything."""
        self._listens = True
        self._unsettled.clear()
        self.siblings.came_back()
        self._told_by_others(None)
        self._writer.look()

    def _is_evicted(self) -> None:
        """Others have taken this process for dead, and its devices with it: it is to be started again."""
        if self.evicted.is_set():
            return
        self.evicted.set()
        self._report("process_evicted", {"mend": "start it again; was it, or its way to the database, stopped?"})
        for session in list(self._sessions):
            session.cut()

    def _processes_alive(self, slots: list[int] | None) -> None:
        """The lease was renewed, and these processes live. None: this one was taken for dead.

        Others are buried only by who was alive itself meanwhile: after trouble with the database all leases are old.
        """
        if slots is None:
            self._is_evicted()
            return
        now_s = self.monotonic_s()
        if self._renewed_s is None or now_s - self._renewed_s > limits.UNHEARD_S or self._alive_since_s is None:
            self._alive_since_s = now_s
        self._renewed_s = now_s
        self.processes = len(slots)
        self.siblings.living(slots)
        if now_s - self._alive_since_s >= limits.LEASE_S and now_s >= self._next_burial_s:
            self._next_burial_s = now_s + limits.LEASE_S
            self._writer.submit(Job(lambda ledger: ledger.bury_the_dead(), lambda result: None))
