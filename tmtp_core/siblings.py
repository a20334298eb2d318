# SPDX-License-Identifier: AGPL-3.0-or-later
"""The processes that serve one instance together: what they tell one another, beside what the database says.

A device's link is one process's at a time, and presence is told everywhere (A4, A6; docs/scaling.md). What a notice
says is acted on once; whatever must survive the loss of one is looked up in the database.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec.structs import replace

from tmtp_core import limits
from tmtp_core.domain.outcome import PresenceEdit

EVERYBODY: Final = None


class Notice(msgspec.Struct, tag_field="type", frozen=True, omit_defaults=True, kw_only=True):
    """What one process tells others. `number`: no two of a process are alike, or PostgreSQL would make one of them."""

    number: int = 0


class Arrived(Notice, tag="arrived", frozen=True, kw_only=True):
    """Something was queued for devices whose links this process has. PostgreSQL writes these, at the commit."""

    devices: list[int]


class Entered(Notice, tag="entered", frozen=True, kw_only=True):
    """A device has entered here, and all that was told before that has been heard. PostgreSQL writes these, too."""

    device: int


class HasChanged(Notice, tag="changed", frozen=True, kw_only=True):
    """There are new rows in `change`. PostgreSQL writes these too."""


class Wanted(Notice, tag="wanted", frozen=True, kw_only=True):
    """A link in process `by` wants this device, whose link the process has that gets this."""

    device: int
    claim: int
    by: int


class Settled(Notice, tag="settled", frozen=True, kw_only=True):
    """The answer: the device is free, or its link lives."""

    claim: int
    free: bool


class Shown(Notice, tag="shown", frozen=True, kw_only=True):
    """A link in process `by` has edited its account's presence."""

    by: int
    link: int
    uid: str
    kind: str
    uids: list[str]


class Gone(Notice, tag="gone", frozen=True, kw_only=True):
    """A link that had shown presence has ended."""

    by: int
    link: int
    uid: str


class Hidden(Notice, tag="hidden", frozen=True, kw_only=True):
    """Two accounts show one another no presence any more."""

    by: int
    uid: str
    other: str


class Hello(Notice, tag="hello", frozen=True, kw_only=True):
    """A process has come, or may have missed something: who is present?"""

    by: int


AnyNotice = Arrived | Entered | HasChanged | Wanted | Settled | Shown | Gone | Hidden | Hello

_DECODER: Final = msgspec.json.Decoder(AnyNotice)


class Carrier(Protocol):
    """What carries notices: `tmtp_core.store.bus.Bus`."""

    slot: int

    def tell(self, notice: str, slot: int | None = None) -> None: ...
    def renew(self) -> None: ...


class Kin(Protocol):
    """Who acts on what is told: the service."""

    def queued_elsewhere(self, devices: Sequence[int]) -> None:
        """Something waits for these devices."""
        ...

    def has_settled(self, device: int) -> None:
        """Nothing is under way any more that this device has posted elsewhere."""
        ...

    def look_again(self) -> None:
        """Others have changed something."""
        ...

    def wanted_elsewhere(self, device: int, claim: int, slot: int) -> None:
        """A process wants a device that is linked here."""
        ...

    def settled_elsewhere(self, claim: int, *, free: bool) -> None:
        """The answer to what this process wanted."""
        ...

    def shown_elsewhere(self, uid: str, link: object, change: PresenceEdit) -> None:
        """An account's presence changes, by a link of another process."""
        ...

    def gone_elsewhere(self, uid: str, link: object) -> None:
        """A link of another process has ended."""
        ...

    def hidden_elsewhere(self, uid: str, other: str) -> None:
        """Two accounts show one another no presence any more."""
        ...

    def presence_here(self) -> Iterable[tuple[str, int, tuple[str, ...]]]:
        """Of each link here that has shown presence: its account, its number, and whom the account tells."""
        ...


class Siblings:
    """Turns notices into calls, and calls into notices. Without a carrier nobody is told anything."""

    def __init__(self, kin: Kin, carrier: Carrier | None) -> None:
        self._kin = kin
        self._carrier = carrier
        self._shown: dict[int, dict[int, str]] = {}  # of each other process, the links that have shown presence
        self._living: frozenset[int] | None = None
        self._numbers = itertools.count(1)

    @property
    def there_may_be(self) -> bool:
        """Whether other processes may serve this instance."""
        return self._carrier is not None

    @property
    def is_first(self) -> bool:
        """Whether this process does what one of them is enough for."""
        return self._carrier is None or not self._living or min(self._living) == self._carrier.slot

    def lives(self, slot: int) -> bool:
        """Whether a process was alive when this one last looked."""
        return self._living is None or slot in self._living

    # -- what others hear --------------------------------------------------------------------------------------------
    def want(self, device: int, claim: int, slot: int) -> None:
        """Ask the process that has a device's link."""
        self._tell(lambda own: Wanted(device=device, claim=claim, by=own), slot)

    def settle(self, claim: int, slot: int, *, free: bool) -> None:
        """Answer one that asked."""
        self._tell(lambda own: Settled(claim=claim, free=free), slot)

    def show(self, uid: str, link: int, change: PresenceEdit, slot: int | None = EVERYBODY) -> None:
        """A link here has edited its account's presence; in several notices where one would be too long."""
        for first in range(0, len(change.uids) or 1, limits.PRESENCE_PER_NOTICE):
            uids = list(change.uids[first : first + limits.PRESENCE_PER_NOTICE])
            self._tell(lambda own, uids=uids: Shown(by=own, link=link, uid=uid, kind=change.kind, uids=uids), slot)

    def go(self, uid: str, link: int) -> None:
        """A link here that had shown presence has ended."""
        self._tell(lambda own: Gone(by=own, link=link, uid=uid))

    def hide(self, uid: str, other: str) -> None:
        """Two accounts show one another no presence any more."""
        self._tell(lambda own: Hidden(by=own, uid=uid, other=other))

    # -- what is heard -----------------------------------------------------------------------------------------------
    def hear(self, text: str) -> None:
        """A notice has come. One that is none, of a newer release perhaps, is ignored."""
        try:
            notice: AnyNotice = _DECODER.decode(text)
        except msgspec.MsgspecError:
            return
        if isinstance(notice, Arrived):
            self._kin.queued_elsewhere(notice.devices)
        elif isinstance(notice, Entered):
            self._kin.has_settled(notice.device)
        elif isinstance(notice, HasChanged):
            self._kin.look_again()
        elif isinstance(notice, Wanted):
            self._kin.wanted_elsewhere(notice.device, notice.claim, notice.by)
        elif isinstance(notice, Settled):
            self._kin.settled_elsewhere(notice.claim, free=notice.free)
        elif self._carrier is not None and notice.by != self._carrier.slot:
            self._hear_of_presence(notice)

    def came_back(self) -> None:
        """Notices may have been missed."""
        for slot in list(self._shown):
            self._forget(slot)
        self._tell(lambda own: Hello(by=own))
        for uid, link, uids in self._kin.presence_here():
            self.show(uid, link, PresenceEdit("init", uids))

    def living(self, slots: Iterable[int]) -> list[int]:
        """These processes live; those that do no more, whose links are gone."""
        self._living = frozenset(slots)
        dead = [slot for slot in self._shown if slot not in self._living]
        for slot in dead:
            self._forget(slot)
        return dead

    def _hear_of_presence(self, notice: Shown | Gone | Hidden | Hello) -> None:
        if isinstance(notice, Shown):
            self._shown.setdefault(notice.by, {})[notice.link] = notice.uid
            change = PresenceEdit(notice.kind, tuple(notice.uids))
            self._kin.shown_elsewhere(notice.uid, (notice.by, notice.link), change)
        elif isinstance(notice, Gone):
            self._shown.get(notice.by, {}).pop(notice.link, None)
            self._kin.gone_elsewhere(notice.uid, (notice.by, notice.link))
        elif isinstance(notice, Hidden):
            self._kin.hidden_elsewhere(notice.uid, notice.other)
        else:
            self._forget(notice.by)
            for uid, link, uids in self._kin.presence_here():
                self.show(uid, link, PresenceEdit("init", uids), notice.by)

    def _forget(self, slot: int) -> None:
        for link, uid in self._shown.pop(slot, {}).items():
            self._kin.gone_elsewhere(uid, (slot, link))

    def _tell(self, make: Any, slot: int | None = EVERYBODY) -> None:
        if self._carrier is not None:
            notice: Notice = replace(make(self._carrier.slot), number=next(self._numbers))
            self._carrier.tell(msgspec.json.encode(notice).decode(), slot)
