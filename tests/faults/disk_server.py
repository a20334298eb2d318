# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process behind `tests.faults.disk`: serves a tree of `tests.faults.volatile` by FUSE, and takes orders.

    python -m tests.faults.disk_server STORE MOUNT SEED

STORE is a folder with what is durable: read at start, written at an order. Orders come as JSON, one a line, and each
is answered by a line. `cut`: from now on every call fails, and STORE gets what survived. `save`: STORE gets everything.
`leave`: every call fails, or none any more. `fail_syncs`: so many of the next syncs of files whose name ends so fail with EIO.
"""

import errno
import json
import os
import random
import shutil
import stat
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mfusepy

from tests.faults.volatile import File, Folder, Node, Socket

_NAME_MAX = 255
_BLOCK = 4096
_BLOCKS = 1 << 20
_CACHED_S = 3600.0  # names and attributes: nobody but the kernel changes them


class VolatileDisk(mfusepy.Operations):
    """The calls of one mount."""

    use_ns = True
    flag_nopath = True
    flag_nullpath_ok = True  # a file is read and written after its name is gone

    def __init__(self, root: Folder, chance: random.Random) -> None:
        self.turn = threading.Lock()
        self.is_cut = False
        self.is_away = False
        self.root = root
        self.count: Counter[str] = Counter()
        self._chance = chance
        self._open: dict[int, Node] = {}
        self._next_handle = 1
        self._failing: tuple[int, str] = (0, "")
        self._names: dict[File, str] = {}

    # -- orders ------------------------------------------------------------------------------------------------------
    def cut(self) -> None:
        """The power fails."""
        self.is_cut = True
        self.root.cut(self._chance, self.count)

    def leave(self, away: bool) -> None:
        """Every call fails until it is back; nothing is lost by that."""
        self.is_away = away

    def fail_syncs(self, count: int, suffix: str) -> None:
        """Of the next syncs of files with such names, so many fail."""
        self._failing = (count, suffix)

    # -- names -------------------------------------------------------------------------------------------------------
    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, Any]:
        node = self._open[fh] if fh is not None else self._find(path)
        size = len(node.content) if isinstance(node, File) else 0
        return {
            "st_mode": node.mode,
            "st_nlink": 2 if isinstance(node, Folder) else 1,
            "st_size": size,
            "st_blocks": -(-size // 512),
            "st_blksize": _BLOCK,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
        }

    def readdir(self, path: str | None, fh: int) -> list[str]:
        folder = self._open[fh]
        assert isinstance(folder, Folder)
        return [".", "..", *folder.names]

    def mkdir(self, path: str, mode: int) -> int:
        self._add(path, Folder(stat.S_IFDIR | stat.S_IMODE(mode)))
        return 0

    def mknod(self, path: str, mode: int, dev: int) -> int:
        if not stat.S_ISSOCK(mode):
            raise mfusepy.FuseOSError(errno.EPERM)
        self._add(path, Socket(mode))
        return 0

    def unlink(self, path: str) -> int:
        folder, name = self._place(path)
        folder.change({name: None})
        return 0

    def rmdir(self, path: str) -> int:
        node = self._find(path)
        if isinstance(node, Folder) and node.names:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        return self.unlink(path)

    def rename(self, old: str, new: str) -> int:
        node = self._find(old)
        folder, old_name = self._place(old)
        other, new_name = self._place(new)
        if folder is not other:  # would be one change of two folders
            raise mfusepy.FuseOSError(errno.EXDEV)
        folder.change({old_name: None, new_name: node})
        return 0

    def chmod(self, path: str | None, mode: int) -> int:
        node = self._find(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def utimens(self, path: str | None, times: tuple[int, int] | None = None) -> int:
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        return {
            "f_bsize": _BLOCK,
            "f_frsize": _BLOCK,
            "f_blocks": _BLOCKS,
            "f_bavail": _BLOCKS,
            "f_bfree": _BLOCKS,
            "f_namemax": _NAME_MAX,
        }

    # -- content -----------------------------------------------------------------------------------------------------
    def create(self, path: str, mode: int, flags: int = 0) -> int:
        file = File(stat.S_IFREG | stat.S_IMODE(mode))
        self._add(path, file)
        return self._handle(file)

    def open(self, path: str, flags: int) -> int:
        file = self._find(path)
        assert isinstance(file, File)
        self._names[file] = path
        return self._handle(file)

    def opendir(self, path: str) -> int:
        return self._handle(self._find(path))

    def release(self, path: str | None, fh: int) -> int:
        self._open.pop(fh, None)
        return 0

    def releasedir(self, path: str | None, fh: int) -> int:
        return self.release(path, fh)

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._file(fh).content[offset : offset + size])

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        self._file(fh).write(offset, data)
        return len(data)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        file = self._file(fh) if fh is not None else self._find(path)
        assert isinstance(file, File)
        file.resize(length)
        return 0

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        file = self._file(fh)
        left, suffix = self._failing
        if left and self._names.get(file, "").endswith(suffix):
            self._failing = (left - 1, suffix)
            self.count["syncs failed"] += 1
            file.fail_sync(self._chance, self.count)
            raise mfusepy.FuseOSError(errno.EIO)
        self.count["syncs"] += 1
        file.sync()
        return 0

    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> int:
        self.count["syncs"] += 1
        self._open[fh].sync()
        return 0

    # -- inside ------------------------------------------------------------------------------------------------------
    def _file(self, fh: int) -> File:
        file = self._open[fh]
        assert isinstance(file, File)
        return file

    def _handle(self, node: Node) -> int:
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._open[handle] = node
        return handle

    def _find(self, path: str | None) -> Node:
        node: Node = self.root
        for name in (path or "").split("/"):
            if name:
                if not isinstance(node, Folder) or name not in node.names:
                    raise mfusepy.FuseOSError(errno.ENOENT)
                node = node.names[name]
        return node

    def _place(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        assert isinstance(folder, Folder)
        return folder, name

    def _add(self, path: str, node: Node) -> None:
        folder, name = self._place(path)
        if isinstance(node, File):
            self._names[node] = path
        folder.change({name: node})


class Mount(mfusepy.FUSE):
    """One call at a time, and none after a cut."""

    def _wrapper(self, func: Callable[..., int], *args: Any, **kwargs: Any) -> int:
        with self.operations.turn:
            if self.operations.is_cut or self.operations.is_away:
                return -errno.EIO
            return super()._wrapper(func, *args, **kwargs)

    def truncate_fuse_3(self, path: bytes | None, length: int, fip: Any) -> int:
        """As the library's, which forgets the open file and has no path then."""
        handle = fip.contents.fh if fip else None
        return self.operations.truncate(path.decode() if path is not None else None, length, handle)

    def chmod_fuse_3(self, path: bytes | None, mode: int, fip: Any) -> int:
        """The same."""
        if fip:
            node = self.operations._open[fip.contents.fh]
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
            return 0
        return super().chmod_fuse_3(path, mode, fip)


def load(path: Path) -> Folder:
    """The tree of a folder, all of it durable."""
    folder = Folder(path.stat().st_mode)
    for entry in path.iterdir():
        node: Node
        if entry.is_dir():
            node = load(entry)
        else:
            content = entry.read_bytes()
            node = File(entry.stat().st_mode, bytearray(content), bytearray(content))
        folder.names[entry.name] = folder.durable[entry.name] = node
    return folder


def save(folder: Folder, path: Path) -> None:
    """Write the durable tree to a folder, in place of what is there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=stat.S_IMODE(folder.mode))
    for name, node in folder.durable.items():
        if isinstance(node, Folder):
            save(node, path / name)
        elif isinstance(node, File):
            (path / name).write_bytes(node.durable)
            (path / name).chmod(stat.S_IMODE(node.mode))


def _take_orders(disk: VolatileDisk, store: Path) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        with disk.turn:
            if order["do"] == "fail_syncs":
                disk.fail_syncs(order["count"], order["suffix"])
            elif order["do"] == "leave":
                disk.leave(order["away"])
            else:
                if order["do"] == "cut":
                    disk.cut()
                else:
                    disk.root.sync_all()
                save(disk.root, store)
            answer = dict(disk.count)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main() -> None:
    """The command line."""
    store, mount, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    disk = VolatileDisk(load(store), random.Random(seed))
    threading.Thread(target=_take_orders, args=(disk, store), daemon=True).start()
    Mount(
        disk,
        mount,
        foreground=True,
        nothreads=True,
        hard_remove=True,
        attr_timeout=_CACHED_S,
        entry_timeout=_CACHED_S,
        fsname="volatile",
    )


if __name__ == "__main__":
    main()
