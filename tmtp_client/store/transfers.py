# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large files that come in parts: what is here of them, how much that may be, and when it ends (D3).

A transfer is its author's: nobody can put a part into another's file. Parts mostly come ahead of the message that
names them, so who sends any could fill a disk with what no message ever asks for: hence the bounds.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.store import messages
from tmtp_client.store.tables import attachment, part, transfer
from tmtp_core.wire.payload import Part, Transfer

_IDS: Final = 100
"""Characters that a transfer's name may have."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of an attachment is here."""

    message: str
    place: int
    have: int
    size: int


@dataclass(frozen=True, slots=True)
class Whole:
    """A transfer of which everything is here: files of the vault, in order."""

    transfer: str
    size: int
    hash: str
    files: tuple[str, ...]


class NoRoom(Exception):
    """A part is not kept, so its file will never be whole. `files`: its other parts, which nobody needs any more.
    `is_first`: of this author it is the first such file, for as long as those are remembered; so that he cannot
    have the person told as often as he likes. `disk`: it is the disk that has no room, not what one author may have.
    """

    def __init__(self, files: tuple[str, ...], *, is_first: bool, disk: bool) -> None:
        super().__init__("there is no room for the file")
        self.files = files
        self.is_first = is_first
        self.disk = disk


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be unfinished: GiB of one author, and what is free on the disk."""

    author_gib: int
    free_bytes: int


def key(author: str, name: str) -> str:
    """What a transfer is called here: nobody can name another's."""
    return f"{author} {name}"


def arrived(c: Connection, author: str, own: bool, of: Part, file: str, size: int, now_ms: int, room: Room) -> bool:
    """A part is in the vault as `file`. False: it is not kept, and the file can go: it is known, or no part of
    anything, or of a file that will never be whole. Raises `NoRoom` when that turns out: the change is to be kept.

    One's `own` other devices may have as much as there is.
    """
    name = key(author, of.transfer)
    if not _sound(of, size):
        return False
    known = c.execute(select(transfer).where(transfer.c.transfer == name)).one_or_none()
    if known is not None and (known.lacks or (known.size, known.parts) != (of.size, of.parts)):
        return False
    disk = room.free_bytes < limits.UNFINISHED_LEAVES_BYTES  # with this part on it
    if disk or not (own or _has_room(c, author, size, room.author_gib)):
        files, is_first = _give_up(c, author, of, now_ms)
        raise NoRoom(files, is_first=is_first, disk=disk)
    if known is None:
        _begin(c, author, of, now_ms)
    row = {"transfer": name, "place": of.place, "author": author, "file": file, "size": size}
    if not c.execute(upsert(part).values(**row).on_conflict_do_nothing()).rowcount:
        return False
    c.execute(update(transfer).where(transfer.c.transfer == name).values(at_ms=now_ms))
    _keep_count(c, name)
    return True


def named(c: Connection, author: str, of: Transfer, now_ms: int) -> int:
    """A message names a transfer; how many octets of it are here. Its size and hash hold from now on."""
    name = key(author, of.id)
    values = {"size": of.size, "parts": of.parts, "hash": of.hash}
    known = c.execute(select(transfer).where(transfer.c.transfer == name)).one_or_none()
    if known is not None and (known.size, known.parts) != (of.size, of.parts):
        c.execute(delete(part).where(part.c.transfer == name))
    row = upsert(transfer).values(transfer=name, author=author, at_ms=now_ms, lacks=0, **values)
    c.execute(row.on_conflict_do_update(index_elements=["transfer"], set_=values))
    return _have(c, name)


def progress(c: Connection, name: str) -> tuple[Progress, ...]:
    """Of the attachments that wait for a transfer."""
    rows = c.execute(select(attachment).where(attachment.c.transfer == name, attachment.c.file == ""))
    return tuple(Progress(row.message, row.place, row.have, row.size) for row in rows)


def whole(c: Connection) -> tuple[Whole, ...]:
    """What is complete, and named by a message: to be put together."""
    found = []
    counted = select(func.count()).where(part.c.transfer == transfer.c.transfer).scalar_subquery()
    for row in c.execute(select(transfer).where(transfer.c.hash != "", counted == transfer.c.parts)):
        files = c.scalars(select(part.c.file).where(part.c.transfer == row.transfer).order_by(part.c.place)).all()
        found.append(Whole(row.transfer, row.size, row.hash, tuple(files)))
    return tuple(found)


def put_together(c: Connection, name: str, file: str, hash: bytes = b"") -> None:
    """It stands in the vault as `file`, with this `hash`: the messages that wait for it have it. "": it was not what
    they named.
    """
    for one in progress(c, name):
        messages.set_attachment(c, one.message, one.place, have=one.size if file else 0, file=file, hash=hash)
    _forget(c, name)


def expire(c: Connection, before_ms: int) -> int:
    """Forget transfers to which nothing has come since; how many. Their files go with the next sweep."""
    names = c.scalars(select(transfer.c.transfer).where(transfer.c.at_ms < before_ms)).all()
    for name in names:
        put_together(c, name, "")
    return len(names)


def _give_up(c: Connection, author: str, of: Part, now_ms: int) -> tuple[tuple[str, ...], bool]:
    """Its file will never be whole: what is here of it, and whether it is the author's first such file. Of the others
    nothing is remembered that he could make more of.
    """
    name = key(author, of.transfer)
    t = transfer.c
    is_first = c.scalar(select(t.transfer).where(t.author == author, t.lacks == 1).limit(1)) is None
    if is_first:
        _begin(c, author, of, now_ms)
    c.execute(update(transfer).where(t.transfer == name).values(lacks=1, at_ms=now_ms))
    files = tuple(c.scalars(select(part.c.file).where(part.c.transfer == name)))
    c.execute(delete(part).where(part.c.transfer == name))
    _keep_count(c, name)
    return files, is_first


def _forget(c: Connection, name: str) -> None:
    c.execute(delete(part).where(part.c.transfer == name))
    c.execute(delete(transfer).where(transfer.c.transfer == name))


def _sound(of: Part, size: int) -> bool:
    """Whether it can be a part of such a file: all are of one length, but for the last."""
    if not of.transfer or len(of.transfer) > _IDS or not of.place < of.parts <= limits.PARTS_MAX:
        return False
    octets = -(-of.size // of.parts)
    return size == max(0, min(octets, of.size - of.place * octets))


def _has_room(c: Connection, author: str, size: int, gib: int) -> bool:
    kept = select(func.count(), func.coalesce(func.sum(part.c.size), 0)).where(part.c.author == author)
    number, octets = c.execute(kept).one()
    return bool(number < gib * limits.UNFINISHED_PARTS_A_GIB and octets + size <= gib << 30)


def _begin(c: Connection, author: str, of: Part, now_ms: int) -> None:
    values = {"author": author, "size": of.size, "parts": of.parts, "hash": "", "at_ms": now_ms, "lacks": 0}
    c.execute(upsert(transfer).values(transfer=key(author, of.transfer), **values).on_conflict_do_nothing())


def _have(c: Connection, name: str) -> int:
    return c.scalar(select(func.coalesce(func.sum(part.c.size), 0)).where(part.c.transfer == name)) or 0


def _keep_count(c: Connection, name: str) -> None:
    c.execute(
        update(attachment).where(attachment.c.transfer == name, attachment.c.file == "").values(have=_have(c, name))
    )
