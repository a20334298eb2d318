# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether an entry of the outbox leaves sealed, and in what (B9): trust's judgement, as the sender needs it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import Connection as Rows

from tmtp_client.engine import posting
from tmtp_client.engine.context import Context
from tmtp_client.engine.posting import Body, ReadsFiles, Slice
from tmtp_client.store.outbox import Entry

Hashes = Mapping[Slice, bytes]
"""BLAKE2b-256 of octets of the vault's files, where nobody has kept it."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What all tries of one entry have in common, as `kept` in the outbox."""

    suite: int
    kept: bytes
    datahead: int
    size: int

    async def pieces(self, body: Body, files: ReadsFiles) -> AsyncIterator[bytes]:
        """The post's octets, sealed as they pass."""
        async for piece in posting.pieces(body, files):
            yield piece


@dataclass(frozen=True, slots=True)
class Stopped:
    """It must not leave as it stands; `held`: until the person has seen whose keys changed."""

    why: str
    held: bool = False


def judge(c: Rows, context: Context, entry: Entry, body: Body, hashes: Hashes) -> Sealed | Stopped | None:
    """How it leaves; None: as plain text."""
    return None


def sent(c: Rows, context: Context, entry: Entry, msgid: str) -> None:
    """The service has a sealed entry, as message `msgid`."""


async def hashes_of(context: Context, entry: Entry) -> Hashes:
    """Of octets that nobody has hashed yet: parts of files, and files that are sent again."""
    found: dict[Slice, bytes] = {}
    for one in _unhashed(context, entry):
        digest = blake2b(digest_size=32)
        async for piece in posting.slice_pieces(one, context.files):
            digest.update(piece)
        found[one] = digest.digest()
    return found


def lacks_hashes(context: Context, entry: Entry, hashes: Hashes) -> bool:
    """Whether `hashes_of` has to come first."""
    return any(one not in hashes for one in _unhashed(context, entry))


def _unhashed(context: Context, entry: Entry) -> tuple[Slice, ...]:
    content = entry.content
    if context.revision < 2 or entry.prepared:
        return ()
    if content.part is not None:
        return (Slice(content.files[0].file, content.part.start, content.part.size),)
    return tuple(Slice(one.file, 0, one.size) for one in content.files if not one.hash)
