# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large files in parts, each a post of its own (docs/protocol.md, *What clients say to each other*).

Going: a part that the service has is done with, whatever happens afterwards, so a file of any size gets through a
connection that breaks. Coming: parts are kept, and put together in constant memory when all of them are here.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Final, NoReturn

import msgspec
from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.engine import notifying, posting
from tmtp_client.engine.arrival import KINDS, Arrival
from tmtp_client.engine.context import Context
from tmtp_client.engine.reading import remove
from tmtp_client.engine.recipients import has_keys, uids_of
from tmtp_client.engine.sealing import Hashes
from tmtp_client.store import outbox, people, transfers
from tmtp_client.store.messages import NewAttachment
from tmtp_client.store.outbox import Entry, File
from tmtp_client.sync import settings
from tmtp_client.vault.files import FileDamaged, StoredFile
from tmtp_core.crypto.encoding import to_text
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import Attached, Transfer

_LARGE: Final = "large_files_gib"


class TooLarge(Exception):
    """Its files are too large for those who are to get them; the text is for the person."""


# -- going -----------------------------------------------------------------------------------------------------------
def are_due(c: Rows, context: Context, entry: Entry, message_max_bytes: int, hashes: Hashes) -> bool:
    """Whether files of this entry go ahead; then the first part is in the outbox, and the entry waits for the last.

    Raises `TooLarge`.
    """
    content = entry.content
    octets = min(limits.PART_BYTES, message_max_bytes - limits.PART_OVERHEAD_BYTES)
    if entry.kind not in {"message", "confirmation"} or content.in_parts or octets <= 0 or context.revision < 2:
        return False
    if entry.prepared:  # it was tried in one piece, and the service may have it
        return False
    if all(one.size <= octets for one in content.files):
        return False
    uids = uids_of(c, content.to, context.uid)
    if not uids or not all(has_keys(c, uid) for uid in uids):
        return False
    _check_room(content.files, octets, settings.get(c, _LARGE))
    files = []
    for one in content.files:
        if one.size > octets:
            digest = one.hash or hashes[posting.Slice(one.file, 0, one.size)]
            name = context.random_bytes(limits.REQUEST_ID_BYTES).hex()
            transfer = Transfer(name, one.size, to_text(digest), -(-one.size // octets))
            one = msgspec.structs.replace(one, transfer=transfer)  # noqa: PLW2901
        files.append(one)
    outbox.go_in_parts(c, entry, files, context.clock(), context.random_bytes)
    return True


def _check_room(files: Sequence[File], octets: int, gib: int) -> None:
    """All parts of a message wait at its recipients until it names them, and there is a bound to what waits; theirs is
    not known here, so it is taken to be one's own.
    """
    large = [one for one in files if one.size > octets]
    size, number = sum(one.size for one in large), sum(-(-one.size // octets) for one in large)
    if size > gib << 30 or number > gib * limits.UNFINISHED_PARTS_A_GIB:
        most = min(gib << 30, gib * limits.UNFINISHED_PARTS_A_GIB * octets)
        names = ", ".join(one.name for one in large)
        raise TooLarge(
            f"with one message go {most >> 20} MiB of files in parts, and {names} has more: where the recipients have "
            f"set {_LARGE} to more, set it here, too"
        )


# -- coming ----------------------------------------------------------------------------------------------------------
def arrived(c: Rows, context: Context, arrival: Arrival) -> tuple[tuple[str, ...], tuple[models.ProgressEvent, ...]]:
    """A post that is a part. The files of it that are not kept, to be removed after the commit, and what to tell then.

    Of whom a bridge speaks for, nothing goes in parts.
    """
    event, of = arrival.event, arrival.head.part
    gone = tuple(one.file for one in arrival.files)
    if of is None or len(arrival.files) != 1 or (isinstance(event, m.Delivery) and event.via is not None):
        return gone, ()
    file = arrival.files[0]
    own = event.from_ == context.uid
    room = transfers.Room(settings.get(c, _LARGE), context.files.free_bytes())
    try:
        kept = transfers.arrived(c, event.from_, own, of, file.file, file.size, arrival.received_ms, room)
    except transfers.NoRoom as none:
        if none.is_first:
            _tell_no_room(c, context, event.from_, room, disk=none.disk)
        return (*gone, *none.files), ()
    if not kept:
        return gone, ()
    waiting = transfers.progress(c, transfers.key(event.from_, of.transfer))
    return (), tuple(models.ProgressEvent(f"{one.message}/{one.place}", one.have, one.size) for one in waiting)


def _tell_no_room(c: Rows, context: Context, author: str, room: transfers.Room, *, disk: bool) -> None:
    """What happened, and what its person can do: its sender still has the file."""
    who = people.alias_of(c, author) or author
    if disk:
        why = "the disk has too little room: make some"
    else:
        why = f"it is more than {room.author_gib} GiB: set {_LARGE} to more, where you want it"
    notifying.tell(c, context, who, f"A large file cannot be taken in, since {why}, and ask {who} for it once more.")


def attachment(c: Rows, author: str, attached: Attached, name: str, now_ms: int) -> NewAttachment:
    """An attachment that a message names and that comes in parts; `name` as it was made safe."""
    of = attached.transfer
    if of is None:
        raise ValueError("the attachment does not come in parts")
    have = transfers.named(c, author, of, now_ms)
    kind = KINDS.get(attached.name[:2], "file")
    return NewAttachment(kind, name, attached.ffn, of.size, "", have, transfers.key(author, of.id))


class Assembling:
    """Puts transfers together that are complete, and ends those to which nothing comes any more; until cancelled.

    `look` after a part or a message that names one was kept.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._looked = asyncio.Event()

    def look(self) -> None:
        """Something came."""
        self._looked.set()

    async def run(self) -> NoReturn:
        """Work whenever there is some."""
        context = self._context
        while True:
            self._looked.clear()
            try:
                for one in await context.database.read(transfers.whole):
                    with contextlib.suppress(OSError):  # others do not wait for it
                        await self._put_together(one)
                before_ms = context.clock() - limits.UNFINISHED_DAYS * 86_400_000
                await context.database.write(partial(transfers.expire, before_ms=before_ms))
            except OSError:  # the disk: again with the next part, or in an hour
                pass
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.UNFINISHED_LOOK_S):
                    await self._looked.wait()

    async def _put_together(self, whole: transfers.Whole) -> None:
        context = self._context
        stored = await self._joined(whole)
        is_it = stored is not None and (stored.size, to_text(stored.hash)) == (whole.size, whole.hash)
        file, hashed = (stored.file, stored.hash) if stored is not None and is_it else ("", b"")
        wanted = await context.database.write(lambda c: transfers.put_together(c, whole.transfer, file, hashed))
        gone = whole.files
        if stored is not None and not (is_it and wanted):
            gone = (*gone, stored.file)
        await remove(context.files, gone)

    async def _joined(self, whole: transfers.Whole) -> StoredFile | None:
        """All parts as one file; None where one of them was altered on the disk, or is not there any more."""
        files = self._context.files
        writer = await asyncio.to_thread(files.writer)
        try:
            for file in whole.files:
                async for piece in posting.file_pieces(file, files):
                    await asyncio.to_thread(writer.write, piece)
            return await asyncio.to_thread(writer.finish)
        except (FileDamaged, FileNotFoundError):
            return None
        finally:
            await asyncio.to_thread(writer.abandon)
