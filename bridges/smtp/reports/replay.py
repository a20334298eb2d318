# SPDX-License-Identifier: AGPL-3.0-or-later
"""What other rules would have done with the mail of the last days: `smtp replay` (C5). Nothing is changed, or sent.

Rules are the senders and routes of a settings file; records that administrators have made stay as they are, but where
the file vets the same. Each mail is decided on once more, by its evidence, at its time. Of a mail that comes several
times to one recipient the try counts that went furthest, and it is one message, whatever a person or the service did
with it later. Mail that was refused before it was sent is in no log, and so in no replay.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, select

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.checks import sender_checks
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import Decided, Evidence, MailDecided, Outcome
from bridges.smtp.policy import policy
from bridges.smtp.policy.policy import Known, Ruling
from bridges.smtp.policy.rules import Rules, SenderRule, folded, sender_rule
from bridges.smtp.settings import Route
from bridges.smtp.store import senders
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import read_some, span
from bridges.smtp.store.tables import correspondent

_DAY_MS: Final = 86_400_000
_WOULD_BE: Final[dict[str, Outcome]] = {"take": "delivered", "hold": "held", "refuse": "refused", "defer": "deferred"}
_TAKEN: Final = frozenset({"spooled", "duplicate"})  # as far as rules go, they are delivered
_FURTHER: Final[dict[Outcome, int]] = {"deferred": 0, "refused": 1, "held": 2, "delivered": 3}

_mail: Final = msgspec.json.Decoder(MailDecided).decode


class _Fate(NamedTuple):
    """How a message to one recipient fared and would fare; None: nobody knows. Of whom: "" where it is the same."""

    before: Outcome
    after: Outcome | None
    author: str = ""
    recipient: str = ""


async def replay(database: BridgeDatabase, asked: m.Replay, upstream: Iterable[str], now_ms: int) -> m.ReplayAnswer:
    """Try these rules. `upstream`: as in `control.checks`. Raises `BridgeRefused` where they cannot be, `OSError`."""
    _check(asked, upstream)
    present = await database.read(senders.by_whom)
    since_ms = now_ms - asked.days * _DAY_MS
    course = _Course(_rules(asked, present), await database.read(_refused_since), since_ms)
    whole = await database.read(lambda connection: span(connection, since_ms))
    after = whole.after
    while after < whole.head:
        rows = await database.read(lambda connection, after=after: read_some(connection, after, whole.head))  # type: ignore[misc]
        await asyncio.to_thread(course.go_on, rows)
        after = rows[-1].number if rows else whole.head
    return course.answer(asked.days)


class _Course:
    """Goes through the log. `refused_ms`: since when a correspondent's SMTP is refused."""

    def __init__(self, rules: Rules, refused_ms: dict[str, int], since_ms: int) -> None:
        self._rules = rules
        self._refused_ms = refused_ms
        self._since_ms = since_ms
        self._fates: dict[int, _Fate] = {}  # by a hash of mail and recipient
        self._same: dict[_Fate, _Fate] = {}  # of many that are equal, one is kept
        self._traces: dict[_Fate, tuple[str, ...]] = {}  # of the newest of each kind
        self._day = 0
        self._today: Counter[str] = Counter()  # what a record would take on that day, by whom it vets

    def go_on(self, rows: Sequence[Row[Any, Any, Any, Any]]) -> None:
        """Some more entries."""
        for row in rows:
            if row.kind != "mail" or row.at_ms < self._since_ms:
                continue
            try:
                entry = _mail(row.body)
            except msgspec.MsgspecError:  # somebody has changed it, which `verify` says
                continue
            name = entry.evidence.mail or f"entry {row.number}"
            self._mail(entry, name, row.at_ms)

    def answer(self, days: int) -> m.ReplayAnswer:
        """What came out."""
        counted = Counter(self._fates.values())
        before: Counter[str] = Counter()
        after: Counter[str] = Counter()
        for fate, count in counted.items():
            before[fate.before] += count
            after[fate.after or "unknown"] += count
        changed = [fate for fate in counted if fate.author and fate.after is not None]
        changed.sort(key=lambda fate: (-counted[fate], fate.author, fate.recipient))
        return m.ReplayAnswer(
            days=days,
            messages=before.total(),
            unchanged=sum(count for fate, count in counted.items() if fate.before == fate.after),
            unknown=after["unknown"],
            before=dict(before),
            after=dict(after),
            changes=[
                m.ReplayChange(
                    author=fate.author,
                    recipient=fate.recipient,
                    before=fate.before,
                    after=fate.after,
                    messages=counted[fate],
                    trace=list(self._traces[fate]),
                )
                for fate in changed[: limits.REPLAY_CHANGES_MAX]
                if fate.after is not None
            ],
        )

    def _mail(self, entry: MailDecided, name: str, at_ms: int) -> None:
        evidence = entry.evidence
        record = self._rules.sender(evidence.author)
        known = Known(self._used(record, at_ms), "refused" if self._is_refused(entry, at_ms) else None)
        knowable = policy.knowable(record, evidence, at_ms)
        rulings = policy.rule(evidence, [one.recipient for one in entry.decided], self._rules, known, at_ms)
        for one in entry.decided:
            self._note(evidence, one, rulings[one.recipient], name, knowable=knowable)
        again = all(one.outcome == "duplicate" for one in entry.decided)
        if record is not None and not again and any(ruling.do == "take" for ruling in rulings.values()):
            self._today[record.whom] += 1

    def _note(self, evidence: Evidence, one: Decided, ruling: Ruling, name: str, *, knowable: bool) -> None:
        before: Outcome = "delivered" if one.outcome in _TAKEN else one.outcome
        after = _WOULD_BE[ruling.do]
        if _rules_alike(one, ruling):  # what came of it was the service's doing, or a full disk's
            after = before
        key = _hashed(f"{name} {folded(one.recipient)}")
        known = self._fates.get(key)
        if known is not None and known.before != "deferred" and _FURTHER[known.before] >= _FURTHER[before]:
            return
        if not knowable:
            fate = _Fate(before, None)
        elif before == after:
            fate = _Fate(before, after)
        else:
            fate = _Fate(before, after, evidence.author, folded(one.recipient))
            self._traces[fate] = ruling.trace
        self._fates[key] = self._same.setdefault(fate, fate)

    def _is_refused(self, entry: MailDecided, at_ms: int) -> bool:
        """Whether the author's SMTP was refused then, since he has joined."""
        since_ms = self._refused_ms.get(entry.evidence.author)
        if since_ms is not None and at_ms >= since_ms:
            return True
        return any(policy.SMTP_IS_REFUSED in one.trace for one in entry.decided)

    def _used(self, record: SenderRule | None, at_ms: int) -> int:
        """How much of a record's quota was used when this mail came."""
        if at_ms // _DAY_MS != self._day:
            self._day = at_ms // _DAY_MS
            self._today.clear()
        return 0 if record is None else self._today[record.whom]


def _rules_alike(one: Decided, ruling: Ruling) -> bool:
    """Whether the rules of then said the same: also where the disk, the service or a suspension made it fare worse."""
    if ruling.do == "take":
        suspended = any(policy.SUSPENDED in step for step in one.trace) and one.record == ruling.record
        return suspended or policy.took(one.trace)
    return ruling.do == "hold" and policy.held(one.trace)


def _check(asked: m.Replay, upstream: Iterable[str]) -> None:
    recipients = [route.recipient for route in asked.routes]
    for place, sender in enumerate(asked.senders):
        for path, wrong, right in sender_checks(sender, tuple(upstream), recipients):
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
            raise BridgeRefused("invalid", f"senders[{place}]{where}: {wrong}: {right}")


def _rules(asked: m.Replay, present: dict[tuple[str, str], Row[Any]]) -> Rules:
    """As they would be decided by. A record that is there already keeps its number, a new one has none."""
    tried = [sender_rule(sender) for sender in asked.senders]
    whom = {(rule.address, rule.domain) for rule in tried}
    numbered = [
        sender_rule(sender, present[rule.address, rule.domain].number)
        if (rule.address, rule.domain) in present
        else rule
        for sender, rule in zip(asked.senders, tried, strict=True)
    ]
    others = [
        sender_rule(senders.vetted(row), row.number)
        for key, row in present.items()
        if row.source == "administrator" and key not in whom
    ]
    routes = [Route(route.recipient, hold_unknown=route.unknown == "hold") for route in asked.routes]
    return Rules([*numbered, *others], routes)


def _refused_since(connection: Connection) -> dict[str, int]:
    c = correspondent.c
    rows = connection.execute(select(c.address, c.refused_ms).where(c.state == "refused"))
    return {address: refused_ms or 0 for address, refused_ms in rows}


def _hashed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest())
