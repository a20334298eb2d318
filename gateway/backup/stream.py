# SPDX-License-Identifier: AGPL-3.0-or-later
"""The encrypted stream of a backup: sealed to one public key, in frames that keep their order and their end.

libsodium's sealed box carries a random key to the recipient, and its secretstream (XChaCha20-Poly1305) everything else.
A frame that is changed, left out, repeated, put elsewhere or missing at the end is noticed, with constant memory.
docs/backup.md, *The format*.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from tmtp_core.ids import RandomBytes

MAGIC: Final = b"TMTP backup 1\r\n\0"
FRAME_MAX_BYTES: Final = 256 << 10  # of plain text; a reader holds one frame in memory
_LENGTH_BYTES: Final = 4
_PUBLIC_BYTES: Final = 32
_SEALED_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_KEYBYTES + bindings.crypto_box_SEALBYTES
_HEADER_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_EXTRA_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_MORE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_LAST: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
PROLOGUE_BYTES: Final = len(MAGIC) + _PUBLIC_BYTES + _SEALED_BYTES + _HEADER_BYTES


class BackupDamaged(Exception):
    """This is no whole backup, or not for this key; the text says what was found."""


DataKey = bytes
"""The random key of one backup."""

Opener = Callable[[bytes, bytes], DataKey]
"""From the recipient's public key and the sealed data key in a prologue, the data key. Raises `BackupDamaged`."""


class StreamWriter:
    """Writes one stream to an open file. `data_key` lets its maker, and nobody else here, read it again."""

    def __init__(self, file: BinaryIO, recipient: PublicKey, random_bytes: RandomBytes) -> None:
        self.data_key: DataKey = random_bytes(bindings.crypto_secretstream_xchacha20poly1305_KEYBYTES)
        self._file = file
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        header = bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, self.data_key)
        prologue = MAGIC + bytes(recipient) + SealedBox(recipient).encrypt(self.data_key) + header
        self._bound: bytes | None = prologue  # the first frame vouches for what stands before it
        self._file.write(prologue)

    def write(self, plain: bytes, *, last: bool = False) -> None:
        """One frame, of at most `FRAME_MAX_BYTES`. After the last one there is no other."""
        tag = _LAST if last else _MORE
        frame = bindings.crypto_secretstream_xchacha20poly1305_push(self._state, plain, self._bound, tag)
        self._bound = None
        self._file.write(len(frame).to_bytes(_LENGTH_BYTES))
        self._file.write(frame)


def frames(file: BinaryIO, opener: Opener) -> Iterator[tuple[bytes, bool]]:
    """Every frame of a stream, and whether it is the last. Raises `BackupDamaged` at the first that does not hold."""
    prologue = file.read(PROLOGUE_BYTES)
    if not prologue.startswith(MAGIC[:12]):
        raise BackupDamaged("this is no backup of a TMTP gateway")
    if not prologue.startswith(MAGIC):
        raise BackupDamaged("this backup has a format that this release does not know, or its beginning is damaged")
    if len(prologue) < PROLOGUE_BYTES:
        raise BackupDamaged("this backup is cut off: not even its beginning is whole")
    at = len(MAGIC)
    recipient, at = prologue[at : at + _PUBLIC_BYTES], at + _PUBLIC_BYTES
    sealed, at = prologue[at : at + _SEALED_BYTES], at + _SEALED_BYTES
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, prologue[at:], opener(recipient, sealed))
    bound: bytes | None = prologue
    number = 0
    while True:
        plain, tag = _next_frame(file, state, bound, number)
        bound = None
        if tag not in {_MORE, _LAST}:
            raise BackupDamaged(f"this backup has a frame of an unknown kind at {number}: another program made it")
        yield plain, tag == _LAST
        if tag == _LAST:
            break
        number += 1
    if file.read(1):
        raise BackupDamaged("something follows the end of this backup: it was altered")


def _next_frame(file: BinaryIO, state: object, bound: bytes | None, number: int) -> tuple[bytes, int]:
    length = file.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        raise BackupDamaged(f"this backup is cut off after frame {number}: take another one")
    size = int.from_bytes(length)
    if not _EXTRA_BYTES < size <= FRAME_MAX_BYTES + _EXTRA_BYTES:
        raise BackupDamaged(f"this backup is damaged at frame {number}: it was altered, or its disk failed")
    frame = file.read(size)
    if len(frame) < size:
        raise BackupDamaged(f"this backup is cut off in frame {number}: take another one")
    try:
        return bindings.crypto_secretstream_xchacha20poly1305_pull(state, frame, bound)  # type: ignore[arg-type]
    except (CryptoError, RuntimeError):
        raise BackupDamaged(
            f"this backup is damaged at frame {number}: it was altered, reordered, or its disk failed"
        ) from None


def opener_of(secret: PrivateKey) -> Opener:
    """Opens what was sealed to this key."""

    def opened(recipient: bytes, sealed: bytes) -> DataKey:
        if recipient != bytes(secret.public_key):
            raise BackupDamaged("this backup was made for another key: give the secret key of its recipient")
        try:
            return bytes(SealedBox(secret).decrypt(sealed))
        except CryptoError:
            raise BackupDamaged("the beginning of this backup is damaged: it was altered, or its disk failed") from None

    return opened


def opener_of_own(data_key: DataKey) -> Opener:
    """Opens a stream that this process has just written."""
    return lambda recipient, sealed: data_key
