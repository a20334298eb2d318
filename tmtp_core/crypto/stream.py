# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stream of any length under one key, in constant memory: libsodium's secretstream in pieces of 64 KiB (B9).

Every piece but the last is full and has the tag MESSAGE, the last has FINAL and at least one octet, unless the stream
is empty: so one plaintext has one length when encrypted, and nothing can be cut off, added, swapped or left out. The
header is an argument: the same key, header and plaintext give the same octets at every try. Never use a pair of key and
header for two plaintexts.
"""

from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

KEY_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_KEYBYTES
HEADER_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
PIECE_BYTES: Final = 64 << 10
OVERHEAD_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_SEALED_PIECE_BYTES: Final = PIECE_BYTES + OVERHEAD_BYTES
_MESSAGE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL


class EnvelopeRefused(ValueError):
    """What others sealed is not what it should be; the text says why, for a person. Nothing of it may be used."""


def stream_size(plain: int) -> int:
    """Octets of a stream of `plain` octets when encrypted; its header is not among them."""
    return plain + OVERHEAD_BYTES * max(1, -(-plain // PIECE_BYTES))


class StreamWriter:
    """Encrypts. Octets go in in pieces of any size; each call gives what is ready."""

    def __init__(self, key: bytes, header: bytes) -> None:
        self._state = _state(key, header)
        self._waiting = bytearray()

    def push(self, data: bytes) -> bytes:
        """Take the next octets of the plaintext."""
        self._waiting += data
        ready = bytearray()
        while len(self._waiting) > PIECE_BYTES:  # what fills a piece exactly may be the last
            ready += self._sealed(bytes(self._waiting[:PIECE_BYTES]), _MESSAGE)
            del self._waiting[:PIECE_BYTES]
        return bytes(ready)

    def finish(self) -> bytes:
        """The end of the stream. Nothing can be pushed afterwards."""
        return self._sealed(bytes(self._waiting), _FINAL)

    def _sealed(self, piece: bytes, tag: int) -> bytes:
        return bindings.crypto_secretstream_xchacha20poly1305_push(self._state, piece, None, tag)


class StreamReader:
    """Decrypts a stream of `size` octets. Every octet that it gives out was written by a holder of the key.

    Raises `EnvelopeRefused`, and does so for ever after the first time.
    """

    def __init__(self, key: bytes, header: bytes, size: int) -> None:
        last = size % _SEALED_PIECE_BYTES  # an empty one has no place behind others: one plaintext has one stream
        if size < OVERHEAD_BYTES or 0 < last < OVERHEAD_BYTES or (last == OVERHEAD_BYTES and size > last):
            raise EnvelopeRefused("no stream has this length")
        self._state = _state(key, header)
        self._left = size
        self._waiting = bytearray()
        self._refused = ""

    def push(self, data: bytes) -> bytes:
        """Take the next octets; the plaintext of every piece that is complete."""
        if self._refused:
            raise EnvelopeRefused(self._refused)
        if len(data) > self._left - len(self._waiting):
            raise self.refuse("something follows the end")
        self._waiting += data
        ready = bytearray()
        while self._left and len(self._waiting) >= (due := min(self._left, _SEALED_PIECE_BYTES)):
            piece = bytes(self._waiting[:due])
            del self._waiting[:due]
            self._left -= due
            ready += self._opened(piece)
        return bytes(ready)

    def finish(self) -> None:
        """Raise `EnvelopeRefused` unless all of the stream has come."""
        if self._refused:
            raise EnvelopeRefused(self._refused)
        if self._left:
            raise self.refuse("it was cut off")

    def refuse(self, why: str) -> EnvelopeRefused:
        """Give no more: also when what was decrypted turns out wrong. The error is to be raised."""
        self._refused = why
        self._waiting.clear()
        return EnvelopeRefused(why)

    def _opened(self, piece: bytes) -> bytes:
        try:
            plain, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, piece)
        except (CryptoError, ValueError, RuntimeError):
            raise self.refuse("it was altered, or sealed under another key") from None
        if tag != (_MESSAGE if self._left else _FINAL):
            raise self.refuse("it does not end where it says")
        return plain


def _state(key: bytes, header: bytes) -> bindings.crypto_secretstream_xchacha20poly1305_state:
    """A state for either direction: libsodium's `init_push` is `init_pull` under a header that it makes itself."""
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    return state
