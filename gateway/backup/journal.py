# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal beside the backups: what no older backup may undo, readable by the recipient of backups only (B4, D5).

One file an instance, to which the running gateway appends; at each backup it is put aside under the backup's time, and
goes with the last backup that is older. docs/backup.md, *The journal*.
"""

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from nacl.bindings import crypto_box_SEALBYTES
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from gateway.files import write_private
from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.signing import SIGNATURE_BYTES, Signer, signed_by
from tmtp_core.domain.facts import FACTS_LEAP, Told, decode_told, encode_told
from tmtp_core.store.folders import make_folder, sync_folder

_PURPOSE: Final = b"tmtp-journal"
_LENGTH_BYTES: Final = 4
_NUMBER_BYTES: Final = 8
_STORY_MIN_BYTES: Final = crypto_box_SEALBYTES + SIGNATURE_BYTES + 1
_STORY_MAX_BYTES: Final = 16 << 20  # of one transaction: a thousand decisions
_PENDING_MAX: Final = 10_000  # stories kept in memory while the journal's disk is away
_PUT_ASIDE: Final = re.compile(r"(?P<instance>.+)\.(?P<ms>\d{13,})\.journal")


class JournalFile:
    """Implements `tmtp_core.domain.facts.Journal` for one instance. From any thread.

    A thread of its own writes, since a disk may not answer at all; an act waits for it `JOURNAL_PATIENCE_S` at most.
    `report` hears when it begins to fail and when it is well again. While it fails, facts are kept in memory: an act
    is not refused since a backup's disk is away; `behind` says how many wait.
    """

    def __init__(
        self,
        folder: Path,
        instance: str,
        recipient: PublicKey,
        signer: Signer,
        report: Callable[[str, dict[str, object]], None],
    ) -> None:
        self._folder = folder
        self._instance = instance
        self._path = current_path(folder, instance)
        self._box = SealedBox(recipient)
        self._signer = signer
        self._report = report
        self._changed = threading.Condition()
        self._pending: deque[bytes] = deque()
        self._asked = 0  # how often writing was wanted
        self._answered = 0  # how many of these wishes an attempt has answered, well or not
        self._late = False  # nobody waits for an attempt that has kept somebody waiting too long
        self._failing = False
        self._thread: threading.Thread | None = None
        self._closing = False
        self._left: tuple[int, int] | None = None  # inode and size of the file, as the last good write left it
        self._known: int | None = None  # the number of the last fact of the database, still to be looked for
        self._lacking = 0  # acts that are in the database only, until a backup has them
        self.lost = 0  # stories for which there was no more room in memory

    @property
    def behind(self) -> int:
        """How many stories are not on the disk, and acts that no journal has, until a backup has them."""
        return len(self._pending) + self.lost + self._lacking

    def known(self, number: int) -> None:
        """See `Journal`. Looked for by the journal's own thread; nobody waits for it."""
        with self._changed:
            self._known = number
            self._ask()

    def append(self, told: Told) -> None:
        """See `Journal`: on the disk when this returns, unless the disk fails."""
        raw = encode_told(told)
        sealed = self._box.encrypt(from_text(self._signer.sign(_PURPOSE, raw), SIGNATURE_BYTES) + raw)
        with self._changed:
            if len(self._pending) < _PENDING_MAX:
                last = told.first + len(told.facts) - 1
                self._pending.append(len(sealed).to_bytes(_LENGTH_BYTES) + last.to_bytes(_NUMBER_BYTES) + sealed)
            else:
                self.lost += 1
            wish = self._ask()
            if not self._late and not self._await(wish):
                self._late = True
                self._fails("its disk does not answer")

    def retry(self) -> None:
        """Have what waits written; nobody waits for it."""
        with self._changed:
            if self._asked == self._answered:
                self._ask()

    def close(self) -> None:
        """Have what waits written, wait for it as long as for an act, and end the thread."""
        with self._changed:
            if self._thread is None:
                return
            if self._pending:
                self._await(self._ask())
            self._closing = True
            self._changed.notify_all()

    def _ask(self) -> int:
        """Want the thread to write; the number of this wish. With the lock."""
        if self._thread is None:
            name = f"tmtp-journal-{self._instance}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)  # a hung disk keeps no process
            self._thread.start()
        self._asked += 1
        self._changed.notify_all()
        return self._asked

    def _await(self, wish: int) -> bool:
        """Whether it was answered in time. With the lock."""
        return self._changed.wait_for(lambda: self._answered >= wish, limits.JOURNAL_PATIENCE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked > self._answered or self._closing)
                if self._asked == self._answered:
                    return
                wish, waiting = self._asked, tuple(self._pending)
            error: OSError | None = None
            try:
                self._write(waiting)
            except OSError as failed:
                error = failed
                self._left = None  # what it left in the file is to be looked at
            with self._changed:
                if error is not None:
                    self._fails(error.strerror or str(error))
                else:
                    for _ in waiting:
                        self._pending.popleft()
                    self._is_well()
                self._late = False
                self._answered = wish
                self._changed.notify_all()

    def _fails(self, why: str) -> None:
        if not self._failing:
            self._report("journal_failing", {"error": why, "folder": str(self._folder)})
        self._failing = True

    def _is_well(self) -> None:
        if self._failing:
            self._failing = False
            self._report("journal_written_again", {"lost": self.lost})

    def _write(self, waiting: tuple[bytes, ...]) -> None:
        """All that waits (disk). Raises OSError."""
        self._look_for_known()
        if not waiting:
            return
        make_folder(self._folder)
        self._mend_end()
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(b"".join(waiting))
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
            found = os.fstat(descriptor)
            self._left = found.st_ino, found.st_size
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self._folder)

    def _look_for_known(self) -> None:
        """What waited in memory when the process ended is in no journal, and only the numbers tell (disk)."""
        if self._known is None:
            if self._lacking and not lacks_path(self._folder, self._instance).exists():  # a backup has them
                self._lacking = 0
            return
        mark = lacks_path(self._folder, self._instance)
        has = max((last_number(path) for path in journals_of(self._folder, self._instance)), default=0)
        lacking = self._known - max(has, self._known // FACTS_LEAP * FACTS_LEAP)
        if lacking > 0:
            make_folder(self._folder)
            write_private(mark, f"{lacking}\n".encode())
            self._report("journal_lacks_acts", {"acts": lacking, "mend": "take a backup now: tmtp-gateway backup"})
        self._lacking = max(lacking, int(mark.exists()))
        self._known = None

    def _mend_end(self) -> None:
        """Half an entry, from a cut of the power or a full disk, would hide those that follow: it goes (disk).

        Where it cannot be told where entries begin, the file is put aside as it is.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return
        if self._left == (found.st_ino, found.st_size):
            return
        end, damaged = _sound_end(self._path)
        if damaged:
            moment_ms = int(found.st_mtime * 1000)
            while (aside := _aside_path(self._folder, self._instance, moment_ms)).exists():
                moment_ms += 1
            self._path.rename(aside)
            sync_folder(self._folder)
            self._report("journal_damaged", {"file": str(aside), "readable_octets": end})
        elif end < found.st_size:
            os.truncate(self._path, end)
            self._report("journal_cut_off", {"file": str(self._path), "removed_octets": found.st_size - end})


def current_path(folder: Path, instance: str) -> Path:
    """The file to which the gateway appends."""
    return folder / f"{instance}.journal"


def lacks_path(folder: Path, instance: str) -> Path:
    """There as long as the database knows acts that neither the journal nor a backup has."""
    return folder / f"{instance}.lacks"


def settled(folder: Path, instances: Iterable[str]) -> None:
    """A backup is whole, and has what the journal of these instances lacked (disk)."""
    for instance in instances:
        lacks_path(folder, instance).unlink(missing_ok=True)


def _aside_path(folder: Path, instance: str, moment_ms: int) -> Path:
    return folder / f"{instance}.{moment_ms}.journal"


def put_aside(folder: Path, known: Mapping[str, int], made_ms: int) -> None:
    """A backup that begins now needs none of what the journal has so far; older ones do (disk).

    A new one is begun for each instance, with an entry that holds nothing but the number of the last fact that its
    database knows by now: where there is no journal at all, it was lost.
    """
    make_folder(folder)
    for instance, number in known.items():
        path = current_path(folder, instance)
        if path.exists() and path.stat().st_size not in {0, _LENGTH_BYTES + _NUMBER_BYTES}:
            path.rename(_aside_path(folder, instance, made_ms))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, bytes(_LENGTH_BYTES) + number.to_bytes(_NUMBER_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(folder)


def remove_older(folder: Path, oldest_kept_ms: int) -> int:
    """Journals that only backups before this time would need; how many (disk)."""
    gone = 0
    for path in folder.glob("*.journal"):
        match = _PUT_ASIDE.fullmatch(path.name)
        if match is not None and int(match["ms"]) <= oldest_kept_ms:
            path.unlink()
            gone += 1
    return gone


def journals_of(folder: Path, instance: str, since_ms: int = 0) -> list[Path]:
    """The files of one instance's journal, oldest first; of those put aside the ones after a backup of that time."""
    aside: list[tuple[int, Path]] = []
    for path in folder.glob("*.journal"):
        match = _PUT_ASIDE.fullmatch(path.name)
        if match is not None and match["instance"] == instance and int(match["ms"]) > since_ms:
            aside.append((int(match["ms"]), path))
    current = current_path(folder, instance)
    return [path for _, path in sorted(aside)] + ([current] if current.exists() else [])


def last_number(path: Path) -> int:
    """The number of the last fact in a journal's file, which anybody may see; 0 where there is none."""
    return max((number for _, number in _whole_entries(path)), default=0)


def is_cut_off(path: Path) -> bool:
    """Whether a journal's file holds something that is no whole entry: a fact was lost there (disk)."""
    end, damaged = _sound_end(path)
    return damaged or end < path.stat().st_size


def _sound_end(path: Path) -> tuple[int, bool]:
    """After how many octets the last whole entry ends, and whether what follows has no length that an entry has."""
    end = max((end for end, _ in _whole_entries(path)), default=0)
    with path.open("rb") as file:
        file.seek(end)
        size, _ = _next_story(file)
    return end, size is not None and not _is_possible(size)


def _whole_entries(path: Path) -> Iterator[tuple[int, int]]:
    """Where each entry ends, and the number of its last fact, up to the first that is not whole."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        while True:
            size, number = _next_story(file)
            if size is None or not _is_possible(size) or file.tell() + size > size_bytes:
                return
            yield file.seek(size, os.SEEK_CUR), number


def _is_possible(size: int) -> bool:
    """Of an entry: nothing, for the number of a backup, or a story."""
    return size == 0 or _STORY_MIN_BYTES <= size <= _STORY_MAX_BYTES


def _next_story(file: BinaryIO) -> tuple[int | None, int]:
    """The octets of the next entry, None at the end, and the number of its last fact."""
    before = file.read(_LENGTH_BYTES + _NUMBER_BYTES)
    if len(before) < _LENGTH_BYTES + _NUMBER_BYTES:
        return None, 0
    return int.from_bytes(before[:_LENGTH_BYTES]), int.from_bytes(before[_LENGTH_BYTES:])


def stories(path: Path, secret: PrivateKey, service_key: bytes, damaged: Callable[[str], None]) -> Iterator[Told]:
    """What a journal's file tells; the number of a backup that began it is a story without facts.

    `damaged` hears what of it is not as the service of this key wrote it, in words.
    Half a story at the end is none: nobody had heard of it.
    """
    box, public = SealedBox(secret), to_text(service_key)
    with path.open("rb") as file:
        while True:
            size, last = _next_story(file)
            if size is None:
                return
            if not _is_possible(size):
                damaged(f"{path.name} is damaged: what follows after {file.tell()} octets cannot be read")
                return
            sealed = file.read(size)
            if len(sealed) < size:
                return
            if not sealed:
                yield Told(last + 1, (), 0)
                continue
            try:
                opened = box.decrypt(sealed)
                raw = opened[SIGNATURE_BYTES:]
                if not signed_by(public, to_text(opened[:SIGNATURE_BYTES]), _PURPOSE, raw):
                    damaged(f"{path.name} has an entry that this service did not write: it is left out")
                    continue
                yield decode_told(raw)
            except (CryptoError, ValueError):
                damaged(f"{path.name} has an entry that cannot be read with this key: it is left out")
