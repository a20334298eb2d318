# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal beside the backups: what no older backup may undo, readable by the recipient of backups only (B4, D5).

One file an instance, to which the running gateway appends; at each backup it is put aside under the backup's time, and
goes with the last backup that is older. docs/backup.md, *The journal*.
"""

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.signing import SIGNATURE_BYTES, Signer, signed_by
from tmtp_core.domain.facts import Told, decode_told, encode_told
from tmtp_core.store.folders import make_folder, sync_folder

_PURPOSE: Final = b"tmtp-journal"
_LENGTH_BYTES: Final = 4
_NUMBER_BYTES: Final = 8
_STORY_MAX_BYTES: Final = 16 << 20  # of one transaction: a thousand decisions
_PENDING_MAX: Final = 10_000  # stories kept in memory while the journal's disk is away
_PUT_ASIDE: Final = re.compile(r"(?P<instance>.+)\.(?P<ms>\d{13,})\.journal")


class JournalFile:
    """Implements `tmtp_core.domain.facts.Journal` for one instance. From any thread.

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
        self._path = current_path(folder, instance)
        self._box = SealedBox(recipient)
        self._signer = signer
        self._report = report
        self._lock = threading.Lock()
        self._pending: deque[bytes] = deque()
        self._failing = False
        self.lost = 0  # stories for which there was no more room in memory

    @property
    def behind(self) -> int:
        """How many stories are not on the disk."""
        return len(self._pending) + self.lost

    def append(self, told: Told) -> None:
        """See `Journal`: on the disk when this returns, unless the disk fails."""
        raw = encode_told(told)
        sealed = self._box.encrypt(from_text(self._signer.sign(_PURPOSE, raw), SIGNATURE_BYTES) + raw)
        with self._lock:
            if len(self._pending) < _PENDING_MAX:
                last = told.first + len(told.facts) - 1
                self._pending.append(len(sealed).to_bytes(_LENGTH_BYTES) + last.to_bytes(_NUMBER_BYTES) + sealed)
            else:
                self.lost += 1
            self._write_pending()

    def retry(self) -> None:
        """Write what waits (disk)."""
        with self._lock:
            if self._pending:
                self._write_pending()

    def _write_pending(self) -> None:
        try:
            make_folder(self._path.parent)
            new = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                self._append(descriptor)
            finally:
                os.close(descriptor)
            if new:
                sync_folder(self._path.parent)
        except OSError as error:
            if not self._failing:
                self._report("journal_failing", {"error": error.strerror or "", "folder": str(self._path.parent)})
            self._failing = True
            return
        self._pending.clear()
        if self._failing:
            self._failing = False
            self._report("journal_written_again", {"lost": self.lost})

    def _append(self, descriptor: int) -> None:
        """All that waits, or nothing: half a story would hide those after it."""
        end = os.fstat(descriptor).st_size
        try:
            view = memoryview(b"".join(self._pending))
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, end)
            raise


def current_path(folder: Path, instance: str) -> Path:
    """The file to which the gateway appends."""
    return folder / f"{instance}.journal"


def put_aside(folder: Path, known: Mapping[str, int], made_ms: int) -> None:
    """A backup that begins now needs none of what the journal has so far; older ones do (disk).

    A new one is begun for each instance, with an entry that holds nothing but the number of the last fact that its
    database knows by now: where there is no journal at all, it was lost.
    """
    make_folder(folder)
    for instance, number in known.items():
        path = current_path(folder, instance)
        if path.exists() and path.stat().st_size > _LENGTH_BYTES + _NUMBER_BYTES:
            path.rename(folder / f"{instance}.{made_ms}.journal")
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


def journals_of(folder: Path, instance: str) -> list[Path]:
    """The files of one instance's journal, oldest first."""
    aside: list[tuple[int, Path]] = []
    for path in folder.glob("*.journal"):
        match = _PUT_ASIDE.fullmatch(path.name)
        if match is not None and match["instance"] == instance:
            aside.append((int(match["ms"]), path))
    current = current_path(folder, instance)
    return [path for _, path in sorted(aside)] + ([current] if current.exists() else [])


def last_number(path: Path) -> int:
    """The number of the last fact in a journal's file, which anybody may see; 0 where there is none."""
    number, size_bytes = 0, path.stat().st_size
    with path.open("rb") as file:
        while True:
            size, last = _next_story(file)
            if size is None or file.tell() + size > size_bytes:
                return number
            number = max(number, last)
            file.seek(size, os.SEEK_CUR)


def _next_story(file: BinaryIO) -> tuple[int | None, int]:
    """The octets of the next entry, None at the end, and the number of its last fact."""
    before = file.read(_LENGTH_BYTES + _NUMBER_BYTES)
    if len(before) < _LENGTH_BYTES + _NUMBER_BYTES:
        return None, 0
    return int.from_bytes(before[:_LENGTH_BYTES]), int.from_bytes(before[_LENGTH_BYTES:])


def stories(path: Path, secret: PrivateKey, service_key: bytes, damaged: Callable[[str], None]) -> Iterator[Told]:
    """What a journal's file tells. `damaged` hears what of it is not as the service of this key wrote it, in words.

    Half a story at the end is none: nobody had heard of it.
    """
    box, public = SealedBox(secret), to_text(service_key)
    with path.open("rb") as file:
        while True:
            size, _ = _next_story(file)
            if size is None:
                return
            if size > _STORY_MAX_BYTES:
                damaged(f"{path.name} is damaged: what follows after {file.tell()} octets cannot be read")
                return
            sealed = file.read(size)
            if len(sealed) < size:
                return
            if not sealed:  # the number of the backup that began this file
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
