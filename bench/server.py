# SPDX-License-Identifier: AGPL-3.0-or-later
"""A gateway in a process of its own, to be measured: where it listens, and what it uses."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self


class BenchFailed(Exception):
    """The server did what no server may do under load, or refused the load; the text says what."""


_PROGRAM: Final = (sys.executable, "-c", "from gateway.cli.main import main; main()")
_START_PATIENCE_S: Final = 60.0
_STOP_PATIENCE_S: Final = 60.0
_CPU_CLOCK: Final = 2  # of a process: clock_getcpuclockid(3) makes it from the process's id, to the nanosecond
_PORTS: Final = (12_000, 32_000)  # below those that the system gives to whoever connects
_SETTINGS: Final = """\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
log: {{level: error}}
instances:
  - name: bench
    policy: public
    registration: open
    registrations: {{per_minute: 0}}  # whole crowds come from one address
    acquaintance: everyone
    delivery: {{return_after_days: 0}}
    limits: {{message_max_bytes: {message_max}, window_revision1: {window}}}
    quotas: {{pings_per_day: 1000000, posts_per_hour: 1000000000, bytes_per_hour: 1000000000000}}
    listen: [{{tls: "127.0.0.1:{port}"}}, {{wss: "127.0.0.1:{websocket}"}}]
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far: CPU seconds, memory now and at most (RSS, octets), octets written to the disk."""

    cpu_s: float
    rss: int
    rss_max: int
    written: int


def usage(pid: int) -> Usage:
    """What a process of this user has used."""
    process = Path(f"/proc/{pid}")
    status, io = (
        dict(line.split(":", 1) for line in (process / name).read_text("utf-8").splitlines())
        for name in ("status", "io")
    )
    return Usage(
        cpu_s=time.clock_gettime(~pid << 3 | _CPU_CLOCK),
        rss=_octets(status["VmRSS"]),
        rss_max=_octets(status["VmHWM"]),
        written=int(io["write_bytes"]),
    )


def forget_rss_max(pid: int) -> None:
    """From now on `Usage.rss_max` is the most since now (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")


def _octets(kib: str) -> int:
    return int(kib.removesuffix("kB")) * 1024


class BenchServer:
    """A gateway with one open instance whose data lives as long as the `with` block.

    `stop_and_wait`: it commits each decision by itself and has one delivery in flight to a device, as a server without
    group commits and windows would; see `bench.stop_and_wait`.
    """

    def __init__(self, *, stop_and_wait: bool = False, message_max: int = 128 << 20) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tmtp-bench-")
        self.folder = Path(self._folder.name)
        self.port, self.websocket_port = free_port(), free_port()
        window = 1 if stop_and_wait else 16
        self._config = self.folder / "gateway.yaml"
        self._config.write_text(
            _SETTINGS.format(port=self.port, websocket=self.websocket_port, window=window, message_max=message_max),
            "utf-8",
        )
        program = (sys.executable, "-m", "bench.stop_and_wait") if stop_and_wait else _PROGRAM
        self._command = [*program, "serve", "-c", str(self._config)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def database(self) -> Path:
        """The file of its instance's database."""
        return next((self.folder / "data").rglob("service.sqlite3"))

    @property
    def data_bytes(self) -> int:
        """How much its data takes on the disk."""
        return sum(file.stat().st_size for file in (self.folder / "data").rglob("*") if file.is_file())

    def start(self) -> float:
        """Start it over its data; seconds until it answers."""
        begin = time.monotonic()
        self._process = subprocess.Popen(self._command)  # noqa: S603 - this program
        while time.monotonic() - begin < _START_PATIENCE_S:
            if self._process.poll() is not None:
                raise BenchFailed(f"the gateway does not start: exit code {self._process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.websocket_port)).close()
            except OSError:
                time.sleep(0.02)
            else:
                return time.monotonic() - begin
        raise BenchFailed("the gateway does not answer")

    def stop(self) -> None:
        """Stop it gracefully."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_PATIENCE_S)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def restart(self) -> float:
        """Stop it and start it again; see `start`."""
        self.stop()
        return self.start()

    def invitation(self) -> str:
        """A link for a thousand registrations, made by the running gateway."""
        made = subprocess.run(  # noqa: S603 - this program
            [*_PROGRAM, "invite", "-c", str(self._config), "-i", "bench", "--uses", "1000", "--json"],
            capture_output=True,
            check=True,
        )
        link: str = json.loads(made.stdout)["link"]
        return link


def free_port() -> int:
    """A port of loopback that nobody has now, and that no outgoing connection gets while its server is down."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(*_PORTS)))  # noqa: S311 - nobody must not guess it
            return int(probe.getsockname()[1])


def fsyncs_per_s(folder: Path, seconds: float = 1.0) -> float:
    """How often one thread can append 4 KiB to a file here and have them on the disk."""
    block = bytes(4096)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
            count += 1
        return count / (time.perf_counter() - begin)
