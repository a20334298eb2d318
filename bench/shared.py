# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several gateway processes on one PostgreSQL, to be measured as one server (docs/scaling.md)."""

import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Final, Self

from bench.postgresql import Cluster
from bench.server import Usage, free_port, usage

_PROGRAM: Final = (sys.executable, "-c", "from gateway.cli.main import main; main()")
_START_PATIENCE_S: Final = 60.0
_SETTINGS: Final = """\
data_dir: {data}
http: {{listen: "127.0.0.1:{http}"}}
log: {{level: error}}
instances:
  - name: bench
    policy: public
    registration: open
    registrations: {{per_minute: 0}}  # whole crowds come from one address
    acquaintance: everyone
    delivery: {{return_after_days: 0}}
    database: {database}
    quotas: {{pings_per_day: 1000000, posts_per_hour: 1000000000, bytes_per_hour: 1000000000000}}
    listen: [{{tls: "127.0.0.1:{port}"}}]
"""


class SharedServer:
    """`processes` gateways over a PostgreSQL of their own. Each listens on a port of its own, so that the load is
    spread as the bench wants it, and all share `data_dir`, as on one machine they do.
    """

    def __init__(self, processes: int, cluster: Cluster | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tmtp-bench-")
        self.folder = Path(self._folder.name)
        self.cluster = cluster or Cluster(shared_buffers="256MB", max_wal_size="4GB")
        self._own = cluster is None
        self.ports = [free_port() for _ in range(processes)]
        self._http = [free_port() for _ in range(processes)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.database = ""

    def __enter__(self) -> Self:
        if self._own:
            self.cluster.start()
        self.database = self.cluster.new_database()
        for number in range(len(self.ports)):
            self.start(number)
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait()
        if self._own:
            self.cluster.remove()
        self._folder.cleanup()

    def start(self, number: int) -> None:
        """Start one of them, and wait until it is ready."""
        settings = self.folder / f"gateway-{number}.yaml"
        text = _SETTINGS.format(
            data=self.folder / "data", http=self._http[number], port=self.ports[number], database=self.database
        )
        settings.write_text(text, "utf-8")
        options = ("--process", str(number + 1), "--http", f"127.0.0.1:{self._http[number]}")
        command = [*_PROGRAM, "serve", "-c", str(settings), *options]
        self._processes[number] = subprocess.Popen(command)  # noqa: S603 - this program
        end = time.monotonic() + _START_PATIENCE_S
        while not self._ready(number):
            if time.monotonic() > end or self._processes[number].poll() is not None:
                raise TimeoutError("the gateway does not answer")
            time.sleep(0.02)

    def kill(self, number: int) -> None:
        """As a power cut of one machine would."""
        process = self._processes.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def usage(self) -> tuple[Usage, Usage]:
        """What the gateways have used, and what PostgreSQL has."""
        gateways = [usage(process.pid) for process in self._processes.values()]
        return _sum(gateways), _sum(map(usage, _family(self.cluster.pid)))

    def _ready(self, number: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http[number]}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False


def _family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *map(int, children)]


def _sum(some: Iterable[Usage]) -> Usage:
    used = list(some)
    return Usage(*(sum(getattr(one, field.name) for one in used) for field in fields(Usage)))
