# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators do to accounts (C1), and the making of bridge accounts (C2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tmtp_core import limits
from tmtp_core.domain import groups
from tmtp_core.domain.accounts import tell_alias
from tmtp_core.domain.admission import Admissions
from tmtp_core.domain.device_log import Signed
from tmtp_core.domain.devices import Devices
from tmtp_core.domain.naming import check_free_for_group, take_alias
from tmtp_core.domain.outcome import NO_DEVICE, Asker, Copy, Moment, Outcome
from tmtp_core.domain.port import Account, Device, Identity, Invitation, Ledger, Role, Status
from tmtp_core.domain.posting import account_of_alias
from tmtp_core.errors import NotFound, RequestRefused
from tmtp_core.ids import RandomBytes

BRIDGE = "bridge:"
REPLIES = "replies:"
"""Counters: a bridge's account by its name, and whether it is handed replies."""


class Register(Ledger, Protocol):
    """The ledger, with what only administration asks of it."""

    def created_ms(self, account: Account) -> int:
        """When an account was made, in ms since 1970."""
        ...

    def invitation_by_key(self, key: int) -> Invitation | None:
        """The invitation of this key, if it has uses left."""
        ...

    def waiting_for(self, device: Device) -> int:
        """How many deliveries wait for a device."""
        ...

    def queued_for(self, account: Account) -> int:
        """How many deliveries wait for an account's devices."""
        ...

    def linked_elsewhere_of(self, account: Account) -> frozenset[int]:
        """Devices of an account whose links other processes have."""
        ...

    def counter(self, name: str) -> int | None:
        """A named number of the instance."""
        ...

    def set_counter(self, name: str, value: int) -> None:
        """Store a named number of the instance."""
        ...


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """What an administrator sees of an account. `queued` counts deliveries that wait; content is never shown.

    `connected`: how many of its devices have links. `identity`: whose it is, where a provider of sign-in has said so.
    `address`: of a ghost, for whom outside it stands; else empty.
    """

    uid: str
    aliases: tuple[str, ...]
    devices: int
    status: str
    role: str
    queued: int
    created_ms: int
    connected: int = 0
    identity: Identity | None = None
    address: str = ""


@dataclass(frozen=True, slots=True)
class DeviceSummary:
    """What an administrator sees of a device; `device` names it to `bar_device`."""

    device: int
    label: str
    standing: str
    key: str
    created_ms: int
    queued: int
    connected: bool = False


@dataclass(frozen=True, slots=True)
class InvitationSummary:
    """What an administrator sees of an invitation: never its token. `creator` is empty for administrators'."""

    invitation: int
    uses_left: int
    expires_ms: int | None
    note: str
    creator: str


@dataclass(frozen=True, slots=True)
class Joiner:
    """Who has joined by an administrators' invitation with this note, under which name ("" for none yet), and when."""

    invitation: int
    note: str
    uid: str
    alias: str
    joined_ms: int


@dataclass(frozen=True, slots=True)
class Administered:
    """An account after an administrator's act, the devices whose links end, and what others hear.

    `devices`: those that it has now; `elsewhere`: of these, which have links to other processes.
    """

    account: AccountSummary
    cuts: tuple[int, ...] = ()
    copies: Sequence[Copy] = ()
    devices: tuple[int, ...] = ()
    elsewhere: frozenset[int] = frozenset()


def shown(who: str, ledger: Register, moment: Moment) -> tuple[Administered, list[DeviceSummary]]:
    """One account and its devices, oldest first."""
    return _administered(ledger, _find(ledger, who)), devices(who, ledger, moment)


def bar(who: str, ledger: Register) -> Administered:
    """Bar an account; repeated, it changes nothing."""
    account = _find(ledger, who)
    ledger.set_status(account, Status.BARRED)
    return _administered(ledger, account, _devices(account))


def lift_bar(who: str, ledger: Register) -> Administered:
    """Let an account in again."""
    account = _find(ledger, who)
    ledger.set_status(account, Status.ACTIVE)
    return _administered(ledger, account)


def remove(who: str, ledger: Register) -> Administered:
    """Delete an account with its devices and queues. Its names stay taken for ever (D1)."""
    account = _find(ledger, who)
    if account.role is Role.GHOST:
        raise RequestRefused(f"{who} is somebody outside, whom a bridge would make anew; bar them instead")
    cuts = _devices(account)
    for group in ledger.owned_by(account):
        groups.pass_on(ledger, group)
    ledger.set_status(account, Status.REMOVED)
    return _administered(ledger, account, cuts)


def give_alias(who: str, alias: str, ledger: Register, moment: Moment) -> Administered:
    """A further alias for a member: also one that is kept for who gets its mail from outside (C2)."""
    account = _member(ledger, who)
    take_alias(ledger, account, alias, vouched=True)
    outcome = Outcome()
    tell_alias(ledger, outcome, account, alias, Asker(account.key, NO_DEVICE, account.uid), moment)
    return _administered(ledger, account, copies=outcome.copies)


def found_group(gid: str, who: str, ledger: Register, moment: Moment) -> Administered:
    """A new group with a member as its owner: also under a name that mail is routed to (C2)."""
    account = _member(ledger, who)
    if not account.aliases:
        raise RequestRefused(f"{who} has no alias yet, by which a group could know its owner")
    forms = check_free_for_group(ledger, gid, vouched=True)
    outcome = groups.found(ledger, account, gid, forms, Asker(account.key, NO_DEVICE, account.uid), moment)
    return _administered(ledger, account, copies=outcome.copies)


def ensure_bridge(
    name: str,
    routes: dict[str, str],
    genesis: Signed,
    replies: bool,
    devices: Devices,
    ledger: Register,
    moment: Moment,
) -> tuple[str, Outcome]:
    """The bridge account `name` with exactly these routes and the device of this genesis; links that end."""
    if moment.policy.members:
        raise RequestRefused("a members instance has no bridges (A1, C2)")
    key = ledger.counter(BRIDGE + name)
    outcome = Outcome()
    if key is None or ledger.account_by_key(key).status is Status.REMOVED:
        account = devices.open_bridge(genesis, ledger, moment)
        ledger.set_counter(BRIDGE + name, account.key)
    else:
        account = ledger.account_by_key(key)
        if account.status is not Status.ACTIVE:
            raise RequestRefused(f"the bridge {name} is {account.status.name.lower()}; lift that first")
        if account.log_damaged or all(device.public != genesis.read().device for device in account.devices):
            outcome = devices.renew_bridge(account, genesis, ledger, moment)
    ledger.set_counter(REPLIES + name, int(replies))
    ledger.set_routes(account, routes)
    return account.uid, outcome


def devices(who: str, ledger: Register, moment: Moment) -> list[DeviceSummary]:
    """The devices of an account, oldest first."""
    account = _find(ledger, who)
    found: list[DeviceSummary] = []
    for device in account.devices:
        standing = "password"
        if device.public is not None:
            standing = account.log.standing(device.public, moment.ms) if account.log is not None else "log damaged"
        waiting = ledger.waiting_for(device)
        found.append(DeviceSummary(device.key, device.label, standing, device.public or "", device.created_ms, waiting))
    return found


def bar_device(who: str, key: int, ledger: Register) -> Administered:
    """Delete a device of a revision 1 account, its secret and its queue (B4)."""
    account = _find(ledger, who)
    device = account.device(key)
    if device is None:
        raise NotFound(f"{who} has no device {key}")
    if device.public is not None:
        raise RequestRefused("this device has a key: its owner suspends or revokes it; `account reset` begins anew")
    ledger.remove_device(account, device, "the recipient's device was barred")
    return _administered(ledger, account, (key,))


def reset(who: str, admissions: Admissions, random_bytes: RandomBytes, ledger: Register, moment: Moment) -> str:
    """A token with which one new device begins the account's log anew."""
    account = _member(ledger, who)
    ledger.revoke_resets(account)  # one at a time
    expires_ms = moment.ms + limits.RESET_VALID_MS
    _, token = admissions.create_invitation(
        ledger, random_bytes, 1, expires_ms, f"reset of {account.uid}", moment, account=account.key
    )
    return token


def revoke_invitation(key: int, ledger: Register) -> None:
    """Nobody can use it any more."""
    found = ledger.invitation_by_key(key)
    if found is not None:
        ledger.revoke_invitation(found)
        return
    raise NotFound(f"there is no invitation {key}")


def _find(ledger: Register, who: str) -> Account:
    """The account of a uid or an alias."""
    account = ledger.account(who) or account_of_alias(ledger, who)
    if account is None or account.status is Status.REMOVED:
        raise NotFound(f"no account has the uid or alias {who!r}")
    return account


def _member(ledger: Register, who: str) -> Account:
    """The same, and no bridge's and nobody's outside."""
    account = _find(ledger, who)
    if account.role is not Role.MEMBER:
        raise RequestRefused(f"{who} is no member")
    return account


def _devices(account: Account) -> tuple[int, ...]:
    return tuple(device.key for device in account.devices)


def _administered(
    ledger: Register, account: Account, cuts: tuple[int, ...] = (), copies: Sequence[Copy] = ()
) -> Administered:
    summary = AccountSummary(
        uid=account.uid,
        aliases=tuple(account.aliases),
        devices=len(account.devices),
        status=account.status.name.lower(),
        role=Role(account.role).name.lower(),
        queued=ledger.queued_for(account),
        created_ms=ledger.created_ms(account),
        identity=ledger.identity_of(account),
        address=ledger.ghost(account).address if account.role is Role.GHOST else "",
    )
    return Administered(summary, cuts, copies, _devices(account), ledger.linked_elsewhere_of(account))
