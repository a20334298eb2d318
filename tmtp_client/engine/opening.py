# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening a sealed message while its octets pass (B9): from the connection, or from the file where it waited."""

from collections.abc import AsyncIterable, AsyncIterator, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import cast

from tmtp_client import limits
from tmtp_client.engine import posting
from tmtp_client.engine.arrival import ArrivedFile
from tmtp_client.engine.context import Context
from tmtp_client.engine.reading import Landing, Written, check_head
from tmtp_client.vault.files import Files
from tmtp_core.crypto import envelope
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.envelope import Delivered, Opened
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire.payload import Attached, PostHead

SEALED_FILE = Attached("u:sealed message")
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Inside:
    """What a sealed message held, all of it verified against what its device signed."""

    opened: Opened
    head: PostHead
    text: str
    files: tuple[ArrivedFile, ...]


class Opening:
    """Of one message of `author`, whose stream has `size` octets behind the outer head. Raises `EnvelopeRefused`."""

    def __init__(self, context: Context, landing: Landing, key: bytes, outer: bytes, size: int, author: str) -> None:
        service_key = from_text(context.identity.service_key)
        self._opening = envelope.Opening(key, outer, size, Delivered(service_key, author, context.uid))
        self._landing = landing
        self._text = bytearray()
        self._files: list[ArrivedFile] = []
        self._writing: Written | None = None
        self._opened: Opened | None = None

    async def push(self, piece: bytes) -> None:
        """Further octets."""
        for got in self._opening.push(piece):
            if isinstance(got, Opened):
                self._begin(got)
            elif got.place == envelope.TEXT:
                self._text += got.data
            else:
                await self._take(got)

    def finish(self) -> Inside:
        """All of it was pushed."""
        self._opening.finish()
        opened = self._opened
        assert opened is not None
        return Inside(opened, opened.head, self._text.decode(errors="replace"), tuple(self._files))

    def _begin(self, opened: Opened) -> None:
        if opened.manifest.text.size > limits.TEXT_MAX_BYTES:
            raise EnvelopeRefused("it has too much text")
        try:
            check_head(opened.head)
        except ValueError as error:
            raise EnvelopeRefused(str(error)) from None
        self._opened = opened

    async def _take(self, octets: envelope.Octets) -> None:
        assert self._opened is not None
        attached = self._opened.head.attach[octets.place]
        if attached.transfer is not None:  # it has gone ahead, and nothing of it stands here
            return
        if self._writing is None:
            self._writing = self._landing.begin()
        await self._writing.write(octets.data)
        if octets.last:
            self._files.append(await self._landing.end(attached))
            self._writing = None


# -- what waits for a key --------------------------------------------------------------------------------------------
async def with_length(outer: bytes, stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """A sealed message as it is kept until there is a key: the length of its outer head, this, and its stream."""
    yield len(outer).to_bytes(_LENGTH_BYTES) + outer
    async for piece in stream:
        yield piece


async def open_kept(
    context: Context, landing: Landing, key: bytes, outer: bytes, file: ArrivedFile, author: str
) -> Inside:
    """What waited in `file`, behind its `outer` head. Raises `EnvelopeRefused`, `FileDamaged`, `OSError`."""
    start = _LENGTH_BYTES + len(outer)
    opening = Opening(context, landing, key, outer, file.size - start, author)
    async with aclosing(posting.file_pieces(file.file, context.files, start)) as pieces:
        async for piece in pieces:
            await opening.push(piece)
    return opening.finish()


def outer_of(files: Files, file: str) -> bytes:
    """The outer head of a message that waits. Blocks. Raises `FileDamaged`, `OSError`, ValueError."""
    octets = bytearray()
    with closing(cast(Generator[bytes], files.read(file))) as pieces:
        for piece in pieces:
            octets += piece
            size = _LENGTH_BYTES + int.from_bytes(octets[:_LENGTH_BYTES])
            if len(octets) >= size:
                return bytes(octets[_LENGTH_BYTES:size])
    raise ValueError("a message that waits for its key was cut short")
