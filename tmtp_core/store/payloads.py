# SPDX-License-Identifier: AGPL-3.0-or-later
"""Payloads too large for a row: durable before the commit that names them (storage.md, A4).

An `Upload` gathers one message's data: in memory up to `limits.PAYLOAD_INLINE_MAX_BYTES`, beyond that in the store
under a random name, written by worker threads so that nobody waits for it but the one who posts. What no message
names is swept away at start. The store is a folder of files, `PayloadFolder`, or a bucket: `tmtp_core.store.objects`.
"""

import contextlib
import errno
import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol

from tmtp_core import limits
from tmtp_core.domain.port import Body
from tmtp_core.ids import RandomBytes
from tmtp_core.store.folders import sync_folder

_NAME_BYTES = 16


class PayloadsUnavailable(OSError):
    """The store of payloads lies elsewhere, and does not do what it was asked: that passes by itself."""


class Backlog:
    """How many octets uploads took and have not yet handed to the operating system. `whole` counts them too."""

    def __init__(self, whole: "Backlog | None" = None) -> None:
        self.size = 0
        self._whole = whole
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """So much more, or less; from any thread."""
        with self._lock:
            self.size += size
        if self._whole is not None:
            self._whole.add(size)


class PayloadReading(Protocol):
    """One payload on its way out, read piece by piece on worker threads while its owner may lose interest at any time.

    `open` and `read` raise OSError.
    """

    def open(self) -> bool:
        """On a worker thread. False when it is gone: nobody waits for the message any more."""

    def read(self, size: int) -> bytes:
        """On a worker thread: the next octets, at most so many; none at the end and after `close`."""

    def close(self) -> None:
        """From any thread: no more will be read."""


class Sink(Protocol):
    """Where the pieces of one payload go, in order; used by one worker thread at a time."""

    def write(self, piece: bytes) -> None:
        """The next octets. Raises OSError."""

    def keep(self) -> None:
        """All came: the payload is durable when this returns. Where it raises OSError, `drop` follows."""

    def drop(self) -> None:
        """Leave nothing of it behind. What cannot be removed now, the store removes later."""


class PayloadStore(Protocol):
    """One instance's large payloads. `executor` runs uploads; `readers` what is read, None: any thread will do.

    `backlog` counts what uploads took and the store has not; `left_behind` names what still has to be removed.
    """

    executor: Executor
    readers: Executor | None
    backlog: Backlog
    left_behind: deque[str]

    def new_name(self) -> str:
        """An unused name."""

    def sink(self, name: str, size: int) -> Sink:
        """Where a new payload of this size goes."""

    def reading(self, file: str) -> PayloadReading:
        """The payload of this name, to be read."""

    def unlink(self, files: Iterable[str]) -> None:
        """Remove payloads that no message names any more, and those that could not be removed before.

        Raises OSError when some could not be, now or the last time; they are tried again.
        """

    def sweep(self, sweepable: Callable[[str], bool]) -> int:
        """At start: remove what no message names, left by a crash between upload and commit. How many.

        Raises OSError.
        """

    def end_uploads(self) -> None:
        """No octet more will come: wait until the uploads that were begun are stored, or have failed."""

    def close(self) -> None:
        """After the last upload and the last `unlink`: end what runs. Waits for it."""


class PayloadFolder:
    """The folder of one instance's large payloads. Calls that touch the disk say so."""

    readers: Executor | None = None

    def __init__(self, folder: Path, executor: Executor, random_bytes: RandomBytes, prefix: str = "") -> None:
        """`prefix`: of the names of the files that are written here."""
        self.folder = folder
        self.executor = executor
        self.backlog = Backlog()
        self._random_bytes = random_bytes
        self.left_behind: deque[str] = deque()  # could not be removed; the next start sweeps them away, if nothing does
        self._prefix = prefix
        self._lock = threading.Lock()  # of `left_behind`: the writer and the threads of uploads remove files

    def new_name(self) -> str:
        """See `PayloadStore`."""
        return new_name(self._prefix, self._random_bytes)

    def sink(self, name: str, size: int) -> Sink:
        """See `PayloadStore`."""
        return _File(self, self.folder / name)

    def reading(self, file: str) -> "Reading":
        """See `PayloadStore`."""
        return Reading(self.folder / file)

    def end_uploads(self) -> None:
        """See `PayloadStore`."""
        self.executor.shutdown()

    def close(self) -> None:
        """See `PayloadStore`."""
        self.end_uploads()

    def unlink(self, files: Iterable[str]) -> None:
        """See `PayloadStore` (disk). While a backup reads the folder they are left behind, too: see `held`."""
        with self._lock:
            self.left_behind.extend(files)
        with held(self.folder, fcntl.LOCK_SH | fcntl.LOCK_NB) as free:
            if free:
                self._unlink_what_is_left()

    def _unlink_what_is_left(self) -> None:
        failed: OSError | None = None
        with self._lock:
            files = list(self.left_behind)
            self.left_behind.clear()
        for file in files:
            try:
                (self.folder / file).unlink(missing_ok=True)
            except OSError as error:
                with self._lock:
                    self.left_behind.append(file)
                failed = error
        if failed is not None:
            raise failed

    def sweep(self, sweepable: Callable[[str], bool]) -> int:
        """See `PayloadStore` (disk)."""
        orphans = [path.name for path in self.folder.iterdir() if sweepable(path.name)]
        self.unlink(orphans)
        return len(orphans)


class Upload:
    """One payload on its way in, of a size known beforehand.

    `take` never blocks; while `backlog` is high the caller should read no further. `finish` calls
    back with the `Body`, or with the OSError that spoilt it, from any thread.
    """

    def __init__(self, store: PayloadStore, size: int, backlog: Backlog, on_progress: Callable[[], None]) -> None:
        self._size = size
        self._memory = bytearray()
        self._name = store.new_name() if size > limits.PAYLOAD_INLINE_MAX_BYTES else None
        self._writing = None
        if self._name is not None:
            self._writing = _Writing(store.sink(self._name, size), store.executor, backlog, on_progress)

    def take(self, chunk: memoryview) -> None:
        """The next octets."""
        self._memory += chunk
        if self._writing is not None and len(self._memory) >= limits.PAYLOAD_INLINE_MAX_BYTES:
            self._hand_over()

    def finish(self, done: Callable[[Body | OSError], None]) -> None:
        """All octets were taken: make them durable, then call back."""
        if self._writing is None:
            done(Body(self._size, inline=bytes(self._memory)))
            return
        self._hand_over()
        body = Body(self._size, file=self._name)
        self._writing.finish(lambda error: done(error if error is not None else body))

    def discard(self) -> None:
        """The post will not be: forget what came."""
        self._memory.clear()
        if self._writing is not None:
            self._writing.discard()

    def _hand_over(self) -> None:
        assert self._writing is not None
        if self._memory:
            self._writing.append(bytes(self._memory))
            self._memory.clear()


class _Writing:
    """Hands pieces to one sink on worker threads, one after the other."""

    def __init__(self, sink: Sink, executor: Executor, backlog: Backlog, on_progress: Callable[[], None]) -> None:
        self._sink = sink
        self._executor = executor
        self._backlog = backlog
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._pieces: deque[bytes] = deque()
        self._busy = False
        self._finished: Callable[[OSError | None], None] | None = None
        self._discarded = False
        self._error: OSError | None = None

    def append(self, piece: bytes) -> None:
        self._backlog.add(len(piece))
        with self._lock:
            self._pieces.append(piece)
        self._start()

    def finish(self, done: Callable[[OSError | None], None]) -> None:
        with self._lock:
            self._finished = done
        self._start()

    def discard(self) -> None:
        with self._lock:
            self._discarded = True
        self._start()

    def _start(self) -> None:
        with self._lock:
            if self._busy:
                return
            self._busy = True
        self._executor.submit(self._work)

    def _work(self) -> None:
        """On a worker thread: write until nothing waits, then end if the end was asked for."""
        dropped = 0
        while True:
            with self._lock:
                if self._discarded:
                    dropped = sum(map(len, self._pieces))
                    self._pieces.clear()
                    break
                if not self._pieces:
                    if self._finished is None:
                        self._busy = False
                        return
                    break
                piece = self._pieces.popleft()
            self._write(piece)
            self._backlog.add(-len(piece))
            self._on_progress()
        self._end()
        self._backlog.add(-dropped)
        self._on_progress()

    def _write(self, piece: bytes) -> None:
        if self._error is not None:
            return
        try:
            self._sink.write(piece)
        except OSError as error:
            self._error = error

    def _end(self) -> None:
        """Make it durable, or remove what a discarded or failed upload left."""
        keep = not self._discarded and self._error is None
        try:
            if keep:
                self._sink.keep()
        except OSError as error:
            self._error = error
            keep = False
        if not keep:
            self._sink.drop()
        if self._finished is not None and not self._discarded:
            self._finished(self._error)


class _File:
    """One file that is being written."""

    def __init__(self, folder: PayloadFolder, path: Path) -> None:
        self._folder = folder
        self._path = path
        self._descriptor: int | None = None

    def write(self, piece: bytes) -> None:
        """See `Sink`."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        view = memoryview(piece)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def keep(self) -> None:
        """See `Sink`: sync file and folder."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            self._close()
        sync_folder(self._folder.folder)

    def drop(self) -> None:
        """See `Sink`."""
        with contextlib.suppress(OSError):
            self._close()
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            with contextlib.suppress(OSError):
                self._folder.unlink([self._path.name])

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Reading:
    """One payload in a file.

    The descriptor is closed by whoever finishes last, the worker or `close`; so none is left open, and none is read
    after its number may have become another file's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._busy = False
        self._closed = False

    def open(self) -> bool:
        """See `PayloadReading`."""
        if not self._begin():
            return False
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        finally:
            self._end()
        return True

    def read(self, size: int) -> bytes:
        """See `PayloadReading`."""
        if not self._begin():
            return b""
        try:
            return os.read(self._descriptor, size) if self._descriptor is not None else b""
        finally:
            self._end()

    def close(self) -> None:
        """See `PayloadReading`."""
        with self._lock:
            self._closed = True
            last = not self._busy
        if last:
            self._let_go()

    def _begin(self) -> bool:
        with self._lock:
            self._busy = not self._closed
            return self._busy

    def _end(self) -> None:
        with self._lock:
            self._busy = False
            last = self._closed
        if last:
            self._let_go()

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def held(folder: Path, how: int) -> Iterator[bool]:
    """A folder of payloads under a lock of `fcntl.flock`, for the length of the block; False where it cannot be had.

    Who removes payloads holds it with others (LOCK_SH), a backup alone (LOCK_EX): then no payload that its snapshot of
    the database names goes before it is copied. The lock ends with its process.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            yield False
            return
        except OSError:  # the file system has no locks: of such a folder no backup is taken
            if how & fcntl.LOCK_EX:
                raise
        yield True
    finally:
        os.close(descriptor)


def new_name(prefix: str, random_bytes: RandomBytes) -> str:
    """An unused name of a payload."""
    return prefix + random_bytes(_NAME_BYTES).hex()


def is_shortage(error: OSError) -> bool:
    """Whether no descriptor is left, or a store elsewhere does not answer: that passes by itself."""
    return error.errno in (errno.EMFILE, errno.ENFILE) or isinstance(error, PayloadsUnavailable)
