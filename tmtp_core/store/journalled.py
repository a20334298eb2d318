# SPDX-License-Identifier: AGPL-3.0-or-later
"""A ledger that tells a journal what no older backup may undo (`tmtp_core.domain.facts`).

Each fact is numbered in the transaction that makes it true, and told when that is durable, before its effects leave:
*commit, journal, then speak*. Who posts, takes and acknowledges does nothing of that, and pays nothing.
"""

from collections.abc import Callable

from sqlalchemy import Connection, select

from tmtp_core.crypto.log_records import Record, encode_record
from tmtp_core.domain import facts as f
from tmtp_core.domain.administration import BRIDGE
from tmtp_core.domain.port import Account, Device, Group, Identity, Invitation, Membership, Role, Status
from tmtp_core.store import tables as t
from tmtp_core.store.database import Store
from tmtp_core.store.ledger import SqlLedger


class JournalledLedger(SqlLedger):
    """Of a database that one process has for itself."""

    def __init__(
        self,
        store: Store,
        service_key: bytes,
        report: Callable[[str, dict[str, object]], None],
        journal: f.Journal,
    ) -> None:
        super().__init__(store, service_key, report)
        self._journal = journal
        self._facts: list[f.Fact] = []
        self._told = 0  # number of the last fact

    # -- the transaction ---------------------------------------------------------------------------------------------
    def load(self, connection: Connection) -> None:
        """See `SqlLedger`."""
        super().load(connection)
        self._connection = connection
        self._told = self.counter(f.FACTS_COUNTER) or 0
        self._journal.known(self._told)

    def flush(self) -> None:
        """See `SqlLedger`."""
        if self._facts:
            self.set_counter(f.FACTS_COUNTER, self._told + len(self._facts))
        super().flush()

    def committed(self) -> list[str]:
        """See `SqlLedger`. What the journal is told, it has when this returns, unless its disk fails."""
        unlink = super().committed()
        if self._facts:
            facts, self._facts = tuple(self._facts), []
            first, self._told = self._told + 1, self._told + len(facts)
            self._journal.append(f.Told(first, facts, self._number))
        return unlink

    def withdrawn(self) -> None:
        """See `SqlLedger`."""
        self._facts.clear()
        super().withdrawn()

    # -- what is told ------------------------------------------------------------------------------------------------
    def create_account(self, uid: str, role: Role, now_ms: int) -> Account:
        """See the port."""
        account = super().create_account(uid, role, now_ms)
        self._facts.append(f.AccountOpened(uid, role, now_ms))
        return account

    def create_ghost(self, bridge: Account, uid: str, address: str, now_ms: int) -> Account:
        """See the port."""
        account = super().create_ghost(bridge, uid, address, now_ms)
        self._facts[-1] = f.GhostMade(
            uid, bridge.uid, address
        )  # says what the opened account is, and that there is one
        return account

    def set_status(self, account: Account, status: Status) -> None:
        """See the port."""
        super().set_status(account, status)
        self._facts.append(f.StatusSet(account.uid, status))

    def set_block(self, account: Account, other: int, blocked: bool) -> None:
        """See the port."""
        super().set_block(account, other, blocked)
        self._facts.append(f.BlockSet(account.uid, self.account_by_key(other).uid, blocked))

    def set_introductions(self, account: Account, wanted: bool) -> None:
        """See the port."""
        super().set_introductions(account, wanted)
        self._facts.append(f.IntroductionsSet(account.uid, wanted))

    def use_invitation(self, invitation: Invitation, by: Account | None = None) -> None:
        """See the port."""
        super().use_invitation(invitation, by)
        i = t.invitation.c
        where = i.key == invitation.key
        for row in self._connection.execute(select(i.token_hash, i.uses_left).where(where)):
            self._facts.append(f.InvitationLeft(*row, by.uid if by is not None else ""))

    def revoke_invitation(self, invitation: Invitation) -> None:
        """See the port."""
        self._tell_revoked(t.invitation.c.key == invitation.key)
        super().revoke_invitation(invitation)

    def revoke_resets(self, account: Account) -> None:
        """See the port."""
        self._tell_revoked(t.invitation.c.account == account.key)
        super().revoke_resets(account)

    def append_log(self, account: Account, record: Record) -> None:
        """See the port."""
        super().append_log(account, record)
        assert account.log is not None
        self._facts.append(f.RecordAppended(account.uid, account.log.count - 1, encode_record(record)))

    def drop_log(self, account: Account) -> None:
        """See the port."""
        super().drop_log(account)
        self._facts.append(f.LogDropped(account.uid))

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
        """See the port."""
        device = super().add_device(account, credential, now_ms, public=public, box=box, label=label)
        if public is None:
            self._facts.append(f.PasswordDeviceAdded(account.uid, credential, label, now_ms))
        return device

    def remove_device(self, account: Account, device: Device, reason: str) -> None:
        """See the port."""
        super().remove_device(account, device, reason)
        if device.public is None:
            self._facts.append(f.PasswordDeviceGone(account.uid, device.credential))

    def device_gets_key(self, device: Device, public: str, box: str) -> None:
        """See the port."""
        d, a = t.device.c, t.account.c
        owner = select(a.uid).join(t.device, d.account == a.key).where(d.key == device.key)
        uid = self._connection.scalar(owner)
        assert uid is not None
        self._facts.append(f.PasswordGaveWay(uid, device.credential, public, box))
        super().device_gets_key(device, public, box)

    def take_alias(self, account: Account, alias: str, skeletons: frozenset[str]) -> None:
        """See the port."""
        super().take_alias(account, alias, skeletons)
        self._facts.append(f.AliasTaken(account.uid, alias))

    def create_group(self, gid: str, skeletons: frozenset[str], owner: int) -> Group:
        """See the port."""
        group = super().create_group(gid, skeletons, owner)
        self._facts.append(f.GroupFounded(gid, self.account_by_key(owner).uid))
        return group

    def set_owner(self, group: Group, owner: int) -> None:
        """See the port."""
        super().set_owner(group, owner)
        self._facts.append(f.OwnerSet(group.gid, self.account_by_key(owner).uid))

    def set_membership(self, group: Group, place: Membership) -> None:
        """See the port."""
        super().set_membership(group, place)
        uid = self.account_by_key(place.account).uid
        self._facts.append(f.MemberSet(group.gid, uid, place.alias, place.status, place.since_ms))

    def bind(self, account: Account, identity: Identity, since_s: int) -> None:
        """See the port."""
        super().bind(account, identity, since_s)
        self._facts.append(f.IdentityBound(account.uid, identity.issuer, identity.subject, identity.session, since_s))

    def set_signed_out(self, account: Account, since_s: int) -> None:
        """See the port. That a status makes it nought needs no telling: the status is told."""
        super().set_signed_out(account, since_s)
        if since_s:
            self._facts.append(f.SignedOutSet(account.uid, since_s))

    def use_once(self, once: bytes, until_ms: int) -> None:
        """See the port."""
        super().use_once(once, until_ms)
        self._facts.append(f.UsedOnce(once, until_ms))

    def set_counter(self, name: str, value: int) -> None:
        """See `SqlLedger`. Of these numbers the journal keeps which account is which bridge's."""
        super().set_counter(name, value)
        if name.startswith(BRIDGE):
            self._facts.append(f.BridgeNamed(self.account_by_key(value).uid, name.removeprefix(BRIDGE)))

    def _tell_revoked(self, where: object) -> None:
        hashes = self._connection.scalars(select(t.invitation.c.token_hash).where(where))  # type: ignore[arg-type]
        self._facts += [f.InvitationLeft(one, 0) for one in hashes]
