# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail that was accepted while the service was away: on our disk, and ours to deliver (C2).

Each mail is a folder, `mail` and `about.json`, that gets its name, a number, when both are on the disk. What has no
such name was never acknowledged. A mail leaves when its delivery is remembered; killed in between, it is posted again
under the same id, which the service and the database know: delivered once.
"""

import asyncio
import heapq
import re
import shutil
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from bridges import limits
from bridges.mime import Unparsable
from bridges.mime.pool import ParserFailed
from bridges.smtp.control.evidence import ActDone, Decided, Entry, Evidence
from bridges.smtp.policy.rules import folded
from bridges.smtp.posts.posting import Accepted, Posted
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.files import make_folder, remove_folder, replace_file, sync_folder, write_new
from bridges.smtp.waiting.kept import KeptPoster
from tmtp_core.clock import Clock

log = structlog.get_logger()

Append = Callable[[Connection, Entry, int], object]
"""Adds an entry to the log of decisions, at a time in milliseconds, within a change."""

Hold = Callable[[bytes, Accepted, Evidence, str, list[str], str], Awaitable[int | None]]
"""Holds a mail, as `Holding.keep`."""

BY: Final = "rule: spool"
_NAME: Final = re.compile(r"[0-9]{16}")
_DAMAGED: Final = "damaged-"
_DAMAGED_NAME: Final = re.compile(_DAMAGED + "[0-9]{16}")
_MS: Final = 1_000_000


class About(Struct, frozen=True):
    """What lies beside a mail. `recipients`: those that it has not reached. `tries`: how often it was put off."""

    accepted: Accepted
    evidence: Evidence
    recipients: tuple[str, ...]
    kept_ms: int
    tries: int = 0


class Figures(NamedTuple):
    """What is in the spool. `attention`: what an administrator should look at, a line each."""

    mails: int
    size_bytes: int
    attention: list[str]


@dataclass(slots=True)
class _Kept:
    """A mail in place."""

    number: int
    folder: Path
    size: int
    about: About

    @property
    def path(self) -> Path:
        return self.folder / "mail"

    def lanes(self) -> list[tuple[str, str]]:
        """The correspondences that it belongs to, in which no mail overtakes another."""
        return [self.lane(recipient) for recipient in self.about.recipients]

    def lane(self, recipient: str) -> tuple[str, str]:
        return (folded(self.about.accepted.author), folded(recipient))


class Spool:
    """One spool. `folder` is its own, but for folders of mail under way, which anybody may make by `mkdtemp`."""

    def __init__(
        self,
        folder: Path,
        database: BridgeDatabase,
        poster: KeptPoster,
        hold: Hold,
        append: Append,
        clock: Clock,
        *,
        mails_max: int,
        bytes_max: int,
    ) -> None:
        self._folder = folder
        self._database = database
        self._poster = poster
        self._hold = hold
        self._append = append
        self._clock = clock
        self._mails_max = mails_max
        self._bytes_max = bytes_max
        self._next = 1
        self._mails: dict[int, _Kept] = {}
        self._same: defaultdict[str, set[int]] = defaultdict(set)  # by the hash of the mail
        self._lanes: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
        self._due: list[tuple[float, int]] = []  # a heap
        self._busy: set[int] = set()
        self._done: list[_Kept] = []  # delivered, and not removed yet
        self._room: tuple[int, int] = (0, 0)  # mails and octets, of those on their way into it, too
        self._placing: set[asyncio.Task[None]] = set()
        self._stuck: dict[int, str] = {}  # mails that neither the service takes nor the hold, and why
        self._damaged = 0
        self._changed = asyncio.Event()

    # -- in ----------------------------------------------------------------------------------------------------------
    async def open(self) -> None:
        """Take up what is in place, and remove what was never acknowledged. Raises `OSError`."""
        found, damaged = await asyncio.to_thread(_taken_up, self._folder)
        for kept in found:
            self._add(kept)
            self._reserve(1, kept.size)
        self._next = max([*self._mails, *damaged], default=0) + 1
        self._damaged = len(damaged)
        if found or damaged:
            log.info("smtp_spool_taken_up", mails=len(found), damaged=len(damaged))

    async def keep(self, mail: bytes, accepted: Accepted, evidence: Evidence, recipients: list[str]) -> bool:
        """Keep a mail: it is on the disk, and will be delivered, when this returns True. False: the spool is full.

        The same mail again, for the same recipients, while it waits, is kept once. Raises `OSError`; then nothing of it
        is left. Who gives up waiting may find it kept all the same, which is what a sender that gets no answer expects.
        """
        if self.has(evidence, recipients):
            return True
        mails, octets = self._room
        if mails >= self._mails_max or octets + len(mail) > self._bytes_max:
            return False
        number, self._next = self._next, self._next + 1
        about = About(accepted, evidence, tuple(dict.fromkeys(recipients)), self._now_ms())
        self._reserve(1, len(mail))
        placing = asyncio.create_task(self._place(number, mail, about))
        self._placing.add(placing)
        placing.add_done_callback(self._placing.discard)
        await asyncio.shield(placing)
        return True

    def is_behind(self, author: str, recipient: str) -> bool:
        """Whether a mail of this correspondence would overtake one that waits for the service to be back.

        Those that the service itself puts off are not waited for: their sender is told so for the next one.
        """
        lane = self._lanes.get((folded(author), folded(recipient)))
        return lane is not None and any(not self._mails[number].about.tries for number in lane)

    @property
    def figures(self) -> Figures:
        """What is in it now."""
        attention = [f"mail {number:016} cannot be delivered, nor held: {why}" for number, why in self._stuck.items()]
        if self._damaged:
            attention.append(f"{self._damaged} damaged mails lie in {self._folder}, under names with {_DAMAGED}")
        return Figures(*self._room, attention)

    async def stop(self) -> None:
        """Finish what is being kept."""
        await asyncio.gather(*self._placing, return_exceptions=True)

    async def _place(self, number: int, mail: bytes, about: About) -> None:
        folder = self._folder / f"{number:016}"
        try:
            await asyncio.to_thread(_write, folder, mail, about)
        except BaseException:
            self._reserve(-1, -len(mail))
            raise
        self._add(_Kept(number, folder, len(mail), about))
        self._changed.set()

    def has(self, evidence: Evidence, recipients: list[str]) -> bool:
        """Whether this mail waits for these recipients already, whatever it was proved by then."""
        if not evidence.mail:
            return False
        same = [self._mails[number].about for number in self._same.get(evidence.mail, ())]
        return any(set(recipients) <= set(one.recipients) for one in same)

    def _add(self, kept: _Kept) -> None:
        self._mails[kept.number] = kept
        self._same[kept.about.evidence.mail].add(kept.number)
        for lane in kept.lanes():
            self._lanes[lane].append(kept.number)
        heapq.heappush(self._due, (0.0, kept.number))

    def _reserve(self, mails: int, octets: int) -> None:
        self._room = (self._room[0] + mails, self._room[1] + octets)

    # -- out ---------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Deliver while the service is there, oldest first, `limits.SPOOL_POSTS_MAX` at once, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                kept = self._first()
                if kept is None or len(self._busy) >= limits.SPOOL_POSTS_MAX:
                    await self._wait()
                elif await self._poster.is_there(limits.SERVICE_WAIT_S):
                    self._busy.add(kept.number)
                    group.create_task(self._turn(kept))
                else:
                    await asyncio.sleep(limits.SPOOL_LOOK_S)

    async def _wait(self) -> None:
        """Until something has changed, or is due."""
        timeout_s = limits.SPOOL_LOOK_S if self._due or self._done else None
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            await self._remove_done()

    def _first(self) -> _Kept | None:
        """The oldest mail that is due and behind no other."""
        while self._due:
            due_s, number = self._due[0]
            kept = self._mails.get(number)
            if kept is not None and number not in self._busy and self._free(kept):
                return kept if due_s <= self._clock.monotonic_s() else None
            heapq.heappop(self._due)  # it comes again when its turn is over, or the one before it is gone
        return None

    def _free(self, kept: _Kept) -> list[str]:
        """The recipients for which nothing older of the same author waits."""
        return [one for one in kept.about.recipients if self._lanes[kept.lane(one)][0] == kept.number]

    async def _turn(self, kept: _Kept) -> None:
        """One try of one mail. Whatever goes wrong, it is tried again."""
        due_s = self._clock.monotonic_s() + limits.SPOOL_PAUSE_FIRST_S
        try:
            due_s = await self._try(kept)
        except (OSError, ParserFailed) as error:
            log.warning("smtp_spool_failed", mail=kept.number, error=str(error))
        except Exception:
            log.exception("smtp_spool_failed", mail=kept.number)
        finally:
            self._busy.discard(kept.number)
            if kept.about.recipients:
                heapq.heappush(self._due, (due_s, kept.number))
            self._changed.set()
        await self._remove_done()

    async def _try(self, kept: _Kept) -> float:
        """When it is due again, where a recipient is left. Raises `OSError`, `ParserFailed`."""
        about, recipients = kept.about, self._free(kept)
        subject, unreadable = "", ""
        try:
            async with self._poster.read(kept.path) as mail:
                subject = mail.letter.subject
                posted = await self._poster.post(mail, about.accepted, recipients)
        except Unparsable as unparsable:
            unreadable = f"it cannot be read: {unparsable}"
            posted = {recipient: Posted("refused", unreadable) for recipient in recipients}
        decided = {
            recipient: Decided(recipient, one.outcome, ("it waited in the spool",))
            for recipient, one in posted.items()
            if one.outcome in ("delivered", "duplicate")
        }
        decided |= await self._given_up(kept, subject, posted)
        await self._end(kept, decided, posted)
        put_off = kept.about.tries > about.tries
        return self._clock.monotonic_s() + self._pause_s(kept) if put_off else 0.0

    async def _given_up(self, kept: _Kept, subject: str, posted: dict[str, Posted]) -> dict[str, Decided]:
        """Those for whom it will not be delivered: it is held for a person to decide. Where the hold has no room, it
        stays, and that is said: it was acknowledged, so it is not ours to lose.
        """
        too_old = self._now_ms() - kept.about.kept_ms >= limits.SPOOL_KEPT_S * 1_000
        lost = {
            recipient: one.reply
            for recipient, one in posted.items()
            if one.outcome == "refused" or (one.outcome == "deferred" and too_old and not one.away)
        }
        self._stuck.pop(kept.number, None)
        if not lost:
            return {}
        about, why = kept.about, f"accepted, and then not delivered: {next(iter(lost.values()))}"
        content = await asyncio.to_thread(kept.path.read_bytes)
        number = await self._hold(content, about.accepted, about.evidence, subject, list(lost), why)
        log.error("smtp_spool_gave_up", mail=kept.number, held=number, why=why)
        if number is None:
            self._stuck[kept.number] = why
            return {}
        steps = "it waited in the spool", "it could not be delivered", f"held as number {number}"
        return {recipient: Decided(recipient, "held", (*steps, reply)) for recipient, reply in lost.items()}

    async def _end(self, kept: _Kept, decided: dict[str, Decided], posted: dict[str, Posted]) -> None:
        """Remember what was delivered, in one change with the log; then take it off the disk."""
        about = kept.about
        remembers = [one.remember for one in posted.values() if one.remember is not None]
        now_ms = self._now_ms()
        entry = ActDone(
            BY, "spool.deliver", about.accepted.author, decided=tuple(decided.values()), mail=about.evidence.mail
        )

        def work(connection: Connection) -> None:
            for remember in remembers:
                remember(connection)
            self._append(connection, entry, now_ms)

        if decided:
            await self._database.write(work)
        left = tuple(recipient for recipient in about.recipients if recipient not in decided)
        put_off = (
            any(one.outcome == "deferred" and not one.away for one in posted.values()) or kept.number in self._stuck
        )
        kept.about = replace(about, recipients=left, tries=about.tries + put_off)
        for recipient in decided:
            self._leave(kept, kept.lane(recipient))
        if not left:
            self._mails.pop(kept.number)
            self._same[about.evidence.mail].discard(kept.number)
            if not self._same[about.evidence.mail]:
                del self._same[about.evidence.mail]
            self._done.append(kept)
        elif kept.about != about:
            await asyncio.to_thread(replace_file, kept.folder / "about.json", msgspec.json.encode(kept.about))

    def _leave(self, kept: _Kept, lane: tuple[str, str]) -> None:
        """The next one of a correspondence has its turn."""
        waiting = self._lanes[lane]
        waiting.remove(kept.number)
        if waiting:
            heapq.heappush(self._due, (0.0, waiting[0]))
        else:
            del self._lanes[lane]

    async def _remove_done(self) -> None:
        """Take delivered mails off the disk; those that cannot be just now, later."""
        done, self._done = self._done, []
        for kept in done:
            try:
                await asyncio.to_thread(remove_folder, kept.folder)
            except OSError as error:
                log.warning("smtp_spool_not_removed", mail=kept.number, error=str(error))
                self._done.append(kept)
                self._changed.set()
            else:
                self._reserve(-1, -kept.size)

    def _pause_s(self, kept: _Kept) -> float:
        return min(limits.SPOOL_PAUSE_FIRST_S * 2.0 ** max(0, kept.about.tries - 1), limits.SPOOL_PAUSE_LONGEST_S)

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // _MS


def _write(folder: Path, mail: bytes, about: About) -> None:
    """Put a mail in place, or leave nothing of it."""
    new = folder.with_name(f"new-{folder.name}")
    try:
        new.mkdir(0o700)
        write_new(new / "mail", mail)
        write_new(new / "about.json", msgspec.json.encode(about))
        sync_folder(new)
        new.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        for half in (new, folder):
            shutil.rmtree(half, ignore_errors=True)
        raise


def _taken_up(folder: Path) -> tuple[list[_Kept], list[int]]:
    """The mails in place, oldest first, and the numbers of damaged ones; nothing else is left there."""
    make_folder(folder)
    found: list[_Kept] = []
    for path in sorted(folder.iterdir()):
        if _NAME.fullmatch(path.name):
            found += _read(path)
        elif not _DAMAGED_NAME.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    sync_folder(folder)
    names = [path.name for path in folder.iterdir()]
    return found, [int(name.removeprefix(_DAMAGED)) for name in names if name.startswith(_DAMAGED)]


def _read(path: Path) -> Iterable[_Kept]:
    """A mail in place; what is not as it was written is put aside for a person."""
    try:
        about = msgspec.json.decode((path / "about.json").read_bytes(), type=About)
        return [_Kept(int(path.name), path, (path / "mail").stat().st_size, about)]
    except (FileNotFoundError, msgspec.MsgspecError) as error:
        log.error("smtp_spooled_mail_damaged", mail=path.name, error=str(error))
        path.rename(path.with_name(_DAMAGED + path.name))
        return []
