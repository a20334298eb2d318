# SPDX-License-Identifier: AGPL-3.0-or-later
"""Framing: `hhhh` + JSON header + data (protocol.md, *Framing*; wire.md §1).

A header arrives whole, its data in whatever pieces the network cuts: nothing is gathered here. What the
pieces mean is the link's business (`tmtp_core.wire.link`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from tmtp_core import limits
from tmtp_core.errors import ProtocolError

_LENGTH_DIGITS: Final = 4
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


class Head(Protocol):
    """A parsed header, as far as framing needs to know it."""

    @property
    def datalen(self) -> int:
        """Octets of data that follow the header."""
        ...


H = TypeVar("H", bound=Head)


@dataclass(frozen=True, slots=True)
class HeadRead(Generic[H]):
    """A whole header was read and parsed; `raw` is its JSON text as it came."""

    head: H
    raw: bytes


@dataclass(frozen=True, slots=True)
class DataRead:
    """The next octets of the current message's data; never empty. Valid only until the next `feed`."""

    chunk: memoryview


@dataclass(frozen=True, slots=True)
class DataEnd:
    """The current message is complete. Follows every `HeadRead`, also when `datalen` is 0."""


class FrameReader(Generic[H]):
    """Cut a byte stream into headers and data.

    `parse` turns a header's JSON into a struct and raises `ProtocolError` when it cannot. The events do not
    depend on how the stream was cut, except for the borders of `DataRead`.

    `feed` only appends; `events` yields what is there so far and may be left and taken up again at any time,
    so that a link can stop after a header and let what follows wait (log-in).
    """

    def __init__(self, parse: Callable[[bytes], H]) -> None:
        self._parse = parse
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
        """Yield all events that the bytes so far allow. Raises `ProtocolError` at the first byte that is wrong."""
        while True:
            if self._in_data:
                if self._data_left and not self._buffer:
                    return
                if self._data_left:
                    take = min(self._data_left, len(self._buffer))
                    chunk = bytes(memoryview(self._buffer)[:take])
                    del self._buffer[:take]
                    self._data_left -= take
                    yield DataRead(memoryview(chunk))
                if not self._data_left:
                    self._in_data = False
                    yield DataEnd()
                continue
            raw = self._next_header()
            if raw is None:
                return
            head = self._parse(raw)
            self._in_data = True
            self._data_left = head.datalen
            yield HeadRead(head, raw)

    def _next_header(self) -> bytes | None:
        """The JSON text of the next header, or None while it is incomplete."""
        buffer = self._buffer
        if len(buffer) < limits.FRAME_PEEK_BYTES:  # wire.md §1.1
            return None
        size = header_length(bytes(buffer[:_LENGTH_DIGITS]))
        if size < limits.HEADER_MIN_BYTES:
            raise ProtocolError("invalid header length")
        end = _LENGTH_DIGITS + size
        if len(buffer) < end:
            return None
        raw = bytes(memoryview(buffer)[_LENGTH_DIGITS:end])
        del buffer[:end]
        return raw


def header_length(digits: bytes) -> int:
    """The number that four hex digits name; bad hex counts as 0 (wire.md §1.1)."""
    return int(digits, 16) if _HEX.issuperset(digits) else 0


def frame(header: bytes) -> bytes:
    """Put the length digits before a header's JSON. Raises ValueError when it is longer than a header can be."""
    if len(header) > limits.HEADER_MAX_BYTES:
        raise ValueError(f"header of {len(header)} bytes; {limits.HEADER_MAX_BYTES} is the most")
    return b"%04x%b" % (len(header), header)
