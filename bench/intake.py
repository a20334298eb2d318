# SPDX-License-Identifier: AGPL-3.0-or-later
"""A flood of mail through the intake, and through Postfix and Dovecot, in turns: none lost or doubled, the rate (C2).

    python -m bench.intake                                  # 10,000 mails of 10 KB over 50 sessions to each: minutes
    python -m bench.intake --mails 2000 --rounds 3 --json var/bench/intake.json
    python -m bench.intake --process both                   # the intake in its own process, and in the gateway's
    python -m bench.intake --ours                           # without Postfix, which only root can start

Postfix's own smtp-source sends, without TLS, to one recipient. It gives every mail a Message-ID of its own, by which
each is known again where it arrives: on the intake's side at a device of a member that acknowledges what it gets, on
the other in the mailbox. Both write their usual logs, and both have had a few mails before, so that all processes run.
"""

import abc
import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import uvloop
from rich.console import Console
from rich.table import Table

from bench.compare import shown
from bench.member import BenchFailed, Tally
from bench.peers.mail import DOMAIN, Mail
from bench.peers.process import NotHere, PeerServer
from bench.peers.work import Client, Part
from bench.server import free_port
from tmtp_client.connection import AccountKeys, Connection, Endpoint, Payload
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.address import parse_address
from tmtp_core.wire.payload import decode_post_head

_INTAKE: Final = "intake"
_SENDER: Final = "orders@partner.example"
_RECIPIENT: Final = "support@example.org"
_MAILBOX: Final = f"support@{DOMAIN}"
_MEMBER: Final = "Support Desk"
_ROOM: Final = 20  # connections beyond the load's own
_QUIET_S: Final = 20.0  # nothing came for so long: the rest is lost
_POLL_S: Final = 0.1

Process = Literal["own", "gateway"]
_PROCESSES: Final[tuple[Process, ...]] = ("own", "gateway")

_SETTINGS: Final = """\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
instances:
  - name: public
    policy: public
    registration: open
    acquaintance: everyone
    delivery: {{return_after_days: 0}}
    quotas: {{posts_per_hour: 1000000000, bytes_per_hour: 1000000000000}}
    listen: [{{tls: "127.0.0.1:{tls}"}}]
bridges:
  smtp:
    - name: {name}
      instance: public
      hostname: mx.example.org
      process: {process}
      listen: "127.0.0.1:{smtp}"
      senders: [{{address: {sender}, proof: [network: 127.0.0.0/8]}}]
      routes: [{{recipient: {recipient}, to: {member}}}]
      limits: {{connections_max: {connections}, connections_per_address_max: {connections}}}
"""


@dataclass(frozen=True, slots=True)
class Flood:
    """What is sent: so many mails of so many octets, over so many sessions that stay open."""

    mails: int = 10_000
    size: int = 10_240
    sessions: int = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a flood. `accepted_s`: until the last 250; `delivered_s`: until the last mail was where it goes.

    `cpu_ms`: of all processes of the server, for each mail. `problems`: what must not happen.
    """

    mails: int
    delivered: int
    lost: int
    doubled: int
    accepted_s: float
    delivered_s: float
    cpu_ms: float
    written: float
    problems: tuple[str, ...] = ()

    @property
    def accepted_per_s(self) -> float:
        """Mails that smtp-source had its 250 for."""
        return self.mails / self.accepted_s

    @property
    def delivered_per_s(self) -> float:
        """Mails that arrived, until the last one had."""
        return self.delivered / self.delivered_s

    @property
    def broken(self) -> bool:
        """Whether something happened that must not."""
        return bool(self.lost or self.doubled or self.problems)


class Receiver(abc.ABC):
    """Where mails arrive."""

    @abc.abstractmethod
    def progress(self) -> tuple[int, float]:
        """How many have arrived, and when the last one did (`time.monotonic()`)."""

    @abc.abstractmethod
    async def arrived(self) -> Counter[str]:
        """Every mail that has arrived, by its name, and how often."""


class Intake(PeerServer):
    """A gateway with one open instance and an intake, and a member with one device.

    `process`: the intake is a part of the gateway's process, or its own, as the setting of that name says.
    """

    name = "tmtp"
    promise = "on the disk (fsync) of the service, for every device of its recipient"
    programs = ("smtp-source",)
    recipient = _RECIPIENT

    def __init__(self, sessions: int, process: Process) -> None:
        super().__init__()
        self._sessions = sessions
        self._process = process
        self._tls_port = free_port()

    @property
    def ports(self) -> tuple[int, ...]:
        """Of the intake and of the service."""
        return (self.port, self._tls_port)

    def prepare(self) -> None:
        """Write its settings."""
        room = self._sessions + _ROOM
        text = _SETTINGS.format(
            name=_INTAKE,
            tls=self._tls_port,
            smtp=self.port,
            sender=_SENDER,
            recipient=_RECIPIENT,
            member=_MEMBER,
            connections=room,
            process=self._process,
        )
        (self.folder / "gateway.yaml").write_text(text, "utf-8")

    def _gateway(self, *words: str) -> list[str]:
        return [
            sys.executable,
            "-c",
            "from gateway.cli.main import main; main()",
            *words,
            "-c",
            str(self.folder / "gateway.yaml"),
        ]

    def commands(self) -> list[list[str]]:
        """The gateway, which makes an intake's folder before that can be started by itself."""
        return [self._gateway("serve")]

    def start(self) -> None:
        """Start it over its data, and wait until it answers. Raises TimeoutError."""
        if self._process == "gateway":
            super().start()
        else:
            self._begin(self.commands(), (self._tls_port,))
            self._begin([self._gateway("bridge", "smtp", "--name", _INTAKE)], (self.port,))

    @property
    def environment(self) -> dict[str, str]:
        """It is started elsewhere, and is to be the same code."""
        return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def version(self) -> str:
        """Of the package."""
        return f"TMTP Gateway {version('tmtp-gateway')}"

    def client(self, part: Part, tally: Tally) -> Client:
        """Nobody but smtp-source."""
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        """The member's device, for the length of the block."""
        made = await asyncio.to_thread(
            subprocess.run,
            self._gateway("invite", "-i", "public", "--json"),
            capture_output=True,
            check=True,
            env={**os.environ, **self.environment},
        )
        address = parse_address(json.loads(made.stdout)["link"])
        desk = _Desk()
        connection = await Connection.open(Endpoint(address.host, address.port, address.pin), desk.keep, revision="2")
        registered = await connection.register_keys(_MEMBER, AccountKeys.new(os.urandom), _MEMBER, address.invite)
        if registered.error:
            raise BenchFailed(f"the member could not be registered: {registered.error}")
        try:
            yield desk
        finally:
            await connection.quit()


class _Desk(Receiver):
    """A device that keeps the name of each mail's conversation: it is made from its Message-ID, so each has its own."""

    def __init__(self) -> None:
        self._mails: Counter[str] = Counter()
        self._last_s = time.monotonic()

    async def keep(self, event: m2.StoredEvent, payload: Payload) -> None:
        """One message; it is acknowledged when this returns."""
        data = await payload.read()
        if isinstance(event, m.Delivery):
            self._mails[decode_post_head(data[: event.datahead]).threadid or ""] += 1
            self._last_s = time.monotonic()

    def progress(self) -> tuple[int, float]:
        return self._mails.total(), self._last_s

    async def arrived(self) -> Counter[str]:
        return self._mails.copy()


class Postfix(Mail):
    """Postfix, which delivers to Dovecot by LMTP: both as bench.peers has them, without TLS."""

    promise = "on the disk (fsync) in Postfix's queue; delivered: in a mailbox of Dovecot"
    programs: ClassVar[tuple[str, ...]] = (*Mail.programs, "smtp-source", "doveadm")
    recipient = _MAILBOX

    def __init__(self) -> None:
        super().__init__(tls=False)

    @contextlib.asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        """The mailbox."""
        yield _Mailbox(self.folder)


class _Mailbox(Receiver):
    """Watched by Postfix's log, which costs it nothing; what is in it is Dovecot's to say."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = 0
        self._sent = 0
        self._last_s = time.monotonic()

    def progress(self) -> tuple[int, float]:
        with contextlib.suppress(FileNotFoundError), (self._folder / "mail.log").open("rb") as log:
            log.seek(self._read)
            text = log.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read += len(whole)
            sent = whole.count(b"status=sent")
            if sent:
                self._sent, self._last_s = self._sent + sent, time.monotonic()
        return self._sent, self._last_s

    async def arrived(self) -> Counter[str]:
        fetch = ("fetch", "-u", _MAILBOX, "hdr.message-id", "mailbox", "INBOX")
        asked = await asyncio.create_subprocess_exec(
            "/usr/bin/doveadm", "-c", self._folder / "dovecot.conf", *fetch, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asked.communicate()
        lines = said.decode("utf-8", "replace").splitlines()
        return Counter(line.split(maxsplit=1)[1] for line in lines if line.startswith("hdr.message-id: "))


async def measure(server: "Intake | Postfix", flood: Flood) -> Outcome:
    """Flood a server that runs. Raises `BenchFailed`."""
    async with server.receiver() as receiver:
        few = Flood(2 * flood.sessions, flood.size, flood.sessions)
        problems = [*await _send(server, few), *await _all(receiver, few.mails)]
        before = await receiver.arrived()
        used, begin = server.usage(), time.monotonic()
        problems += await _send(server, flood)
        accepted = time.monotonic()
        problems += await _all(receiver, few.mails + flood.mails)
        _, last = receiver.progress()
        after = server.usage()
        arrived = await receiver.arrived()
    new = sum(often for which, often in arrived.items() if which not in before)
    return Outcome(
        mails=flood.mails,
        delivered=new,
        lost=max(0, flood.mails - len(arrived.keys() - before.keys())),
        doubled=arrived.total() - len(arrived),
        accepted_s=accepted - begin,
        delivered_s=last - begin,
        cpu_ms=(after.cpu_s - used.cpu_s) * 1e3 / flood.mails,
        written=(after.written - used.written) / flood.mails,
        problems=tuple(problems),
    )


async def _send(server: "Intake | Postfix", flood: Flood) -> list[str]:
    """Send all of it; what smtp-source complained of."""
    program = shutil.which("smtp-source", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None
    counts = ("-s", str(flood.sessions), "-m", str(flood.mails), "-l", str(flood.size))
    whom = ("-f", _SENDER, "-t", server.recipient, "-M", "client.partner.example")
    source = await asyncio.create_subprocess_exec(
        program,
        *("-d", *counts, *whom, f"inet:127.0.0.1:{server.port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await source.communicate()
    return [f"smtp-source: {said.decode('utf-8', 'replace').strip()[:300]}"] if source.returncode else []


async def _all(receiver: Receiver, count: int) -> list[str]:
    """Wait until so many mails have arrived, or nothing comes any more: then what is missing."""
    begin = time.monotonic()
    while True:
        there, last = receiver.progress()
        if there >= count:
            return []
        if time.monotonic() - max(last, begin) > _QUIET_S:
            return [f"{there} of {count} mails have arrived"]
        await asyncio.sleep(_POLL_S)


def compare(
    flood: Flood, rounds: int, kinds: "dict[str, Callable[[], Intake | Postfix]]", say: Console
) -> dict[str, list[Outcome]]:
    """All of them in turns, each turn with a server of its own. Who cannot be measured is left out, and said."""
    outcomes: dict[str, list[Outcome]] = {}
    for number in range(rounds):
        for kind, made in kinds.items():
            try:
                with made() as server:
                    outcome = uvloop.run(measure(server, flood))
            except (NotHere, BenchFailed, OSError, TimeoutError) as failed:
                say.print(f"round {number + 1}, {kind}: not measured: {failed}", markup=False)
                continue
            outcomes.setdefault(kind, []).append(outcome)
            rate = f"{outcome.delivered_per_s:,.0f} mails/s, {outcome.lost} lost, {outcome.doubled} doubled"
            say.print(f"round {number + 1}, {kind}: {rate}", markup=False)
            for problem in outcome.problems:
                say.print(f"round {number + 1}, {kind}: {problem}", markup=False)
    return outcomes


def ratios(outcomes: dict[str, list[Outcome]]) -> dict[str, list[float]]:
    """Delivered mails a second, each of ours to theirs, of each round."""
    theirs = outcomes.get(Postfix.name, [])
    return {name: _ratios(ours, theirs) for name, ours in outcomes.items() if theirs and name != Postfix.name}


def _ratios(ours: list[Outcome], theirs: list[Outcome]) -> list[float]:
    return [one.delivered_per_s / other.delivered_per_s for one, other in zip(ours, theirs, strict=False)]


def _table(outcomes: dict[str, list[Outcome]]) -> Table:
    """The medians of the turns, each with the least and the most of them."""
    rows: dict[str, Callable[[Outcome], float]] = {
        "accepted mails/s": lambda one: one.accepted_per_s,
        "delivered mails/s": lambda one: one.delivered_per_s,
        "CPU ms a mail": lambda one: one.cpu_ms,
        "written a mail, octets": lambda one: one.written,
        "lost": lambda one: one.lost,
        "doubled": lambda one: one.doubled,
    }
    table = Table()
    for column in ("", *outcomes):
        table.add_column(column, justify="right" if column else "left")
    for name, of in rows.items():
        cells = []
        for turns in outcomes.values():
            values = [of(one) for one in turns]
            spread = f" ({shown(min(values))}–{shown(max(values))})" if min(values) < max(values) else ""
            cells.append(shown(statistics.median(values)) + spread)
        table.add_row(name, *cells)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the JSON. Exit code 1 when ours lost or doubled a mail, 2 when it was not measured."""
    parser = argparse.ArgumentParser(description="Flood the intake, and Postfix with Dovecot, in turns, with mail.")
    parser.add_argument("--mails", type=int, default=10_000, help="to each, each turn (default: 10000)")
    parser.add_argument("--size", type=int, default=10_240, help="octets of a body (default: 10240)")
    parser.add_argument("--sessions", type=int, default=50, help="at once, which stay open (default: 50)")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each (default: 1)")
    how = "where the intake runs: a process of its own (default), the gateway's, or both in turns"
    parser.add_argument("--process", choices=(*_PROCESSES, "both"), default="own", help=how)
    parser.add_argument("--ours", action="store_true", help="only ours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    given = parser.parse_args(arguments)
    flood = Flood(given.mails, given.size, given.sessions)
    ours: dict[str, Callable[[], Intake | Postfix]] = {
        f"intake, process: {process}": partial(Intake, flood.sessions, process)
        for process in (_PROCESSES if given.process == "both" else (given.process,))
    }
    kinds = ours if given.ours else {**ours, Postfix.name: Postfix}
    outcomes = compare(flood, given.rounds, kinds, Console(stderr=True))
    if not ours.keys() <= outcomes.keys():
        return 2
    Console().print(_table(outcomes))
    found = ratios(outcomes)
    for name, values in found.items():
        told = f"{statistics.median(values):.2f} × ({min(values):.2f}–{max(values):.2f})"
        Console().print(f"{name}: delivered mails/s against Postfix and Dovecot: {told}; aim: ≥ 1", markup=False)
    if given.json is not None:
        report: dict[str, Any] = {
            "machine": platform.platform(),
            "cores": len(os.sched_getaffinity(0)),
            "flood": asdict(flood),
            "ratios": found,
            "outcomes": {name: [asdict(one) for one in turns] for name, turns in outcomes.items()},
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 1 if any(one.broken for name in ours for one in outcomes[name]) else 0


if __name__ == "__main__":
    sys.exit(main())
