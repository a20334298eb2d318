# SPDX-License-Identifier: AGPL-3.0-or-later
"""The group-commit writer: one thread, one transaction for everything that waits (storage.md).

Decisions are made *inside* the transaction, one after the other, on the writer's thread; their results
come back only after the commit, a whole batch at a time. There is no timer: while one batch is being
committed the next one gathers, so batches grow with the load by themselves.
"""

import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError

from tmtp_core import limits
from tmtp_core.domain.facts import Journal
from tmtp_core.domain.outcome import Outcome
from tmtp_core.domain.port import Message
from tmtp_core.errors import ProtocolError, RequestRefused, ServiceUnavailable
from tmtp_core.store.database import Store, is_full
from tmtp_core.store.journalled import JournalledLedger
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.store.payloads import PayloadStore
from tmtp_core.store.sharing import Evicted, NotAlone
from tmtp_core.store.trouble import CommitUnknown, database_errors, error_text, is_of_its_values

Result = Any
"""What a decision returned, or the exception that it raised: theirs, or `ServiceUnavailable`."""


class Job(msgspec.Struct, eq=False):
    """One decision. `done` is called with its result after the commit, where the writer's `wake` runs it.

    `request` (device, repetition key) announces a request that may be a repetition; `files` are payloads that
    belong to nobody unless the decision stores a message with them; `size` is what it holds in memory; `reads` says
    what to read in the same transaction because of the result: it comes after the `done` of the whole batch; `cuts`
    which devices' links the result ends, wherever they are, and with what words; `looks`: it changes nothing.
    """

    decide: Callable[[SqlLedger], Result]
    done: Callable[[Result], None]
    request: tuple[int, str] | None = None
    files: tuple[str, ...] = ()
    size: int = 0
    reads: "Callable[[Result], PageRead | None] | None" = None
    looks: bool = False
    cuts: Callable[[Result], Mapping[int, str]] = lambda result: result.cuts if isinstance(result, Outcome) else {}


@dataclass(slots=True, eq=False)
class PageRead:
    """Fetch the first `count` messages of a device's queue, as they are after the batch it rides in."""

    device: int
    count: int
    done: Callable[[Sequence[Message], bool], None]


@dataclass(slots=True)
class WriterFigures:
    """Counted since the start."""

    commits: int = 0
    repeated: int = 0  # batches tried again without others beside
    jobs: int = 0
    acks: int = 0
    failures: int = 0
    healthy: bool = True


class Writer(threading.Thread):
    """Owns an instance's ledger, whose account logs are bound to `service_key`.

    `wake` runs a callable on the caller's own thread (the event loop); `report` hears of our own errors,
    as (event, fields), from the writer's thread. Where other processes share the database, `told`, on the caller's own
    thread, hears which devices' links end here by what they decided; and None when nobody knows what is stored.
    `journal` is told what no older backup may undo.
    """

    def __init__(
        self,
        database: Store,
        payloads: PayloadStore,
        service_key: bytes,
        wake: Callable[[Callable[[], None]], None],
        report: Callable[[str, dict[str, object]], None],
        told: Callable[[Mapping[int, str] | None], None] = lambda cuts: None,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(name="tmtp-writer", daemon=True)
        self.figures = WriterFigures()
        self.ledger = (
            SqlLedger(database, service_key, report)
            if journal is None
            else JournalledLedger(database, service_key, report, journal)
        )
        self._told = told
        self.evicted: Callable[[], None] = lambda: None  # as `told`: others have taken this process for dead
        self._database = database
        self._payloads = payloads
        self._wake = wake
        self._report = report
        self._jobs: deque[Job] = deque()
        self._acks: deque[tuple[int, int, int]] = deque()
        self._pages: deque[PageRead] = deque()
        self._doubtful: list[str] = []  # payload files of commits that failed
        self._awake = threading.Event()
        self._stopping = False
        self._checkpoint_due = False
        self.checkpoint_left = False  # somebody read the database, and its log could not be emptied
        self._look_due = False
        database.do(self.ledger.load)
        payloads.sweep(self.ledger.references.sweepable)

    # -- from the caller's thread ------------------------------------------------------------------------------------
    def submit(self, job: Job) -> None:
        """Queue a decision. Decisions are made in the order of their submission; after `stop` none is."""
        if self._stopping:
            self._wake(partial(job.done, ServiceUnavailable("the service is stopping; it stored nothing of this")))
            return
        self._jobs.append(job)
        if not self._awake.is_set():  # else it looks at the queues still, after it has unset it
            self._awake.set()

    def acknowledge(self, device: int, rank: int, number: int) -> None:
        """A device keeps a message: it rides in the next commit and nobody waits for it."""
        self._acks.append((device, rank, number))
        if not self._awake.is_set():
            self._awake.set()

    def read_page(self, read: PageRead) -> None:
        """Queue a page read; it sees every decision and ack submitted before."""
        self._pages.append(read)
        self._awake.set()

    def request_checkpoint(self) -> None:
        """Empty the database's log soon."""
        self._checkpoint_due = True
        self._awake.set()

    def look(self) -> None:
        """Others have changed something: see what, soon."""
        self._look_due = True
        self._awake.set()

    def retry(self) -> None:
        """Try again what a failed commit left waiting."""
        self._awake.set()

    def stop(self) -> None:
        """Finish what was submitted, then end; `join` waits for it. Call it where `submit` is called."""
        self._stopping = True
        self._awake.set()

    # -- on the writer's thread --------------------------------------------------------------------------------------
    def run(self) -> None:
        """Commit batch after batch until told to stop and nothing is left."""
        self._database.serve(self._run)

    def _run(self) -> None:
        while True:
            self._awake.wait()
            self._awake.clear()
            stopping = self._stopping  # looked at before the queues are: nothing is added to them afterwards
            while self._jobs or self._pages or self._acks or self._look_due:
                committed = self._commit_what_waits()
                if self._checkpoint_due:  # here, since under load something always waits
                    self._checkpoint()
                if not committed and not (stopping and self._jobs):
                    break
            if self._checkpoint_due or stopping:
                self._checkpoint(wait=stopping)
            if stopping:
                return

    def _commit_what_waits(self) -> bool:
        """One batch. False when nothing could be committed and only acks are left: they wait for better times."""
        self._look_due = False
        # Acks last: whatever a device acknowledged before a page or a request that is in this batch is in it too.
        pages = [self._pages.popleft() for _ in range(min(len(self._pages), limits.BATCH_COMMANDS_MAX))]
        jobs = self._take_jobs()
        acks = [self._acks.popleft() for _ in range(len(self._acks))]
        try:
            finished = self._commit_beside_others(jobs, acks, pages)
        except Exception as error:
            self._void(acks, error)
            return self._recover(jobs, pages, error)
        self._wake(finished)
        return True

    def _take_jobs(self) -> list[Job]:
        jobs: list[Job] = []
        size = 0
        while self._jobs and len(jobs) < limits.BATCH_COMMANDS_MAX and size < limits.BATCH_BYTES_MAX:
            job = self._jobs.popleft()
            size += job.size
            jobs.append(job)
        return jobs

    def _commit_beside_others(
        self, jobs: list[Job], acks: list[tuple[int, int, int]], pages: list[PageRead]
    ) -> Callable[[], None]:
        """`_commit`; where several processes have the database, beside what they commit, if nothing is against it.

        Posts usually change nothing that others keep in memory, and who looks at something never does. Posts that do, a
        first contact, are decided once more.
        """
        if all(job.request is not None or job.looks for job in jobs):
            try:
                return self._commit(jobs, acks, pages, alone=False)
            except NotAlone:
                self.ledger.withdrawn()
                self.figures.repeated += 1
        return self._commit(jobs, acks, pages)

    def _commit(
        self, jobs: list[Job], acks: list[tuple[int, int, int]], pages: list[PageRead], *, alone: bool = True
    ) -> Callable[[], None]:
        """Decide and commit; what to do on the caller's thread afterwards."""
        ledger = self.ledger
        alone = alone or self._database.sharing is None
        results: list[tuple[Job, Result]] = []
        with self._database.transaction(alone=alone) as connection:
            ledger.begin(connection, alone=alone)
            if acks:
                ledger.acknowledge(acks)
            ledger.prefetch_posted([job.request for job in jobs if job.request is not None])
            for job in jobs:
                try:
                    results.append((job, job.decide(ledger)))
                except (RequestRefused, ProtocolError, ServiceUnavailable) as refusal:
                    results.append((job, refusal))
            if self._database.sharing is not None:
                for job, result in results:
                    ledger.note_cuts(job.cuts(result))
            ledger.flush()
            wanted = [job.reads(result) if job.reads is not None else None for job, result in results]
            reads = [page for page in (*wanted, *pages) if page is not None]
            read = ledger.pages([(page.device, page.count) for page in reads])
        unlink = ledger.committed()
        cut, ledger.cuts = ledger.cuts, {}
        doubtful, self._doubtful = self._doubtful, []
        self._unlink([*unlink, *self._unnamed(doubtful), *self._unnamed(file for job in jobs for file in job.files)])
        self._count(jobs, acks)

        def finished() -> None:
            for job, result in results:
                self._guarded(job.done, result)
            for page, found in zip(reads, read, strict=True):  # they hold what the whole batch stored: first comes who
                self._guarded(page.done, *found)  # hears of that
            if cut:
                self._guarded(self._told, cut)

        return finished

    def _recover(self, jobs: list[Job], pages: list[PageRead], error: Exception) -> bool:
        """After a void transaction: when a job may have spoilt it, each gets one of its own; else all are told."""
        self._pages.extendleft(reversed(pages))
        if isinstance(error, CommitUnknown):  # these may be stored, with their files: who repeats them hears how it is
            self._refuse(jobs, error)
            return False
        if len(jobs) <= 1 or (isinstance(error, database_errors()) and not is_of_its_values(error)):
            self._refuse(jobs, error)
            return False
        for job in jobs:
            acks = [self._acks.popleft() for _ in range(len(self._acks))]
            try:
                self._wake(self._commit([job], acks, []))
            except Exception as own_error:
                self._void(acks, own_error)
                self._refuse([job], own_error)
        return True

    def _guarded(self, tell: Callable[..., None], *result: Any) -> None:
        """One effect must never keep the others of its batch from theirs."""
        try:
            tell(*result)
        except Exception as error:
            self._report("effect_failed", _described(error))

    def _void(self, acks: list[tuple[int, int, int]], error: Exception) -> None:
        self.ledger.rolled_back()
        self._acks.extendleft(reversed(acks))
        self.figures.failures += 1
        self.figures.healthy = False
        self._report("commit_failed", _described(error))
        if isinstance(error, Evicted):
            self._wake(self.evicted)

    def _refuse(self, jobs: list[Job], error: Exception) -> None:
        # A commit whose sync failed may be on the disk all the same: until the next one takes its place in the log, a
        # crash brings it back, and its messages with their files. The next one that stores anything does, and when a
        # message got a number any commit does: the high-water mark of numbers still has to be stored. One for which the
        # disk had no room is not whole in the log, and its files may be what the next one lacks.
        unknown = isinstance(error, CommitUnknown)
        files = [file for job in jobs for file in job.files]
        if is_full(error):
            self._unlink(files)
        elif not unknown:
            self._doubtful += files
        unavailable = ServiceUnavailable("the service could not store this; try again")

        def tell() -> None:
            for job in jobs:
                self._guarded(job.done, unavailable)
            if unknown:
                self._guarded(self._told, None)

        self._wake(tell)

    def _unnamed(self, files: Iterable[str]) -> list[str]:
        """Those of these payload files that no message has: their posts were refused, or a repetition."""
        names = self.ledger.references.names
        return [file for file in files if not names(file)]

    def _unlink(self, files: list[str]) -> None:
        if not files and not self._payloads.left_behind:
            return
        try:
            self._payloads.unlink(files)
        except Exception as error:  # what was committed is durable, whatever it is; tried again with the next commit
            self._report("payload_not_removed", {"error": str(error), "files": len(self._payloads.left_behind)})

    def _count(self, jobs: list[Job], acks: list[tuple[int, int, int]]) -> None:
        self.figures.commits += 1
        self.figures.jobs += len(jobs)
        self.figures.acks += len(acks)
        self.figures.healthy = True

    def _checkpoint(self, *, wait: bool = False) -> None:
        self._checkpoint_due = False
        self._unlink([])  # what was left behind, if anything
        try:
            self.checkpoint_left = not self._database.checkpoint(wait=wait)
        except Exception as error:
            self._report("checkpoint_failed", {"error": str(error)})


def _described(error: Exception) -> dict[str, object]:
    """An error for the log. Only the database's own words are repeated: another's could hold content."""
    if isinstance(error, DBAPIError):
        return {"error": f"{type(error.orig).__name__}: {error_text(error)}"}
    if isinstance(error, database_errors()):
        return {"error": f"{type(error).__name__}: {error_text(error)}"}
    return {"error": type(error).__name__, "trace": traceback.format_tb(error.__traceback__)}
