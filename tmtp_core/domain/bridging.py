# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a bridge reaches: its routes' recipients and nobody else (C2, protocol.md *Bridges*).

The routes are the service's. A bridge names a route by its recipient address; it learns no uid, so one that
is broken into has nobody else to write to.
"""

from collections.abc import Iterable

from tmtp_core.domain.port import Account, Ledger, Role, Status
from tmtp_core.errors import RequestRefused
from tmtp_core.wire.messages import TO_UID, Recipient


def resolve_routes(ledger: Ledger, bridge: Account, entries: Iterable[Recipient]) -> list[int]:
    """Account keys of everybody that these routes lead to. Raises `RequestRefused` for any other entry."""
    reached: dict[int, None] = {}
    for entry in entries:
        target = ledger.route(bridge, entry.id) if entry.type == TO_UID else None
        if target is None:
            raise RequestRefused(f"route {entry.id} not known")
        accounts = _accounts_named(ledger, target)
        if not accounts:
            raise RequestRefused(f"route {entry.id}: nobody has the alias {target} yet")
        reached.update(dict.fromkeys(accounts))
    if not reached:
        raise RequestRefused("a bridge must name a route")
    return list(reached)


def refuse_bridge(account: Account) -> None:
    """A bridge posts to its routes and does nothing else (protocol.md, *Bridges*)."""
    if account.role is Role.BRIDGE:
        raise RequestRefused("a bridge may only post to its routes")


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
