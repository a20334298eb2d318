# SPDX-License-Identifier: AGPL-3.0-or-later
"""The group-commit writer: one thread, one transaction for everything that waits (storage.md).

Decisions are made *inside* the transaction, one after the other, on the writer's thread; their results
come back only after the commit, a whole batch at a time. There is no timer: while one batch is being
committed the next one gathers, so batches grow with the load by themselves.
"""

import sqlite3
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError

from tmtp_core import limits
from tmtp_core.domain.port import Message
from tmtp_core.errors import ProtocolError, RequestRefused, ServiceUnavailable
from tmtp_core.store.database import Database
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.store.payloads import PayloadFolder

DatabaseErrors = (DBAPIError, sqlite3.Error)
"""Of SQLAlchemy, and of the driver where `tmtp_core.store.sqlite` speaks to it."""

Result = Any
"""What a decision returned, or the exception that it raised: theirs, or `ServiceUnavailable`."""


class Job(msgspec.Struct, eq=False):
    """One decision. `done` is called with its result after the commit, where the writer's `wake` runs it.

    `request` (device, repetition key) announces a request that may be a repetition; `files` are payloads that
    belong to nobody unless the decision stores a message with them; `size` is what it holds in memory; `reads` says
    what to read in the same transaction because of the result: it comes after the `done` of the whole batch.
    """

    decide: Callable[[SqlLedger], Result]
    done: Callable[[Result], None]
    request: tuple[int, str] | None = None
    files: tuple[str, ...] = ()
    size: int = 0
    reads: "Callable[[Result], PageRead | None] | None" = None


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
    jobs: int = 0
    acks: int = 0
    failures: int = 0
    healthy: bool = True


class Writer(threading.Thread):
    """Owns an instance's ledger, whose account logs are bound to `service_key`.

    `wake` runs a callable on the caller's own thread (the event loop); `report` hears of our own errors,
    as (event, fields), from the writer's thread.
    """

    def __init__(
        self,
        database: Database,
        payloads: PayloadFolder,
        service_key: bytes,
        wake: Callable[[Callable[[], None]], None],
        report: Callable[[str, dict[str, object]], None],
    ) -> None:
        super().__init__(name="tmtp-writer", daemon=True)
        self.figures = WriterFigures()
        self.ledger = SqlLedger(service_key, report)
        self._database = database
        self._payloads = payloads
        self._wake = wake
        self._report = report
        self._jobs: deque[Job] = deque()
        self._acks: deque[tuple[int, int, int]] = deque()
        self._pages: deque[PageRead] = deque()
        self._awake = threading.Event()
        self._stopping = False
        self._checkpoint_due = False
        with database.transaction() as connection:
            self.ledger.load(connection)
        payloads.sweep(self.ledger.references.named_files())

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
        while True:
            self._awake.wait()
            self._awake.clear()
            stopping = self._stopping  # looked at before the queues are: nothing is added to them afterwards
            while self._jobs or self._pages or self._acks:
                committed = self._commit_what_waits()
                if self._checkpoint_due:  # here, since under load something always waits
                    self._checkpoint()
                if not committed and not (stopping and self._jobs):
                    break
            if self._checkpoint_due or stopping:
                self._checkpoint()
            if stopping:
                return

    def _commit_what_waits(self) -> bool:
        """One batch. False when nothing could be committed and only acks are left: they wait for better times."""
        # Acks last: whatever a device acknowledged before a page or a request that is in this batch is in it too.
        pages = [self._pages.popleft() for _ in range(min(len(self._pages), limits.BATCH_COMMANDS_MAX))]
        jobs = self._take_jobs()
        acks = [self._acks.popleft() for _ in range(len(self._acks))]
        try:
            finished = self._commit(jobs, acks, pages)
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

    def _commit(self, jobs: list[Job], acks: list[tuple[int, int, int]], pages: list[PageRead]) -> Callable[[], None]:
        """Decide and commit; what to do on the caller's thread afterwards."""
        ledger = self.ledger
        results: list[tuple[Job, Result]] = []
        read: dict[PageRead, tuple[list[Message], bool]] = {}
        with self._database.transaction() as connection:
            ledger.begin(connection)
            if acks:
                ledger.acknowledge(acks)
            ledger.prefetch_posted([job.request for job in jobs if job.request is not None])
            for job in jobs:
                try:
                    results.append((job, job.decide(ledger)))
                except (RequestRefused, ProtocolError, ServiceUnavailable) as refusal:
                    results.append((job, refusal))
            ledger.flush()
            wanted = [job.reads(result) if job.reads is not None else None for job, result in results]
            for page in (*wanted, *pages):
                if page is not None:
                    read[page] = ledger.page(page.device, page.count)
        unlink = ledger.committed()
        self._unlink([*unlink, *self._unnamed(jobs)])
        self._count(jobs, acks)

        def finished() -> None:
            for job, result in results:
                self._guarded(job.done, result)
            for page, found in read.items():  # they hold what the whole batch stored: first comes who hears of that
                self._guarded(page.done, *found)

        return finished

    def _recover(self, jobs: list[Job], pages: list[PageRead], error: Exception) -> bool:
        """After a void transaction: when a job may have spoilt it, each gets one of its own; else all are told."""
        self._pages.extendleft(reversed(pages))
        if isinstance(error, DatabaseErrors) or len(jobs) <= 1:
            self._refuse(jobs)
            return False
        for job in jobs:
            acks = [self._acks.popleft() for _ in range(len(self._acks))]
            try:
                self._wake(self._commit([job], acks, []))
            except Exception as own_error:
                self._void(acks, own_error)
                self._refuse([job])
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

    def _refuse(self, jobs: list[Job]) -> None:
        self._unlink([file for job in jobs for file in job.files])
        unavailable = ServiceUnavailable("the service could not store this; it stored nothing; try again")

        def tell() -> None:
            for job in jobs:
                self._guarded(job.done, unavailable)

        self._wake(tell)

    def _unnamed(self, jobs: list[Job]) -> list[str]:
        """Payload files whose decision stored no message with them: refused, or a repetition."""
        names = self.ledger.references.names
        return [file for job in jobs for file in job.files if not names(file)]

    def _unlink(self, files: list[str]) -> None:
        if not files:
            return
        try:
            self._payloads.unlink(files)
        except OSError as error:  # swept at the next start
            self._report("payload_not_removed", {"error": str(error), "files": len(files)})

    def _count(self, jobs: list[Job], acks: list[tuple[int, int, int]]) -> None:
        self.figures.commits += 1
        self.figures.jobs += len(jobs)
        self.figures.acks += len(acks)
        self.figures.healthy = True

    def _checkpoint(self) -> None:
        self._checkpoint_due = False
        try:
            self._database.checkpoint()
        except Exception as error:
            self._report("checkpoint_failed", {"error": str(error)})


def _described(error: Exception) -> dict[str, object]:
    """An error for the log. Only the database's own words are repeated: another's could hold content."""
    if isinstance(error, DBAPIError):
        return {"error": f"{type(error.orig).__name__}: {error.orig}"}
    if isinstance(error, sqlite3.Error):
        return {"error": f"{type(error).__name__}: {error}"}
    return {"error": type(error).__name__, "trace": traceback.format_tb(error.__traceback__)}
