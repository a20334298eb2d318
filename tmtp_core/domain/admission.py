# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may open an account on an instance (A1), and invitations to it."""

from dataclasses import dataclass
from enum import Enum

from tmtp_core import limits
from tmtp_core.crypto.credentials import invitation_hash
from tmtp_core.crypto.sign_in import device_nonce, is_own_nonce, new_nonce
from tmtp_core.domain.fanout import Stamp, announce_member, own_devices, send
from tmtp_core.domain.naming import take_alias
from tmtp_core.domain.outcome import NO_DEVICE, Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Invitation, Ledger, Membership, MemberStatus, Status
from tmtp_core.domain.sign_in import NonceRule, SignedIn, SignInRule, admit_person, keep_person
from tmtp_core.errors import LoginRefused, RequestRefused
from tmtp_core.ids import RandomBytes, encode_base32
from tmtp_core.wire.messages import InviteEvent, Register, SignIn
from tmtp_core.wire.revision2 import LoginByKey, RegisterKeys

NO_ALIAS = "_"
"""What a client sends as `newalias` to register without one (wire.md §2)."""


class Registration(Enum):
    """How an instance takes new members (`registration:`)."""

    OPEN = "open"
    INVITE = "invite"
    OIDC = "oidc"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Admission:
    """The outcome of the check: which alias to try, whether one is to be chosen later, what invitation is used, and
    whom a provider vouches for.
    """

    alias: str | None
    choose_later: bool = False
    invitation: Invitation | None = None
    signed_in: SignedIn | None = None

    @property
    def reset(self) -> int | None:
        """The account that begins anew, when an administrator allows that."""
        return self.invitation.account if self.invitation is not None else None


class Admissions:
    """One instance's rule for op 1. `admit` only checks; `use` counts what is used up."""

    def __init__(self, registration: Registration, token_key: bytes, sign_in: SignInRule | None = None) -> None:
        self.registration = registration
        self.sign_in = sign_in
        self._token_key = token_key

    @property
    def takes_strangers(self) -> bool:
        """Whether people may register whom nobody here has invited."""
        return self.registration in {Registration.OPEN, Registration.OIDC}

    def announced(self, revision: int, moment: Moment, random_bytes: RandomBytes) -> tuple[SignIn, ...]:
        """Where to sign in. A client without device keys is given its nonce; others make it of theirs."""
        if self.sign_in is None:
            return ()
        return self.sign_in.announced(new_nonce(self._token_key, moment.ms, random_bytes) if revision == 1 else None)

    def nonce_of(self, request: Register | RegisterKeys | LoginByKey, service_key: bytes, moment: Moment) -> NonceRule:
        """Which nonce is the right one for who brings a token."""
        if isinstance(request, Register):
            return NonceRule(lambda nonce: is_own_nonce(self._token_key, nonce, moment.ms), for_one_token=True)
        own = device_nonce(service_key, request.device)
        return NonceRule(lambda nonce: nonce == own, for_one_token=False)

    def admit(
        self, ledger: Ledger, request: Register | RegisterKeys, moment: Moment, signed_in: SignedIn | None = None
    ) -> Admission:
        """Decide about one registration, by somebody for whom a provider vouches or not. Raises `LoginRefused`."""
        alias = None if request.newalias == NO_ALIAS else request.newalias
        if request.invite is not None:
            invitation = self._valid(ledger, request.invite, moment)
            if invitation.account is not None:
                if not isinstance(request, RegisterKeys):
                    raise LoginRefused("this invitation is for a device with a key")
                return Admission(alias, invitation=invitation)
            self._check_open(ledger, signed_in)
            return Admission(alias, invitation=invitation, signed_in=signed_in)
        self._check_open(ledger, signed_in)
        if self.registration is not Registration.INVITE and not self._is_token(ledger, request):
            return Admission(alias, signed_in=signed_in)
        if isinstance(request, RegisterKeys):
            raise LoginRefused("invitation required")
        # A client that knows no such field brings the token as its whole alias.
        invitation = self._valid(ledger, request.newalias, moment)
        if invitation.account is not None:
            raise LoginRefused("this invitation is for a device with a key")
        return Admission(None, choose_later=True, invitation=invitation, signed_in=signed_in)

    def use(self, ledger: Ledger, account: Account, admission: Admission) -> None:
        """Count one use of the invitation, and of the sign-in, by a new account."""
        if admission.invitation is not None:
            ledger.use_invitation(admission.invitation, account)
        keep_person(ledger, account, admission.signed_in)

    def name(self, ledger: Ledger, account: Account, admission: Admission) -> str:
        """Give an account the alias that it was opened with; the text says why not, which does not fail op 1."""
        if admission.alias is None:
            return "choose an alias" if admission.choose_later else ""
        invitation = admission.invitation
        vouched = invitation is not None and invitation.vouches
        try:
            take_alias(ledger, account, admission.alias, vouched=vouched)
        except RequestRefused as refusal:
            return refusal.text[: limits.ERROR_TEXT_MAX_CHARACTERS]
        return ""

    def create_invitation(
        self,
        ledger: Ledger,
        random_bytes: RandomBytes,
        uses: int,
        expires_ms: int | None,
        note: str,
        moment: Moment,
        *,
        creator: int | None = None,
        gid: str | None = None,
        account: int | None = None,
        vouches: bool = False,
    ) -> tuple[int, str]:
        """The key of a new invitation, and its token for `uses` registrations until `expires_ms`.

        Only the token's hash is stored.
        """
        token = encode_base32(random_bytes(limits.INVITATION_TOKEN_BYTES))
        hashed = invitation_hash(self._token_key, token)
        key = ledger.create_invitation(
            hashed, uses, expires_ms, note, moment.ms, creator=creator, gid=gid, account=account, vouches=vouches
        )
        return key, token

    def _check_open(self, ledger: Ledger, signed_in: SignedIn | None) -> None:
        """Sign-in (wire.md §3.4: `authentication required`), and whether anybody may register."""
        if self.sign_in is not None:
            admit_person(ledger, self.sign_in, signed_in)
        if self.registration is Registration.CLOSED:
            raise LoginRefused("registration is closed")

    def _is_token(self, ledger: Ledger, request: Register | RegisterKeys) -> bool:
        """Whether a client that knows no field for it brings an invitation as its whole alias: which is no name."""
        if isinstance(request, RegisterKeys):
            return False
        return ledger.invitation(invitation_hash(self._token_key, request.newalias)) is not None

    def _valid(self, ledger: Ledger, token: str, moment: Moment) -> Invitation:
        found = ledger.invitation(invitation_hash(self._token_key, token))
        if found is None or found.uses_left < 1:
            raise LoginRefused("invitation required")
        if found.expires_ms is not None and found.expires_ms <= moment.ms:
            raise LoginRefused("invitation expired")
        if found.creator is not None and ledger.account_by_key(found.creator).status is not Status.ACTIVE:
            raise LoginRefused("invitation required")  # void when its maker is barred
        return found


def redeem(ledger: Ledger, outcome: Outcome, account: Account, admission: Admission, moment: Moment) -> None:
    """A new account used an invitation: inviter and invitee are acquainted, and a group may await the newcomer."""
    invitation = admission.invitation
    if invitation is None or invitation.creator is None:
        return
    inviter = ledger.account_by_key(invitation.creator)
    ledger.admit(account, inviter.key)
    ledger.admit(inviter, account.key)
    group = ledger.group(invitation.gid) if invitation.gid is not None else None
    if group is None or not group.has_joined(inviter.key):  # the inviter has left it meanwhile
        return
    if account.key in group.members or len(group.members) >= limits.GROUP_MEMBERS_MAX:
        return
    alias = account.aliases[0] if account.aliases else ""  # one is chosen on joining
    ledger.set_membership(group, Membership(account.key, alias, MemberStatus.INVITED, moment.ms))
    stamp = Stamp(ledger, Asker(inviter.key, NO_DEVICE, inviter.uid), moment)
    number, message_id = stamp.id()
    event = InviteEvent(
        id=message_id,
        from_=inviter.uid,
        posted=stamp.posted,
        datalen=0,
        gid=group.gid,
        alias=group.members[inviter.key].alias,
        to=alias,
    )
    send(ledger, outcome, number, event, own_devices(account))
    announce_member(ledger, outcome, stamp, inviter, group, act="invite", alias=alias)
