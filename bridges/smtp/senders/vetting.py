# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vetting records: whom administrators let write, by which proof, until when (C2).

They are in the database, and in memory as mail is decided by them. The settings file seeds those that are its own. A
record suspends itself when its proof stops passing; by which failures, and why not by a forger's, is said in
docs/decisions/0021.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from msgspec.structs import replace
from sqlalchemy import Connection, Row

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.checks import sender_checks
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import ActDone, Entry, Evidence
from bridges.smtp.peers import Networks, network_of
from bridges.smtp.policy.rules import Rules, SenderRule, folded
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.settings import Route
from bridges.smtp.store import senders
from bridges.smtp.store.database import BridgeDatabase
from tmtp_core.clock import Clock

log = structlog.get_logger()

Append = Callable[[Connection, Entry, int], object]
"""Adds an entry to the log of decisions, within a change."""

Cover = Callable[[Connection, int, str, str, int], object]
"""Within a change: a record now vets an address, or all of a domain (`Correspondents.cover`)."""

Got = TypeVar("Got")
_SETTINGS: Final = "settings file"
_RULE: Final = "rule: its proof stopped passing"
_ATTENTION_MAX: Final = 20


class Vetting:
    """The records of one intake.

    `append`: to the log of decisions. `cover`: whom a new record vets. `tell`: the administrators, of what needs one of
    them. `changed`: called when other records count than before. Methods that change something raise `BridgeRefused`,
    and `OSError` when the disk does not do its part; what they did is on the disk when they return.
    """

    def __init__(
        self,
        bridge: str,
        database: BridgeDatabase,
        clock: Clock,
        routes: Iterable[Route],
        upstream: Networks,
        append: Append,
        cover: Cover,
        tell: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._bridge = bridge
        self._database = database
        self._clock = clock
        self._routes = tuple(routes)
        self._upstream = tuple(str(one) for one in upstream.networks)
        self._append = append
        self._cover = cover
        self._tell = tell
        self._changed = changed
        self._day = 0
        self._today: dict[int, int] = {}  # messages by record, those under way included
        self._loop: asyncio.AbstractEventLoop | None = None
        self.rules = Rules((), self._routes)

    # -- for mail ------------------------------------------------------------------------------------------------------
    async def open(self, seeds: Iterable[m.VetSender]) -> None:
        """Read the records, and make those of the settings file as they stand there now."""
        self._loop = asyncio.get_running_loop()
        told = [_normal(one) for one in seeds]
        await self._change(lambda connection, now_ms: self._seed(connection, told, now_ms))
        self._day = day = self._now_ms() // senders.DAY_MS
        self._today = await self._database.write(lambda connection: senders.messages_of(connection, day))

    def today(self, number: int, now_ms: int) -> int:
        """Messages that a record has taken this day (UTC), with those under way."""
        if now_ms // senders.DAY_MS > self._day:  # a mail that began yesterday opens no day anew
            self._day, self._today = now_ms // senders.DAY_MS, {}
        return self._today.get(number, 0)

    def reserve(self, number: int, now_ms: int) -> Callable[[], None]:
        """Count a message that is about to be taken. Call what is returned if it was not."""
        self._today[number] = self.today(number, now_ms) + 1
        day = self._day

        def take_back() -> None:
            if self._day == day:
                self._today[number] -= 1

        return take_back

    def passed(
        self, connection: Connection, record: SenderRule, evidence: Evidence, at_ms: int, *, taken: bool
    ) -> None:
        """Within the change that ends a mail: the record's proof holds. `taken`: whether it counts for the quota, and
        where it came from: a signed mail that was here before can be handed in from anywhere, by anybody who has it.
        """
        network = network_of(evidence.peer) if taken and record.claims and not evidence.upstream else ""
        senders.note_pass(connection, record.number, network, at_ms)
        if taken:
            senders.count_message(connection, record.number, at_ms)

    def failed(self, connection: Connection, record: SenderRule, evidence: Evidence, at_ms: int) -> None:
        """Within the change that ends a mail: it claims the record, in a session as that wants it, and fails to prove
        it. Where that was once too often, the record is suspended.
        """
        network = "" if evidence.upstream else network_of(evidence.peer)
        why = _enough(senders.note_failure(connection, record.number, network, evidence.mail, at_ms))
        row = senders.of_number(connection, record.number) if why else None
        if row is None or row.state != "active":
            return
        senders.set_state(connection, record.number, "suspended", why, at_ms)
        self._append(connection, ActDone(_RULE, "senders.suspend", record.whom, why), at_ms)
        self._decide_by_these(connection)
        self._database.afterwards(partial(self._on_loop, self._say_suspended, str(record.number), record.whom, why))

    def _say_suspended(self, number: str, whom: str, why: str) -> None:
        log.warning("smtp_sender_suspended", bridge=self._bridge, record=int(number), sender=whom, why=why)
        self._tell(
            f"Mail from {whom} is suspended: {why}. Whoever sends it is told to try again later. If it is the sender's "
            f"mistake, resume record {number} when it is mended; if it is a forger, nothing of his has passed."
        )

    def vets(self, address: str) -> bool:
        """Whether a record that counts covers an address; asked on any thread."""
        record = self.rules.sender(address)
        return record is not None and not record.suspended and not record.expired(self._now_ms())

    @property
    def attention(self) -> list[str]:
        """What an administrator should look at, a line each."""
        now_ms = self._now_ms()
        lines = [
            f"record {rule.number}, {rule.whom}, is suspended: {rule.suspended}"
            for rule in self.rules.senders
            if rule.suspended and not rule.expired(now_ms)
        ]
        lines += [
            f"record {rule.number}, {rule.whom}, has expired: renew or withdraw it"
            for rule in self.rules.senders
            if rule.expired(now_ms)
        ]
        more = len(lines) - _ATTENTION_MAX
        return lines if more <= 0 else [*lines[:_ATTENTION_MAX], f"{more} more records are suspended or have expired"]

    # -- for administrators --------------------------------------------------------------------------------------------
    async def list(
        self, state: m.SenderState | None = None, search: str = "", after: int = 0, limit: int = m.PAGE_MAX
    ) -> list[m.Sender]:
        """Records with a number above `after`, in their order."""
        now_ms = self._now_ms()
        return await self._database.read(
            lambda connection: senders.listed(connection, now_ms, state, search, after, limit)
        )

    async def show(self, number: int) -> m.Sender:
        """One of them."""
        now_ms = self._now_ms()
        return await self._database.read(
            lambda connection: senders.shown(connection, [_found(connection, number)], now_ms)[0]
        )

    async def vet(self, body: m.VetSender, by: str) -> m.Sender:
        """Make a record."""
        mistakes = sender_checks(body, self._upstream, [route.recipient for route in self._routes])
        words = [f"{_place(path)}{wrong}: {right}" for path, wrong, right in mistakes]
        if words:
            raise BridgeRefused("invalid", "; ".join(words))
        said = _normal(body)
        if said.expires_ms is not None and said.expires_ms <= self._now_ms():
            raise BridgeRefused("invalid", "expires_ms: that day is over: a later one, or none")
        return await self._change(lambda connection, now_ms: self._vet(connection, said, by, now_ms))

    def _vet(self, connection: Connection, said: m.VetSender, by: str, at_ms: int) -> m.Sender:
        there = senders.of_whom(connection, said.address or "", said.domain or "")
        if there is not None:
            expired = there.expires_ms is not None and there.expires_ms <= at_ms
            if there.source == "settings":
                raise BridgeRefused("refused", f"{_whom(said)} stands in the settings file: change it there")
            if not expired:
                what = f"{_whom(said)} has record {there.number} already: withdraw that first"
                raise BridgeRefused("refused", what)
            self._set(connection, there, "withdrawn", "vetted anew", by, at_ms)
        number = self._add(connection, said, "administrator", by, at_ms)
        return senders.shown(connection, [_found(connection, number)], at_ms)[0]

    async def suspend(self, number: int, by: str, reason: str) -> m.Sender:
        """Its mail is put off with 451 until it is resumed."""
        return await self._move(number, "suspended", by, reason, refused={"suspended": "is suspended already"})

    async def resume(self, number: int, by: str, reason: str) -> m.Sender:
        """Its mail is taken again; what failed before counts no more."""
        return await self._move(number, "active", by, reason, refused={"active": "is not suspended"})

    async def withdraw(self, number: int, by: str, reason: str) -> m.Sender:
        """It counts no more, for good."""
        return await self._move(number, "withdrawn", by, reason, refused={})

    async def _move(self, number: int, state: m.SenderState, by: str, reason: str, refused: dict[str, str]) -> m.Sender:
        def move(connection: Connection, now_ms: int) -> m.Sender:
            row = _found(connection, number)
            wrong = {"withdrawn": "is withdrawn: vet the sender anew", **refused}.get(row.state)
            if wrong is None and state == "withdrawn" and row.source == "settings":
                wrong = "stands in the settings file: remove it there, or suspend it"
            if wrong is not None:
                raise BridgeRefused("refused", f"record {number} {wrong}")
            self._set(connection, row, state, reason, by, now_ms)
            return senders.shown(connection, [_found(connection, number)], now_ms)[0]

        return await self._change(move)

    def _set(self, connection: Connection, row: Row[Any], state: m.SenderState, why: str, by: str, at_ms: int) -> None:
        acts = {"suspended": "senders.suspend", "active": "senders.resume", "withdrawn": "senders.withdraw"}
        senders.set_state(connection, row.number, state, why, at_ms)
        self._append(connection, ActDone(by, acts[state], _whom(senders.vetted(row)), why), at_ms)

    # -- the settings file ---------------------------------------------------------------------------------------------
    def _seed(self, connection: Connection, told: Sequence[m.VetSender], at_ms: int) -> None:
        """What stands there is made so; what no longer does is withdrawn. A suspension stays, unless the entry says now
        that something else is to be decided by.
        """
        rows = senders.by_whom(connection)
        for said in told:
            row = rows.pop((said.address or "", said.domain or ""), None)
            if row is not None and row.source != "settings":
                self._set(connection, row, "withdrawn", "the settings file has it now", _SETTINGS, at_ms)
                row = None
            if row is None:
                self._add(connection, said, "settings", _SETTINGS, at_ms)
            elif (before := senders.vetted(row)) != said:
                senders.rewrite(connection, row.number, said)
                if before.proof != said.proof:
                    senders.forget_networks(connection, row.number)
                if _decides(before) != _decides(said):
                    senders.set_state(connection, row.number, "active", "", at_ms)
                self._append(connection, ActDone(_SETTINGS, "senders.vet", _whom(said), said.reason), at_ms)
        for row in (row for row in rows.values() if row.source == "settings"):
            self._set(connection, row, "withdrawn", "it is gone from the settings file", _SETTINGS, at_ms)

    def _add(self, connection: Connection, said: m.VetSender, source: str, by: str, at_ms: int) -> int:
        number = senders.add(connection, said, source, by, at_ms)
        self._append(connection, ActDone(by, "senders.vet", _whom(said), said.reason), at_ms)
        self._cover(connection, number, said.address or "", said.domain or "", at_ms)
        return number

    # -- in memory -----------------------------------------------------------------------------------------------------
    async def _change(self, work: Callable[[Connection, int], Got]) -> Got:
        now_ms = self._now_ms()

        def change(connection: Connection) -> Got:
            got = work(connection, now_ms)
            self._decide_by_these(connection)
            return got

        return await self._database.write(change)

    def _decide_by_these(self, connection: Connection) -> None:
        """Within a change: decide by what it makes, as soon as that is on the disk."""
        rules = Rules(senders.current(connection), self._routes)

        def use() -> None:
            self.rules = rules
            self._on_loop(self._changed)

        self._database.afterwards(use)

    def _on_loop(self, call: Callable[..., None], *arguments: str) -> None:
        """From the writer's thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call, *arguments)

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def _enough(counted: senders.Tally) -> str:
    """Why so many failures suspend a record; "" where they do not."""
    if counted.known >= limits.FAILURES_SUSPEND:
        return f"its proof failed for {counted.known} mails in a row, from networks from which it used to pass"
    if counted.front >= limits.FAILURES_IN_FRONT_SUSPEND and counted.front_days >= limits.FAILURES_IN_FRONT_DAYS:
        return f"its proof failed for {counted.front} mails on {counted.front_days} days, and passed for none"
    return ""


def _normal(said: m.VetSender) -> m.VetSender:
    """A record in the one form in which it is looked up and compared."""
    proofs = [replace(one, dkim=one.dkim.lower()) if one.dkim is not None else one for one in said.proof]
    return replace(
        said,
        proof=proofs,
        address=None if said.address is None else canonical_address(said.address),
        domain=None if said.domain is None else said.domain.lower(),
        routes=None if said.routes is None else sorted({folded(route) for route in said.routes}),
    )


def _decides(said: m.VetSender) -> tuple[object, ...]:
    """What of a record mail is decided by; owner and reason are words."""
    return said.proof, said.routes, said.expires_ms, said.quota_per_day


def _whom(said: m.VetSender) -> str:
    return said.address or f"all of {said.domain}"


def _found(connection: Connection, number: int) -> Row[Any]:
    row = senders.of_number(connection, number)
    if row is None:
        raise BridgeRefused("not found", f"there is no record {number}")
    return row


def _place(path: tuple[str | int, ...]) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return f"{name}: " if name else ""
