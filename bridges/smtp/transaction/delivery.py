# SPDX-License-Identifier: AGPL-3.0-or-later
"""One mail, from its octets to an answer for each recipient (C2, D1): gathered, decided on, done, written down.

`250` is said only after the service has acknowledged the post, or the mail is on the disk: in the spool, or held for a
person. Temporary trouble is always 4xx; the same mail sent again is posted under the same ids and stored once.
"""

import asyncio
import errno
import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace
from sqlalchemy import Connection

from bridges.mime import Letter, Unparsable
from bridges.mime.pool import ParserPool
from bridges.smtp.control.evidence import ActDone, Decided, Evidence, MailDecided, Outcome
from bridges.smtp.peers import network_of
from bridges.smtp.policy import policy, replies
from bridges.smtp.policy.policy import Known, Ruling
from bridges.smtp.policy.rules import Rules, SenderRule
from bridges.smtp.posts.posting import AWAY, Accepted, Posted, Poster
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.proof.verdict import Standing
from bridges.smtp.senders.correspondents import Correspondents
from bridges.smtp.senders.vetting import Vetting
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions
from bridges.smtp.transaction.gathering import Gathered, Gathering, Transaction
from bridges.smtp.transaction.refusals import Refusals
from bridges.smtp.waiting.holding import Holding
from bridges.smtp.waiting.spool import Spool
from bridges.workers import WorkerFailed
from tmtp_core.clock import Clock

log = structlog.get_logger()

_TAKEN: Final = ("delivered", "spooled", "held")
_UNFINISHED: Final[dict[str, Outcome]] = {"refuse": "refused", "defer": "deferred"}


@dataclass(frozen=True, slots=True)
class Rooms:
    """What a mail passes through, and where what becomes of it is written down. `tell`: the administrators, of one kind
    of thing once an hour.
    """

    gathering: Gathering
    parser: ParserPool
    poster: Poster
    vetting: Vetting
    correspondents: Correspondents
    holding: Holding
    spool: Spool
    decisions: Decisions
    refusals: Refusals
    tell: Callable[[str, str], None]


@dataclass
class _Mail:
    """One mail under way. `decided` and `replies`: for the recipients that are done with. `messages`: ids of what was
    posted of it. `in_log`: whether it is worth an entry; `acts`: others to be written with it.
    """

    mail: Transaction
    folder: Path
    at_ms: int
    rules: Rules
    gathered: Gathered
    known: Known
    letter: Letter | None = None
    decided: list[Decided] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    remember: list[Callable[[Connection], None]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    in_log: bool = True
    acts: list[ActDone] = field(default_factory=list)

    @property
    def evidence(self) -> Evidence:
        return self.gathered.evidence

    @property
    def record(self) -> SenderRule | None:
        """The record that it claims, if that still counts."""
        record = self.rules.sender(self.evidence.author)
        return None if record is None or record.expired(self.at_ms) else record

    def done(self, recipient: str, outcome: Outcome, reply: str, ruling: Ruling) -> None:
        """So it is for one recipient."""
        self.decided.append(Decided(recipient, outcome, ruling.trace, ruling.record))
        self.replies[recipient] = reply


class Delivery:
    """Takes mails; `bridge`: its name. `invitation_url`: where everybody can join, "" for nowhere."""

    def __init__(
        self,
        bridge: str,
        workplace: Path,
        database: BridgeDatabase,
        clock: Clock,
        rooms: Rooms,
        invitation_url: str,
    ) -> None:
        self._bridge = bridge
        self._workplace = workplace
        self._database = database
        self._clock = clock
        self._rooms = rooms
        self._invitation_url = invitation_url
        self._numbers = itertools.count(1)

    async def take(self, mail: Transaction) -> dict[str, str]:
        """The reply for each recipient."""
        try:
            got = await self._take(mail)
        except OSError as error:
            log.exception("smtp_spool_failed", bridge=self._bridge, errno=error.errno)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reply = replies.DISK_FULL if full else replies.temporary("the spool failed")
            got = dict.fromkeys(mail.recipients, reply)
        return {recipient: replies.plain(reply) for recipient, reply in got.items()}

    async def _take(self, mail: Transaction) -> dict[str, str]:
        folder = self._workplace / f"mail-{next(self._numbers)}"
        try:
            then = self._rooms.vetting.rules
            matters = partial(self._matters, mail, then)
            gathered = await self._rooms.gathering.gather(mail, then, self._now_ms(), matters)
            author, rules = gathered.evidence.author, self._rooms.vetting.rules
            if rules.sender(author) != then.sender(author):  # it was looked at by what no longer counts
                gathered = gathered.in_trouble(replies.temporary("the vetting of its sender has just been changed"))
            at_ms = self._now_ms()
            one = _Mail(mail, folder, at_ms, rules, gathered, self._known(author, rules, at_ms))
            await self._decided(one)
            return one.replies
        finally:
            if _is_there(folder):  # only attachments need one
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _matters(self, mail: Transaction, rules: Rules, author: str) -> bool:
        """Whether it matters whose mail it is even where no record asks: it may be held, or told where to join."""
        if self._invitation_url or self._rooms.correspondents.state(author) is not None:
            return True
        routes = (rules.route(recipient) for recipient in mail.recipients)
        return any(route is not None and route.hold_unknown for route in routes)

    def _known(self, author: str, rules: Rules, at_ms: int) -> Known:
        record = rules.sender(author)
        today = 0 if record is None else self._rooms.vetting.today(record.number, at_ms)
        correspondents = self._rooms.correspondents
        return Known(today, correspondents.state(author), self._invitation_url, correspondents.link(author))

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000

    # -- deciding ------------------------------------------------------------------------------------------------------
    async def _decided(self, one: _Mail) -> None:
        """Decide, do it, write it down."""
        rulings = self._rulings(one)
        taken = [ruling.record for ruling in rulings.values() if ruling.do == "take" and ruling.record is not None]
        # Counted now, while nothing else runs: two mails at once must not both be the last of a day.
        take_back = self._rooms.vetting.reserve(taken[0], one.at_ms) if taken else None
        counted = False
        try:
            if any(ruling.do in ("take", "hold") for ruling in rulings.values()):
                rulings = await self._read(one, rulings)
            await self._carry_out(one, rulings)
            counted = bool(taken) and any(each.outcome in _TAKEN for each in one.decided)
            await self._written(one, counted)
        except OSError:
            counted = False
            raise
        finally:
            if take_back is not None and not counted:
                take_back()

    def _rulings(self, one: _Mail) -> dict[str, Ruling]:
        gathered, recipients = one.gathered, one.mail.recipients
        if gathered.trouble:
            put_off = Ruling("defer", (f"put off: {gathered.trouble[10:]}",), None, gathered.trouble)
            return dict.fromkeys(recipients, put_off)
        return policy.rule(gathered.evidence, recipients, one.rules, one.known, one.at_ms, gathered.seen)

    async def _read(self, one: _Mail, rulings: dict[str, Ruling]) -> dict[str, Ruling]:
        """Parse it: what cannot be read is decided on once more, by that."""
        evidence = one.evidence
        try:
            one.letter = await self._rooms.parser.parse(one.mail.content, one.folder)
        except Unparsable as unparsable:
            log.info("smtp_mail_unparsable", bridge=self._bridge, sender=evidence.author, reason=unparsable.reason)
            one.gathered = one.gathered.but(replace(evidence, unreadable=str(unparsable)))
        except WorkerFailed as failed:
            log.error("smtp_parser_failed", bridge=self._bridge, error=str(failed))
            later = Ruling(
                "defer", ("it cannot be read just now",), None, replies.temporary("the parser is not available")
            )
            return {to: later if ruling.do in ("take", "hold") else ruling for to, ruling in rulings.items()}
        else:
            if canonical_address(one.letter.sender) == evidence.author:
                return rulings
            # Two readers of one header must not read two authors.
            wrong = "its From header can be read in two ways"
            one.gathered = one.gathered.but(replace(evidence, author="", domain="", unreadable=wrong))
        return self._rulings(one)

    # -- doing ---------------------------------------------------------------------------------------------------------
    async def _carry_out(self, one: _Mail, rulings: dict[str, Ruling]) -> None:
        accepted = one.gathered.accepted(one.record)
        for recipient, ruling in rulings.items():
            if ruling.do in _UNFINISHED:
                one.done(recipient, _UNFINISHED[ruling.do], ruling.reply, ruling)
        held = {recipient: ruling for recipient, ruling in rulings.items() if ruling.do == "hold"}
        for why in dict.fromkeys(ruling.why for ruling in held.values()):
            await self._hold(one, accepted, why, {to: ruling for to, ruling in held.items() if ruling.why == why})
        await self._post(one, accepted, {to: ruling for to, ruling in rulings.items() if ruling.do == "take"})
        self._told(one)

    async def _hold(self, one: _Mail, accepted: Accepted, why: str, which: dict[str, Ruling]) -> None:
        subject = one.letter.subject if one.letter is not None else ""
        number = await self._rooms.holding.keep(one.mail.content, accepted, one.evidence, subject, list(which), why)
        if number is None:
            self._rooms.tell("No more mail can be held: decide on what waits, or let more of it wait (hold).", "hold")
        else:
            self._rooms.tell(f"Mail waits for a decision. The newest is number {number}: {why}", "held")
        for recipient, ruling in which.items():
            if number is None:
                one.done(recipient, "deferred", replies.NO_ROOM_TO_HOLD, ruling)
            else:
                one.done(recipient, "held", replies.HELD, ruling)

    async def _post(self, one: _Mail, accepted: Accepted, which: dict[str, Ruling]) -> None:
        """One post a route, each under its own id; what the service does not answer to is spooled."""
        by_route: dict[str, Posted] = {}
        for recipient in which:
            route = one.rules.route(recipient)
            assert route is not None
            assert one.letter is not None
            name = route.recipient
            if name in by_route:
                continue
            away = any(posted.away for posted in by_route.values())  # no second wait for who did not answer
            if away or self._rooms.spool.is_behind(accepted.author, name):  # no mail overtakes one before it
                by_route[name] = AWAY
            else:
                by_route[name] = await self._rooms.poster.post(one.mail.content, one.letter, accepted, route)
        one.remember += [posted.remember for posted in by_route.values() if posted.remember is not None]
        one.messages += [posted.message for posted in by_route.values() if posted.message]
        late = [name for name, posted in by_route.items() if posted.away]
        again = bool(late) and self._rooms.spool.has(one.evidence, late)
        kept = bool(late) and await self._rooms.spool.keep(one.mail.content, accepted, one.evidence, late)
        if late and not kept:
            log.warning("smtp_spool_full", bridge=self._bridge)
        for recipient, ruling in which.items():
            route = one.rules.route(recipient)
            assert route is not None
            posted = by_route[route.recipient]
            if posted.away and kept:
                one.done(recipient, "duplicate" if again else "spooled", replies.SPOOLED, ruling)
            else:
                one.done(recipient, posted.outcome, posted.reply, ruling)

    def _told(self, one: _Mail) -> None:
        """A line in the log of operation: who, what, and by which proof."""
        evidence, outcomes = one.evidence, sorted({each.outcome for each in one.decided})
        peer = evidence.peer or "unix"
        log.info(
            "smtp_mail_decided",
            bridge=self._bridge,
            sender=evidence.author,
            peer=peer,
            outcomes=outcomes,
            messages=one.messages,
            why=[each.trace[-1] for each in one.decided[:1]],
            trace=one.gathered.seen,
        )

    # -- writing down --------------------------------------------------------------------------------------------------
    async def _written(self, one: _Mail, counted: bool) -> None:
        """All that is known now, in one change. What anybody can send, to be refused or as a copy of what was here, may
        be too much of it to be worth an entry each.
        """
        evidence, refusals = one.evidence, self._rooms.refusals
        one.acts = refusals.to_tell(one.at_ms)
        one.in_log = any(each.outcome in _TAKEN for each in one.decided) or refusals.is_written(
            network_of(evidence.peer), len(one.decided), one.at_ms
        )
        await self._database.write(lambda connection: self._write(connection, one, counted))

    def _write(self, connection: Connection, one: _Mail, counted: bool) -> None:
        rooms, evidence, at_ms, record = self._rooms, one.evidence, one.at_ms, one.record
        for remember in one.remember:
            remember(connection)
        for act in one.acts:
            rooms.decisions.append(connection, act, at_ms)
        if one.in_log:
            decided = sorted(one.decided, key=lambda each: one.mail.recipients.index(each.recipient))
            rooms.decisions.append(connection, MailDecided(evidence, tuple(decided)), at_ms)
        stands = None if record is None or one.gathered.trouble else policy.claimed(record, evidence)
        holds = stands is not None and stands.standing is Standing.HOLDS
        taken = any(each.outcome in _TAKEN for each in one.decided)
        rooms.correspondents.note(connection, evidence, policy.strength(evidence, by_record=holds), at_ms, taken=taken)
        if record is None or stands is None:
            return
        if holds:
            rooms.vetting.passed(connection, record, evidence, at_ms, taken=counted)
        elif stands.session and stands.standing is Standing.FAILS:
            rooms.vetting.failed(connection, record, evidence, at_ms)


def _is_there(folder: Path) -> bool:
    return os.path.lexists(folder)
