# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a bridge reaches: its routes' recipients, and who answers it; and for whom it speaks (C2, docs/protocol.md).

The routes are the service's. A bridge names a route by its recipient address, and learns no uid but that of a member
who writes to one of its ghosts; him it may write to, as that ghost. So one that is broken into has nobody else to write
to. Whom it speaks for is a *ghost*: an account of its own that nobody logs in to, whose name is its address, and whose
every message is marked with the bridge it came by (D1).
"""

from collections.abc import Iterable
from typing import Final

from tmtp_core import limits
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.port import Account, Ledger, Role, Status
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import RandomBytes, new_uid
from tmtp_core.names import has_address_form
from tmtp_core.wire.messages import TO_UID, Outsider, Recipient, Via

NOBODY_YET: Final = "nobody has the alias"
NO_KEY_YET: Final = "the recipient has no device with a key yet"
"""In refusals that pass by themselves, when the recipient joins or moves to keys: they end in `yet`."""


def resolve_routes(ledger: Ledger, bridge: Account, address: str, entries: Iterable[Recipient]) -> list[int]:
    """Account keys of everybody that these routes lead to, and of members who have written to the ghost of `address`.

    Raises `RequestRefused` for any other entry, whoever that may be.
    """
    ghost = ledger.ghost_at(bridge, address)
    reached: dict[int, None] = {}
    for entry in dict.fromkeys(entries):
        target = ledger.route(bridge, entry.id) if entry.type == TO_UID else None
        if target is not None:
            accounts = _accounts_named(ledger, target)
            if not accounts:
                raise RequestRefused(f"route {entry.id}: {NOBODY_YET} {target} yet")
        else:
            accounts = _who_wrote_to(ledger, ghost, entry)
            if not accounts:
                raise RequestRefused(f"route {entry.id} not known")
        reached.update(dict.fromkeys(accounts))
    if not reached:
        raise RequestRefused("a bridge must name a route")
    return list(reached)


def outside_address(outsider: Outsider, moment: Moment) -> str:
    """The address that a bridge speaks for, as ghosts are known: in lower case, or a block would be one letter wide.

    Raises `RequestRefused`.
    """
    if moment.policy.members:
        raise RequestRefused("nobody speaks for outsiders in a members instance (A1, C2)")
    address = outsider.address.lower()  # not folded: ß and ss are two people
    printable = address.isprintable() and " " not in address
    if not (printable and has_address_form(address)) or len(address.encode()) > limits.OUTSIDE_ADDRESS_MAX_BYTES:
        raise RequestRefused("as: the address has not the form of one")
    return address


def ghost_for(ledger: Ledger, bridge: Account, address: str, random_bytes: RandomBytes, moment: Moment) -> Account:
    """The ghost that stands for an address outside, made at its first message."""
    ghost = ledger.ghost_at(bridge, address)
    return ghost if ghost is not None else ledger.create_ghost(bridge, new_uid(random_bytes), address, moment.ms)


def check_shows_origin(recipients: Iterable[Account]) -> None:
    """Only a device with a key shows where a message comes from (D1), so no other gets one from outside.

    Raises `RequestRefused` when that leaves nobody.
    """
    if all(device.public is None for recipient in recipients for device in recipient.devices):
        raise RequestRefused(NO_KEY_YET)


def via(ledger: Ledger, bridge: Account, address: str, proof: str) -> Via:
    """The mark on everything that is sent for a ghost: the service's word, not the bridge's, on which bridge it was."""
    return Via(ledger.bridge_name(bridge), address, proof[: limits.LABEL_MAX_CHARACTERS])


def refuse_bridge(account: Account) -> None:
    """A bridge posts to its routes and does nothing else (protocol.md, *Bridges*)."""
    if account.role is Role.BRIDGE:
        raise RequestRefused("a bridge may only post to its routes")


def _who_wrote_to(ledger: Ledger, ghost: Account | None, entry: Recipient) -> list[int]:
    """The account of a member's uid, if he has written to this ghost of his own accord (A3)."""
    account = ledger.account(entry.id) if ghost is not None and entry.type == TO_UID else None
    if ghost is None or account is None or account.status is Status.REMOVED or account.role is not Role.MEMBER:
        return []
    return [account.key] if account.agreed_to(ghost.key) else []


def _accounts_named(ledger: Ledger, target: str) -> list[int]:
    """The account of an alias, or the joined members of a group."""
    owner = ledger.name(target)
    if owner is None:
        return []
    if owner.account is not None:
        account = ledger.account_by_key(owner.account)
        return [] if account.status is Status.REMOVED else [account.key]
    group = ledger.group(target)
    return group.joined() if group is not None else []
