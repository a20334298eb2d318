# SPDX-License-Identifier: AGPL-3.0-or-later
"""The load under which the service is killed, cut off and starved, and what must hold of it at the end (A4, B3).

Twenty accounts with two devices each post to one another. A device counts a message as *surely acknowledged* once
the service has answered any request that the device sent after its op 10: from then on the message must never come
again. A post that was refused or not answered is tried again under its id.
"""

import asyncio
import contextlib
import random
import signal
import ssl
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench.server import free_port
from tmtp_client.connection import Connection, Disconnected, Endpoint, Payload, Refused
from tmtp_core.errors import UNAVAILABLE
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

ACCOUNTS = 20
PROGRAM = ("-c", "from gateway.program import main; main()")
RETRY_S = 0.05
READY_S = 300.0  # a machine that starts much else at once
SETTLE_S = 120.0
SIZES = (64, 64, 700, 700, 2_000, 90_000)  # the last one lies in a file

_CONFIG = """\
data_dir: {data}
http: {{listen: "127.0.0.1:{http}"}}
log: {{level: error}}
instances:
  - name: load
    policy: public
    registration: open
    registrations: {{per_minute: 0}}  # whole crowds come from one address
    acquaintance: everyone
    database: {database}
    listen: [{{tls: "127.0.0.1:{tls}"}}]
"""


class PromiseBroken(AssertionError):
    """What the service promised did not hold."""


@dataclass
class Ledger:
    """What must hold at the end."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # payload's name -> msgid
    expected: dict[str, set[str]] = field(default_factory=dict)  # payload's name -> devices
    seen: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # device -> payload's name
    repeated: int = 0  # came again before their ack was surely durable: allowed
    broken: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)  # what the service said when it did not store a post
    _complete: set[str] = field(default_factory=set)

    def waiting(self) -> list[tuple[str, str]]:
        """Deliveries of acknowledged posts that have not come yet: (payload's name, device)."""
        waiting: list[tuple[str, str]] = []
        for name in self.acknowledged.keys() - self._complete:
            left = [(name, device) for device in self.expected[name] if not self.seen[device][name]]
            waiting += left
            if not left:
                self._complete.add(name)
        return waiting

    async def more(self, count: int, within_s: float) -> None:
        """Wait until `count` more posts were acknowledged. Raises `PromiseBroken`."""
        before = len(self.acknowledged)
        try:
            async with asyncio.timeout(within_s):
                while len(self.acknowledged) < before + count:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise PromiseBroken(f"nothing more was acknowledged within {within_s} s") from None

    async def refused(self, count: int, within_s: float) -> None:
        """Wait until the service has said `count` times more that it is unavailable for now. Raises `PromiseBroken`."""
        before = self.refusals[UNAVAILABLE]
        try:
            async with asyncio.timeout(within_s):
                while self.refusals[UNAVAILABLE] < before + count:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise PromiseBroken(f"nothing was refused within {within_s} s; links ended: {self.refusals}") from None

    def missing(self) -> list[str]:
        """The same, for people."""
        return [f"{name} at {device}" for name, device in self.waiting()]


class Device:
    """One device: keeps connected, records and acknowledges, posts until told to stop."""

    def __init__(self, name: str, endpoint: Endpoint, ledger: Ledger, chance: random.Random) -> None:
        self.name = name
        self.endpoints = [endpoint]  # it goes to any of them
        self.uid = ""
        self.node = ""
        self.others: list[Device] = []  # of all accounts
        self.posting = True
        self.away_s = 0.0  # it stays away for up to so long whenever its link has ended
        self._ledger = ledger
        self._chance = chance
        self._count = 0
        self._acked: list[str] = []  # messages acknowledged, in order
        self._surely = 0  # up to which of them this is settled
        self.surely_ids: set[str] = set()
        self.pending: tuple[str, list[Device], bytes] | None = None
        self._last_id: str = ""

    @property
    def highest(self) -> str:
        """The highest id that it has acknowledged."""
        return max(self._acked, default="")

    async def record(self, event: m2.StoredEvent, payload: Payload) -> None:
        """One message came; when this returns it is acknowledged."""
        data = await payload.read()
        if event.id in self.surely_ids:
            self._ledger.broken.append(f"{self.name} got {event.id} again after its ack was durable")
        if isinstance(event, m.Delivery):
            name = data[:40].decode().strip()
            seen = self._ledger.seen[self.name]
            seen[name] += 1
            self._ledger.repeated += seen[name] > 1
            if len(data) != event.datalen or data[40:].strip(b"x"):
                self._ledger.broken.append(f"{self.name} got {name} damaged")
            known = self._ledger.acknowledged.get(name)
            if known is not None and known != event.id:
                self._ledger.broken.append(f"{name} came as {event.id} and was acknowledged as {known}")
        self._acked.append(event.id)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                connection = await Connection.open(self._chance.choice(self.endpoints), self.record)
                try:
                    self._surely = len(self._acked)  # what was acknowledged on an earlier link may not have arrived
                    await connection.login(self.uid, self.node)
                    await self._post_for_ever(connection)
                finally:
                    await connection.close()
            except (Disconnected, Refused) as ended:
                self._ledger.refusals[str(ended)] += 1
            except (OSError, ssl.SSLError, TimeoutError):
                pass  # it does not run
            await asyncio.sleep(RETRY_S + self._chance.random() * self.away_s)

    async def _post_for_ever(self, connection: Connection) -> None:
        while connection.is_open:
            if not self.posting and self.pending is None:
                await connection.closed()
                return
            await self._post_once(connection)

    async def _post_once(self, connection: Connection) -> None:
        """The pending post again under its id, or a new one."""
        if self.pending is None:
            self._count += 1
            name = f"{self.name}/{self._count}"
            size = self._chance.choice(SIZES)
            recipients = self._chance.sample(self.others, self._chance.choice((1, 1, 2)))
            self.pending = (name, recipients, name.encode().ljust(40) + b"x" * size)
            self._ledger.expected[name] = {
                device.name
                for device in self.others
                if device is not self and device.uid in {self.uid, *(one.uid for one in recipients)}
            }
            if any(one.uid == self.uid for one in recipients):
                self._ledger.expected[name].add(self.name)
        name, recipients, data = self.pending
        before = len(self._acked) - 1  # the last one's op 10 may not have left yet
        acked = await connection.post(name, [m.Recipient(one.uid, m.TO_UID) for one in recipients], data)
        self._fence(before)
        known = self._ledger.acknowledged.setdefault(name, acked.msgid)
        if known != acked.msgid:
            self._ledger.broken.append(f"{name} was acknowledged as {known} and as {acked.msgid}")
        if acked.msgid <= self._last_id:
            self._ledger.broken.append(f"ids of {self.name} went back: {self._last_id}, {acked.msgid}")
        self._last_id = acked.msgid
        self.pending = None
        await asyncio.sleep(self._chance.random() * 0.01)

    def _fence(self, before: int) -> None:
        """A request was answered that left after the first `before` acks: those are durable."""
        if before > self._surely:
            self.surely_ids.update(self._acked[self._surely : before])
            self._surely = before


class Process:
    """The gateway's process: its settings in `folder`, what it keeps in `data` (`folder`/data).

    `program`: how Python starts it; `under`: the command that starts Python; `log`: where its log goes, if it is to be
    kept from the terminal. `database`: a PostgreSQL that it serves as process `number`, beside others. `more`: settings
    beside those of the load.
    """

    def __init__(
        self,
        folder: Path,
        data: Path | None = None,
        program: tuple[str, ...] = PROGRAM,
        under: tuple[str, ...] = (),
        log: Path | None = None,
        database: str | None = None,
        number: int = 1,
        more: str = "",
    ) -> None:
        self.settings = folder / f"gateway-{number}.yaml"
        self._number = number
        self.data = data or folder / "data"
        self.program = program
        self.under = under
        self._log = log
        self.port = free_port()
        self._http_port = free_port()
        config = _CONFIG.format(
            data=self.data, http=self._http_port, tls=self.port, database="null" if database is None else database
        )
        self.settings.write_text(config + more, "utf-8")
        self._running: asyncio.subprocess.Process | None = None

    async def spawn(self) -> None:
        """Start it, and wait for nothing."""
        which = ("--process", str(self._number), "--http", f"127.0.0.1:{self._http_port}")
        command = (*self.under, sys.executable, *self.program, "serve", "-c", self.settings, *which)
        if self._log is None:
            self._running = await asyncio.create_subprocess_exec(*command)
            return
        with self._log.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(*command, stderr=log)

    async def start(self) -> None:
        """Start it and wait until it accepts."""
        await self.spawn()
        assert self._running is not None
        async with asyncio.timeout(READY_S):
            while True:
                if self._running.returncode is not None:
                    raise PromiseBroken(f"the gateway did not start again: exit code {self._running.returncode}")
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and self._running.returncode is None

    async def ready(self) -> bool:
        """What `/readyz` says."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._http_port)
        try:
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
        finally:
            writer.close()

    async def ended(self) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._running is not None
        async with asyncio.timeout(READY_S):
            return await self._running.wait()

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, and wait for nothing."""
        assert self._running is not None
        self._running.send_signal(number)

    async def end(self, number: signal.Signals) -> None:
        """End it and wait until it is gone."""
        assert self._running is not None
        with contextlib.suppress(ProcessLookupError):
            self._running.send_signal(number)
        await self._running.wait()

    def endpoint(self) -> Endpoint:
        """Where it is. The certificate is not the point here: any pin that its first start made."""
        from gateway.certificates import spki_pin  # noqa: PLC0415 - exists once it has started

        return Endpoint("127.0.0.1", self.port, spki_pin(self.instance / "tls.crt"))

    @property
    def instance(self) -> Path:
        """The folder of its only instance."""
        return self.data / "instances/load"

    @property
    def database(self) -> Path:
        """Its database file."""
        return self.instance / "service.sqlite3"

    @property
    def payloads(self) -> Path:
        """Its folder of large payloads."""
        return self.instance / "payloads"


async def join(endpoint: Endpoint, ledger: Ledger, chance: random.Random) -> list[Device]:
    """Register all accounts and their devices; nobody posts yet."""
    devices: list[Device] = []
    for number in range(ACCOUNTS):
        first = Device(f"{number}a", endpoint, ledger, chance)
        second = Device(f"{number}b", endpoint, ledger, chance)
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def hear(event: m2.StoredEvent, payload: Payload, told: "asyncio.Future[str]" = told) -> None:
            if isinstance(event, m.UserEvent) and event.nodeid is not None:
                told.set_result(event.nodeid)

        connection = await Connection.open(endpoint, hear)
        registered = await connection.register("first", f"Account number {number}")
        await connection.ask(m.UserEdit("second", newnode="second"))
        first.uid = second.uid = registered.uid
        first.node, second.node = registered.nodeid, await told
        await connection.quit()
        devices += [first, second]
    for device in devices:
        device.others = devices
    return devices


async def settle(ledger: Ledger, devices: list[Device]) -> None:
    """Wait until all posts are answered and all deliveries have come."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            while any(device.pending for device in devices) or (ledger.missing() and not ledger.broken):
                await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)  # for what should not come, to come
