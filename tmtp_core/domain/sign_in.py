# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts of people whom an identity provider vouches for: whose they are, and what its sign-out does (A1)."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from tmtp_core.domain.outcome import Outcome
from tmtp_core.domain.port import Account, Identity, Ledger, Status
from tmtp_core.errors import LoginRefused
from tmtp_core.wire.messages import SignIn

AUTHENTICATION_REQUIRED = "authentication required"
"""wire.md §3.4: whatever is wrong with what a client brings, and when it brings nothing."""
SIGNED_OUT = "signed out by the provider"
"""What the links of an account are told when its provider ends its session."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whom a provider's token proves.

    `issued_s`: when, by the provider's clock. `once`: by which the sign-in is known, and good once; until `until_ms` it
    could be brought again, which for sign-ins and sign-outs of one provider is equally long after they were issued.
    """

    identity: Identity
    issued_s: int
    once: bytes
    until_ms: int


@dataclass(frozen=True, slots=True)
class SignedOut:
    """What a provider ends: a person's sign-ins (`subject`), or the one that it calls `session`; "" for not named."""

    issuer: str
    subject: str
    session: str
    issued_s: int
    once: bytes
    until_ms: int


@dataclass(frozen=True, slots=True)
class NonceRule:
    """Which nonce a token must have; and whether that one is for a single token, or for all of one device's."""

    is_right: Callable[[str], bool]
    for_one_token: bool


@dataclass(frozen=True, slots=True)
class SignInRule:
    """Sign-in with an identity provider: what `tmtprev` announces, and who checks what the client brings.

    `announced`, given the nonce for a client that makes none, or None, tells where to sign in. `verify` gets the `oidc`
    object of op 1 or 2 and which nonce is the right one; it raises `LoginRefused` for what proves nobody, and
    `ServiceUnavailable` when that cannot be told now. `required`: nobody registers without. An identity has at most
    `accounts_max` accounts.
    """

    announced: Callable[[str | None], tuple[SignIn, ...]]
    verify: Callable[[dict[str, Any], NonceRule], Awaitable[SignedIn]]
    required: bool = True
    accounts_max: int = 1


def admit_person(ledger: Ledger, rule: SignInRule, signed_in: SignedIn | None) -> None:
    """Whether this sign-in opens an account. Raises `LoginRefused`."""
    if signed_in is None:
        if rule.required:
            raise LoginRefused(AUTHENTICATION_REQUIRED)
        return
    if ledger.was_used(signed_in.once) or _was_ended(signed_in, ledger):
        raise LoginRefused(AUTHENTICATION_REQUIRED)
    if len(ledger.accounts_of(signed_in.identity.issuer, signed_in.identity.subject)) >= rule.accounts_max:
        raise LoginRefused("you have an account here already")


def keep_person(ledger: Ledger, account: Account, signed_in: SignedIn | None) -> None:
    """Whose account this is, with the registration; the sign-in is used up."""
    if signed_in is not None:
        ledger.use_once(signed_in.once, signed_in.until_ms)
        ledger.bind(account, signed_in.identity, signed_in.issued_s)


def sign_out(notice: SignedOut, ledger: Ledger) -> Outcome | None:
    """The provider ends a session: its accounts are barred until the person signs in again. None: told before.

    It is remembered also where there is no account yet: whoever holds an older token may still bring it.
    """
    if ledger.was_used(notice.once):
        return None
    ledger.use_once(notice.once, notice.until_ms)
    ended = _ended(notice.issuer, notice.subject, notice.session)
    ledger.use_until(ended, max(notice.until_ms, ledger.used_until_ms(ended)))
    outcome = Outcome()
    cuts: dict[int, str] = {}
    for account in _concerned(notice, ledger):
        if account.status is Status.ACTIVE:
            ledger.set_status(account, Status.BARRED)
            ledger.set_signed_out(account, notice.issued_s)
            cuts.update(dict.fromkeys((device.key for device in account.devices), SIGNED_OUT))
        elif 0 < ledger.signed_out_s(account) < notice.issued_s:  # what is between the two lifts no bar either
            ledger.set_signed_out(account, notice.issued_s)
    outcome.cuts = cuts
    return outcome


def sign_in_again(ledger: Ledger, account: Account, signed_in: SignedIn) -> None:
    """Who was signed out has signed in since then: the bar is lifted. Raises `LoginRefused`.

    The token may come again: it is older than every sign-out that it has not lifted.
    """
    own = ledger.accounts_of(signed_in.identity.issuer, signed_in.identity.subject)
    lifts = 0 < ledger.signed_out_s(account) < signed_in.issued_s and not _was_ended(signed_in, ledger)
    if account.key not in own or not lifts:
        raise LoginRefused(AUTHENTICATION_REQUIRED)
    ledger.set_status(account, Status.ACTIVE)
    ledger.bind(account, signed_in.identity, signed_in.issued_s)


def _was_ended(signed_in: SignedIn, ledger: Ledger) -> bool:
    """Whether the provider has signed this person, or this session, out since then.

    Both are good equally long from when they were issued: whichever is forgotten first was issued first.
    """
    who = signed_in.identity
    ended = [_ended(who.issuer, who.subject, "")]
    if who.session:
        ended += [_ended(who.issuer, who.subject, who.session), _ended(who.issuer, "", who.session)]
    return any(signed_in.until_ms <= ledger.used_until_ms(one) for one in ended)


def _ended(issuer: str, subject: str, session: str) -> bytes:
    """By which it is known that a provider has signed somebody out."""
    named = json.dumps(["signed out", issuer, subject, session]).encode()
    return blake2b(named, digest_size=32, person=b"tmtp-signed-out").digest()


def _concerned(notice: SignedOut, ledger: Ledger) -> Sequence[Account]:
    """Back-Channel Logout 1.0 §2.6: with `sid`, what began with that session; with `sub` alone, all of the person's.

    A notice that was long under way ends no sign-in that came after it.
    """
    keys = ledger.accounts_of(notice.issuer, notice.subject or None, notice.session or None)
    found = [ledger.account_by_key(key) for key in keys]
    return [account for account in found if ledger.signed_in_s(account) <= notice.issued_s]
