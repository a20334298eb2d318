# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rules need from storage: the port that `tmtp_core.store` implements.

All calls happen inside one transaction, on one thread, and see what the transaction wrote so far. Keys are
small integers that never leave the service; uids, names and ids are what the wire shows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol


class Status(IntEnum):
    """An account's standing."""

    ACTIVE = 0
    BARRED = 1  # by an administrator: cannot log in, keeps its names and its queue
    REMOVED = 2  # gone, but its names stay taken for ever (D1)


class Role(IntEnum):
    """What an account is for."""

    MEMBER = 0
    BRIDGE = 1  # posts to its routes' recipients and does nothing else (C2)


class MemberStatus(IntEnum):
    """An account's standing in a group."""

    INVITED = 1
    JOINED = 2
    BARRED = 3


class Rank(IntEnum):
    """Order of delivery: `user` messages overtake what is not yet in flight (wire.md §8.2)."""

    USER = 0
    ORDINARY = 1


@dataclass(slots=True)
class Device:
    """A node of an account; `credential` is the keyed hash of its secret."""

    key: int
    credential: bytes


@dataclass(slots=True)
class Account:
    """An account with its devices and aliases, oldest first."""

    key: int
    uid: str
    status: Status
    role: Role
    devices: list[Device] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Membership:
    """An account's place in a group; `alias` is the one on record there."""

    account: int
    alias: str
    status: MemberStatus


@dataclass(slots=True)
class Group:
    """A group and everybody it ever knew, by account key."""

    key: int
    gid: str
    members: dict[int, Membership] = field(default_factory=dict)

    def joined(self) -> list[int]:
        """Account keys of the joined members."""
        return [place.account for place in self.members.values() if place.status is MemberStatus.JOINED]

    def on_record(self, alias: str) -> Membership | None:
        """The membership whose alias this is."""
        return next((place for place in self.members.values() if place.alias == alias), None)


@dataclass(frozen=True, slots=True)
class NameOwner:
    """Who holds a name: an account or a group. Both share one name space (wire.md §4.6)."""

    name: str
    account: int | None
    group: int | None


@dataclass(frozen=True, slots=True)
class Body:
    """A message's data: inline while small, else the name of a file in the payload folder."""

    size: int
    inline: bytes = b""
    file: str | None = None


EMPTY = Body(0)


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message. `number` is its id, `head` its framed header as every recipient gets it."""

    number: int
    rank: Rank
    head: bytes
    body: Body

    @property
    def size(self) -> int:
        """Octets on the wire."""
        return len(self.head) + self.body.size


@dataclass(frozen=True, slots=True)
class Posted:
    """What a post was answered with."""

    number: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """A registration token's record; the token itself is known to nobody but its bearer."""

    key: int
    uses_left: int
    expires_ms: int | None


class Ledger(Protocol):
    """One transaction over the durable state of one instance."""

    def account(self, uid: str) -> Account | None:
        """The account of this uid, whatever its status."""
        ...

    def account_by_key(self, key: int) -> Account:
        """The account of a key that is known to exist."""
        ...

    def create_account(self, uid: str, role: Role, now_ms: int) -> Account:
        """A new, active account without devices and names."""
        ...

    def set_status(self, account: Account, status: Status) -> None:
        """Bar, unbar or remove; removal deletes devices, queues and memberships and keeps the names."""
        ...

    def add_device(self, account: Account, credential: bytes, now_ms: int) -> Device:
        """A further device with an empty queue."""
        ...

    def replace_credential(self, device: Device, credential: bytes) -> None:
        """Give a device a new secret."""
        ...

    def name(self, name: str) -> NameOwner | None:
        """Who holds exactly this name."""
        ...

    def names_like(self, skeletons: frozenset[str]) -> list[NameOwner]:
        """Who holds names that share one of these skeletons (D1)."""
        ...

    def take_alias(self, account: Account, alias: str, skeletons: frozenset[str]) -> None:
        """Give a free name to an account, for ever."""
        ...

    def group(self, gid: str) -> Group | None:
        """The group of this name."""
        ...

    def create_group(self, gid: str, skeletons: frozenset[str]) -> Group:
        """A new group, without members, under a free name."""
        ...

    def set_membership(self, group: Group, place: Membership) -> None:
        """Add or change one member."""
        ...

    def next_number(self, now_ns: int) -> int:
        """A message number above every one given before, close to the clock when the clock allows."""
        ...

    def enqueue(self, message: Message, devices: Iterable[int]) -> None:
        """Store a message for these devices; without devices it is not stored."""
        ...

    def copy_queue(self, source: int, target: int) -> None:
        """Queue for `target` what `source` has not acknowledged."""
        ...

    def posted_before(self, device: int, key: str) -> Posted | None:
        """What this device's request of the same key (`wire.messages.repetition_key`) was answered with."""
        ...

    def remember_post(self, device: int, key: str, posted: Posted) -> None:
        """Keep the answer for a repetition of the request."""
        ...

    def invitation(self, token_hash: bytes) -> Invitation | None:
        """The invitation of a token, unless it was revoked."""
        ...

    def create_invitation(self, token_hash: bytes, uses: int, expires_ms: int | None, note: str, now_ms: int) -> None:
        """Store a new invitation."""
        ...

    def use_invitation(self, invitation: Invitation) -> None:
        """Count one use."""
        ...

    def set_routes(self, account: Account, routes: dict[str, str]) -> None:
        """Replace a bridge's routes: recipient address to alias or group."""
        ...

    def route(self, account: Account, recipient: str) -> str | None:
        """Where a bridge's recipient leads."""
        ...
