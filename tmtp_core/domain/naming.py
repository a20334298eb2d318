# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one name space of aliases and groups: for ever one owner, no look-alikes (D1, wire.md §4.5 and §4.6)."""

from tmtp_core import limits
from tmtp_core.domain.port import Account, Ledger
from tmtp_core.errors import RequestRefused
from tmtp_core.names import NameRefused, check_name, skeletons


def check_size(field: str, name: str) -> None:
    """Refuse a name under 8 bytes, in the words every client knows."""
    if len(name.encode()) < limits.NAME_MIN_BYTES:
        raise RequestRefused(f"{field} must be 8+ characters")


def check_form(step: str, name: str) -> None:
    """Refuse what cannot be a name. `step` is the reference server's name of the step that fails."""
    try:
        check_name(name)
    except NameRefused as refusal:
        if refusal.reason == "invalid":
            raise RequestRefused(f"{step}: invalid string '{name}'") from None
        raise RequestRefused(f"{step}: {refusal}") from None


def take_alias(ledger: Ledger, account: Account, alias: str, *, vouched: bool = False) -> None:
    """Make `alias` one of the account's; asking again for one it has succeeds.

    `vouched`: an administrator, or his invitation, stands behind it. Raises `RequestRefused` with wire.md §5's texts.
    """
    check_size("newalias", alias)
    check_form("AddAlias", alias)
    owner = ledger.name(alias)
    if owner is not None:
        if owner.account == account.key:
            return
        raise RequestRefused(
            f"AddAlias: alias {alias} not available"
            if owner.group is not None
            else f"AddAlias: alias {alias} already taken"
        )
    forms = skeletons(alias)
    if not vouched:
        _check_not_kept(ledger, "AddAlias: alias", alias, forms)
    if any(other.account != account.key for other in ledger.names_like(forms)):
        raise RequestRefused(f"AddAlias: alias {alias} looks like a name already taken")
    if len(account.aliases) >= limits.ALIASES_PER_ACCOUNT_MAX:
        raise RequestRefused(f"AddAlias: Exceeds {limits.ALIASES_PER_ACCOUNT_MAX} aliases")
    ledger.take_alias(account, alias, forms)


def check_free_for_group(ledger: Ledger, gid: str, *, vouched: bool = False) -> frozenset[str]:
    """The skeletons of a name that a new group may take. Raises `RequestRefused` when it may not."""
    check_form("GroupInvite", gid)
    if ledger.name(gid) is not None:
        raise RequestRefused(f"GroupInvite: gid {gid} not available")
    forms = skeletons(gid)
    if not vouched:
        _check_not_kept(ledger, "GroupInvite: gid", gid, forms)
    if ledger.names_like(forms):
        raise RequestRefused(f"GroupInvite: gid {gid} looks like a name already taken")
    return forms


def _check_not_kept(ledger: Ledger, what: str, name: str, forms: frozenset[str]) -> None:
    """A name that mail from outside is routed to, or one that looks like it, is not for the first who asks (C2)."""
    if not forms.isdisjoint(ledger.routed_names()):
        raise RequestRefused(f"{what} {name} is kept, since mail is routed to it: it takes an administrator")
