# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators do to accounts (C1), and the making of bridge accounts (C2)."""

from dataclasses import dataclass
from typing import Protocol

from tmtp_core.domain.accounts import Accounts
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.port import Account, Ledger, Role, Status
from tmtp_core.domain.posting import account_of_alias
from tmtp_core.errors import RequestRefused


class Register(Ledger, Protocol):
    """The ledger, with what only administration asks of it."""

    def account_keys(self) -> list[int]:
        """Keys of all accounts that were not removed, oldest first."""
        ...

    def queued_for(self, account: Account) -> int:
        """How many deliveries wait for an account's devices."""
        ...

    def counter(self, name: str) -> int | None:
        """A named number of the instance."""
        ...

    def set_counter(self, name: str, value: int) -> None:
        """Store a named number of the instance."""
        ...


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """What an administrator sees of an account. `queued` counts deliveries that wait; content is never shown."""

    uid: str
    aliases: tuple[str, ...]
    devices: int
    status: str
    role: str
    queued: int


@dataclass(frozen=True, slots=True)
class Administered:
    """An account after an administrator's act, and the devices whose links end."""

    account: AccountSummary
    cuts: tuple[int, ...] = ()


def summaries(ledger: Register) -> list[AccountSummary]:
    """All accounts that were not removed, oldest first."""
    return [_summary(ledger, ledger.account_by_key(key)) for key in ledger.account_keys()]


def bar(who: str, ledger: Register) -> Administered:
    """Bar an account; repeated, it changes nothing."""
    account = _find(ledger, who)
    ledger.set_status(account, Status.BARRED)
    return Administered(_summary(ledger, account), _devices(account))


def lift_bar(who: str, ledger: Register) -> Administered:
    """Let an account in again."""
    account = _find(ledger, who)
    ledger.set_status(account, Status.ACTIVE)
    return Administered(_summary(ledger, account))


def remove(who: str, ledger: Register) -> Administered:
    """Delete an account with its devices and queues. Its names stay taken for ever (D1)."""
    account = _find(ledger, who)
    cuts = _devices(account)
    ledger.set_status(account, Status.REMOVED)
    return Administered(_summary(ledger, account), cuts)


def ensure_bridge(
    name: str, routes: dict[str, str], renew: bool, accounts: Accounts, ledger: Register, moment: Moment
) -> tuple[str, str | None]:
    """The bridge account `name` with exactly these routes; its secret when it is new or renewed."""
    counter = f"bridge:{name}"
    key = ledger.counter(counter)
    secret: str | None = None
    if key is None:
        account, secret = accounts.open_bridge(ledger, moment)
        ledger.set_counter(counter, account.key)
    else:
        account = ledger.account_by_key(key)
        if account.status is not Status.ACTIVE:
            raise RequestRefused(f"the bridge {name} is {account.status.name.lower()}; lift that first")
        if renew:
            secret = accounts.renew_bridge(ledger, account)
    ledger.set_routes(account, routes)
    return account.uid, secret


def _find(ledger: Register, who: str) -> Account:
    """The account of a uid or an alias."""
    account = ledger.account(who) or account_of_alias(ledger, who)
    if account is None or account.status is Status.REMOVED:
        raise RequestRefused(f"no account has the uid or alias {who!r}")
    return account


def _devices(account: Account) -> tuple[int, ...]:
    return tuple(device.key for device in account.devices)


def _summary(ledger: Register, account: Account) -> AccountSummary:
    return AccountSummary(
        uid=account.uid,
        aliases=tuple(account.aliases),
        devices=len(account.devices),
        status=account.status.name.lower(),
        role=Role(account.role).name.lower(),
        queued=ledger.queued_for(account),
    )
