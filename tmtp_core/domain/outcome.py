# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a decision leads to, once it is durable: answers, copies, presence, links to cut.

Rules return an `Outcome` and change nothing but the ledger. The service lets an outcome's effects go only
after the commit that holds the decision (*commit, then speak*).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from tmtp_core.domain.policy import Policy
from tmtp_core.domain.port import Message
from tmtp_core.wire.revision2 import Event


class Moment(msgspec.Struct, frozen=True):
    """The time of a decision (wall clock, nanoseconds since 1970), and the rules in force then."""

    wall_ns: int
    policy: Policy = msgspec.field(default_factory=Policy)

    @property
    def ms(self) -> int:
        """Milliseconds since 1970."""
        return self.wall_ns // 1_000_000


NO_DEVICE: Final = 0
"""In `Asker.device`: no device asks, but the account's recovery key itself."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: keys of the account and of the device, and the account's uid.

    `public`: the key that proved itself, where one did; messages to it are revision 2's then.
    """

    account: int
    device: int
    uid: str
    public: str | None = None

    @property
    def revision(self) -> int:
        """In which revision messages to this device are written."""
        return 1 if self.public is None else 2


class Copy(msgspec.Struct, frozen=True, gc=False):
    """A message and the keys of the devices it was queued for; those it is hidden from take it without showing it."""

    message: Message
    devices: tuple[int, ...]
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with data."""

    event: Event
    data: bytes


@dataclass(frozen=True, slots=True)
class PresenceEdit:
    """An account's presence list changes by these uids; `kind` is add, drop or init."""

    kind: str
    uids: tuple[str, ...]


class Outcome(msgspec.Struct):
    """The effects of one decision, in the order they take place."""

    answers: list[Event | Answer] = msgspec.field(default_factory=list)
    copies: list[Copy] = msgspec.field(default_factory=list)
    presence: PresenceEdit | None = None
    hidden: tuple[str, str] | None = None  # these two show one another no presence from now on (a block)
    enters: Asker | None = None  # the asking link is logged in as this device
    restricted: bool = False  # and may do little: look at its account's log, and add to it
    cuts: Mapping[int, str] = msgspec.field(default_factory=dict)  # devices whose links end, and what they are told
