# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may open an account on an instance (A1), and invitations to it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tmtp_core import limits
from tmtp_core.crypto.credentials import invitation_hash
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.port import Invitation, Ledger
from tmtp_core.errors import LoginRefused
from tmtp_core.ids import RandomBytes, encode_base32
from tmtp_core.wire.messages import Register, SignIn

NO_ALIAS = "_"
"""What a client sends as `newalias` to register without one (wire.md §2)."""


class Registration(Enum):
    """How an instance takes new members (`registration:`)."""

    OPEN = "open"
    INVITE = "invite"
    OIDC = "oidc"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SignInRule:
    """Sign-in with an identity provider: what `tmtprev` announces, and who checks what the client brings.

    `accepts` gets the `oidc` object of op 1 and tells whether it proves a person. `required` says that nobody
    registers without.
    """

    providers: tuple[SignIn, ...]
    required: bool
    accepts: Callable[[dict[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Admission:
    """The outcome of the check: which alias to try, if any, and whether the client must choose one later."""

    alias: str | None
    choose_later: bool = False


class Admissions:
    """One instance's rule for op 1."""

    def __init__(self, registration: Registration, token_key: bytes, sign_in: SignInRule | None = None) -> None:
        self.registration = registration
        self.sign_in = sign_in
        self._token_key = token_key

    def admit(self, ledger: Ledger, request: Register, moment: Moment) -> Admission:
        """Decide about one registration, and use up its invitation. Raises `LoginRefused`."""
        self._check_sign_in(request)
        alias = None if request.newalias == NO_ALIAS else request.newalias
        if self.registration is Registration.CLOSED:
            raise LoginRefused("registration is closed")
        if self.registration is not Registration.INVITE:
            return Admission(alias)
        if request.invite is not None:
            ledger.use_invitation(self._valid(ledger, request.invite, moment))
            return Admission(alias)
        # A client that knows no such field brings the token as its whole alias.
        ledger.use_invitation(self._valid(ledger, request.newalias, moment))
        return Admission(None, choose_later=True)

    def create_invitation(
        self, ledger: Ledger, random_bytes: RandomBytes, uses: int, expires_ms: int | None, note: str, moment: Moment
    ) -> str:
        """A new token for `uses` registrations until `expires_ms`; only its hash is stored."""
        token = encode_base32(random_bytes(limits.INVITATION_TOKEN_BYTES))
        ledger.create_invitation(invitation_hash(self._token_key, token), uses, expires_ms, note, moment.ms)
        return token

    def _check_sign_in(self, request: Register) -> None:
        """wire.md §3.4: `authentication required` when sign-in is demanded and missing or bad."""
        rule = self.sign_in
        if rule is None:
            return
        if request.oidc is None and not rule.required:
            return
        if request.oidc is None or not rule.accepts(request.oidc):
            raise LoginRefused("authentication required")

    def _valid(self, ledger: Ledger, token: str, moment: Moment) -> Invitation:
        found = ledger.invitation(invitation_hash(self._token_key, token))
        if found is None or found.uses_left < 1:
            raise LoginRefused("invitation required")
        if found.expires_ms is not None and found.expires_ms <= moment.ms:
            raise LoginRefused("invitation expired")
        return found
