# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reports in the store: what decisions ask of them, and what administrators look at (docs/decisions/0030)."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from tmtp_core import limits
from tmtp_core.domain.port import Account, Role, Status
from tmtp_core.domain.reports import DAY_MS, ReportSummary
from tmtp_core.store import tables as t

_OPEN: Final = t.report.c.closed_ms.is_(None)


class ReportRows:
    """Mixed into `SqlLedger`, whose connection it uses. Nothing of it is cached."""

    _connection: Connection

    def open_reports(self, by: Account, about: Account) -> tuple[int, int]:
        """See `tmtp_core.domain.reports.Reports`."""
        r = t.report.c
        others = select(func.count()).where(_OPEN, or_(r.reporter != by.key, r.reported != about.key))
        own = self._connection.scalar(others.where(r.reporter == by.key))
        return own or 0, self._connection.scalar(others) or 0

    def put_report(self, by: Account, about: Account, reason: str, words: str, now_ms: int) -> None:
        """See `tmtp_core.domain.reports.Reports`."""
        r = t.report.c
        same = (r.reporter == by.key) & (r.reported == about.key)
        self._connection.execute(delete(t.report).where(same & _OPEN))
        values = {"reporter": by.key, "reported": about.key, "reason": reason, "words": words, "made_ms": now_ms}
        self._connection.execute(insert(t.report).values(values))

    def report_closed_ms(self, number: int) -> int | None:
        """See `tmtp_core.domain.reports.Reports`."""
        wanted = select(func.coalesce(t.report.c.closed_ms, 0)).where(t.report.c.key == number)
        closed_ms: int | None = self._connection.scalar(wanted)
        return closed_ms

    def close_report(self, number: int, outcome: str, note: str, now_ms: int) -> None:
        """See `tmtp_core.domain.reports.Reports`."""
        r = t.report.c
        closed = {"closed_ms": now_ms, "outcome": outcome, "note": note}
        self._connection.execute(update(t.report).where((r.key == number) & _OPEN).values(closed))
        newest = select(r.key).where(r.closed_ms.is_not(None)).order_by(r.closed_ms.desc(), r.key.desc())
        kept = newest.limit(limits.REPORTS_CLOSED_MAX).subquery()
        self._connection.execute(delete(t.report).where(r.closed_ms.is_not(None), r.key.not_in(select(kept.c.key))))

    def forget_closed_reports(self, now_ms: int) -> int:
        """Those that were closed so long ago are not kept any more; how many there were."""
        before_ms = now_ms - limits.REPORTS_CLOSED_KEPT_DAYS * DAY_MS
        return self._connection.execute(delete(t.report).where(t.report.c.closed_ms < before_ms)).rowcount

    def forget_reports(self, account: Account) -> None:
        """Those that an account made, and those about it: it is removed."""
        r = t.report.c
        self._connection.execute(delete(t.report).where(or_(r.reporter == account.key, r.reported == account.key)))


@dataclass(frozen=True, slots=True)
class ReportsWanted:
    """Which reports: the open ones, or those closed; oldest first, with numbers above `after`, at most `limit`.

    `about`: the uid of who is reported; "" for all.
    """

    closed: bool = False
    after: int = 0
    limit: int = 500
    about: str = ""


def open_count(connection: Connection) -> int:
    """How many reports are open."""
    return connection.scalar(select(func.count()).select_from(t.report).where(_OPEN)) or 0


def listed(connection: Connection, wanted: ReportsWanted) -> list[ReportSummary]:
    """A page of reports."""
    r = t.report.c
    one, other, same = t.account.alias("one"), t.account.alias("other"), t.report.alias("same")
    about_same = (
        select(func.count())
        .select_from(same)
        .where((same.c.reported == r.reported) & same.c.closed_ms.is_(None))
        .scalar_subquery()
    )
    asked = [r.closed_ms.is_not(None) if wanted.closed else _OPEN, r.key > wanted.after]
    if wanted.about:
        asked.append(other.c.uid == wanted.about)
    rows = connection.execute(
        select(
            t.report,
            one.c.uid.label("reporter_uid"),
            other.c.uid.label("reported_uid"),
            other.c.role,
            other.c.status,
            about_same.label("about_same"),
        )
        .join(one, one.c.key == r.reporter)
        .join(other, other.c.key == r.reported)
        .where(*asked)
        .order_by(r.key)
        .limit(wanted.limit)
    ).all()
    names = _names(connection, {key for row in rows for key in (row.reporter, row.reported)})
    return [
        ReportSummary(
            number=row.key,
            reporter=row.reporter_uid,
            reporter_alias=names.get(row.reporter, ""),
            reported=row.reported_uid,
            reported_alias=names.get(row.reported, ""),
            reported_role=Role(row.role).name.lower(),
            reported_status=Status(row.status).name.lower(),
            reason=row.reason,
            words=row.words,
            made_ms=row.made_ms,
            about_same=row.about_same,
            closed_ms=row.closed_ms,
            outcome=row.outcome,
            note=row.note,
        )
        for row in rows
    ]


def _names(connection: Connection, keys: set[int]) -> dict[int, str]:
    """By account: its first alias; of somebody outside, the address."""
    n, g = t.name.c, t.ghost.c
    found: dict[int, str] = {}
    for key, name in connection.execute(select(n.account, n.name).where(n.account.in_(keys)).order_by(n.place)):
        found.setdefault(key, name)
    for key, address in connection.execute(select(g.account, g.address).where(g.account.in_(keys))):
        found.setdefault(key, address)
    return found
