# SPDX-License-Identifier: AGPL-3.0-or-later
"""A server as a private process on loopback: its folder, its certificate, its life, and what all its processes use."""

import abc
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

from bench.member import Tally
from bench.peers.work import Client, Part, Used
from bench.server import free_port, usage
from bench.worker import Place
from gateway.certificates import ensure_self_signed

_START_PATIENCE_S: Final = 60.0
_END_PATIENCE_S: Final = 10.0  # of what has been killed
_TRACED: Final = "fsync,fdatasync,syncfs,sync_file_range,msync"


class NotHere(Exception):
    """The server is not installed, or may not be started by this user; the text says what mends it."""


class PeerServer(abc.ABC):
    """A server whose data lives as long as the `with` block.

    Its data survives `kill` and `start`. `promise`: what its acknowledgement means, in one line.
    """

    name: ClassVar[str]
    promise: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    programs: ClassVar[tuple[str, ...]] = ()
    clients_max: ClassVar[int] = 1_000
    account: ClassVar[str] = ""  # whom it runs as when root starts it; "": root
    need_root: ClassVar[bool] = False

    def __init__(self) -> None:
        missing = [program for program in self.programs if _which(program) is None]
        if missing:
            raise NotHere(f"{', '.join(missing)} not installed: bash scripts/bench.sh peers")
        if self.need_root and os.geteuid() != 0:
            raise NotHere("it can only be started by root")
        self._folder = tempfile.TemporaryDirectory(prefix="tmtp-peer-")
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)
        self.port = free_port()
        self.place = Place("127.0.0.1", self.port)
        self.context = self.place.context()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.prepare()
        self._give_away()
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._folder.cleanup()

    # -- what each of them says ------------------------------------------------------------------------------------
    @abc.abstractmethod
    def prepare(self) -> None:
        """Write its settings."""

    @abc.abstractmethod
    def commands(self) -> list[list[str]]:
        """The programs that make it up, each staying in the foreground."""

    @abc.abstractmethod
    def client(self, part: Part, tally: Tally) -> Client:
        """A user of it, not yet connected."""

    @abc.abstractmethod
    def version(self) -> str:
        """What is measured."""

    @property
    def environment(self) -> dict[str, str]:
        """Of its processes, beside the usual."""
        return {}

    @property
    def ports(self) -> tuple[int, ...]:
        """That answer when it is ready."""
        return (self.port,)

    # -- life --------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start it over its data, and wait until it answers. Raises TimeoutError."""
        self._begin(self.commands(), self.ports)

    def _begin(self, commands: list[list[str]], ports: tuple[int, ...]) -> None:
        """Start these programs, and wait until these ports answer. Raises TimeoutError."""
        account = self.account if os.geteuid() == 0 else ""
        with (self.folder / "output.txt").open("ab") as output:
            for command in commands:
                self._processes.append(
                    subprocess.Popen(  # noqa: S603 - programs of Debian, found by name
                        command,
                        cwd=self.folder,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        env={**os.environ, **self.environment},
                        user=account or None,
                        group=pwd.getpwnam(account).pw_gid if account else None,
                        extra_groups=[] if account else None,
                        start_new_session=True,
                    )
                )
        deadline = time.monotonic() + _START_PATIENCE_S
        for port in ports:
            while not _answers(port):
                if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                    raise TimeoutError(f"{self.name} does not answer: {self._last_words()}")
                time.sleep(0.05)

    def kill(self) -> None:
        """End all its processes at once, as an accident would; also those that are just being born."""
        held: set[_Process] = set()
        while new := [one for one in _family(self._roots()) if one not in held]:
            for one in new:  # parents first, so that none has children after we have looked
                _signal(one, signal.SIGSTOP)
            held.update(new)
        for one in held:
            _signal(one, signal.SIGKILL)
        for process in self._processes:
            process.wait()
        deadline = time.monotonic() + _END_PATIENCE_S
        while any(one.lives() for one in held) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._processes.clear()

    # -- what it uses ------------------------------------------------------------------------------------------------
    def roots(self) -> list[int]:
        """Its processes that were started here."""
        return [process.pid for process in self._processes]

    def pids(self) -> list[int]:
        """All its processes, each after its parent."""
        return [one.pid for one in _family(self._roots())]

    def usage(self) -> Used:
        """What all its processes have used, with those that have ended."""
        cpu_s, rss, written = 0.0, 0, 0
        for pid in self.pids():
            with contextlib.suppress(OSError, LookupError):  # ended just now
                one = usage(pid)
                fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                ended_s = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")  # its children that have
                cpu_s, rss, written = cpu_s + one.cpu_s + ended_s, rss + one.rss, written + one.written
        return Used(cpu_s, rss, written)

    @contextlib.contextmanager
    def syncs(self, *, count: bool) -> "Iterator[Syncs]":
        """Count how often its processes have the disk make something durable. Slows them down, so in a turn apart."""
        file = self.folder / "syncs.txt"
        if not count:
            yield Syncs(None)
            return
        command = ["strace", "-f", "-qq", "-e", f"trace={_TRACED}", "-o", str(file)]
        for pid in self.pids():
            command += ["-p", str(pid)]
        tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - strace
        time.sleep(0.5)  # until it has hold of all
        try:
            yield Syncs(file)
        finally:
            tracer.terminate()
            tracer.wait()

    def _roots(self) -> "list[_Process]":
        found = []
        for pid in self.roots():
            with contextlib.suppress(OSError):  # ended by itself
                found.append(_Process.of(pid))
        return found

    # -- inside ------------------------------------------------------------------------------------------------------
    def certificate(self) -> tuple[Path, Path]:
        """Its certificate and its key, made for this run."""
        return ensure_self_signed(self.folder, "peer")

    @staticmethod
    def own(folder: Path, account: str) -> None:
        """Make a folder that is this account's ("": this user's)."""
        folder.mkdir(parents=True)
        if account:
            shutil.chown(folder, account, account)

    def _give_away(self) -> None:
        if self.account and os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, self.account)

    def _last_words(self) -> str:
        return (self.folder / "output.txt").read_text("utf-8", "replace")[-500:].strip()


class Syncs:
    """What strace saw, where it looked."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def count(self) -> int | None:
        """The calls; None where nobody counted."""
        if self._file is None:
            return None
        lines = self._file.read_text("ascii", "replace").splitlines()
        return sum("sync" in line and "resumed>" not in line for line in lines)


def _which(program: str) -> str | None:
    """Where a program is; also those for administrators."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True, slots=True)
class _Process:
    """A process. Its number alone is nobody's: it is given again to another one."""

    pid: int
    parent: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process that has this number now. Raises OSError."""
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return cls(pid, int(fields[1]), int(fields[19]))

    def lives(self) -> bool:
        """Whether it is still there, and more than an entry that its parent has not looked at."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            return False
        return int(fields[19]) == self.started and fields[0] != "Z"


def _family(ancestors: list[_Process]) -> list[_Process]:
    """These processes and all that descend from them, each after its parent; those that have ended stay in it."""
    children: dict[int, list[_Process]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended just now
            process = _Process.of(int(folder.name))
            children.setdefault(process.parent, []).append(process)
    family = list(ancestors)
    known = {one.pid for one in ancestors}
    for one in family:  # grows meanwhile
        new = [child for child in children.get(one.pid, []) if child.pid not in known and child.started >= one.started]
        family += new
        known.update(child.pid for child in new)
    return family


def _signal(process: _Process, number: signal.Signals) -> None:
    if process.lives():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
