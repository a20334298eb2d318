# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sender of an account: one task, which takes from the outbox what is due and says it to the service (B3).

Commit, then speak: the entry is marked, and what all its tries have in common is kept, before the first octet leaves.
What the service answers goes into the history in one transaction with the entry's end; a crash in between repeats the
request under its id, to which the service gives the same answer and sends nothing twice.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.connection import Connection, Disconnected, Refused
from tmtp_client.engine import forwarding, gathering, groups, meeting, parts, posting, refusals, sealing
from tmtp_client.engine.context import Context, Underway
from tmtp_client.store import outbox, sent
from tmtp_client.store.outbox import Entry
from tmtp_client.sync import journal
from tmtp_client.vault.files import FileDamaged
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import PostHead


@dataclass(frozen=True, slots=True)
class Job:
    """An entry that is begun: it has to be said now, and again until there is an answer."""

    entry: Entry  # as it was before
    body: posting.Body
    sealed: sealing.Sealed | None = None

    @property
    def size(self) -> int:
        """Octets of the post."""
        return self.sealed.size if self.sealed is not None else self.body.size


Got = TypeVar("Got")


class TakenBack(Exception):
    """Its person does not want it sent any more, and in time."""


class Sending:
    """Sends for one running account, until it is cancelled. Whoever adds to the outbox sets `context.to_send`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tries: dict[str, int] = {}  # of what the service did not take, since this began
        self._ended: dict[str, int] = {}  # connections that it ended at a request, or did not answer to it
        self._message_max_bytes = limits.MESSAGE_MAX_BYTES_UNKNOWN
        self._too_long_bytes = limits.MESSAGE_MAX_BYTES_UNKNOWN  # what a service did not take that announces no limit
        self._members_ms: dict[str, int] = {}  # when the service was asked who is in a group

    async def run(self) -> NoReturn:
        """Send what is due, in its order; wait for what is not, and for a connection."""
        job: Job | None = None
        while True:
            try:
                job = await self._send(job) if job is not None else await self._wait_for_one()
            except (Disconnected, TimeoutError):  # stopped, or not let in: others say so
                job = None
                await self._changed(limits.OUTBOX_LOOK_S)
            except OSError:  # the disk; what was begun is begun again
                job = None
                await asyncio.sleep(limits.OUTBOX_LOOK_S)

    # -- what is next ------------------------------------------------------------------------------------------------
    async def _wait_for_one(self) -> Job | None:
        context = self._context
        context.to_send.clear()
        due = await context.database.read(partial(outbox.next_due, now_ms=context.clock()))
        entry = due.entry
        if entry is None:
            late_ms = (due.at_ms if due.at_ms is not None else 1 << 62) - context.clock()
            await self._changed(min(late_ms / 1000, limits.OUTBOX_LOOK_S))
            return None
        connection = await context.current()  # what waits for one can still be taken back: nothing is marked yet
        limits_said = connection.service.result().limits
        self._message_max_bytes = limits_said.message if limits_said is not None else limits.MESSAGE_MAX_BYTES_UNKNOWN
        try:
            hashes = await sealing.hashes_of(context, entry)
        except (OSError, ValueError, FileDamaged) as error:
            await self._not_taken(entry, _unreadable(error))
            return None
        try:
            await self._look_at(connection, entry)
        except (Disconnected, TimeoutError):
            return None
        except Refused as refused:
            await self._later(entry, str(refused))
            return None
        return await context.database.write(lambda c: self._begin(c, hashes, looked_at=entry.request_id))

    async def _look_at(self, connection: Connection, entry: Entry) -> None:
        """Before it is judged whether it can be sealed, and for whom: what waited at log-in has come, who is in its
        groups, and whose keys are which. Raises `Refused`, `Disconnected`, TimeoutError.
        """
        context = self._context
        if context.trust is None or entry.kind in {"ping", "invitation"}:
            return
        await self._caught_up(connection)
        for gid in sealing.groups_of(context, entry):
            if self._is_unasked(gid):
                await groups.ask_who_joined(context, connection, gid)
                self._members_ms[gid] = context.clock()
        uids = await context.database.read(lambda c: sealing.concerns(c, context, entry))
        if uids:
            await context.trust.look_at(connection, context.database, uids)

    async def _caught_up(self, connection: Connection) -> None:
        """Wait, but not for ever, for what was queued at log-in: it may say of whom one does not write to any more.

        A service that keeps it back stops nobody, and shows the logs that are looked at instead.
        """
        if self._context.caught_up.is_set():
            return
        waits = [asyncio.ensure_future(one) for one in (self._context.caught_up.wait(), connection.closed())]
        try:
            await asyncio.wait(waits, timeout=limits.CAUGHT_UP_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if connection.is_open:
            self._context.caught_up.set()

    def _is_looked_at(self, entry: Entry, looked_at: str) -> bool:
        context = self._context
        if context.trust is None or entry.request_id == looked_at:
            return True
        unasked = any(self._is_unasked(gid) for gid in sealing.groups_of(context, entry))
        return context.caught_up.is_set() and not unasked

    def _is_unasked(self, gid: str) -> bool:
        asked_ms = self._members_ms.get(gid)
        return asked_ms is None or not 0 <= self._context.clock() - asked_ms < limits.LOOK_AGAIN_MS

    async def _changed(self, longest_s: float) -> None:
        """Wait until the outbox has changed; clocks are turned, so not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, longest_s)):
                await self._context.to_send.wait()

    def _begin(self, c: Rows, hashes: sealing.Hashes, looked_at: str = "") -> Job | None:
        """In one transaction: the next entry that is due, judged, prepared and marked. None: look again.

        `looked_at`: the request whose recipients' keys were looked at just now.
        """
        context = self._context
        for _ in range(limits.OUTBOX_JUDGED_AT_ONCE):
            entry = outbox.next_due(c, context.clock()).entry
            if entry is None:
                return None
            if entry.kind in {"ping", "invitation"}:
                outbox.begin(c, entry.request_id)
                return Job(entry, posting.Body(PostHead(), entry.content.text.encode()))
            stale = sealing.lacks_hashes(context, entry, hashes) or sealing.is_stale(c, context, entry, looked_at)
            if stale or not self._is_looked_at(entry, looked_at):
                return None  # files are read and keys looked at outside of transactions
            if sealing.is_outdated(c, context, entry):
                sealing.unseal(c, context, entry)
                return None
            try:
                if parts.are_due(c, context, entry, self._message_max_bytes, hashes):
                    continue
            except parts.TooLarge as large:
                self._refused(c, entry, str(large))
                continue
            body = posting.body(entry, context.identity.alias)
            judged = sealing.judge(c, context, entry, body, hashes)
            if isinstance(judged, sealing.Stopped):
                self._stop(c, entry, judged)
                continue
            job = Job(entry, body, judged)
            if job.size >= self._too_long_bytes:
                self._refused(c, entry, refusals.advice(refusals.TOO_LONG, entry.content.names))
                continue
            if job.size > self._message_max_bytes:
                self._refused(c, entry, _too_large(job.size, self._message_max_bytes))
                continue
            outbox.begin(c, entry.request_id, judged.kept if judged is not None else outbox.PLAIN)
            return job
        return None

    def _stop(self, c: Rows, entry: Entry, stopped: sealing.Stopped) -> None:
        match stopped.how:
            case "held":
                outbox.held(c, entry.request_id, stopped.why)
            case "later":
                due_ms = self._context.clock() + int(1000 * limits.REFUSED_AGAIN_FIRST_S)
                outbox.later(c, entry.request_id, due_ms, stopped.why)
            case "refused":
                self._refused(c, entry, stopped.why)

    # -- saying it ---------------------------------------------------------------------------------------------------
    async def _send(self, job: Job) -> Job | None:
        """One try, unless its person takes it back in time; the next job, when one is due."""
        context, connection = self._context, self._context.connection
        underway = self._underway(job)
        if connection is None or not connection.is_connected:
            return None  # days may pass until there is one: it is judged once more then
        underway.is_tried = True
        try:
            return await self._try(job, underway)
        except TakenBack:
            await context.database.write(lambda c: take_back(c, context, job.entry.request_id))
            return None
        finally:
            underway.is_tried = False
            if underway.taken_back.is_set():
                underway.gone.set()

    async def _try(self, job: Job, underway: Underway) -> Job | None:
        context, entry = self._context, job.entry
        connection = await self._until_taken_back(underway, context.current())
        try:
            acked = await self._until_taken_back(underway, self._say(connection, job))
        except (Disconnected, TimeoutError) as ended:
            unanswered = isinstance(ended, TimeoutError)
            if unanswered or connection.was_ended_there:
                await self._has_ended(job, refusals.UNANSWERED if unanswered else str(ended))
            return None  # it is judged once more: days may pass until there is a connection
        except Refused as refused:
            why = str(refused)
        except (OSError, ValueError, FileDamaged) as error:
            why = _unreadable(error)
        else:
            self._forget(entry)
            return await context.database.write(lambda c: self._sent(c, job, acked))
        await self._not_taken(entry, why)
        return None

    def _underway(self, job: Job) -> Underway:
        """The same for all tries of a job."""
        entry = job.entry
        underway = self._context.underway
        if underway is None or underway.request_id != entry.request_id:
            said = entry.state == "sending" or entry.kind not in {"message", "note"}  # by whom died meanwhile, perhaps
            underway = self._context.underway = Underway(entry.request_id, said)
        return underway

    async def _until_taken_back(self, underway: Underway, saying: Coroutine[Any, Any, Got]) -> Got:
        """What comes of it. Raises `TakenBack`: then the service has not got all of it, and the connection ends."""
        said = asyncio.ensure_future(saying)
        taken_back = asyncio.ensure_future(underway.taken_back.wait())
        try:
            await asyncio.wait((said, taken_back), return_when=asyncio.FIRST_COMPLETED)
            if taken_back.done() and not underway.said:
                raise TakenBack
            return await said
        finally:
            for one in (said, taken_back):
                one.cancel()
            await asyncio.gather(said, taken_back, return_exceptions=True)

    async def _has_ended(self, job: Job, why: str) -> None:
        """The service ended the connection at this entry, or did not answer to it: perhaps because of another request,
        or of its own troubles. Time after time it is this one, which then lets others go first, for now or for good.
        """
        entry = job.entry
        self._ended[entry.request_id] = times = self._ended.get(entry.request_id, 0) + 1
        hopeless = why in refusals.HOPELESS
        if times < (limits.HOPELESS_TRIES if hopeless else limits.ENDED_TRIES):
            return
        if why == refusals.TOO_LONG:
            self._too_long_bytes = min(job.size, self._too_long_bytes)
        if hopeless:
            await self._not_taken(entry, why)
        elif why == refusals.UNANSWERED or refusals.is_temporary(why) or entry.kind not in (*outbox.SHOWN, "part"):
            await self._later(entry, why)  # also what no person would ask for again
        else:
            await self._set_aside(entry, refusals.ended(why))

    def _forget(self, entry: Entry) -> None:
        """What its tries came to: it is over."""
        self._tries.pop(entry.request_id, None)
        self._ended.pop(entry.request_id, None)

    def _sent(self, c: Rows, job: Job, acked: m.Acked) -> Job | None:
        """In one transaction: out of the outbox, into the history; and what is next begins."""
        context, entry = self._context, job.entry
        now_ms = context.clock()
        suite = job.sealed.suite if job.sealed is not None else 0
        if job.sealed is not None:
            sealing.sent(c, context, entry, acked.msgid)
        if entry.kind == "part":
            outbox.part_sent(c, entry, now_ms, context.random_bytes)
        elif not forwarding.goes_on(c, context, entry, acked.msgid, sealed=job.sealed is not None):
            identity = context.identity
            names = frozenset(context.aliases) | {identity.alias}
            sent.record(c, entry, acked.msgid, acked.posted, now_ms, identity.uid, identity.alias, names, suite)
            gathering.gather(c, context.files, acked.msgid, identity.uid, entry.content.files)
            forwarding.asked_in(c, context, entry, acked.msgid)
            meeting.sent(c, context, entry.kind, entry.content, now_ms)
        return self._begin(c, {})

    async def _not_taken(self, entry: Entry, why: str) -> None:
        """The service does not take it: for now, or for good."""
        if refusals.is_temporary(why):
            await self._later(entry, why)
            return
        await self._set_aside(entry, refusals.advice(why, entry.content.names))

    async def _set_aside(self, entry: Entry, why: str) -> None:
        """Until its person says more."""
        self._forget(entry)
        await self._context.database.write(lambda c: self._refused(c, entry, why))

    async def _later(self, entry: Entry, why: str) -> None:
        """Again, after a pause that grows."""
        tries = self._tries[entry.request_id] = self._tries.get(entry.request_id, 0) + 1
        pause_s = min(
            limits.REFUSED_AGAIN_FIRST_S * 2 ** min(tries - 1, limits.REFUSED_DOUBLINGS_MAX),
            limits.REFUSED_AGAIN_LONGEST_S,
        )
        due_ms = self._context.clock() + int(1000 * pause_s)
        await self._context.database.write(lambda c: outbox.later(c, entry.request_id, due_ms, why))

    def _refused(self, c: Rows, entry: Entry, why: str) -> None:
        """It is not sent, as far as this side can say; what devices tell one another is told another time."""
        sealing.never_sent(c, self._context, entry.request_id)
        if entry.kind == "sync":
            journal.refused(c, entry.content.text.encode())
        outbox.refused(c, entry.request_id, why)

    async def _say(self, connection: Connection, job: Job) -> m.Acked:
        context, entry = self._context, job.entry
        content, alias = entry.content, context.identity.alias
        if entry.kind == "ping":
            return await connection.ping(entry.request_id, alias, content.to[0][0], content.text)
        if entry.kind == "invitation":
            to = content.to[0][0]
            return await connection.group_invite(entry.request_id, content.gid, alias, to, content.text)
        recipients = posting.recipients(content.to)
        from_ = alias if context.revision > 1 else ""
        data = self._progressing(job)
        if job.sealed is None and entry.kind == "note":
            note = posting.note(content, alias)
            known = posting.recipients(content.known)
            datahead = len(job.body.head_octets)
            return await connection.post_notify(
                entry.request_id,
                recipients,
                known,
                (note, len(note)),
                data,
                job.size,
                datahead,
                not_self=True,
                from_=from_,
            )
        datahead = job.sealed.datahead if job.sealed is not None else len(job.body.head_octets)
        return await connection.post(entry.request_id, recipients, data, job.size, datahead, from_=from_)

    async def _progressing(self, job: Job) -> AsyncIterator[bytes]:
        """The post's octets; watchers hear how far it is."""
        context = self._context
        inside = posting.pieces(job.body, context.files)
        pieces = inside if job.sealed is None else job.sealed.pieces(job.body, context.files)
        have, told = 0, 0
        underway = self._underway(job)
        async for piece in pieces:
            have += len(piece)
            underway.said = underway.said or have >= job.size
            yield piece
            if have - told >= limits.PROGRESS_STEP_BYTES:
                told = have
                context.tell("progress", models.ProgressEvent(job.entry.request_id, have, job.size))


def take_back(c: Rows, context: Context, request_id: str) -> None:
    """Its person has taken it back, while the service surely has not all of it. Idempotent."""
    sealing.never_sent(c, context, request_id)
    outbox.take_out(c, request_id)


def _unreadable(error: Exception) -> str:
    return f"a file can no longer be read here: {error}"


def _too_large(size: int, most: int) -> str:
    return (
        f"it has {size} octets, and the service takes {most} in one message: send less at once. Files of any size go "
        "to people who all have keys, and whose keys are known here"
    )
