# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way out of SMTP, in numbers (C5): from the log of decisions, and from how far each correspondent is.

The log is read beside what is written, some entries at a time (docs/decisions/0022 has what that costs).
"""

import asyncio
import contextlib
import heapq
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple, get_args

import msgspec
from sqlalchemy import Connection, func, select

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.models import LifeState
from bridges.smtp.reports.tally import DAY_MS, Author, Tally
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import read_some, span
from bridges.smtp.store.tables import correspondent

_WEEK_MS: Final = 7 * DAY_MS
_WEEKS_MIN: Final = 4  # of less, nobody can say how it goes on
_AHEAD_MAX_DAYS: Final = 36_525  # nor beyond a century


class _Life(NamedTuple):
    """How far all correspondents are; the days from invitation to joining of each who has joined."""

    states: dict[str, int]
    invited: int
    joined: int
    took_days: list[float]


async def report(database: BridgeDatabase, now_ms: int) -> m.Report:
    """The report as of now; whoever knows the service adds `members`. Raises `OSError`."""
    tally = Tally(now_ms)
    whole = await database.read(partial(span, since_ms=tally.since_ms))
    after = whole.after
    while after < whole.head:
        after = await database.read(partial(_fold, tally=tally, after=after, head=whole.head))
    counted = await asyncio.to_thread(tally.counted)
    life = await database.read(_life)
    weeks = min(len(counted.weekly), (now_ms - whole.first_ms) // _WEEK_MS)
    return m.Report(
        at_ms=now_ms,
        windows=counted.windows,
        days=counted.days,
        states=life.states,
        invited=life.invited,
        joined=life.joined,
        joined_rate=len(life.took_days) / life.invited if life.invited else None,
        median_days=statistics.median(life.took_days) if life.took_days else None,
        residue=await _residue(database, counted.authors),
        zero_date=zero_date(counted.weekly[:weeks], now_ms),
        weekly=list(counted.weekly[:weeks]),
    )


async def _residue(database: BridgeDatabase, authors: list[Author]) -> list[m.Residue]:
    """Whose mail is let in still, those first of whom there is most."""
    refused = await database.read(_refused)
    writing = (one for one in authors if one.messages and one.address not in refused)
    # Not `sorted`, which lets nobody else have a turn while it compares.
    some = await asyncio.to_thread(heapq.nsmallest, limits.RESIDUE_MAX, writing, _most_first)
    states = await database.read(partial(_states, addresses=[author.address for author in some]))
    return [_left(author, states.get(author.address, "seen")) for author in some]


def _most_first(author: Author) -> tuple[int, str]:
    return -author.messages, author.address


def zero_date(weekly: Sequence[int], now_ms: int) -> str | None:
    """The day (UTC) on which a straight line through these numbers of the last weeks, the newest first, reaches none.

    None: it does not fall, or there are less than four weeks.
    """
    if len(weekly) < _WEEKS_MIN:
        return None
    middles = [-(week + 0.5) for week in range(len(weekly))]  # in weeks from now
    slope, now = statistics.linear_regression(middles, weekly)
    if slope >= 0:
        return None
    ahead_ms = max(0, round(-now / slope * _WEEK_MS))
    if ahead_ms > _AHEAD_MAX_DAYS * DAY_MS:
        return None
    return datetime.fromtimestamp((now_ms + ahead_ms) / 1000, UTC).strftime("%Y-%m-%d")


def _fold(connection: Connection, tally: Tally, after: int, head: int) -> int:
    """Count some entries; the number of the last."""
    rows = read_some(connection, after, head)
    for number, at_ms, kind, body in rows:
        with contextlib.suppress(msgspec.MsgspecError):  # somebody has changed it, which `verify` says
            if kind == "mail":
                tally.mail(number, at_ms, body)
            else:
                tally.act(body)
    return rows[-1].number if rows else head


def _life(connection: Connection) -> _Life:
    c = correspondent.c
    states: dict[str, int] = dict.fromkeys(get_args(LifeState), 0)
    for state, count in connection.execute(select(c.state, func.count()).group_by(c.state)):
        states[state] = count
    invited, joined = connection.execute(select(func.count(c.invited_ms), func.count(c.joined_ms))).one()
    both = select(c.joined_ms - c.invited_ms).where(c.joined_ms.is_not(None), c.invited_ms.is_not(None))
    return _Life(states, invited, joined, [max(0, ms) / DAY_MS for ms in connection.scalars(both)])


def _refused(connection: Connection) -> frozenset[str]:
    c = correspondent.c
    return frozenset(connection.scalars(select(c.address).where(c.state == "refused")))


def _states(connection: Connection, addresses: Sequence[str]) -> dict[str, LifeState]:
    c = correspondent.c
    rows = connection.execute(select(c.address, c.state).where(c.address.in_(addresses)))
    return {row.address: row.state for row in rows}


def _left(author: Author, state: LifeState) -> m.Residue:
    return m.Residue(
        address=author.address,
        state=state,
        machine=author.machine,
        proof=author.proof,
        messages=author.messages,
        last_seen_ms=author.last_ms,
    )
