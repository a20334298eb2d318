# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail that waits for a person's decision: kept, shown as safe text, decided on exactly once (C2).

A row in the database and a file beside it. The file is on the disk before the row is, and goes after the row says what
became of the mail; a file without a row was never acknowledged, or is done with. A decision is written down before it
is carried out, and carried on after a crash: the post has one id, so it arrives once.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Row, delete, select, text, update

from bridges import limits
from bridges.mime import Unparsable
from bridges.mime.pool import ParserFailed
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.evidence import ActDone, Decided, Evidence, Outcome
from bridges.smtp.held_mail import detail, of_row, refused_because, suggested_record
from bridges.smtp.kept import KeptPoster, ReadMail, must_be_of
from bridges.smtp.posting import Accepted, Posted
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.rules import folded
from bridges.smtp.spool import Append
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.files import make_folder, remove_file, sync_folder, write_new
from bridges.smtp.store.tables import held, sender
from tmtp_core.clock import Clock

log = structlog.get_logger()

_WAITING: Final = ("held", "deciding")
_EXPIRY: Final = "rule: hold.expires_days"
_LOSS: Final = "rule: its file is gone"
_DAY_MS: Final = 86_400_000
_MS: Final = 1_000_000
_PAGE: Final = 100
_NEWEST: Final = text("SELECT seq FROM sqlite_sequence WHERE name = 'held'")  # also of rows that are gone

Got = TypeVar("Got")
Names = list[str]
Mails = list[m.HeldMail]
Numbers = list[int]


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


class Figures(NamedTuple):
    """What is held now. `attention`: what an administrator should look at, a line each."""

    mails: int
    size_bytes: int
    attention: list[str]


class Holding:
    """The held mail of one intake, in `folder` and in its database."""

    def __init__(
        self,
        folder: Path,
        database: BridgeDatabase,
        poster: KeptPoster,
        spool: SpoolsMail,
        vetting: VetsSenders,
        append: Append,
        clock: Clock,
        *,
        expires_days: int,
        mails_max: int,
        bytes_max: int,
    ) -> None:
        self._folder = folder
        self._database = database
        self._poster = poster
        self._spool = spool
        self._vetting = vetting
        self._append = append
        self._clock = clock
        self._expires_days = expires_days
        self._mails_max = mails_max
        self._bytes_max = bytes_max
        self._next = 1
        self._room: tuple[int, int] = (0, 0)  # mails and octets, of those on their way into it, too
        self._lost = 0
        self._deciding: Counter[int] = Counter()  # here, now
        self._under_way: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Count what is held; remove what lies there for nobody, and say what is gone. Raises `OSError`."""
        await asyncio.to_thread(make_folder, self._folder)
        rows = await self._database.read(
            lambda connection: connection.execute(
                select(held.c.number, held.c.size).where(held.c.state.in_(_WAITING))
            ).all()
        )
        newest = await self._database.read(lambda connection: connection.execute(_NEWEST).scalar())
        there = await asyncio.to_thread(_numbers, self._folder)
        self._next = max(newest or 0, *there, 0) + 1
        lost = [row.number for row in rows if row.number not in there]
        self._room = (len(rows) - len(lost), sum(row.size for row in rows if row.number not in lost))
        if lost:
            self._lost = len(lost)
            log.error("smtp_held_mail_lost", mails=lost)
            await self._database.write(
                lambda connection: self._end_without(connection, lost, _LOSS, "its file is gone")
            )
        orphans = there - {row.number for row in rows}
        if orphans:
            log.warning("smtp_held_files_removed", mails=sorted(orphans), why="none of them waits for a decision")
        await asyncio.to_thread(_clean, self._folder, {f"{row.number}.eml" for row in rows})

    async def run(self) -> None:
        """Carry on what a crash has cut off, and let mail expire, until cancelled."""
        while True:
            try:
                await self.carry_on()
                await self.expire()
            except (OSError, ParserFailed) as error:
                log.warning("smtp_hold_failed", error=str(error))
            await asyncio.sleep(limits.HOLD_LOOK_S)

    async def stop(self) -> None:
        """Finish what was begun."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    @property
    def figures(self) -> Figures:
        """What is held now."""
        lost = [f"{self._lost} held mails had no file any more when the intake was started"] if self._lost else []
        return Figures(*self._room, lost)

    # -- in ----------------------------------------------------------------------------------------------------------
    async def keep(
        self, mail: bytes, accepted: Accepted, evidence: Evidence, subject: str, recipients: Names, why: str
    ) -> int | None:
        """Hold a mail: its number, on the disk when this returns; None where there is no room. Raises `OSError`.

        The same mail for the same recipients is held once while it waits.
        """
        return await self._finished(self._keep(mail, accepted, evidence, subject, recipients, why))

    async def _keep(
        self, mail: bytes, accepted: Accepted, evidence: Evidence, subject: str, recipients: Names, why: str
    ) -> int | None:
        same = _hash(evidence.mail, recipients)
        there = await self._database.read(lambda connection: _waiting(connection, same))
        if there is not None:
            return there
        mails, octets = self._room
        if mails >= self._mails_max or octets + len(mail) > self._bytes_max:
            return None
        number, self._next = self._next, self._next + 1
        now_ms = self._now_ms()
        row = {
            "number": number,
            "received_ms": now_ms,
            "expires_ms": now_ms + self._expires_days * _DAY_MS,
            "author": accepted.author,
            "subject": subject[: limits.SUBJECT_MAX_CHARACTERS],
            "recipients": msgspec.json.encode(recipients).decode(),
            "why": why,
            "accepted": msgspec.json.encode(accepted).decode(),
            "evidence": msgspec.json.encode(evidence).decode(),
            "size": len(mail),
            "mail": same,
            "state": "held",
            "decision": "",
            "decided_by": "",
        }

        def insert(connection: Connection) -> int:
            there = _waiting(connection, same)
            if there is None:
                connection.execute(held.insert().values(row))
            return there or number

        self._reserve(1, len(mail))
        kept = 0
        try:
            await asyncio.to_thread(_write, self._path(number), mail)
            kept = await self._database.write(insert)
        finally:
            if kept != number:  # another was faster with the same mail, or it could not be kept
                self._reserve(-1, -len(mail))
                await asyncio.to_thread(_remove_quietly, self._path(number))
        return kept

    # -- shown -------------------------------------------------------------------------------------------------------
    async def list(self, state: m.HeldState | None = None, before: int | None = None, limit: int = _PAGE) -> Mails:
        """Those in a state, or all, newest first; `before`: a number."""
        query = select(held).order_by(held.c.number.desc()).limit(limit)
        if state is not None:
            query = query.where(held.c.state == state)
        if before is not None:
            query = query.where(held.c.number < before)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [of_row(row) for row in rows]

    async def show(self, number: int) -> m.HeldDetail:
        """One, with its safe text while it is there. Raises `BridgeRefused`."""
        row = await self._row(number)
        if row.state not in _WAITING:
            return detail(row, None, "it is not kept any more")
        try:
            async with self._poster.read(self._path(number)) as mail:
                return detail(row, mail.letter, "")
        except Unparsable as unparsable:
            return detail(row, None, str(unparsable))
        except FileNotFoundError:
            return detail(row, None, "it is not kept any more")
        except ParserFailed as failed:
            raise BridgeRefused("away", f"It cannot be shown just now, try again: {failed}") from None

    # -- decided -----------------------------------------------------------------------------------------------------
    async def decide(self, number: int, body: m.DecideHeld, by: str) -> m.HeldDecided:
        """Do it, once, whoever asks at the same time. Raises `OSError`, `BridgeRefused`.

        Then it waits as before; or, where the disk failed halfway, it is carried on within `limits.HOLD_LOOK_S`.
        """
        return await self._finished(self._decide(number, body, by))

    async def carry_on(self) -> None:
        """Finish the decisions that a crash, or a disk that failed, has cut off. Raises `OSError`, `ParserFailed`."""
        query = select(held).where(held.c.state == "deciding")
        for row in await self._database.read(lambda connection: connection.execute(query).all()):
            if not self._deciding[row.number]:
                log.info("smtp_held_decision_carried_on", mail=row.number)
                try:
                    await self._finished(self._carry_on(row))
                except BridgeRefused as refused:
                    log.warning("smtp_held_decision_undone", mail=row.number, why=str(refused))

    async def _decide(self, number: int, body: m.DecideHeld, by: str) -> m.HeldDecided:
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
            _compare_and_set(connection, row.number, "held", values)

        await self._database.write(claim)

    async def _carried_out(self, row: Row[Any], decision: Decision, mail: ReadMail) -> m.HeldDecided:
        """What was written down, done. Raises `BridgeRefused`, `Unparsable`."""
        posted: dict[str, Posted] = {}
        try:
            if decision.vet is not None and decision.record is None:
                decision = replace(decision, record=await self._record(decision.vet, decision.by))
                values = {"decision": msgspec.json.encode(decision).decode()}
                await self._database.write(
                    lambda connection: _compare_and_set(connection, row.number, "deciding", values)
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
        self._deciding[number] += 1
        try:
            yield
        finally:
            self._deciding[number] -= 1

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
            if not await self._spool.keep(mail.file.content, accepted, evidence, later):
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
        done = _act(row, decision.by, "held.decide", detail, decision)

        def end(connection: Connection) -> Row[Any]:
            _compare_and_set(connection, row.number, before, values)
            _remember(connection, posted)
            self._append(connection, done, now_ms)
            return connection.execute(select(held).where(held.c.number == row.number)).one()

        ended = await self._database.write(end)
        self._reserve(-1, -row.size)
        await asyncio.to_thread(_remove_quietly, self._path(row.number))
        log.info("smtp_held_mail_decided", mail=row.number, action=decision.action)
        invite = row.author if decision.action == "vet_release_and_invite" else ""
        return m.HeldDecided(mail=of_row(ended), outcomes=decision.outcomes, record=decision.record, invite=invite)

    async def _put_back(self, row: Row[Any], posted: Sequence[Posted]) -> None:
        """It waits again; whom it has reached is remembered."""
        values = {"state": "held", "decision": "", "decided_by": "", "decided_ms": None}

        def put_back(connection: Connection) -> None:
            _compare_and_set(connection, row.number, "deciding", values)
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

    # -- expired -----------------------------------------------------------------------------------------------------
    async def expire(self) -> None:
        """Let go of what nobody has decided on in time, and forget who decided what long ago. Raises `OSError`."""
        now_ms = self._now_ms()
        over = select(held.c.number, held.c.size).where(held.c.state == "held", held.c.expires_ms <= now_ms)
        rows = await self._database.read(lambda connection: connection.execute(over).all())
        detail = f"nobody decided within {self._expires_days} days"

        def end(connection: Connection) -> Numbers:
            connection.execute(
                delete(held).where(
                    held.c.state.not_in(_WAITING), held.c.decided_ms < now_ms - int(limits.HOLD_ROWS_KEPT_S * 1_000)
                )
            )
            return self._end_without(connection, [row.number for row in rows], _EXPIRY, detail)

        ended = set(await self._database.write(end))
        for row in rows:
            if row.number in ended:
                self._reserve(-1, -row.size)
                await asyncio.to_thread(_remove_quietly, self._path(row.number))
        if ended:
            log.info("smtp_held_mail_expired", mails=sorted(ended))

    def _end_without(self, connection: Connection, numbers: Sequence[int], by: str, detail: str) -> Numbers:
        """Within a change: nobody decides on these any more. Those of them that still waited."""
        now_ms, ended = self._now_ms(), []
        states = ("held",) if by == _EXPIRY else _WAITING
        for number in numbers:
            row = connection.execute(select(held).where(held.c.number == number, held.c.state.in_(states))).first()
            if row is None:
                continue
            connection.execute(
                update(held).where(held.c.number == number).values(state="expired", decided_by=by, decided_ms=now_ms)
            )
            self._append(connection, _act(row, by, "held.expire", detail), now_ms)
            ended.append(number)
        return ended

    # -- all of them -------------------------------------------------------------------------------------------------
    async def _finished(self, work: Coroutine[Any, Any, Got]) -> Got:
        """Done to its end, even where who asked for it no longer waits."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits has it

    async def _row(self, number: int) -> Row[Any]:
        row = await self._database.read(
            lambda connection: connection.execute(select(held).where(held.c.number == number)).first()
        )
        if row is None:
            raise BridgeRefused("not found", f"There is no held mail with the number {number}")
        return row

    def _reserve(self, mails: int, octets: int) -> None:
        self._room = (self._room[0] + mails, self._room[1] + octets)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.eml"

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // _MS


def _hash(mail: str, recipients: Sequence[str]) -> bytes:
    """The same for the same mail to the same recipients; b"" where it is not known whether it is the same."""
    if not mail:
        return b""
    return blake2b("\0".join([mail, *sorted({folded(one) for one in recipients})]).encode(), digest_size=16).digest()


def _waiting(connection: Connection, same: bytes) -> int | None:
    """The number of the same mail that waits already."""
    query = select(held.c.number).where(held.c.mail == same, held.c.state.in_(_WAITING))
    return connection.execute(query).scalar() if same else None


def _compare_and_set(connection: Connection, number: int, before: m.HeldState, values: dict[str, Any]) -> None:
    """Change a mail's row if it still is in this state. Raises `BridgeRefused`."""
    changed = connection.execute(update(held).where(held.c.number == number, held.c.state == before).values(values))
    if changed.rowcount != 1:
        raise refused_because(connection.execute(select(held).where(held.c.number == number)).one())


def _decided(decision: Decision, state: m.HeldState, now_ms: int) -> dict[str, Any]:
    """What a row says of a decision."""
    encoded = msgspec.json.encode(decision).decode()
    return {"state": state, "decision": encoded, "decided_by": decision.by, "decided_ms": now_ms}


def _remember(connection: Connection, posted: Sequence[Posted]) -> None:
    """Whom it has reached."""
    for one in posted:
        if one.remember is not None:
            one.remember(connection)


def _act(row: Row[Any], by: str, act: str, detail: str, decision: Decision | None = None) -> ActDone:
    """The entry of the log."""
    evidence = msgspec.json.decode(row.evidence, type=Evidence)
    decided: tuple[Decided, ...] = ()
    if decision is not None:
        steps = (f"held: {row.why}", f"{decision.action} by {by}")
        decided = tuple(
            Decided(recipient, outcome, steps, decision.record) for recipient, outcome in decision.outcomes.items()
        )
    return ActDone(by, act, str(row.number), detail, decided, evidence.mail)


def _write(path: Path, mail: bytes) -> None:
    write_new(path, mail)
    sync_folder(path.parent)


def _numbers(folder: Path) -> set[int]:
    """The mails whose files are there."""
    return {int(path.stem) for path in folder.glob("*.eml") if path.stem.isdecimal()}


def _clean(folder: Path, wanted: set[str]) -> None:
    """Remove whatever else lies there."""
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    sync_folder(folder)


def _remove_quietly(path: Path) -> None:
    """Remove a file that nobody needs any more; what is left of it goes at the next start."""
    try:
        remove_file(path)
    except OSError as error:
        log.warning("smtp_held_file_not_removed", file=path.name, error=str(error))
