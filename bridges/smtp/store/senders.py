# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vetting records on the disk, and what counts of each: its messages of a day, its failures, its networks (C2)."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.sql import ColumnElement

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.policy.rules import SenderRule, sender_rule
from bridges.smtp.store.tables import sender, sender_day, sender_failure, sender_network
from tmtp_core.prepared import Prepared

DAY_MS: Final = 86_400_000
_DAY_S: Final = 86_400


_ADD: Final = sender.insert()
_PASSED: Final = Prepared(
    update(sender).where(sender.c.number == bindparam("record")).values(passed_ms=bindparam("at_ms"))
)
_FORGET: Final = Prepared(delete(sender_failure).where(sender_failure.c.sender == bindparam("record")))
_NEW_NETWORK: Final = upsert(sender_network)
_NETWORK: Final = Prepared(
    _NEW_NETWORK.on_conflict_do_update(
        index_elements=["sender", "network"],
        set_={"at_s": _NEW_NETWORK.excluded.at_s},
        where=sender_network.c.at_s < _NEW_NETWORK.excluded.at_s - _DAY_S,  # once a day is often enough
    ),
    *("sender", "network", "at_s"),
)
_COUNT: Final = Prepared(
    upsert(sender_day).on_conflict_do_update(
        index_elements=["sender", "day"], set_={"messages": sender_day.c.messages + 1}
    ),
    *("sender", "day", "messages"),
)

_FAILED: Final = update(sender).where(sender.c.number == bindparam("record")).values(failed_ms=bindparam("at_ms"))
_FAILURES: Final = select(sender_failure).where(sender_failure.c.sender == bindparam("record"))
_FAIL: Final = sender_failure.insert()
_SINCE: Final = select(sender_network.c.at_s).where(
    sender_network.c.sender == bindparam("record"), sender_network.c.network == bindparam("network")
)


class Tally(NamedTuple):
    """Failures of a record since its proof last passed. `known`: from networks from which it has passed. `front`: by
    servers in front, which say no network; and on how many days those were.
    """

    known: int
    front: int
    front_days: int


# -- records -----------------------------------------------------------------------------------------------------------
def current(connection: Connection) -> list[SenderRule]:
    """All records that are not withdrawn, as mail is decided by them."""
    rows = connection.execute(select(sender).where(sender.c.state != "withdrawn").order_by(sender.c.number))
    return [
        sender_rule(vetted(row), row.number, (row.why or "by hand") if row.state == "suspended" else "") for row in rows
    ]


def by_whom(connection: Connection) -> dict[tuple[str, str], Row[Any]]:
    """Those that are not withdrawn, by address and domain."""
    rows = connection.execute(select(sender).where(sender.c.state != "withdrawn"))
    return {(row.address, row.domain): row for row in rows}


def of_number(connection: Connection, number: int) -> Row[Any] | None:
    """One record, withdrawn ones too."""
    return connection.execute(select(sender).where(sender.c.number == number)).first()


def of_whom(connection: Connection, address: str, domain: str) -> Row[Any] | None:
    """The record of an address, or of a domain, that is not withdrawn."""
    return connection.execute(
        select(sender).where(sender.c.address == address, sender.c.domain == domain, sender.c.state != "withdrawn")
    ).first()


def vetted(row: Row[Any]) -> m.VetSender:
    """What a record says."""
    return m.VetSender(
        proof=msgspec.json.decode(row.proof, type=list[m.Proof]),
        address=row.address or None,
        domain=row.domain or None,
        owner=row.owner,
        reason=row.reason,
        expires_ms=row.expires_ms,
        routes=None if row.routes is None else msgspec.json.decode(row.routes, type=list[str]),
        quota_per_day=row.quota_per_day,
    )


def add(connection: Connection, said: m.VetSender, source: str, by: str, at_ms: int) -> int:
    """A new record; its number."""
    state = {"state": "active", "why": "", "changed_ms": at_ms}
    made = {**_columns(said), **state, "source": source, "created_ms": at_ms, "created_by": by}
    key = connection.execute(_ADD, made).inserted_primary_key
    assert key is not None
    return int(key[0])


def rewrite(connection: Connection, number: int, said: m.VetSender) -> None:
    """A record says something else now."""
    connection.execute(update(sender).where(sender.c.number == number).values(**_columns(said)))


def set_state(connection: Connection, number: int, state: m.SenderState, why: str, at_ms: int) -> None:
    """A record is active, suspended or withdrawn from now on. What failed before counts no more."""
    changed = update(sender).where(sender.c.number == number).values(state=state, why=why, changed_ms=at_ms)
    connection.execute(changed)
    forget_failures(connection, number)


def _columns(said: m.VetSender) -> dict[str, Any]:
    return {
        "address": said.address or "",
        "domain": said.domain or "",
        "proof": msgspec.json.encode(said.proof).decode(),
        "owner": said.owner,
        "reason": said.reason,
        "expires_ms": said.expires_ms,
        "routes": None if said.routes is None else msgspec.json.encode(said.routes).decode(),
        "quota_per_day": said.quota_per_day,
    }


# -- as administrators see them ----------------------------------------------------------------------------------------
def listed(
    connection: Connection, now_ms: int, state: m.SenderState | None, search: str, after: int, limit: int
) -> list[m.Sender]:
    """Records after a number, in their order. `search`: a part of address, domain, owner or reason."""
    query = select(sender).where(sender.c.number > after).order_by(sender.c.number).limit(limit)
    if state is not None:
        query = query.where(_in_state(state, now_ms))
    if search:
        columns = (sender.c.address, sender.c.domain, sender.c.owner, sender.c.reason)
        query = query.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))
    return shown(connection, connection.execute(query).all(), now_ms)


def shown(connection: Connection, rows: Iterable[Row[Any]], now_ms: int) -> list[m.Sender]:
    """Records with what counts of them."""
    rows = list(rows)
    numbers = [row.number for row in rows]
    days = select(sender_day.c.sender, sender_day.c.messages).where(
        sender_day.c.day == now_ms // DAY_MS, sender_day.c.sender.in_(numbers)
    )
    failed = select(sender_failure.c.sender, func.count()).where(sender_failure.c.sender.in_(numbers))
    today = _counts(connection, days)
    failures = _counts(connection, failed.group_by(sender_failure.c.sender))
    return [_shown(row, today.get(row.number, 0), failures.get(row.number, 0), now_ms) for row in rows]


def _shown(row: Row[Any], today: int, failures: int, now_ms: int) -> m.Sender:
    said = vetted(row)
    expired = row.expires_ms is not None and now_ms >= row.expires_ms and row.state != "withdrawn"
    return m.Sender(
        number=row.number,
        address=row.address,
        domain=row.domain,
        proof=said.proof,
        owner=row.owner,
        reason=row.reason,
        source=row.source,
        created_ms=row.created_ms,
        created_by=row.created_by,
        expires_ms=row.expires_ms,
        routes=said.routes,
        quota_per_day=row.quota_per_day,
        today=today,
        state="expired" if expired else row.state,
        why=row.why,
        changed_ms=row.changed_ms,
        passed_ms=row.passed_ms,
        failed_ms=row.failed_ms,
        failures=failures,
    )


def _in_state(state: m.SenderState, now_ms: int) -> ColumnElement[bool]:
    if state == "withdrawn":
        return sender.c.state == "withdrawn"
    expired = sender.c.expires_ms <= now_ms
    if state == "expired":
        return expired & (sender.c.state != "withdrawn")
    return (sender.c.state == state) & (expired.is_not(True))


# -- what counts -------------------------------------------------------------------------------------------------------
def messages_of(connection: Connection, day: int) -> dict[int, int]:
    """How many messages each record took on a day; those of days long over are forgotten."""
    connection.execute(delete(sender_day).where(sender_day.c.day < day - limits.SENDER_DAYS_KEPT))
    query = select(sender_day.c.sender, sender_day.c.messages).where(sender_day.c.day == day)
    return _counts(connection, query)


def count_message(connection: Connection, number: int, at_ms: int) -> None:
    """One more message that a record took."""
    _COUNT(connection, {"sender": number, "day": at_ms // DAY_MS, "messages": 1})


def note_pass(connection: Connection, number: int, network: str, at_ms: int) -> None:
    """A record's proof passed. `network`: from where, "" where that says nothing."""
    _PASSED(connection, {"record": number, "at_ms": at_ms})
    forget_failures(connection, number)
    if not network:
        return
    at_s = at_ms // 1000
    if _NETWORK(connection, {"sender": number, "network": network, "at_s": at_s}).rowcount:
        old = sender_network.c.at_s < at_s - limits.NETWORK_KNOWN_S
        connection.execute(delete(sender_network).where(sender_network.c.sender == number, old))


def note_failure(connection: Connection, number: int, network: str, mail: str, at_ms: int) -> Tally:
    """A record's proof failed for a mail that claims it. `network` "": a server in front handed it on.

    A mail counts once, and of one kind some a day: what anybody can send must not fill the disk.
    """
    at_s = at_ms // 1000
    connection.execute(_FAILED, {"record": number, "at_ms": at_ms})
    rows = [(row.at_s, row.known_network, row.mail) for row in connection.execute(_FAILURES, {"record": number})]
    if any(row[0] < at_s - limits.NETWORK_KNOWN_S for row in rows):
        old = sender_failure.c.at_s < at_s - limits.NETWORK_KNOWN_S
        connection.execute(delete(sender_failure).where(sender_failure.c.sender == number, old))
        rows = [row for row in rows if row[0] >= at_s - limits.NETWORK_KNOWN_S]
    known = _is_known(connection, number, network, at_s) if network else None
    today = sum(row[0] // _DAY_S == at_s // _DAY_S and row[1] is known for row in rows)
    if today < limits.FAILURES_PER_DAY_MAX and all(row[2] != mail for row in rows):
        connection.execute(_FAIL, {"sender": number, "at_s": at_s, "known_network": known, "mail": mail})
        rows.append((at_s, known, mail))
    front = [row[0] // _DAY_S for row in rows if row[1] is None]
    return Tally(sum(row[1] is True for row in rows), len(front), len(set(front)))


def forget_failures(connection: Connection, number: int) -> None:
    """Nothing has failed."""
    _FORGET(connection, {"record": number})


def forget_networks(connection: Connection, number: int) -> None:
    """The proof is another one: it has passed from nowhere yet."""
    connection.execute(delete(sender_network).where(sender_network.c.sender == number))


def _is_known(connection: Connection, number: int, network: str, at_s: int) -> bool:
    last_s = connection.execute(_SINCE, {"record": number, "network": network}).scalar()
    return last_s is not None and last_s >= at_s - limits.NETWORK_KNOWN_S


def _counts(connection: Connection, query: Select[Any]) -> dict[int, int]:
    return {row[0]: row[1] for row in connection.execute(query)}
