# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail that waits for a person's decision: kept, shown as safe text, decided on exactly once (C2).

A row in the database and a file beside it. The file is on the disk before the row is, and goes after the row says what
became of the mail; a file without a row was never acknowledged, or is done with. A decision is written down before it
is carried out, and carried on after a crash: the post has one id, so it arrives once.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection, Row, delete, select, update

from bridges import limits
from bridges.mime import Unparsable
from bridges.mime.pool import ParserFailed
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import Evidence
from bridges.smtp.peers import network_of
from bridges.smtp.policy.policy import proven
from bridges.smtp.posts.posting import Accepted
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.files import make_folder, remove_file, sync_folder, write_new
from bridges.smtp.store.held import NEWEST, WAITING, act_on, row_of, same_mail, waiting
from bridges.smtp.store.tables import held
from bridges.smtp.waiting.deciding import Deciding, SpoolsMail, VetsSenders
from bridges.smtp.waiting.held_mail import detail, of_row
from bridges.smtp.waiting.kept import KeptPoster
from bridges.smtp.waiting.spool import Append
from tmtp_core.clock import Clock

log = structlog.get_logger()

_EXPIRY: Final = "rule: hold.expires_days"
_LOSS: Final = "rule: its file is gone"
_DAY_MS: Final = 86_400_000
_MS: Final = 1_000_000
_PAGE: Final = 100

Got = TypeVar("Got")
Names = list[str]
Mails = list[m.HeldMail]
Numbers = list[int]


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
        self._append = append
        self._clock = clock
        self._expires_days = expires_days
        self._mails_max = mails_max
        self._bytes_max = bytes_max
        self._next = 1
        self._room: tuple[int, int] = (0, 0)  # mails and octets, of those on their way into it, too
        self._strangers: dict[int, str] = {}  # networks of mail that nothing proves, by its number, and
        self._networks: Counter[str] = Counter()  # how many each has,
        self._networks_octets: Counter[str] = Counter()  # and how much
        self._lost = 0
        self._deciding = Deciding(database, poster, spool, vetting, append, clock, self._path, self._gone)
        self._under_way: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Count what is held; remove what lies there for nobody, and say what is gone. Raises `OSError`."""
        await asyncio.to_thread(make_folder, self._folder)
        rows = await self._database.read(
            lambda connection: connection.execute(
                select(held.c.number, held.c.size, held.c.evidence).where(held.c.state.in_(WAITING))
            ).all()
        )
        newest = await self._database.read(lambda connection: connection.execute(NEWEST).scalar())
        there = await asyncio.to_thread(_numbers, self._folder)
        self._next = max(newest or 0, *there, 0) + 1
        lost = [row.number for row in rows if row.number not in there]
        self._room = (len(rows) - len(lost), sum(row.size for row in rows if row.number not in lost))
        self._strangers.clear()
        self._networks.clear()
        self._networks_octets.clear()
        for row in rows:
            if row.number in there:
                self._count_stranger(row.number, row.size, msgspec.json.decode(row.evidence, type=Evidence))
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
            except OSError as error:
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
        same = same_mail(evidence.mail, recipients)
        there = await self._database.read(lambda connection: waiting(connection, same))
        if there is not None:
            return there
        mails, octets = self._room
        if mails >= self._mails_max or octets + len(mail) > self._bytes_max:
            return None
        if not self._has_share(_stranger(evidence), len(mail)):
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
            there = waiting(connection, same)
            if there is None:
                connection.execute(held.insert().values(row))
            return there or number

        self._reserve(1, len(mail))
        self._count_stranger(number, len(mail), evidence)
        kept = 0
        try:
            await asyncio.to_thread(_write, self._path(number), mail)
            kept = await self._database.write(insert)
        finally:
            if kept != number:  # another was faster with the same mail, or it could not be kept
                await self._gone(number, len(mail))
        return kept

    def _has_share(self, network: str, size: int) -> bool:
        """Whether a network of strangers may have one more mail, of this size: others' is to be held beside them."""
        mails, octets = self._networks[network], self._networks_octets[network]
        if not mails:  # one always, however large
            return True
        share = limits.HOLD_NETWORKS
        return mails < self._mails_max // share and octets + size <= self._bytes_max // share

    def _count_stranger(self, number: int, size: int, evidence: Evidence) -> None:
        network = _stranger(evidence)
        if network:
            self._strangers[number] = network
            self._networks[network] += 1
            self._networks_octets[network] += size

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
        if row.state not in WAITING:
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
        return await self._finished(self._deciding.decide(number, body, by))

    async def carry_on(self) -> None:
        """Finish the decisions that a crash, or a disk that failed, has cut off. Raises `OSError`."""
        await self._finished(self._deciding.carry_on())

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
                    held.c.state.not_in(WAITING), held.c.decided_ms < now_ms - int(limits.HOLD_ROWS_KEPT_S * 1_000)
                )
            )
            return self._end_without(connection, [row.number for row in rows], _EXPIRY, detail)

        ended = set(await self._database.write(end))
        for row in rows:
            if row.number in ended:
                await self._gone(row.number, row.size)
        if ended:
            log.info("smtp_held_mail_expired", mails=sorted(ended))

    def _end_without(self, connection: Connection, numbers: Sequence[int], by: str, detail: str) -> Numbers:
        """Within a change: nobody decides on these any more. Those of them that still waited."""
        now_ms, ended = self._now_ms(), []
        states = ("held",) if by == _EXPIRY else WAITING
        for number in numbers:
            row = connection.execute(select(held).where(held.c.number == number, held.c.state.in_(states))).first()
            if row is None:
                continue
            connection.execute(
                update(held).where(held.c.number == number).values(state="expired", decided_by=by, decided_ms=now_ms)
            )
            self._append(connection, act_on(row, by, "held.expire", detail), now_ms)
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
        return await self._database.read(lambda connection: row_of(connection, number))

    async def _gone(self, number: int, size: int) -> None:
        """A mail is done with: its file goes, and makes room."""
        self._reserve(-1, -size)
        if number in self._strangers:
            network = self._strangers.pop(number)
            self._networks[network] -= 1
            self._networks_octets[network] -= size
            if not self._networks[network]:
                del self._networks[network], self._networks_octets[network]
        await asyncio.to_thread(_remove_quietly, self._path(number))

    def _reserve(self, mails: int, octets: int) -> None:
        self._room = (self._room[0] + mails, self._room[1] + octets)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.eml"

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // _MS


def _stranger(evidence: Evidence) -> str:
    """The network of a mail that nothing shows to be of whom it names; "" for others', and behind a server in front."""
    known = evidence.upstream or not evidence.peer or proven(evidence)
    return "" if known else network_of(evidence.peer)


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
