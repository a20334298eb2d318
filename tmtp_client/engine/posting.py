# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an entry of the outbox becomes on the wire: a head, a text, files; nothing of it differs from try to try.

Pure but for the reading of files, which streams. The layout is wire.md §11's; what we add to it stands in
docs/protocol.md, *What clients say to each other*.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tmtp_client import limits
from tmtp_client.engine.arrival import KINDS
from tmtp_client.store.outbox import Content, Entry, File
from tmtp_client.sync import journal
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import Attached, Part, PostHead, Subscriber, encode_post_head

NOT_YET: Final = "."
"""The date of a `cc` entry before the service has dated its post, as existing clients write it."""

PREFIXES: Final = {kind: prefix for prefix, kind in KINDS.items()}
"""Of an attachment's name, by its kind (wire.md §11)."""


class ReadsFiles(Protocol):
    """The vault's files, decrypted; reading blocks."""

    def read(self, file: str, start: int = 0) -> Iterator[bytes]:
        """Verified pieces from octet `start` on."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Octets of a file of the vault."""

    file: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Body:
    """The inside of one post."""

    head: PostHead
    text: bytes
    slices: tuple[Slice, ...] = ()

    @property
    def head_octets(self) -> bytes:
        """As `datahead` counts them."""
        return encode_post_head(self.head)

    @property
    def size(self) -> int:
        """Octets of all of it."""
        return len(self.head_octets) + len(self.text) + sum(one.size for one in self.slices)


def body(entry: Entry, alias: str) -> Body:
    """What an entry posts, written under `alias`; of a note the copy of the thread."""
    content = entry.content
    text = content.text.encode()
    if entry.kind == "part":
        return _part(content)
    if entry.kind == "sync":
        return Body(PostHead(nodesync=True, sync=journal.VERSION), text)
    if entry.kind == "control":
        return Body(PostHead(threadid=content.thread or None, control=content.control), text)
    if entry.kind == "note":
        if content.adds:
            return Body(PostHead(threadid=content.thread, alias=alias, cc=content.cc, adds=content.adds), b"")
        return Body(PostHead(threadid=content.thread, alias=alias, copies=True), text)
    confirmed = content.confirms or ("", "", "")
    head = PostHead(
        threadid=content.thread,
        alias=alias,
        subject=content.subject,
        cc=content.cc,
        attach=tuple(_attached(one) for one in content.files),
        confirmid=confirmed[0],
        confirmposted=confirmed[1],
        confirmfor=confirmed[2],
        forwarded=content.forwarded,
    )
    return Body(head, text, tuple(Slice(one.file, 0, one.size) for one in content.files if one.transfer is None))


def note(content: Content, alias: str) -> bytes:
    """The head of a PostNotify's note; there is nothing else in it: existing clients take no more."""
    return encode_post_head(PostHead(threadid=content.thread, alias=alias, cc=content.cc))


def _part(content: Content) -> Body:
    part, file = content.part, content.files[0]
    if part is None or file.transfer is None:
        raise ValueError("a part without its whole")
    of = Part(file.transfer.id, part.place, file.size, file.transfer.parts)
    head = PostHead(threadid=content.thread, attach=(Attached("u:part", part.size),), part=of)
    return Body(head, b"", (Slice(file.file, part.start, part.size),))


def _attached(one: File) -> Attached:
    size = 0 if one.transfer is not None else one.size
    return Attached(PREFIXES[one.kind] + one.name, size, one.form, one.transfer)


def recipients(to: Sequence[tuple[str, int]]) -> tuple[m.Recipient, ...]:
    """`for`."""
    return tuple(m.Recipient(name, kind) for name, kind in to)


def readers(alias: str, uid: str, others: Sequence[tuple[str, str]]) -> tuple[Subscriber, ...]:
    """`cc` of a new thread: its author, then name and uid (or gid) of the others.

    Existing clients answer to those it names, and to nobody else.
    """
    people = ((alias, uid, "author"), *((name, one, "") for name, one in others if one != uid))
    return tuple(Subscriber(name, one, alias, uid, NOT_YET, note, subscribe=True) for name, one, note in people)


async def pieces(body: Body, files: ReadsFiles) -> AsyncIterator[bytes]:
    """All octets of a post, in constant memory. Raises OSError, ValueError or what the vault has for a lost file."""
    yield body.head_octets + body.text
    for one in body.slices:
        async for piece in slice_pieces(one, files):
            yield piece


async def slice_pieces(one: Slice, files: ReadsFiles) -> AsyncIterator[bytes]:
    """The octets of a part of a file. Raises ValueError where there are not so many."""
    left = one.size
    source = files.read(one.file, one.start)
    while left:
        piece = await asyncio.to_thread(_next, source)
        if not piece:
            raise ValueError(f"a file to be sent ends {left} octets too soon")
        piece = piece[:left]
        left -= len(piece)
        yield piece


async def file_pieces(file: str, files: ReadsFiles, start: int = 0) -> AsyncGenerator[bytes]:
    """The octets of a file from `start` on."""
    source = files.read(file, start)
    while piece := await asyncio.to_thread(_next, source):
        yield piece


def _next(source: Iterator[bytes]) -> bytes:
    """The next pieces, joined until they are worth a change of threads."""
    gathered = bytearray()
    for piece in source:
        gathered += piece
        if len(gathered) >= limits.FILE_READ_BYTES:
            break
    return bytes(gathered)
