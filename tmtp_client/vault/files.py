# SPDX-License-Identifier: AGPL-3.0-or-later
"""Attachments as encrypted files (B8): secretstream, in pieces of 64 KiB, under names that tell nothing.

A file is called by random text that the database keeps; its name on the disk is a keyed hash of that, and so is the key
of its content: no two files share a key, and none can be put in another's place. Secretstream can only be read from its
beginning. So that a browser may begin in the midst of a film, a file is a row of streams, *segments* of 16 MiB, each
under a key of its own place: to begin anywhere costs a segment at most, 20 ms, and no second format. The last piece of
the last segment says that it is the last, so that what was altered, cut short, turned round or added to is noticed.

Nothing is written in plain text, not for a moment.
"""

import os
from collections.abc import Iterator, Set
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from tmtp_client.vault.disk import make_folder, sync_folder
from tmtp_core.ids import RandomBytes

PIECE_BYTES: Final = 1 << 16
SEGMENT_PIECES: Final = 256
SEGMENT_BYTES: Final = PIECE_BYTES * SEGMENT_PIECES
HASH_BYTES: Final = 32
_NAME_BYTES: Final = 16
_HEADER_BYTES: Final = sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_ADDED_BYTES: Final = sodium.crypto_secretstream_xchacha20poly1305_ABYTES
_STORED_SEGMENT_BYTES: Final = _HEADER_BYTES + SEGMENT_PIECES * (PIECE_BYTES + _ADDED_BYTES)
_MORE: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_LAST: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL


class FileDamaged(Exception):
    """A file is not what was stored: altered, cut short, or another one's."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What was stored: how to ask for it, its octets, and their BLAKE2b-256."""

    file: str
    size: int
    hash: bytes


class Files:
    """The files of one account in `folder`; `key` is the account's, 32 bytes. Calls block for as long as the disk does.

    One that is to be kept is named in the database once it is finished; others go at the next `sweep`.
    """

    def __init__(self, folder: Path, key: bytes, random_bytes: RandomBytes) -> None:
        self.folder = folder
        self._name_key = _derived(key, b"file names", HASH_BYTES)
        self._content_key = _derived(key, b"file contents", HASH_BYTES)
        self._random_bytes = random_bytes

    def writer(self) -> "FileWriter":
        """A new file. Raises `OSError`."""
        make_folder(self.folder)
        file = self._random_bytes(_NAME_BYTES).hex()
        return FileWriter(file, self._path(file), self._key(file))

    def read(self, file: str, start: int = 0) -> Iterator[bytes]:
        """Its octets from `start` on, in pieces that are each verified before they are given.

        Raises `FileDamaged`, also after some pieces: who has not read to the end has not seen that it is whole.
        FileNotFoundError, `OSError`.
        """
        with self._path(file).open("rb") as source:
            key = self._key(file)
            last_segment = max(os.fstat(source.fileno()).st_size - 1, 0) // _STORED_SEGMENT_BYTES
            segment = min(start // SEGMENT_BYTES, last_segment)
            skip = start - segment * SEGMENT_BYTES
            source.seek(segment * _STORED_SEGMENT_BYTES)
            last = False
            while not last:
                for piece, last in _segment(source, _segment_key(key, segment)):  # noqa: B007 - looked at above
                    if skip < len(piece):
                        yield piece[skip:]
                    skip = max(0, skip - len(piece))
                segment += 1
            if source.read(1):
                raise FileDamaged("something was added to an attachment's file")

    def free_bytes(self) -> int:
        """What this user may still write to the disk. Raises `OSError`."""
        make_folder(self.folder)
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def remove(self, file: str) -> None:
        """It is gone; durable when this returns. Idempotent."""
        self._path(file).unlink(missing_ok=True)
        if self.folder.exists():
            sync_folder(self.folder)

    def sweep(self, keep: Set[str]) -> int:
        """Remove all others; how many. At start, before anything is written: what is not named yet would go."""
        if not self.folder.exists():
            return 0
        names = {self._path(file).name for file in keep}
        gone = [path for path in self.folder.iterdir() if path.name not in names and not path.is_dir()]
        for path in gone:
            path.unlink()
        sync_folder(self.folder)
        return len(gone)

    def _path(self, file: str) -> Path:
        return self.folder / blake2b(file.encode(), digest_size=_NAME_BYTES, key=self._name_key).hexdigest()

    def _key(self, file: str) -> bytes:
        return _derived(self._content_key, file.encode(), HASH_BYTES)


class FileWriter:
    """A file that is being written, in constant memory; `finish` or `abandon` it, or leave its `with` block."""

    def __init__(self, file: str, path: Path, key: bytes) -> None:
        self._file = file
        self._path = path
        self._key = key
        self._hash = blake2b(digest_size=HASH_BYTES)
        self._size = 0
        self._buffer = bytearray()
        self._segment = 0
        self._pieces = 0
        self._state = sodium.crypto_secretstream_xchacha20poly1305_state()
        self._target: BinaryIO | None = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._begin()

    def __enter__(self) -> "FileWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self.abandon()

    @property
    def size(self) -> int:
        """Octets so far."""
        return self._size

    def write(self, data: bytes) -> None:
        """Further octets. Raises `OSError`."""
        self._hash.update(data)
        self._size += len(data)
        self._buffer += data
        start = 0
        while len(self._buffer) - start > PIECE_BYTES:  # one more than a piece: the last one is `finish`'s
            self._push(bytes(self._buffer[start : start + PIECE_BYTES]), last=False)
            start += PIECE_BYTES
        del self._buffer[:start]

    def finish(self) -> StoredFile:
        """All of it is here; durable when this returns. Raises `OSError`."""
        assert self._target is not None
        self._push(bytes(self._buffer), last=True)
        self._buffer.clear()
        self._target.flush()
        os.fsync(self._target.fileno())
        self._target.close()
        self._target = None
        sync_folder(self._path.parent)
        return StoredFile(self._file, self._size, self._hash.digest())

    def abandon(self) -> None:
        """There is to be no such file. Nothing happens once it is finished. Idempotent."""
        if self._target is not None:
            self._path.unlink(missing_ok=True)
            target, self._target = self._target, None
            target.close()

    def _begin(self) -> None:
        assert self._target is not None
        key = _segment_key(self._key, self._segment)
        self._target.write(sodium.crypto_secretstream_xchacha20poly1305_init_push(self._state, key))

    def _push(self, piece: bytes, *, last: bool) -> None:
        assert self._target is not None
        if self._pieces == SEGMENT_PIECES:
            self._segment, self._pieces = self._segment + 1, 0
            self._begin()
        tag = _LAST if last else _MORE
        self._target.write(sodium.crypto_secretstream_xchacha20poly1305_push(self._state, piece, tag=tag))
        self._pieces += 1


def _segment(source: BinaryIO, key: bytes) -> Iterator[tuple[bytes, bool]]:
    """The pieces of the segment that begins here, each with whether it is the file's last."""
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    header = source.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise FileDamaged("an attachment's file was cut short")
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    for _ in range(SEGMENT_PIECES):
        stored = source.read(PIECE_BYTES + _ADDED_BYTES)
        if len(stored) < _ADDED_BYTES:
            raise FileDamaged("an attachment's file was cut short")
        try:
            piece, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, stored)
        except (CryptoError, RuntimeError):
            raise FileDamaged("an attachment's file was altered, or is another one's") from None
        yield piece, tag == _LAST
        if tag == _LAST:
            return


def _segment_key(key: bytes, segment: int) -> bytes:
    return _derived(key, segment.to_bytes(8), sodium.crypto_secretstream_xchacha20poly1305_KEYBYTES)


def _derived(key: bytes, what: bytes, size: int) -> bytes:
    """A key of its own for each purpose."""
    return blake2b(what, digest_size=size, key=key, person=b"tmtp files").digest()
