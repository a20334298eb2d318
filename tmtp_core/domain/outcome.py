# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a decision leads to, once it is durable: answers, copies, presence, links to cut.

Rules return an `Outcome` and change nothing but the ledger. The service lets an outcome's effects go only
after the commit that holds the decision (*commit, then speak*).
"""

from dataclasses import dataclass, field

from tmtp_core.domain.port import Message
from tmtp_core.wire.messages import Event


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of a decision: wall clock, nanoseconds since 1970."""

    wall_ns: int

    @property
    def ms(self) -> int:
        """Milliseconds since 1970."""
        return self.wall_ns // 1_000_000


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: keys of the account and of the device, and the account's uid."""

    account: int
    device: int
    uid: str


@dataclass(frozen=True, slots=True)
class Copy:
    """A message and the keys of the devices it was queued for."""

    message: Message
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PresenceEdit:
    """An account's presence list changes by these uids; `kind` is add, drop or init."""

    kind: str
    uids: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """The effects of one decision, in the order they take place."""

    answers: list[Event] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    presence: PresenceEdit | None = None
    enters: Asker | None = None  # the asking link is logged in as this device
    cuts: tuple[int, ...] = ()  # devices whose links end
