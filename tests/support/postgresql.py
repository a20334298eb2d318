# SPDX-License-Identifier: AGPL-3.0-or-later
"""A private PostgreSQL from Debian's binaries, started when the first test asks for a database, gone with the tests.

    TMTP_TEST_ENGINE=postgresql pytest tests/integration/test_consent.py    # the same tests on the other engine

It does not run as root: there, it becomes the user `postgres`, whom the package makes.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

ENGINE = os.environ.get("TMTP_TEST_ENGINE", "sqlite")
"""On which engine `tests.support.instance` opens its databases."""

_VERSIONS = Path("/usr/lib/postgresql")
_PATIENCE_S = 60.0


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
        self.port = _free_port()
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
            self._server = subprocess.Popen(
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

    def new_database(self) -> str:
        """The URL of an empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        made = self._ask(f"CREATE DATABASE {name}")
        assert not made.returncode, made.stderr
        return f"postgresql+asyncpg://tmtp@127.0.0.1:{self.port}/{name}"

    def ask(self, sql: str, url: str) -> list[str]:
        """What `psql` answers, a line a row, columns apart by |."""
        asked = self._ask(sql, url.rpartition("/")[2])
        assert not asked.returncode, asked.stderr
        return asked.stdout.splitlines()

    def _ask(self, sql: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "tmtp", "-d", database]
        command = [self._binaries / "psql", "-XAtq", *where, "-c", sql]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._binaries / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, **self._as)
        assert not done.returncode, done.stderr


@cache
def cluster() -> Cluster:
    """The one that all tests of this process share."""
    one = Cluster(max_connections="400", shared_buffers="64MB")
    atexit.register(one.remove)
    one.start()
    return one


def new_database() -> str:
    """The URL of an empty database of it."""
    return cluster().new_database()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
