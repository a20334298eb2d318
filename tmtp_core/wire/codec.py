# SPDX-License-Identifier: AGPL-3.0-or-later
"""Framing: `hhhh` + JSON header + data (protocol.md, *Framing*; wire.md §1).

A header arrives whole, its data in whatever pieces the network cuts: nothing is gathered here. Small data that came
along with its header can be taken at once. What the pieces mean is the link's business (`tmtp_core.wire.link`).
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from tmtp_core import limits
from tmtp_core.errors import ProtocolError

LENGTH_DIGITS: Final = 4
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


class Head(Protocol):
    """A parsed header, as far as framing needs to know it."""

    @property
    def datalen(self) -> int:
        """Octets of data that follow the header."""
        ...


H = TypeVar("H", bound=Head)


class HeadRead(msgspec.Struct, Generic[H], frozen=True):
    """A whole header was read and parsed."""

    head: H


class DataRead(msgspec.Struct, frozen=True):
    """The next octets of the current message's data; never empty. Valid only until the next `feed`."""

    chunk: memoryview


class DataEnd(msgspec.Struct, frozen=True):
    """The current message is complete. Follows every `HeadRead`, also when `datalen` is 0, but see `take_data`."""


_END: Final = DataEnd()


class FrameReader(Generic[H]):
    """Cut a byte stream into headers and data.

    `parse` turns a header's JSON into a struct and raises `ProtocolError` when it cannot; another may take its place.
    The events do not depend on how the stream was cut, except for the borders of `DataRead`.

    `feed` only appends; `next_event` gives what is there so far, and may be left and taken up again at any time,
    so that a link can stop after a header and let what follows wait (log-in).
    """

    def __init__(self, parse: Callable[[bytes], H]) -> None:
        self.parse = parse
        self._buffer = bytearray()
        self._data_left = 0
        self._in_data = False

    @property
    def buffered_bytes(self) -> int:
        """Bytes fed and not yet turned into events."""
        return len(self._buffer)

    @property
    def at_frame_border(self) -> bool:
        """Whether everything fed so far has become whole messages."""
        return not self._buffer and not self._in_data

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        self._buffer += chunk

    def events(self) -> Iterator[HeadRead[H] | DataRead | DataEnd]:
        """All events that the bytes so far allow. Raises as `next_event` does."""
        return iter(self.next_event, None)

    def next_event(self) -> HeadRead[H] | DataRead | DataEnd | None:
        """The next event, if the bytes so far allow one. Raises `ProtocolError` at the first byte that is wrong."""
        if not self._in_data:
            raw = self._next_header()
            if raw is None:
                return None
            head = self.parse(raw)
            self._in_data = True
            self._data_left = head.datalen
            return HeadRead(head)
        if not self._data_left:
            self._in_data = False
            return _END
        if not self._buffer:
            return None
        chunk = self._cut(min(self._data_left, len(self._buffer)))
        self._data_left -= len(chunk)
        return DataRead(memoryview(chunk))

    def take_data(self, most: int) -> bytes | None:
        """After `HeadRead`: the message's data, if it is here whole and at most this long. No event of it follows."""
        size = self._data_left
        if size > len(self._buffer) or size > most:
            return None
        self._in_data = False
        self._data_left = 0
        return self._cut(size) if size else b""

    def _cut(self, size: int) -> bytes:
        """Take so many bytes off the front."""
        buffer = self._buffer
        if size == len(buffer):
            taken = bytes(buffer)
            buffer.clear()
        else:
            with memoryview(buffer) as view:
                taken = bytes(view[:size])
            del buffer[:size]
        return taken

    def _next_header(self) -> bytes | None:
        """The JSON text of the next header, or None while it is incomplete."""
        buffer = self._buffer
        if len(buffer) < limits.FRAME_PEEK_BYTES:  # wire.md §1.1
            return None
        size = header_length(bytes(buffer[:LENGTH_DIGITS]))
        if size < limits.HEADER_MIN_BYTES:
            raise ProtocolError("invalid header length")
        end = LENGTH_DIGITS + size
        if len(buffer) < end:
            return None
        raw = bytes(buffer[LENGTH_DIGITS:end])
        del buffer[:end]
        return raw


@lru_cache(maxsize=1024)
def header_length(digits: bytes) -> int:
    """The number that four hex digits name; bad hex counts as 0 (wire.md §1.1)."""
    return int(digits, 16) if _HEX.issuperset(digits) else 0


def frame(header: bytes) -> bytes:
    """Put the length digits before a header's JSON. Raises ValueError when it is longer than a header can be."""
    if len(header) > limits.HEADER_MAX_BYTES:
        raise ValueError(f"header of {len(header)} bytes; {limits.HEADER_MAX_BYTES} is the most")
    return _length_digits(len(header)) + header


@lru_cache(maxsize=1024)
def _length_digits(size: int) -> bytes:
    return b"%04x" % size
