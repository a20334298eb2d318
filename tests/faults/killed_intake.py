# SPDX-License-Identifier: AGPL-3.0-or-later
"""`kill -9` of an SMTP intake between 250 and delivery, its service coming and going: 0 lost, 0 doubled (C2).

    python -m tests.faults.killed_intake --kills 100 --seed 1

Senders hand in mails over SMTP, each until it has got its 250, as mail servers do. The intake is killed again and
again; its service is stopped or killed, too, and away for a while. In the end each mail that got 250 must have become
exactly one message for each of its recipients, and those of one author to one recipient in the order in which they were
accepted.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench.server import free_port
from bridges.smtp.policy.replies import SPOOLED
from gateway.logs import configure_logs
from tests.faults.load import READY_S, Process, PromiseBroken
from tests.support.gateway import endpoint, invited, running_gateway
from tmtp_client.connection import AccountKeys, Connection, KeyLogin, Payload, PersistentConnection
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import decode_post_head

SENDERS = 6
LIFE_S = (0.2, 3.0)  # how long an intake lives before it is killed
WAIT_S = 0.2  # how long it waits for its service before it accepts for it
RECONNECT_S = 0.5  # how long it leaves its service alone when that is away
DOMAIN = "partner.example"
ROUTES = {"support@example.org": "Support Desk", "sales@example.org": "Sales Desk"}
CALM = 0.5  # in how many of those with a service the spool is empty at first, so that mail goes past it
CALM_S = 20.0
SERVICE_CHANGES = 0.3  # in how many of the rounds the service goes, or comes back
RETRY_S = 0.1
PAUSES_S = (
    0.0,
    0.02,
    0.1,
    1.0,
)  # between two mails; in the long ones the spool is emptied, and mail goes past it again
REPLY_S = 30.0
SETTLE_S = 180.0
SIZES = (100, 100, 2_000, 60_000)
_NAME = re.compile(r"mail (\S+)$")
_PROGRAM = f"""
from bridges import limits
limits.SERVICE_WAIT_S = limits.SPOOL_LOOK_S = {WAIT_S}
limits.PARSE_WALL_S = 60.0  # a machine that has much else to do is no reason to hold a mail
from tmtp_client import limits
limits.RECONNECT_LONGEST_S = {RECONNECT_S}
from gateway.program import main
main()
"""
_BRIDGES = """\
bridges:
  smtp:
    - name: intake
      instance: load
      hostname: mx.example.org
      process: own
      listen: 127.0.0.1:{port}
      senders: [{{domain: {domain}, proof: [network: 127.0.0.0/8]}}]
      routes: [{routes}]
"""


@dataclass
class Mails:
    """What the senders were told, and what came."""

    accepted: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name -> recipients, in the order of the 250s
    got: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))  # mail, recipient -> ids
    repeated: int = 0  # came again with the same id, as its ack was not durable when the service was killed: allowed
    replies: Counter[str] = field(default_factory=Counter)
    spooled: int = 0

    def missing(self) -> list[tuple[str, str]]:
        """What has not come yet."""
        return [(name, to) for name, recipients in self.accepted.items() for to in recipients if not self.got[name, to]]

    def verify(self) -> None:
        """Raises `PromiseBroken`."""
        lost = self.missing()
        doubled = [one for one, ids in self.got.items() if len(ids) > 1]
        if lost or doubled:
            raise PromiseBroken(f"{len(lost)} lost: {lost[:20]}; {len(doubled)} doubled: {doubled[:20]}")
        lanes: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name, recipients in self.accepted.items():
            for recipient in recipients:
                lanes[name.partition("/")[0], recipient].append(name)
        for (sender, recipient), names in lanes.items():
            came = sorted(names, key=lambda name: next(iter(self.got[name, recipient])))
            if came != names:
                raise PromiseBroken(f"mails of {sender} to {recipient} have overtaken each other: {came} of {names}")


class Intake:
    """The process that is killed: `tmtp-gateway bridge smtp`, with less patience."""

    def __init__(self, settings: Path, port: int, log: Path) -> None:
        self._settings = settings
        self._port = port
        self._log = log
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        command = ("-c", _PROGRAM, "bridge", "smtp", "-c", self._settings, "--name", "intake")
        with self._log.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=log, stderr=log)
        async with asyncio.timeout(READY_S):
            while True:
                if self._running.returncode is not None:
                    raise PromiseBroken(f"the intake did not start again: {self._log.read_text('utf-8')[-4_000:]}")
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def end(self, number: signal.Signals) -> None:
        """End it, and wait until it is gone."""
        assert self._running is not None
        with contextlib.suppress(ProcessLookupError):
            self._running.send_signal(number)
        await self._running.wait()


class Sender:
    """An author whose mail server tries each mail until it is taken, and then the next one."""

    def __init__(self, number: int, port: int, mails: Mails, chance: random.Random) -> None:
        self.sending = True
        self.may = asyncio.Event()  # begin another mail
        self.may.set()
        self._name = f"s{number}"
        self._port = port
        self._mails = mails
        self._chance = chance
        self._count = 0

    async def run(self) -> None:
        """Until told to stop; the last mail is taken then."""
        while self.sending:
            await self.may.wait()
            self._count += 1
            name = f"{self._name}/{self._count}"
            recipients = tuple(self._chance.sample(list(ROUTES), self._chance.choice((1, 1, 2))))
            mail = self._mail(name, self._chance.choice(SIZES))
            while not await self._taken(mail, recipients):
                await asyncio.sleep(RETRY_S)
            self._mails.accepted[name] = recipients
            await asyncio.sleep(self._chance.random() * self._chance.choice(PAUSES_S))

    def _mail(self, name: str, size: int) -> bytes:
        author = f"{self._name}@{DOMAIN}"
        head = (
            f"From: {author}\r\nTo: desk@example.org\r\nSubject: mail {name}\r\nMessage-ID: <{name}@{DOMAIN}>\r\n\r\n"
        )
        return head.encode() + b"x" * 60 + b"\r\n" + (b"y" * 70 + b"\r\n") * (size // 72)

    async def _taken(self, mail: bytes, recipients: tuple[str, ...]) -> bool:
        """One transaction on a connection of its own."""
        try:
            async with asyncio.timeout(REPLY_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    said = await self._talk(reader, writer, mail, recipients)
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            self._mails.replies[type(error).__name__] += 1
            return False
        self._mails.replies[said[:3]] += 1
        self._mails.spooled += said == SPOOLED
        if said.startswith("5"):
            raise PromiseBroken(f"a vetted sender was refused: {said}")
        return said.startswith("250")

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mail: bytes, recipients: tuple[str, ...]
    ) -> str:
        said = await self._reply(reader)
        lines = ["EHLO client.example", f"MAIL FROM:<{self._name}@{DOMAIN}>"]
        lines += [f"RCPT TO:<{one}>" for one in recipients]
        for line in [*lines, "DATA"]:
            if not said.startswith("2"):
                return said
            writer.write(f"{line}\r\n".encode())
            said = await self._reply(reader)
        if not said.startswith("354"):
            return said
        writer.write(mail + b".\r\n")
        await writer.drain()
        return await self._reply(reader)

    async def _reply(self, reader: asyncio.StreamReader) -> str:
        while True:
            line = (await reader.readuntil(b"\n")).decode()
            if line[3:4] != "-":
                return line.strip()


@dataclass
class Desk:
    """A member at the other end, who comes back whenever the service does."""

    recipient: str
    login: KeyLogin
    mails: Mails

    async def record(self, event: m2.StoredEvent, payload: Payload) -> None:
        """One message came; when this returns it is acknowledged."""
        data = await payload.read()
        if not isinstance(event, m.Delivery):
            return
        found = _NAME.search(decode_post_head(data[: event.datahead]).subject)
        if found is None:
            raise PromiseBroken(f"a message that nobody sent: {data[:200]!r}")
        ids = self.mails.got[found[1], self.recipient]
        self.mails.repeated += event.id in ids
        ids.add(event.id)


async def run(kills: int, seed: int, folder: Path, report: bool = False) -> dict[str, int]:
    """Kill the intake `kills` times; figures of the run. Raises `PromiseBroken`."""
    chance = random.Random(seed)
    mails, port = Mails(), free_port()
    routes = ", ".join(f"{{recipient: {recipient}, to: {alias}}}" for recipient, alias in ROUTES.items())
    bridges = _BRIDGES.format(domain=DOMAIN, port=port, routes=routes)
    service = Process(folder, log=folder / "gateway.log", more=bridges)
    intake = Intake(service.settings, port, folder / "intake.log")
    desks = await seated(service, folder, mails)
    await service.start()
    links = [PersistentConnection(service.endpoint(), desk.login, desk.record) for desk in desks]
    senders = [Sender(number, port, mails, random.Random(f"{seed}/{number}")) for number in range(SENDERS)]
    await intake.start()
    tasks = [asyncio.create_task(sender.run()) for sender in senders]
    changes = 0
    try:
        for kill in range(kills):
            if chance.random() < CALM and service.is_running:
                await calm(senders, service)
            await asyncio.sleep(chance.uniform(*LIFE_S))
            if chance.random() < SERVICE_CHANGES:
                changes += 1
                await changed(service, chance)
                await asyncio.sleep(chance.uniform(*LIFE_S))
            await intake.end(signal.SIGKILL)
            await intake.start()
            if report and (kill + 1) % 10 == 0:
                sys.stderr.write(f"\r{kill + 1} of {kills} kills, {len(mails.accepted)} mails accepted ")
            for task in tasks:
                if task.done():
                    await task
        if not service.is_running:
            await service.start()
        for sender in senders:
            sender.sending = False
        await asyncio.wait_for(asyncio.gather(*tasks), SETTLE_S)
        await settled(mails)
        waiting = spooled(service)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in links:
            await link.stop()
        await intake.end(signal.SIGTERM)
        if service.is_running:
            await service.end(signal.SIGTERM)
    mails.verify()
    if waiting:
        raise PromiseBroken(f"delivered mails were kept in the spool: {waiting}")
    return {
        "kills": kills,
        "times the service went or came": changes,
        "mails accepted": len(mails.accepted),
        "of them while the service was away": mails.spooled,
        "tries that had no 250": sum(count for said, count in mails.replies.items() if said != "250"),
        "messages": len(mails.got),
        "repeated before their ack was durable": mails.repeated,
        "lost": 0,
        "doubled": 0,
    }


async def changed(service: Process, chance: random.Random) -> None:
    """The service goes, politely or not; or it comes back."""
    if service.is_running:
        await service.end(chance.choice((signal.SIGTERM, signal.SIGKILL)))
    else:
        await service.start()


def spooled(service: Process) -> list[str]:
    """What is in the intake's spool."""
    return sorted(path.name for path in (service.data / "bridges/intake/waiting").iterdir())


async def calm(senders: list[Sender], service: Process) -> None:
    """No new mail until the spool is empty, or for a while."""
    for sender in senders:
        sender.may.clear()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CALM_S):
            while spooled(service):
                await asyncio.sleep(0.05)
    for sender in senders:
        sender.may.set()


async def settled(mails: Mails) -> None:
    """Wait until all has come."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            while mails.missing():
                await asyncio.sleep(0.1)
    await asyncio.sleep(2.0)  # for what should not come, to come


async def seated(service: Process, folder: Path, mails: Mails) -> list[Desk]:
    """A member at the end of each route, of the service before it is a process of its own."""
    beginning = folder / "beginning"
    beginning.mkdir()
    desks: list[Desk] = []
    async with running_gateway(beginning, service.settings.read_text("utf-8")) as gateway:
        key = gateway.instances["load"].service.identity.public
        for recipient, alias in ROUTES.items():
            keys = AccountKeys.new(os.urandom)
            token = (await invited(gateway, "load", alias)).token
            connection = await Connection.open(endpoint(gateway, "load"), revision="2")
            registered = await connection.register_keys(alias, keys, alias, token)
            await connection.quit()
            desks.append(Desk(recipient, KeyLogin(registered.uid, keys.device.signer, key), mails))
    return desks


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="how often the intake is killed (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    arguments = parser.parse_args()
    configure_logs("error", "console")
    with tempfile.TemporaryDirectory(prefix="killed-intake-") as folder:
        try:
            figures = asyncio.run(run(arguments.kills, arguments.seed, Path(folder), report=True))
        except PromiseBroken as broken:
            sys.stderr.write(f"\nA promise was broken (seed {arguments.seed}):\n{broken}\n")
            return 1
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
