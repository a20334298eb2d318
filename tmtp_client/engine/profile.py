# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where an account lives on this device: one folder of mode 0700 each."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tmtp_client.engine.history import History

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Profile:
    """One account's folder under `home`. Raises ValueError for a name that cannot be a folder's."""

    def __init__(self, home: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a profile: letters, digits, . _ and -, 64 at most")
        self.name = name
        self.folder = home / name

    def open(self) -> History:
        """The profile's history, made when there is none yet."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return History(self.folder / "history.sqlite3")

    def lock(self) -> AbstractContextManager[bool]:
        """Whether this process may run the account's engine; False when another one does."""
        return _locked(self.folder / "engine.lock")

    @contextmanager
    def sending(self, request_id: str) -> Iterator[None]:
        """While a process waits for what becomes of a message, it is the one that tells of it."""
        path = self._sending(request_id)
        with _locked(path):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def is_waited_for(self, request_id: str) -> bool:
        """Whether a process waits for what becomes of this message."""
        path = self._sending(request_id)
        if not path.exists():
            return False
        with _locked(path) as free:
            return not free

    def _sending(self, request_id: str) -> Path:
        return self.folder / "sending" / request_id


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """A file as a lock between processes; False when another one has it. It ends with its process."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def default_home() -> Path:
    """`TMTP_HOME`, else the desktop's folder for data."""
    named = os.environ.get("TMTP_HOME")
    if named:
        return Path(named).absolute()  # paths of attachments are kept, and read from other folders
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tmtp"
