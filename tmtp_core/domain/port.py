# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rules need from storage: the port that `tmtp_core.store` implements.

All calls happen inside one transaction, on one thread, and see what the transaction wrote so far. Keys are
small integers that never leave the service; uids, names and ids are what the wire shows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import msgspec

from tmtp_core.crypto.account_log import LogState
from tmtp_core.crypto.log_records import Record


class Status(IntEnum):
    """An account's standing."""

    ACTIVE = 0
    BARRED = 1  # by an administrator: cannot log in, keeps its names and its queue
    REMOVED = 2  # gone, but its names stay taken for ever (D1)


class Role(IntEnum):
    """What an account is for."""

    MEMBER = 0
    BRIDGE = 1  # posts to its routes' recipients and does nothing else (C2)
    GHOST = 2  # somebody outside, for whom a bridge posts; nobody logs in as one


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
    """A node of an account: with a secret, whose keyed hash is `credential` (revision 1), or with a key of its own.

    `public` is the key's name; `prekey` the device's present prekey, its time and its signature.
    """

    key: int
    credential: bytes
    public: str | None = None
    box: str = ""
    label: str = ""
    prekey: tuple[str, int, str] | None = None
    created_ms: int = 0

    @property
    def speaks(self) -> int:
        """The revision in which messages for it are written."""
        return 1 if self.public is None else 2


@dataclass(slots=True)
class Spent:
    """What an account used of its quotas in the hour that began at `since_ms`. Kept in memory only."""

    since_ms: int = 0
    posts: int = 0
    octets: int = 0
    finds: int = 0
    logins: int = 0


@dataclass(slots=True)
class Account:
    """An account with its devices and aliases, oldest first.

    `log`: None for a revision 1 account, and where it is not as this service wrote it: then `log_damaged`, no device
    gets in, and an administrator resets the account. `admits`: keys of the accounts that may post to this one, each
    with those that introduced it: none where the account agreed to it itself. `blocked`: keys of those whose messages
    are hidden.
    """

    key: int
    uid: str
    status: Status
    role: Role
    devices: list[Device] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    log: LogState | None = None
    log_damaged: bool = False
    admits: dict[int, frozenset[int]] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)
    introductions: bool = True

    @property
    def has_keys(self) -> bool:
        """Whether its devices prove themselves by key: it has moved to revision 2."""
        return self.log is not None or self.log_damaged

    def agreed_to(self, other: int) -> bool:
        """Whether another account may post to this one by its own doing, and not only since somebody introduced it."""
        return self.admits.get(other) == frozenset()

    def device(self, key: int) -> Device | None:
        """The device of this key, if it is the account's still."""
        return next((device for device in self.devices if device.key == key), None)


@dataclass(slots=True)
class Membership:
    """An account's place in a group; `alias` is the one on record there, `since_ms` when the standing last changed."""

    account: int
    alias: str
    status: MemberStatus
    since_ms: int = 0


@dataclass(slots=True)
class Group:
    """A group and everybody it ever knew, by account key."""

    key: int
    gid: str
    members: dict[int, Membership] = field(default_factory=dict)
    owner: int | None = None  # who made it, or has it from the one before

    def eldest(self, *, but: int | None = None) -> int | None:
        """Of the joined members, the one who joined first."""
        joined = [p for p in self.members.values() if p.status is MemberStatus.JOINED and p.account != but]
        return min(joined, key=lambda place: (place.since_ms, place.account)).account if joined else None

    def has_joined(self, account: int | None) -> bool:
        """Whether an account is a joined member."""
        place = self.members.get(account) if account is not None else None
        return place is not None and place.status is MemberStatus.JOINED

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


class Body(msgspec.Struct, frozen=True, gc=False):
    """A message's data: inline while small, else the name of a file in the payload folder."""

    size: int
    inline: bytes = b""
    file: str | None = None


EMPTY = Body(0)


class Message(msgspec.Struct, frozen=True, gc=False):
    """A stored message. `number` is its id, `head` its framed header as every recipient gets it.

    Where recipients speak both revisions and the headers differ, `head` is revision 1's and `head2` revision 2's.
    `sender` is the account that hears when it cannot be delivered, None where nobody does; `known_as` the number by
    which the sender knows it, None for its own.

    `hidden`: as it is in the queue of somebody who blocks its sender: without content, waiting and taken like the rest
    and never shown, so that the sender cannot tell, not even by what comes back undelivered (D3).
    """

    number: int
    rank: Rank
    head: bytes
    body: Body
    head2: bytes = b""
    sender: int | None = None
    known_as: int | None = None
    hidden: bool = False

    def head_for(self, revision: int) -> bytes:
        """The header for a device that speaks `revision`."""
        return self.head2 if revision == 2 and self.head2 else self.head

    @property
    def size(self) -> int:
        """Octets on the wire."""
        return len(self.head) + self.body.size


def without_content(message: Message) -> Message:
    """A message as it stands in the queue of somebody from whom it is hidden."""
    return Message(message.number, message.rank, b"", EMPTY, hidden=True)


class Posted(msgspec.Struct, frozen=True, gc=False):
    """What a post was answered with."""

    number: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """A registration token's record; the token itself is known to nobody but its bearer.

    `creator`: the member who invites, None for an administrator. `account`: whose devices it resets, if it does that.
    `vouches`: whoever registers with it may take a name that mail is routed to (C2).
    """

    key: int
    uses_left: int
    expires_ms: int | None
    note: str = ""
    creator: int | None = None
    gid: str | None = None
    account: int | None = None
    vouches: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as a provider of sign-in knows them; `session` is the provider's name for this sign-in, "" for none."""

    issuer: str
    subject: str
    session: str = ""


@dataclass(frozen=True, slots=True)
class Ghost:
    """Somebody outside: the account that stands for them, the bridge that owns it, their address."""

    account: int
    bridge: int
    address: str


@dataclass(frozen=True, slots=True)
class Stale:
    """A message that is given up: its sender, and per account the devices that still wait for it.

    `number` is its own, `known_as` the sender's; `head` as it was stored; `entries` are device and rank. `taken`:
    accounts one of whose devices, gone since, has taken it.
    """

    number: int
    known_as: int
    sender: int | None
    head: bytes
    waiting: dict[int, tuple[int, ...]]
    entries: tuple[tuple[int, int], ...]
    taken: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Orphaned:
    """The queue of an account's last device, which is gone: what nobody took goes back to its senders."""

    device: int
    account: int
    reason: str


class Receipts(Protocol):
    """Counts what members receive, where the instance has a bridge: `counting` (C5)."""

    counting: bool

    def count(self, accounts: Sequence[int], now_ms: int, *, outside: bool) -> None:
        """Each of these accounts received a message, from somebody `outside` or from a member."""
        ...


class Ledger(Protocol):
    """One transaction over the durable state of one instance."""

    @property
    def received(self) -> Receipts:
        """Counts what members receive."""
        ...

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

    def add_device(
        self,
        account: Account,
        credential: bytes,
        now_ms: int,
        *,
        public: str | None = None,
        box: str = "",
        label: str = "",
    ) -> Device:
        """A further device with an empty queue."""
        ...

    def remove_device(self, account: Account, device: Device, reason: str) -> None:
        """Delete a device and its key, and its queue: of an account's last one that is given back, with this reason."""
        ...

    def device_named(self, public: str) -> tuple[Account, Device] | None:
        """Whose device has this key."""
        ...

    def device_gets_key(self, device: Device, public: str, box: str) -> None:
        """A device's secret gives way to a key."""
        ...

    def label_device(self, device: Device, label: str) -> None:
        """What the person calls a device."""
        ...

    def set_prekey(self, device: Device, key: str, time_ms: int, sig: str) -> None:
        """Replace a device's prekey."""
        ...

    def append_log(self, account: Account, record: Record) -> None:
        """Store a record; `account.log` holds its effect already."""
        ...

    def drop_log(self, account: Account) -> None:
        """Forget a damaged log, so that the account can begin another one."""
        ...

    def log_records(self, account: Account, since: int, size_max: int) -> tuple[list[bytes], bool]:
        """Records from number `since` on as JSON, about `size_max` octets of them; whether there are more."""
        ...

    def admit(self, account: Account, other: int, introducer: int | None = None) -> None:
        """From now on `other` may post to `account`; who agreed to it itself needs no introducer, then or later."""
        ...

    def admitting(self, account: Account) -> list[int]:
        """Keys of the accounts to which `account` may post."""
        ...

    def set_block(self, account: Account, other: int, blocked: bool) -> None:
        """`account` blocks another one, or does so no longer."""
        ...

    def set_introductions(self, account: Account, wanted: bool) -> None:
        """Whether others may make `account` acquainted with somebody."""
        ...

    def spent(self, account: Account) -> Spent:
        """What an account used of its quotas of this hour; kept in memory, whatever becomes of a transaction."""
        ...

    def meter(self, account: Account, kind: str) -> tuple[int, int]:
        """A durable count: when it began (ms since 1970), and how much it counts."""
        ...

    def set_meter(self, account: Account, kind: str, since_ms: int, count: int) -> None:
        """Store a durable count."""
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

    def create_group(self, gid: str, skeletons: frozenset[str], owner: int) -> Group:
        """A new group, without members, under a free name."""
        ...

    def set_owner(self, group: Group, owner: int) -> None:
        """The group's owner changes."""
        ...

    def share_group(self, one: Account, other: Account) -> bool:
        """Whether both are joined members of one group."""
        ...

    def owned_by(self, account: Account) -> list[Group]:
        """The groups that an account owns."""
        ...

    def aliases_from(self, text: str, count: int) -> Sequence[str]:
        """Aliases of active members that begin with `text`, in any case."""
        ...

    def set_membership(self, group: Group, place: Membership) -> None:
        """Add or change one member."""
        ...

    def next_number(self, now_ns: int) -> int:
        """A message number above every one given before, close to the clock when the clock allows."""
        ...

    def enqueue(self, message: Message, devices: Iterable[int], hidden: Iterable[int] = ()) -> None:
        """Store a message for these devices, hidden from those; without devices it is not stored."""
        ...

    def copy_queue(self, sources: Iterable[int], target: int) -> None:
        """Queue for `target` what one of `sources` has not acknowledged."""
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

    def create_invitation(
        self,
        token_hash: bytes,
        uses: int,
        expires_ms: int | None,
        note: str,
        now_ms: int,
        *,
        creator: int | None = None,
        gid: str | None = None,
        account: int | None = None,
        vouches: bool = False,
    ) -> int:
        """Store a new invitation; its key."""
        ...

    def invitations_of(self, creator: int | None) -> list[Invitation]:
        """The invitations that a member, or for None administrators, made, with uses left."""
        ...

    def revoke_invitation(self, invitation: Invitation) -> None:
        """Nobody can use it any more."""
        ...

    def revoke_resets(self, account: Account) -> None:
        """No invitation with which this account begins anew is good any more."""
        ...

    def use_invitation(self, invitation: Invitation, by: Account | None = None) -> None:
        """Count one use; of an administrators' invitation it is kept who has joined by it, where that is known."""
        ...

    def accounts_of(self, issuer: str, subject: str | None, session: str | None = None) -> list[int]:
        """Keys of the accounts of a person, or (None) of all whom the provider knows; or of this session only."""
        ...

    def bind(self, account: Account, identity: Identity, since_s: int) -> None:
        """Whose account this is, by a sign-in of then (seconds since 1970, the provider's clock)."""
        ...

    def identity_of(self, account: Account) -> Identity | None:
        """Whose an account is, where a provider has said so."""
        ...

    def signed_in_s(self, account: Account) -> int:
        """When the person of an account last signed in."""
        ...

    def set_signed_out(self, account: Account, since_s: int) -> None:
        """It was the provider who barred the account, then by its own clock; what next changes its status ends that."""
        ...

    def signed_out_s(self, account: Account) -> int:
        """Since when the provider has barred it; 0 where it was not the provider."""
        ...

    def was_used(self, once: bytes) -> bool:
        """Whether something that is good once was used."""
        ...

    def use_once(self, once: bytes, until_ms: int) -> None:
        """It is used; nobody can bring it again after `until_ms`."""
        ...

    def used_until_ms(self, once: bytes) -> int:
        """Until when it is known that something was used; 0 where it is not."""
        ...

    def use_until(self, once: bytes, until_ms: int) -> None:
        """The same as `use_once`, also for what was used already."""
        ...

    def set_routes(self, account: Account, routes: dict[str, str]) -> None:
        """Replace a bridge's routes: recipient address to alias or group."""
        ...

    def route(self, account: Account, recipient: str) -> str | None:
        """Where a bridge's recipient leads."""
        ...

    def routed_names(self) -> frozenset[str]:
        """The skeletons of all aliases and groups that a route leads to: whoever has one gets its mail."""
        ...

    def bridge_name(self, bridge: Account) -> str:
        """What the administrator calls a bridge."""
        ...

    def takes_replies(self, bridge: Account) -> bool:
        """Whether what members write to a bridge's ghosts is handed to it."""
        ...

    def ghost_at(self, bridge: Account, address: str) -> Account | None:
        """The account that stands for an address outside, at this bridge."""
        ...

    def create_ghost(self, bridge: Account, uid: str, address: str, now_ms: int) -> Account:
        """A new ghost of a bridge."""
        ...

    def ghost(self, account: Account) -> Ghost:
        """Whom a ghost stands for."""
        ...

    def stale(self, after: int, before: int, count: int) -> list[Stale]:
        """The oldest messages with numbers between these two, at most `count`."""
        ...

    def orphaned(self) -> Orphaned | None:
        """A queue that is being given back."""
        ...

    def orphans(self, queue: Orphaned, count: int) -> list[Stale]:
        """The first messages of such a queue; where there are none left, it is gone."""
        ...

    def give_up(self, stale: Stale) -> None:
        """Take a message out of the queues that it names."""
        ...
