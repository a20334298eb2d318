# SPDX-License-Identifier: AGPL-3.0-or-later
"""The copy of a thread for who is asked into it, as existing clients write and read it (wire.md §11).

Each message is four hex digits, so many octets of JSON, a line feed, its text, a line feed; then an array of the
messages' places, an array of the thread's readers, and eight hex digits each for the lengths of the two arrays. Names
have the capitals of those clients. Their `Size` and `Checksum` (CRC-32C) are how they compare what an author confirms
with the copy, octet by octet as they would store it; so what is written here is what they would write.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, NoReturn

import google_crc32c
import msgspec
from msgspec import Meta, Struct

from tmtp_client import limits
from tmtp_core.ids import message_id_number
from tmtp_core.wire.payload import Attached, Subscriber

_TAIL: Final = 16
_HEX: Final = 4
_Size = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Copied:
    """A message as who hands it on has it; nothing of it is confirmed."""

    id: str
    author: str
    alias: str
    posted: str
    subject: str
    text: str
    attach: tuple[Attached, ...] = ()


class _Attach(Struct, frozen=True, omit_defaults=True):
    Name: str
    Size: _Size = 0
    Ffn: str = ""


class _SubHead(Struct, frozen=True):
    Alias: str = ""
    ThreadId: str = ""
    Subject: str = ""


class _SubHeadAttach(_SubHead, frozen=True):
    Attach: tuple[_Attach, ...] | None = None


class _Head(Struct, frozen=True):
    Id: str
    Len: _Size
    Posted: str
    From: str
    SubHead: _SubHeadAttach | _SubHead


class _HeadRead(Struct, frozen=True):
    Id: str
    Len: _Size
    Posted: str
    From: str
    SubHead: _SubHeadAttach


class _Place(Struct, frozen=True):
    Id: str
    From: str
    Alias: str
    Date: str
    Subject: str
    Seen: str
    Offset: int
    Size: int
    Checksum: int


class _Reader(Struct, frozen=True, omit_defaults=True):
    Who: str = ""
    By: str = ""
    WhoUid: str = ""
    ByUid: str = ""
    Date: str = ""
    Note: str = ""
    Subscribe: bool = False


def write(thread: str, messages: Sequence[Copied], readers: Sequence[Subscriber]) -> bytes:
    """The copy. Raises ValueError for more than is handed on at once."""
    octets = bytearray()
    places = []
    for one in messages:
        text = one.text.encode()
        block = _message(thread, one, len(text)) + text
        checksum = int(google_crc32c.value(bytes(block)))
        size = len(block) + 1
        places.append(_Place(one.id, one.author, one.alias, one.posted, one.subject, "", len(octets), size, checksum))
        octets += block + b"\n"
        if len(octets) > limits.COPY_MAX_BYTES:
            raise ValueError(
                f"the thread has more than {limits.COPY_MAX_BYTES} octets of text: forward the messages that matter"
            )
    index = _as_go(msgspec.json.encode(places))
    people = _as_go(msgspec.json.encode([_as_reader(one) for one in readers]))
    return bytes(octets) + index + people + b"%08x%08x" % (len(index), len(people))


def read(octets: bytes) -> tuple[tuple[Copied, ...], tuple[Subscriber, ...]]:
    """Messages and readers of a copy. Raises ValueError for what is none.

    The array of places is not looked at: what it says, the messages say themselves.
    """
    try:
        tail = octets[-_TAIL:]
        index, people = int(tail[:8], 16), int(tail[8:], 16)
        end = len(octets) - _TAIL - index - people
        if min(index, people, end) < 0:
            _refuse("its lengths are wrong")
        readers = msgspec.json.decode(octets[end + index : -_TAIL], type=tuple[_Reader, ...] | None) or ()
        if len(readers) > limits.RECIPIENTS_MAX:
            _refuse("it has too many readers")
        return _messages(octets[:end]), tuple(_subscriber(one) for one in readers)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"the copy of the thread cannot be read: {error}") from None


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


def _messages(octets: bytes) -> tuple[Copied, ...]:
    found: list[Copied] = []
    at = 0
    while at < len(octets):
        length = int(octets[at : at + _HEX], 16)
        start = at + _HEX
        head = msgspec.json.decode(octets[start : start + length], type=_HeadRead)
        start += length + 1
        if start + head.Len > len(octets) or message_id_number(head.Id) is None or len(found) == limits.COPIED_MAX:
            raise ValueError("a message in it is none")
        attach = tuple(Attached(one.Name, one.Size, one.Ffn) for one in head.SubHead.Attach or ())
        text = octets[start : start + head.Len].decode(errors="replace")
        sub = head.SubHead
        found.append(Copied(head.Id, head.From, sub.Alias, head.Posted, sub.Subject, text, attach))
        at = start + head.Len + 1
    return tuple(found)


def _message(thread: str, one: Copied, size: int) -> bytes:
    sub: _SubHeadAttach | _SubHead = _SubHead(one.alias, thread, one.subject)
    if one.attach:
        attach = tuple(_Attach(file.name, file.size, file.ffn) for file in one.attach)
        sub = _SubHeadAttach(one.alias, thread, one.subject, attach)
    head = _as_go(msgspec.json.encode(_Head(one.id, size, one.posted, one.author, sub)))
    if len(head) > limits.COPIED_HEAD_MAX_BYTES:
        raise ValueError("a message of the thread has too many attachments to be handed on")
    return b"%04x%b\n" % (len(head), head)


def _as_go(text: bytes) -> bytes:
    """As those clients escape it: the octets are compared."""
    for char, escape in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        text = text.replace(char, escape)
    return text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def _as_reader(one: Subscriber) -> _Reader:
    return _Reader(one.who, one.by, one.whouid, one.byuid, one.date, one.note, one.subscribe)


def _subscriber(one: _Reader) -> Subscriber:
    return Subscriber(
        one.Who, one.WhoUid, one.By, one.ByUid, one.Date, one.Note[: limits.NOTE_MAX_BYTES], one.Subscribe
    )
