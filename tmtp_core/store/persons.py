# SPDX-License-Identifier: AGPL-3.0-or-later
"""The part of the port that is about sign-in with a provider: whose an account is, and what was used already (A1)."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update

from tmtp_core.domain.port import Account, Identity
from tmtp_core.store import tables as t


def identities(connection: Connection, accounts: Sequence[int]) -> dict[int, Identity]:
    """Whose these accounts are, by their keys, where a provider has said so."""
    i = t.identity.c
    rows = connection.execute(select(i.account, i.issuer, i.subject, i.session).where(i.account.in_(accounts)))
    return {row.account: Identity(row.issuer, row.subject, row.session) for row in rows}


class PersonRows:
    """Mixed into `SqlLedger`, whose connection it uses."""

    _connection: Connection

    def accounts_of(self, issuer: str, subject: str | None, session: str | None = None) -> list[int]:
        """See the port."""
        i = t.identity.c
        found = select(i.account).where(i.issuer == issuer)
        if subject is not None:
            found = found.where(i.subject == subject)
        if session is not None:
            found = found.where(i.session == session)
        return list(self._connection.scalars(found.order_by(i.account)))

    def bind(self, account: Account, identity: Identity, since_s: int) -> None:
        """See the port."""
        self.forget_identity(account)
        person = {"issuer": identity.issuer, "subject": identity.subject, "session": identity.session}
        values = {**person, "signed_in_s": since_s}
        self._connection.execute(insert(t.identity).values(account=account.key, **values))

    def forget_identity(self, account: Account) -> None:
        """The account is nobody's any more."""
        self._connection.execute(delete(t.identity).where(t.identity.c.account == account.key))

    def identity_of(self, account: Account) -> Identity | None:
        """See the port."""
        return identities(self._connection, [account.key]).get(account.key)

    def signed_in_s(self, account: Account) -> int:
        """See the port."""
        i = t.identity.c
        return self._connection.scalar(select(i.signed_in_s).where(i.account == account.key)) or 0

    def set_signed_out(self, account: Account, since_s: int) -> None:
        """See the port."""
        i = t.identity.c
        self._connection.execute(update(t.identity).where(i.account == account.key).values(signed_out_s=since_s))

    def signed_out_s(self, account: Account) -> int:
        """See the port."""
        i = t.identity.c
        return self._connection.scalar(select(i.signed_out_s).where(i.account == account.key)) or 0

    def was_used(self, once: bytes) -> bool:
        """See the port."""
        return self.used_until_ms(once) > 0

    def use_once(self, once: bytes, until_ms: int) -> None:
        """See the port."""
        self._connection.execute(insert(t.used).values(once=once, until_ms=until_ms))

    def used_until_ms(self, once: bytes) -> int:
        """See the port."""
        return self._connection.scalar(select(t.used.c.until_ms).where(t.used.c.once == once)) or 0

    def use_until(self, once: bytes, until_ms: int) -> None:
        """See the port."""
        self._connection.execute(delete(t.used).where(t.used.c.once == once))
        self.use_once(once, until_ms)

    def forget_used(self, now_ms: int) -> None:
        """Forget what nobody can bring again."""
        self._connection.execute(delete(t.used).where(t.used.c.until_ms < now_ms))
