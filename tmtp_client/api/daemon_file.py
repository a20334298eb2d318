# SPDX-License-Identifier: AGPL-3.0-or-later
"""`daemon.json` in the home: where its API is, and the key to it. Of mode 0600, gone when the daemon is."""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

HOST: Final = "127.0.0.1"
API: Final = "/api/1"  # of the WebSocket; the number is the version
NAME: Final = "daemon.json"
_MAX_BYTES: Final = 4096


class DaemonFile(msgspec.Struct, frozen=True):
    """What the file says."""

    version: int
    pid: int
    port: int
    url: str
    key: str

    def __repr__(self) -> str:
        """Without the key."""
        return f"DaemonFile(pid={self.pid}, url={self.url!r})"

    def write(self, home: Path) -> None:
        """Put it into the home, whose lock the caller has: whole or not at all. Raises OSError."""
        unfinished = home / f"{NAME}.new"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o600)
                file.write(msgspec.json.encode(self))
            unfinished.replace(home / NAME)
        except OSError:  # a full disk, say
            unfinished.unlink()
            raise

    def lives(self) -> bool:
        """Whether a process of this person has its number: where none has, the port may be a stranger's by now."""
        try:
            os.kill(self.pid, 0)
        except (OSError, OverflowError):
            return False
        return self.pid > 0

    def remove(self, home: Path) -> None:
        """Take it away, if it is still this daemon's."""
        if read(home) == self:
            with contextlib.suppress(FileNotFoundError):
                (home / NAME).unlink()


def read(home: Path) -> DaemonFile | None:
    """What a daemon left there, whether it still runs or not; None: nothing that can be read."""
    try:
        with (home / NAME).open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_BYTES), type=DaemonFile)
    except (OSError, msgspec.DecodeError):
        return None
