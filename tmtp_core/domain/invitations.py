# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invitations to the service that members make: op 15 (B7, A1)."""

import msgspec

from tmtp_core import limits
from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import active_account
from tmtp_core.domain.admission import Admissions
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.outcome import Answer, Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Ledger, MemberStatus
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.messages import Acked
from tmtp_core.wire.revision2 import InvitationListed, InviteEdit, Listing


class Invitations:
    """Op 15 on one instance. Tokens are told once and stored as hashes."""

    def __init__(self, admissions: Admissions, random_bytes: RandomBytes) -> None:
        self._admissions = admissions
        self._random_bytes = random_bytes

    def edit(self, request: InviteEdit, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
        """Create, revoke or list one's own. Raises `RequestRefused`."""
        account = active_account(ledger, asker)
        refuse_bridge(account)
        if request.act == "list":
            return self._list(request, ledger, account)
        if request.act == "revoke":
            for invitation in ledger.invitations_of(account.key):
                if str(invitation.key) == request.invitation:
                    ledger.revoke_invitation(invitation)
                    return Outcome(answers=[Acked(request.id)])
            raise RequestRefused(f"InviteEdit: no invitation {request.invitation}")
        return self._create(request, ledger, account, moment)

    def _create(self, request: InviteEdit, ledger: Ledger, account: Account, moment: Moment) -> Outcome:
        if not moment.policy.members_invite:
            raise RequestRefused("InviteEdit: here only administrators invite")
        if request.uses > limits.INVITATION_USES_MAX or len(request.note) > limits.INVITATION_NOTE_MAX_CHARACTERS:
            raise RequestRefused("InviteEdit: too many uses, or too long a note")
        if request.expires and request.expires <= moment.ms:
            raise RequestRefused("InviteEdit: expires lies in the past")
        if request.gid:
            group = ledger.group(request.gid)
            place = group.members.get(account.key) if group is not None else None
            if place is None or place.status is not MemberStatus.JOINED:
                raise RequestRefused(f"InviteEdit: not a member of {request.gid}")
        allowed = moment.policy.quotas.invitations_per_day
        if quotas.used_today(ledger, account, quotas.INVITATIONS, moment) + request.uses > allowed:
            raise RequestRefused(f"quota: invitations for {allowed} people a day; try again later")
        quotas.count_today(ledger, account, quotas.INVITATIONS, moment, request.uses)
        key, token = self._admissions.create_invitation(
            ledger,
            self._random_bytes,
            request.uses,
            request.expires or None,
            request.note,
            moment,
            creator=account.key,
            gid=request.gid or None,
        )
        return Outcome(answers=[Acked(request.id, invitation=str(key), token=token)])

    def _list(self, request: InviteEdit, ledger: Ledger, account: Account) -> Outcome:
        listed = [
            InvitationListed(str(one.key), one.uses_left, one.expires_ms or 0, one.note, one.gid or "")
            for one in ledger.invitations_of(account.key)[: limits.INVITATIONS_LISTED_MAX]
        ]
        data = msgspec.json.encode(listed)
        return Outcome(answers=[Answer(Listing(request.id, len(data)), data)])
