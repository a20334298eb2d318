# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a disk and its filesystem may do with data that was not synced: files and folders in memory, and a power cut.

Modelled is what Linux filesystems on real disks do, at the strict end of what POSIX lets them:

- What `fsync` or `fdatasync` of a file returned for is safe. Of everything written since, any part may be on the disk,
  in any order, down to single sectors of 512 octets; a sector holds the old octets or those of one of the writes. A file
  may have grown without its data: then it holds zeros there.
- Size changes of one file reach the disk in their order, as in a journal. Where a truncation was lost, what was
  written after it is lost as well: new blocks belong to a file only by what comes after the truncation in the journal.
- A name (made, renamed, removed) is safe when its *folder* was synced, and not before; syncing the file is not
  enough. Of the changes since, any part may be on the disk, in any order. A rename is there as a whole or not at all.
- After an `fsync` that failed, part of what waited is on the disk and the rest never will be, though readers still see
  it and the next `fsync` succeeds: pages count as clean after a failed write-back. Folders do not fail so: a
  filesystem that cannot write its journal stops altogether.

Not modelled, because disks promise otherwise: losing or damaging what was synced.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Union

SECTOR_BYTES = 512


class Fate(Enum):
    """What becomes of everything that waits, of one file or folder at one cut."""

    LOST = 1
    KEPT = 2
    IN_ORDER = 3  # up to some point
    SCATTERED = 4  # any part, in any order


_FATES = (Fate.LOST, Fate.LOST, Fate.KEPT, Fate.IN_ORDER, Fate.SCATTERED, Fate.SCATTERED, Fate.SCATTERED)


@dataclass(frozen=True, slots=True)
class Write:
    """Octets written at an offset."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A truncation, or an extension by a hole."""

    size: int


@dataclass(eq=False)
class File:
    """A file: as processes see it (`content`), as it is on the disk (`durable`), and what lies between."""

    mode: int
    content: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Resize] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        """See write(2)."""
        self.pending.append(Write(offset, data))
        _put(self.content, offset, data)

    def resize(self, size: int) -> None:
        """See ftruncate(2)."""
        self.pending.append(Resize(size))
        _resize(self.content, size)

    def sync(self) -> None:
        """All of it is on the disk when this returns."""
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def fail_sync(self, chance: random.Random, count: Counter[str]) -> None:
        """A sync that fails: a part is on the disk, the rest is not and never will be; nobody can see which."""
        self._settle(chance, count)
        self.pending.clear()

    def cut(self, chance: random.Random, count: Counter[str]) -> None:
        """The power fails: what is there afterwards is what the disk has."""
        self._settle(chance, count)
        self.pending.clear()
        self.content = bytearray(self.durable)

    def _settle(self, chance: random.Random, count: Counter[str]) -> None:
        fate = chance.choice(_FATES)
        until = chance.randint(0, len(self.pending))
        odds = chance.random()  # of a sector, where they scatter
        for place, change in enumerate(self.pending):
            late = place >= until
            if fate is Fate.LOST or (fate is Fate.IN_ORDER and place > until):
                count["changes lost"] += 1
            elif fate is Fate.KEPT or (fate is Fate.IN_ORDER and place < until):
                _apply(self.durable, change)
            elif isinstance(change, Write):
                grown = change.offset + len(change.data)
                if not late and grown > len(self.durable):
                    _resize(self.durable, grown)
                count["changes torn"] += _tear(self.durable, change, odds, chance)
            elif late:  # the truncation is lost, and what came after it
                count["changes lost"] += len(self.pending) - place
                return
            else:
                _apply(self.durable, change)


@dataclass(eq=False)
class Folder:
    """A folder: the names that processes see, those on the disk, and what lies between."""

    mode: int
    names: dict[str, "Node"] = field(default_factory=dict)
    durable: dict[str, "Node"] = field(default_factory=dict)
    pending: list[dict[str, "Node | None"]] = field(default_factory=list)

    def change(self, names: dict[str, "Node | None"]) -> None:
        """Several names change at once; None removes one."""
        self.pending.append(names)
        _rename(self.names, names)

    def sync(self) -> None:
        """All names are on the disk when this returns."""
        for names in self.pending:
            _rename(self.durable, names)
        self.pending.clear()

    def cut(self, chance: random.Random, count: Counter[str]) -> None:
        """The power fails, here and in everything below."""
        fate = chance.choice(_FATES)
        until = chance.randint(0, len(self.pending))
        for place, names in enumerate(self.pending):
            kept = {
                Fate.LOST: False,
                Fate.KEPT: True,
                Fate.IN_ORDER: place < until,
                Fate.SCATTERED: chance.random() < 0.5,
            }[fate]
            if kept:
                _rename(self.durable, names)
            else:
                count["names lost"] += 1
        self.pending.clear()
        self.names = dict(self.durable)
        for node in self.names.values():
            node.cut(chance, count)

    def sync_all(self) -> None:
        """Everything here and below is on the disk when this returns, as after sync(2)."""
        self.sync()
        for node in self.names.values():
            if isinstance(node, Folder):
                node.sync_all()
            else:
                node.sync()


@dataclass(eq=False)
class Socket:
    """The name of a Unix socket; nobody serves it after a cut."""

    mode: int

    def sync(self) -> None:
        """Nothing to sync."""

    def cut(self, chance: random.Random, count: Counter[str]) -> None:
        """Nothing to lose."""


Node = Union[File, Folder, Socket]  # noqa: UP007 - two of them name it before it exists


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _apply(content: bytearray, change: Write | Resize) -> None:
    if isinstance(change, Write):
        _put(content, change.offset, change.data)
    else:
        _resize(content, change.size)


def _tear(content: bytearray, write: Write, odds: float, chance: random.Random) -> int:
    """Write only some sectors, and none that lies beyond the end of the file. 1 when any part was left out."""
    end = write.offset + len(write.data)
    left_out = 0
    offset = write.offset
    while offset < end:
        border = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if offset < len(content) and chance.random() < odds:
            last = min(border, len(content))
            content[offset:last] = write.data[offset - write.offset : last - write.offset]
        else:
            left_out = 1
        offset = border
    return left_out


def _rename(names: dict[str, "Node"], changes: dict[str, "Node | None"]) -> None:
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node
