# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counts messages and their authors out of entries of the log (C5).

A message is one mail, by `Evidence.mail`, however many tries, transactions and recipients it took. It counts at the
time at which it was first seen, and fared as its most fortunate recipient did in the end. One number is kept of each
meanwhile: 16 MiB for 200,000 messages (docs/decisions/0022).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from bridges.smtp.control import models as m
from bridges.smtp.control.evidence import Found, Machine, Outcome, Strength

DAYS: Final = 90
DAY_MS: Final = 86_400_000
WINDOWS: Final[tuple[m.Window, ...]] = (7, 30, 90)

_WEEK_DAYS: Final = 7
_FATES: Final[dict[Outcome, int]] = {  # in the order of fortune
    "deferred": 0,
    "refused": 1,
    "held": 2,
    "spooled": 3,
    "duplicate": 4,
    "delivered": 4,
}
_REFUSED: Final = 1
_HELD: Final = 2
_SPOOLED: Final = 3
_DELIVERED: Final = 4
_EXPIRED: Final = "held.expire"
_STRENGTHS: Final[tuple[Strength, ...]] = ("none", "weak", "strong")


class _Evidence(msgspec.Struct, frozen=True, gc=False):
    """Of `evidence.Evidence` what is counted."""

    author: str
    mail: str
    found: tuple[Found, ...] = ()
    machine: Machine = ""


class _Decided(msgspec.Struct, frozen=True, gc=False):
    outcome: Outcome
    record: int | None = None


class _Mail(msgspec.Struct, frozen=True, gc=False):
    evidence: _Evidence
    decided: tuple[_Decided, ...]


class _Act(msgspec.Struct, frozen=True, gc=False):
    """Of what was done with a mail that was held, or waited in the spool."""

    act: str
    mail: str = ""
    decided: tuple[_Decided, ...] = ()


_mail: Final = msgspec.json.Decoder(_Mail).decode
_act: Final = msgspec.json.Decoder(_Act).decode


class _Message(NamedTuple):
    """What is known of a message. `at_s`: after the beginning; `author`: a place, 0 for none that is proved."""

    fate: int
    strength: int
    machine: bool
    at_s: int
    author: int

    def packed(self) -> int:
        """As one number, of which there are many."""
        return self.fate | self.strength << 3 | self.machine << 5 | self.at_s << 6 | self.author << 30


def _unpacked(number: int) -> _Message:
    return _Message(number & 7, number >> 3 & 3, bool(number >> 5 & 1), number >> 6 & 0xFFFFFF, number >> 30)


class Author:
    """A proven author. `machine`, `proof`: of his newest mail. `messages`: of his that were not refused."""

    __slots__ = ("address", "last_ms", "let_in", "machine", "messages", "on_dates", "proof", "seen")

    def __init__(self, address: str) -> None:
        self.address = address
        self.last_ms = 0
        self.machine: Machine = ""
        self.proof: Strength = "none"
        self.messages = 0
        self.seen = 0  # bits: in which days backwards from now
        self.let_in = 0  # the same, where a message was not refused
        self.on_dates = 0  # on which dates backwards from today

    def wrote(self, message: _Message, age: int, date: int) -> None:
        """One of his messages, so many days ago."""
        self.seen |= 1 << age
        self.on_dates |= 1 << date
        if message.fate != _REFUSED:
            self.let_in |= 1 << age
            self.messages += 1


class Counted(NamedTuple):
    """What came of it. `weekly`: distinct authors of whom something was let in, in the weeks backwards from now."""

    windows: list[m.ReportWindow]
    days: list[m.ReportDay]
    weekly: list[int]
    authors: list[Author]


class Tally:
    """Of the last 90 days. Give it the entries in their order, then ask `counted` once."""

    def __init__(self, now_ms: int) -> None:
        self.since_ms = now_ms - DAYS * DAY_MS
        self._now_ms = now_ms
        self._messages: dict[int, int] = {}  # by a hash of their names
        self._authors: list[Author] = []
        self._places: dict[str, int] = {}  # of authors, from 1 on

    def mail(self, number: int, at_ms: int, body: bytes) -> None:
        """An entry of a mail. Raises `msgspec.MsgspecError` where it is none."""
        if not self.since_ms <= at_ms <= self._now_ms:
            return
        entry = _mail(body)
        evidence = entry.evidence
        strength = _STRENGTHS.index(_strength(entry))
        fate = max((_FATES[one.outcome] for one in entry.decided), default=0)
        key = _key(evidence.mail or f"entry {number}")
        known = self._messages.get(key)
        before = _unpacked(known) if known is not None else _Message(0, 0, False, (at_ms - self.since_ms) // 1000, 0)
        author = self._place(evidence, _STRENGTHS[strength], at_ms) if strength else before.author
        self._messages[key] = _Message(
            max(before.fate, fate),
            max(before.strength, strength),
            before.machine or bool(evidence.machine),
            before.at_s,
            author,
        ).packed()

    def act(self, body: bytes) -> None:
        """An entry of an act: what waited for a person, or for the service, has met its fate.

        Raises `msgspec.MsgspecError` where it is none.
        """
        entry = _act(body)
        fates = [_FATES[one.outcome] for one in entry.decided] or [_REFUSED] * (entry.act == _EXPIRED)
        key = _key(entry.mail)
        known = self._messages.get(key) if entry.mail and fates else None
        if known is None:
            return
        before, fate = _unpacked(known), max(fates)
        if fate > before.fate or (before.fate in {_HELD, _SPOOLED} and fate >= _REFUSED):
            self._messages[key] = before._replace(fate=fate).packed()

    def counted(self) -> Counted:
        """All of it; a second of work where there are many, for a thread. Messages are let go of meanwhile."""
        windows = {days: _Window() for days in WINDOWS}
        today = self._now_ms // DAY_MS
        messages, senders, weekly = [0] * DAYS, [0] * (DAYS + 1), [0] * len(_WEEKS)
        while self._messages:
            message = _unpacked(self._messages.popitem()[1])
            at_ms = self.since_ms + message.at_s * 1000
            age, date = min((self._now_ms - at_ms) // DAY_MS, DAYS - 1), today - at_ms // DAY_MS
            for days, window in windows.items():
                if age < days:
                    window.add(message)
            if message.fate >= _SPOOLED and date < DAYS:
                messages[date] += 1
            if message.author:
                self._authors[message.author - 1].wrote(message, age, date)
        for author in self._authors:
            for days, window in windows.items():
                window.senders += author.seen & _first(days) > 0
            for week, bits in enumerate(_WEEKS):
                weekly[week] += author.let_in & bits > 0
            for date in _places(author.on_dates):
                senders[date] += 1
        return Counted(
            [window.told(days) for days, window in windows.items()],
            [
                m.ReportDay(day=_written(today - date), messages=messages[date], senders=senders[date])
                for date in reversed(range(DAYS))
            ],
            weekly,
            self._authors,
        )

    def _place(self, evidence: _Evidence, proof: Strength, at_ms: int) -> int:
        place = self._places.setdefault(evidence.author, len(self._authors) + 1)
        if place > len(self._authors):
            self._authors.append(Author(evidence.author))
        author = self._authors[place - 1]
        author.last_ms, author.machine, author.proof = max(author.last_ms, at_ms), evidence.machine, proof
        return place


class _Window:
    """The numbers of one window, while they are counted."""

    def __init__(self) -> None:
        self.senders = 0
        self._messages = 0
        self._fates = [0] * (_DELIVERED + 1)
        self._human = 0
        self._machine = 0
        self._weak = 0

    def add(self, message: _Message) -> None:
        self._messages += 1
        self._fates[message.fate] += 1
        if message.author:
            self._machine += message.machine
            self._human += not message.machine
            self._weak += _STRENGTHS[message.strength] == "weak"

    def told(self, days: int) -> m.ReportWindow:
        return m.ReportWindow(
            days=days,
            senders=self.senders,
            messages=self._messages,
            delivered=self._fates[_SPOOLED] + self._fates[_DELIVERED],
            held=self._fates[_HELD],
            refused=self._fates[_REFUSED],
            human=self._human,
            machine=self._machine,
            weak=self._weak,
            unproved=self._messages - self._human - self._machine,
        )


def _strength(entry: _Mail) -> Strength:
    """As `bridges.smtp.policy.policy.strength` says it: whether a record's proof held is seen by what it led to."""
    if not entry.evidence.author:
        return "none"
    passed = [one for one in entry.evidence.found if one.state == "pass" and one.aligned]
    if any(one.method == "dkim" and not one.by for one in passed):
        return "strong"
    by_record = any(one.record is not None and _FATES[one.outcome] >= _SPOOLED for one in entry.decided)
    return "weak" if passed or by_record else "none"


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest())


def _first(days: int) -> int:
    return (1 << days) - 1


def _places(bits: int) -> Iterator[int]:
    """Which bits are set."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _written(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_MS // 1000, UTC).strftime("%Y-%m-%d")


_WEEKS: Final = tuple(_first(_WEEK_DAYS) << start for start in range(0, DAYS - _WEEK_DAYS + 1, _WEEK_DAYS))
"""Which bits are each whole week backwards from now."""
