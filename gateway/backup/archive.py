# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files in a backup's stream: a header, each file with its hash, an end that counts them (docs/backup.md).

A frame is one record: its kind in the first byte, then JSON or the octets of a file.
"""

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, Final

import msgspec

from gateway.backup.stream import FRAME_MAX_BYTES, BackupDamaged, Opener, StreamWriter, frames

CHUNK_BYTES: Final = FRAME_MAX_BYTES - 1
_PATH_MAX_BYTES: Final = 1_024
_HEADER: Final = b"H"
_FILE: Final = b"F"
_DATA: Final = b"D"
_END: Final = b"E"
_TOTAL: Final = b"T"


class ArchiveHeader(msgspec.Struct, frozen=True):
    """What a backup is of.

    `made_ms`: when it began, milliseconds since 1970: what was acknowledged before that is in it. `instances`: those
    whose database is in it; `left_out`: those whose database is not. `journal`: whether what happened
    later was to be journalled.
    """

    made_ms: int
    version: str
    instances: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    journal: bool = False


class FileStart(msgspec.Struct, frozen=True):
    """A file follows: its path below the data folder, with slashes."""

    path: str


class FileEnd(msgspec.Struct, frozen=True):
    """A file is complete: its octets, and their BLAKE2b-256 in hex."""

    size: int
    hash: str


class Total(msgspec.Struct, frozen=True):
    """The end: how many files there were, and how many octets in them."""

    files: int
    size: int


Record = ArchiveHeader | FileStart | bytes | FileEnd | Total
"""`bytes`: the next octets of the file that was begun last."""


class ArchiveWriter:
    """Writes one archive; each path once. `files` says what went in: (path, hash)."""

    def __init__(self, stream: StreamWriter, header: ArchiveHeader) -> None:
        self._stream = stream
        self._size = 0
        self.files: dict[str, str] = {}
        self._write(_HEADER, msgspec.json.encode(header))

    def add(self, path: str, source: BinaryIO) -> Iterator[int]:
        """A file, to its end; yields how many octets were taken, piece by piece. OSError leaves the archive useless."""
        checked_path(path)
        if path in self.files:
            raise ValueError(f"{path} is in this archive already")
        self._write(_FILE, msgspec.json.encode(FileStart(path)))
        digest, size = hashlib.blake2b(digest_size=32), 0
        while piece := source.read(CHUNK_BYTES):
            digest.update(piece)
            size += len(piece)
            self._write(_DATA, piece)
            yield len(piece)
        self._write(_END, msgspec.json.encode(FileEnd(size, digest.hexdigest())))
        self.files[path] = digest.hexdigest()
        self._size += size

    def finish(self) -> Total:
        """Nothing more comes."""
        total = Total(len(self.files), self._size)
        self._write(_TOTAL, msgspec.json.encode(total), last=True)
        return total

    def _write(self, kind: bytes, body: bytes, *, last: bool = False) -> None:
        self._stream.write(kind + body, last=last)


def records(file: BinaryIO, opener: Opener) -> Iterator[Record]:
    """Every record of an archive, in a sound order, every file with the hash that it had.

    Raises `BackupDamaged`. Nothing that was read may be used before `Total` has come: only then is it whole.
    """
    reading = _Reading()
    for plain, last in frames(file, opener):
        yield reading.take(plain, last=last)


class _Reading:
    """Which record may follow which."""

    def __init__(self) -> None:
        self._begun = False
        self._digest: hashlib.blake2b | None = None
        self._size = 0
        self._paths: set[str] = set()
        self._total = 0

    def take(self, plain: bytes, *, last: bool) -> Record:
        kind, body = plain[:1], plain[1:]
        inside = self._digest is not None
        expected = {_DATA, _END} if inside else {_FILE, _TOTAL} if self._begun else {_HEADER}
        if kind not in expected or last is not (kind == _TOTAL):
            raise BackupDamaged("this backup's records stand in an order that no backup has")
        try:
            return self._read(kind, body)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise BackupDamaged(f"this backup holds a record that cannot be read: {error}") from None

    def _read(self, kind: bytes, body: bytes) -> Record:
        if kind == _DATA:
            assert self._digest is not None
            self._digest.update(body)
            self._size += len(body)
            return body
        if kind == _HEADER:
            self._begun = True
            return msgspec.json.decode(body, type=ArchiveHeader)
        if kind == _FILE:
            return self._start(msgspec.json.decode(body, type=FileStart))
        if kind == _END:
            return self._end(msgspec.json.decode(body, type=FileEnd))
        total = msgspec.json.decode(body, type=Total)
        if (total.files, total.size) != (len(self._paths), self._total):
            raise BackupDamaged("this backup does not hold as much as its end says")
        return total

    def _start(self, start: FileStart) -> FileStart:
        checked_path(start.path)
        if start.path in self._paths:
            raise BackupDamaged(f"{start.path} stands twice in this backup")
        self._paths.add(start.path)
        self._digest, self._size = hashlib.blake2b(digest_size=32), 0
        return start

    def _end(self, end: FileEnd) -> FileEnd:
        assert self._digest is not None
        if (end.size, end.hash) != (self._size, self._digest.hexdigest()):
            raise BackupDamaged("a file in this backup is not as it was when it was taken")
        self._digest = None
        self._total += end.size
        return end


def checked_path(path: str) -> PurePosixPath:
    """A path that stays below the folder it is put into. Raises ValueError: who makes backups may not be a friend."""
    parts = path.split("/")
    plain = all(part not in {"", ".", ".."} and "\0" not in part for part in parts)
    if not plain or len(path.encode()) > _PATH_MAX_BYTES:
        raise ValueError(f"{path[:100]!r} is no path below a folder")
    return PurePosixPath(path)
