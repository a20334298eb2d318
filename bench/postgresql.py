# SPDX-License-Identifier: AGPL-3.0-or-later
"""A private PostgreSQL from Debian's binaries, for tests and measurements: its own folder, its own port of loopback.

It does not run as root: there, it becomes the user `postgres`, whom the package makes.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench.server import free_port

_VERSIONS: Final = Path("/usr/lib/postgresql")
_PATIENCE_S: Final = 60.0


def binaries() -> Path | None:
    """Of the newest PostgreSQL that is installed here."""
    found = sorted(_VERSIONS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Cluster:
    """A server with its own folder and port. Stopped and removed by `stop`."""

    def __init__(self, **settings: str) -> None:
        found = binaries()
        assert found is not None, "PostgreSQL is not installed: apt-get install postgresql"
        self._binaries = found
        self._as: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="tmtp-postgresql-"))
        if os.getuid() == 0:
            entry = pwd.getpwnam("postgres")
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self._settings = settings
        self.port = free_port()
        self._databases = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "-D", str(self._data), "-A", "trust", "-U", "tmtp", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
        )

    @property
    def pid(self) -> int:
        """Of the server."""
        assert self._server is not None
        return self._server.pid

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder), **self._settings}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 - Debian's program
                [self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._as,
            )
        end = time.monotonic() + _PATIENCE_S
        while self._ask("SELECT 1").returncode:
            assert time.monotonic() < end, (self.folder / "log").read_text("utf-8")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it: fast, or as the signal says (SIGQUIT: as a crash would)."""
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait()
            self._server = None

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self, template: str = "template1") -> str:
        """The URL of an empty database, or of a copy of another one, which nobody uses just then."""
        self._databases += 1
        name = f"test{self._databases}"
        made = self._ask(f"CREATE DATABASE {name} TEMPLATE {template}")
        assert not made.returncode, made.stderr
        return f"postgresql+asyncpg://tmtp@127.0.0.1:{self.port}/{name}"

    def ask(self, sql: str, url: str) -> list[str]:
        """What `psql` answers, a line a row, columns apart by |."""
        asked = self._ask(sql, url.rpartition("/")[2])
        assert not asked.returncode, asked.stderr
        return asked.stdout.splitlines()

    def _ask(self, sql: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "tmtp", "-d", database]
        command = [str(self._binaries / "psql"), "-XAtq", *where, "-c", sql]
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, **self._as)  # noqa: S603
        assert not done.returncode, done.stderr
