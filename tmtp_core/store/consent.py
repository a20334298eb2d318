# SPDX-License-Identifier: AGPL-3.0-or-later
"""The part of the port that is about consent: acquaintance, blocks, meters, invitations, bridges (A3, C2)."""

from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, or_, select, update

from tmtp_core.domain.administration import BRIDGE, REPLIES
from tmtp_core.domain.port import Account, Ghost, Invitation, Role
from tmtp_core.errors import StoreCorrupt
from tmtp_core.names import skeletons
from tmtp_core.store import tables as t
from tmtp_core.store.received import Received
from tmtp_core.store.sharing import Changed

OWN_DOING = 0
"""Instead of an introducer's key."""

# What every post of a bridge asks, made once: to build a statement costs more than to execute it.
_ROUTE: Final = select(t.route.c.target).where(
    t.route.c.account == bindparam("account"), t.route.c.recipient == bindparam("recipient")
)
_BRIDGE_NAME: Final = select(t.counter.c.name).where(
    t.counter.c.value == bindparam("account"), t.counter.c.name.startswith(BRIDGE)
)
_GHOST_AT: Final = select(t.ghost.c.account).where(
    t.ghost.c.bridge == bindparam("bridge"), t.ghost.c.address == bindparam("address")
)


class ConsentRows:
    """Mixed into `SqlLedger`, whose connection and accounts it uses."""

    _connection: Connection
    _admitted: list[tuple[int, int, int]]
    _routed: frozenset[str] | None
    received: Received

    def account_by_key(self, key: int) -> Account:
        """See the port."""
        raise NotImplementedError

    def _changes(self, account: Account) -> None:
        raise NotImplementedError

    def _note(self, what: Changed, key: int = 0, words: str = "") -> None:
        raise NotImplementedError

    def _needs_to_be_alone(self) -> None:
        raise NotImplementedError

    def heard_admitted(self, account: Account, words: str) -> None:
        """Another process has let somebody post to an account that is cached here."""
        other, introducer = words.split()
        now_admits(account, int(other), int(introducer))

    def create_account(self, uid: str, role: Role, now_ms: int) -> Account:
        """See the port."""
        raise NotImplementedError

    def forget_consent(self, account: Account) -> None:
        """Delete everything here that names an account which is removed."""
        self.flush_admitted()
        a, b = t.acquaintance.c, t.block.c
        self._connection.execute(
            delete(t.acquaintance).where(
                or_(a.account == account.key, a.other == account.key, a.introducer == account.key)
            )
        )
        self._connection.execute(delete(t.block).where(or_(b.account == account.key, b.blocked == account.key)))
        self._connection.execute(delete(t.meter).where(t.meter.c.account == account.key))
        self._connection.execute(delete(t.route).where(t.route.c.account == account.key))
        self._connection.execute(delete(t.invitation).where(t.invitation.c.creator == account.key))

    # -- acquaintance ------------------------------------------------------------------------------------------------
    def admit(self, account: Account, other: int, introducer: int | None = None) -> None:
        """See the port."""
        before = account.admits.get(other)
        if account.agreed_to(other) or (before is not None and introducer in before):
            return
        self._needs_to_be_alone()
        if before and introducer is None:
            self.flush_admitted()
            a = t.acquaintance.c
            self._connection.execute(delete(t.acquaintance).where((a.account == account.key) & (a.other == other)))
        self._admitted.append((account.key, other, introducer or OWN_DOING))
        now_admits(account, other, introducer or OWN_DOING)

    def flush_admitted(self) -> None:
        """Write who was admitted: where many write to one another for the first time, by one statement."""
        if not self._admitted:
            return
        names = ("account", "other", "introducer")
        rows = [dict(zip(names, row, strict=True)) for row in self._admitted]
        self._connection.execute(insert(t.acquaintance), rows)
        for account, other, introducer in self._admitted:
            self._note(Changed.ADMITTED, account, f"{other} {introducer}")
        self._admitted.clear()

    def admitting(self, account: Account) -> list[int]:
        """See the port."""
        self.flush_admitted()
        return list(
            self._connection.scalars(
                select(t.acquaintance.c.account).distinct().where(t.acquaintance.c.other == account.key)
            )
        )

    def set_block(self, account: Account, other: int, blocked: bool) -> None:
        """See the port."""
        b = t.block.c
        if blocked and other not in account.blocked:
            self._connection.execute(insert(t.block).values(account=account.key, blocked=other))
            account.blocked.add(other)
        elif not blocked and other in account.blocked:
            self._connection.execute(delete(t.block).where((b.account == account.key) & (b.blocked == other)))
            account.blocked.discard(other)
        self._changes(account)

    def set_introductions(self, account: Account, wanted: bool) -> None:
        """See the port."""
        values = {"introductions": int(wanted)}
        self._connection.execute(update(t.account).where(t.account.c.key == account.key).values(values))
        account.introductions = wanted
        self._changes(account)

    def meter(self, account: Account, kind: str) -> tuple[int, int]:
        """See the port."""
        where = (t.meter.c.account == account.key) & (t.meter.c.kind == kind)
        row = self._connection.execute(select(t.meter.c.since_ms, t.meter.c.count).where(where)).one_or_none()
        return (0, 0) if row is None else (row[0], row[1])

    def set_meter(self, account: Account, kind: str, since_ms: int, count: int) -> None:
        """See the port."""
        where = (t.meter.c.account == account.key) & (t.meter.c.kind == kind)
        values = {"since_ms": since_ms, "count": count}
        if not self._connection.execute(update(t.meter).where(where).values(values)).rowcount:
            self._connection.execute(insert(t.meter).values(account=account.key, kind=kind, **values))

    def forget_meter(self, account: Account, kind: str) -> None:
        """A durable count that nobody asks for any more."""
        where = (t.meter.c.account == account.key) & (t.meter.c.kind == kind)
        self._connection.execute(delete(t.meter).where(where))

    # -- invitations -------------------------------------------------------------------------------------------------
    def invitation(self, token_hash: bytes) -> Invitation | None:
        """See the port."""
        found = self._invitations(t.invitation.c.token_hash == token_hash)
        return found[0] if found else None

    def create_invitation(
        self,
        token_hash: bytes,
        uses: int,
        expires_ms: int | None,
        note: str,
        now_ms: int,
        *,
        creator: int | None = None,
        gid: str | None = None,
        account: int | None = None,
        vouches: bool = False,
    ) -> int:
        """See the port."""
        values = {"token_hash": token_hash, "uses_left": uses, "expires_ms": expires_ms, "note": note}
        bound = {"creator": creator, "gid": gid, "account": account, "vouches": int(vouches)}
        made = self._connection.execute(insert(t.invitation).values(created_ms=now_ms, **values, **bound))
        key = made.inserted_primary_key
        assert key is not None
        return int(key[0])

    def invitations_of(self, creator: int | None) -> list[Invitation]:
        """See the port."""
        i = t.invitation.c
        return self._invitations((i.creator.is_(None) if creator is None else i.creator == creator) & (i.uses_left > 0))

    def invitation_by_key(self, key: int) -> Invitation | None:
        """The invitation of this key, if it has uses left."""
        found = self._invitations((t.invitation.c.key == key) & (t.invitation.c.uses_left > 0))
        return found[0] if found else None

    def revoke_invitation(self, invitation: Invitation) -> None:
        """See the port."""
        self._connection.execute(delete(t.invitation).where(t.invitation.c.key == invitation.key))

    def revoke_resets(self, account: Account) -> None:
        """See the port."""
        self._connection.execute(delete(t.invitation).where(t.invitation.c.account == account.key))

    def use_invitation(self, invitation: Invitation, by: Account | None = None) -> None:
        """See the port."""
        i = t.invitation.c
        self._connection.execute(update(t.invitation).where(i.key == invitation.key).values(uses_left=i.uses_left - 1))
        if by is not None and invitation.creator is None:
            self._connection.execute(insert(t.joined).values(invitation=invitation.key, account=by.key))

    def _invitations(self, where: ColumnElement[bool]) -> list[Invitation]:
        i = t.invitation.c
        columns = (i.key, i.uses_left, i.expires_ms, i.note, i.creator, i.gid, i.account, i.vouches)
        rows = self._connection.execute(select(*columns).where(where).order_by(i.key))
        return [Invitation(*row[:-1], vouches=bool(row.vouches)) for row in rows]

    # -- bridges -----------------------------------------------------------------------------------------------------
    def set_routes(self, account: Account, routes: dict[str, str]) -> None:
        """See the port."""
        self._routed = None
        self._note(Changed.EVERYTHING)
        self._connection.execute(delete(t.route).where(t.route.c.account == account.key))
        if routes:
            rows = [{"account": account.key, "recipient": r, "target": to} for r, to in routes.items()]
            self._connection.execute(insert(t.route), rows)
        self.received.load(self._connection)

    def route(self, account: Account, recipient: str) -> str | None:
        """See the port."""
        return self._connection.scalar(_ROUTE, {"account": account.key, "recipient": recipient})

    def routed_names(self) -> frozenset[str]:
        """See the port."""
        if self._routed is None:
            targets = self._connection.scalars(select(t.route.c.target).distinct())
            self._routed = frozenset(form for target in targets for form in skeletons(target))
        return self._routed

    def bridge_name(self, bridge: Account) -> str:
        """See the port."""
        name = self._connection.scalar(_BRIDGE_NAME, {"account": bridge.key})
        return "" if name is None else str(name).removeprefix(BRIDGE)

    def takes_replies(self, bridge: Account) -> bool:
        """See the port."""
        wanted = t.counter.c.name == REPLIES + self.bridge_name(bridge)
        return bool(self._connection.scalar(select(t.counter.c.value).where(wanted)))

    def ghost_at(self, bridge: Account, address: str) -> Account | None:
        """See the port."""
        key = self._connection.scalar(_GHOST_AT, {"bridge": bridge.key, "address": address})
        return None if key is None else self.account_by_key(key)

    def create_ghost(self, bridge: Account, uid: str, address: str, now_ms: int) -> Account:
        """See the port."""
        account = self.create_account(uid, Role.GHOST, now_ms)
        self._connection.execute(insert(t.ghost).values(account=account.key, bridge=bridge.key, address=address))
        return account

    def ghost(self, account: Account) -> Ghost:
        """See the port."""
        row = self._connection.execute(select(t.ghost).where(t.ghost.c.account == account.key)).one_or_none()
        if row is None:
            raise StoreCorrupt(f"account {account.key} is a ghost of nobody")
        return Ghost(row.account, row.bridge, row.address)


def now_admits(account: Account, other: int, introducer: int) -> None:
    """One row of `acquaintance`. Who agreed to it itself needs no introducer, then or later."""
    before = account.admits.get(other)
    if introducer == OWN_DOING or before == frozenset():
        account.admits[other] = frozenset()
    else:
        account.admits[other] = (before or frozenset()) | {introducer}
