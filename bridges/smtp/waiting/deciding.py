# SPDX-License-Identifier: AGPL-3.0-or-later
"""A person's decision on a held mail, carried out exactly once (C2).

It is written down before it is carried out: of two administrators one is first, and after a crash it is carried on. The
post has one id, so it arrives once. What became of the mail, what was posted and the entry of the log are one change.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Row, select

from bridges.mime import Unparsable
from bridges.mime.pool import ParserFailed
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import Decided, Evidence, Outcome
from bridges.smtp.posts.posting import Accepted, Posted
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.held import act_on, compare_and_set, refused_because, row_of
from bridges.smtp.store.tables import held, sender
from bridges.smtp.waiting.held_mail import of_row, suggested_record
from bridges.smtp.waiting.kept import KeptPoster, ReadMail, must_be_of
from bridges.smtp.waiting.spool import Append
from tmtp_core.clock import Clock

log = structlog.get_logger()

_MS = 1_000_000


class SpoolsMail(Protocol):
    """Takes a mail over while the service is away."""

    async def keep(self, mail: bytes, accepted: Accepted, evidence: Evidence, recipients: list[str]) -> bool:
        """As `Spool.keep`."""
        ...


class VetsSenders(Protocol):
    """Makes vetting records."""

    async def vet(self, body: m.VetSender, by: str) -> m.Sender:
        """A new record, on the disk when this returns. Raises `BridgeRefused`."""
        ...


class Decision(Struct, frozen=True):
    """What is done with a mail; kept with it while that is carried out, and after. `record`: once there is one."""

    action: m.HeldAction
    by: str
    reason: str = ""
    vet: m.VetSender | None = None
    record: int | None = None
    outcomes: dict[str, Outcome] = {}


class Deciding:
    """Decides on the held mail of one intake.

    `path`: of a mail's file; `gone`: is told the number and the size of each that is done with.
    """

    def __init__(
        self,
        database: BridgeDatabase,
        poster: KeptPoster,
        spool: SpoolsMail,
        vetting: VetsSenders,
        append: Append,
        clock: Clock,
        path: Callable[[int], Path],
        gone: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self._database = database
        self._poster = poster
        self._spool = spool
        self._vetting = vetting
        self._append = append
        self._clock = clock
        self._path = path
        self._gone = gone
        self._at_work: Counter[int] = Counter()

    async def carry_on(self) -> None:
        """Finish the decisions that a crash, or a disk that failed, has cut off; one that cannot be carried on just now
        keeps no other from it. Raises `OSError` where nothing can be read.
        """
        query = select(held).where(held.c.state == "deciding")
        for row in await self._database.read(lambda connection: connection.execute(query).all()):
            if not self._at_work[row.number]:
                log.info("smtp_held_decision_carried_on", mail=row.number)
                try:
                    await self._carry_on(row)
                except BridgeRefused as refused:
                    log.warning("smtp_held_decision_undone", mail=row.number, why=str(refused))
                except (OSError, ParserFailed) as error:
                    log.error("smtp_held_decision_waits", mail=row.number, error=str(error))

    async def decide(self, number: int, body: m.DecideHeld, by: str) -> m.HeldDecided:
        """Do it. Raises `OSError`, `BridgeRefused`."""
        row = await self._row(number)
        if row.state != "held":
            raise refused_because(row)
        vet = self._to_vet(row, body)
        if body.action == "reject":
            return await self._reject(row, Decision("reject", by, body.reason))
        decision = Decision(body.action, by, body.reason, vet)
        try:
            async with self._poster.read(self._path(number)) as mail:
                must_be_of(mail.letter, row.author)
                with self._at_work_on(number):
                    await self._claim(row, decision)
                    return await self._carried_out(row, decision, mail)
        except Unparsable as unparsable:
            raise BridgeRefused("refused", f"This mail cannot be read, only rejected: {unparsable}") from None
        except FileNotFoundError:
            raise refused_because(await self._row(number)) from None
        except ParserFailed as failed:
            raise BridgeRefused("away", f"It cannot be read just now, try again: {failed}") from None

    async def _carry_on(self, row: Row[Any]) -> m.HeldDecided:
        decision = msgspec.json.decode(row.decision, type=Decision)
        try:
            with self._at_work_on(row.number):
                async with self._poster.read(self._path(row.number)) as mail:
                    return await self._carried_out(row, decision, mail)
        except Unparsable as unparsable:
            await self._put_back(row, [])
            raise BridgeRefused("refused", f"This mail cannot be read, only rejected: {unparsable}") from None

    async def _claim(self, row: Row[Any], decision: Decision) -> None:
        """Write down that this is done, unless something else is. Raises `BridgeRefused`."""
        values = _decided(decision, "deciding", self._now_ms())

        def claim(connection: Connection) -> None:
            compare_and_set(connection, row.number, "held", values)

        await self._database.write(claim)

    async def _carried_out(self, row: Row[Any], decision: Decision, mail: ReadMail) -> m.HeldDecided:
        """What was written down, done. Raises `BridgeRefused`, `Unparsable`."""
        posted: dict[str, Posted] = {}
        try:
            if decision.vet is not None and decision.record is None:
                decision = replace(decision, record=await self._record(decision.vet, decision.by))
                values = {"decision": msgspec.json.encode(decision).decode()}
                await self._database.write(
                    lambda connection: compare_and_set(connection, row.number, "deciding", values)
                )
            recipients = msgspec.json.decode(row.recipients, type=list[str])
            accepted = msgspec.json.decode(row.accepted, type=Accepted)
            accepted = replace(
                accepted, words=", ".join(filter(None, (accepted.words, "released by an administrator")))
            )
            posted = await self._poster.post(mail, accepted, recipients)
            outcomes = await self._outcomes(row, mail, accepted, posted)
            decision = replace(decision, outcomes=outcomes)
            return await self._end(row, decision, "deciding", "released", list(posted.values()))
        except BridgeRefused:
            await self._put_back(row, list(posted.values()))
            raise
        except OSError as error:
            log.error("smtp_held_decision_cut_off", mail=row.number, error=str(error))
            raise BridgeRefused(
                "away", "It is written down, but the disk failed: it is carried out as soon as that is mended"
            ) from None

    @contextmanager
    def _at_work_on(self, number: int) -> Iterator[None]:
        self._at_work[number] += 1
        try:
            yield
        finally:
            self._at_work[number] -= 1

    async def _outcomes(
        self, row: Row[Any], mail: ReadMail, accepted: Accepted, posted: dict[str, Posted]
    ) -> dict[str, Outcome]:
        """What became of it for each recipient; what cannot be delivered just now is the spool's.

        Raises `BridgeRefused` where it reaches nobody.
        """
        outcomes: dict[str, Outcome] = {recipient: one.outcome for recipient, one in posted.items()}
        later = [recipient for recipient, one in posted.items() if one.outcome == "deferred"]
        if later:
            evidence = msgspec.json.decode(row.evidence, type=Evidence)
            if not await self._spool.keep(mail.content, accepted, evidence, later):
                raise BridgeRefused("away", "The service is away, and no more mail can wait for it: try again later")
            outcomes |= dict.fromkeys(later, "spooled")
        if all(outcome == "refused" for outcome in outcomes.values()):
            raise BridgeRefused("refused", f"It was not taken: {next(iter(posted.values())).reply}. It is still held")
        return outcomes

    async def _reject(self, row: Row[Any], decision: Decision) -> m.HeldDecided:
        """Nobody hears of it: who is not proved to have written is told nothing."""
        recipients = msgspec.json.decode(row.recipients, type=list[str])
        rejected = replace(decision, outcomes=dict.fromkeys(recipients, "refused"))
        return await self._end(row, rejected, "held", "rejected", [])

    async def _end(
        self, row: Row[Any], decision: Decision, before: m.HeldState, state: m.HeldState, posted: Sequence[Posted]
    ) -> m.HeldDecided:
        now_ms = self._now_ms()
        values = _decided(decision, state, now_ms)
        detail = ": ".join(filter(None, (decision.action, decision.reason)))
        steps = (f"held: {row.why}", f"{decision.action} by {decision.by}")
        decided = tuple(Decided(to, outcome, steps, decision.record) for to, outcome in decision.outcomes.items())
        done = act_on(row, decision.by, "held.decide", detail, decided)

        def end(connection: Connection) -> Row[Any]:
            compare_and_set(connection, row.number, before, values)
            _remember(connection, posted)
            self._append(connection, done, now_ms)
            return connection.execute(select(held).where(held.c.number == row.number)).one()

        ended = await self._database.write(end)
        await self._gone(row.number, row.size)
        log.info("smtp_held_mail_decided", mail=row.number, action=decision.action)
        invite = row.author if decision.action == "vet_release_and_invite" else ""
        return m.HeldDecided(mail=of_row(ended), outcomes=decision.outcomes, record=decision.record, invite=invite)

    async def _put_back(self, row: Row[Any], posted: Sequence[Posted]) -> None:
        """It waits again; whom it has reached is remembered."""
        values = {"state": "held", "decision": "", "decided_by": "", "decided_ms": None}

        def put_back(connection: Connection) -> None:
            compare_and_set(connection, row.number, "deciding", values)
            _remember(connection, posted)

        await self._database.write(put_back)

    def _to_vet(self, row: Row[Any], body: m.DecideHeld) -> m.VetSender | None:
        """The record to make. Raises `BridgeRefused` where there is none, or for somebody else."""
        if body.action not in ("vet_and_release", "vet_release_and_invite"):
            return None
        evidence = msgspec.json.decode(row.evidence, type=Evidence)
        vet = body.vet or suggested_record(evidence, body.reason)
        if vet is None:
            raise BridgeRefused(
                "invalid", "Nothing shows whose mail this is: give the record to make, or only release it"
            )
        if canonical_address(vet.address or "") != evidence.author and (vet.domain or "").lower() != evidence.domain:
            raise BridgeRefused("invalid", f"The record must be one for {evidence.author}, or for {evidence.domain}")
        return vet

    async def _record(self, vet: m.VetSender, by: str) -> int:
        """The record's number: of one that is there, as after a crash, or of a new one. Raises `BridgeRefused`."""
        address = canonical_address(vet.address or "")
        query = select(sender.c.number, sender.c.expires_ms).where(
            sender.c.address == address, sender.c.domain == (vet.domain or "").lower(), sender.c.state == "active"
        )
        there = await self._database.read(lambda connection: connection.execute(query).first())
        if there is not None and (there.expires_ms is None or there.expires_ms > self._now_ms()):
            return int(there.number)
        return (await self._vetting.vet(vet, by)).number

    async def _row(self, number: int) -> Row[Any]:
        return await self._database.read(lambda connection: row_of(connection, number))

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // _MS


def _decided(decision: Decision, state: m.HeldState, now_ms: int) -> dict[str, Any]:
    """What a row says of a decision."""
    encoded = msgspec.json.encode(decision).decode()
    return {"state": state, "decision": encoded, "decided_by": decision.by, "decided_ms": now_ms}


def _remember(connection: Connection, posted: Sequence[Posted]) -> None:
    """Whom it has reached."""
    for one in posted:
        if one.remember is not None:
            one.remember(connection)
