# SPDX-License-Identifier: AGPL-3.0-or-later
"""A machine that is lost: backups under load, then `kill -9` and an empty disk, a restore, and what must hold (C1, A4).

    python -m tests.faults.machine_lost --losses 20 --seed 1

The load of `tests.faults.load` goes on before, during and after each backup. Half of the devices are away when it begins,
so that much waits. After the restore, on the same address: whatever was acknowledged before the backup began has come to
each of its devices under its one id; ids have gone on above all that were ever seen.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nacl.public import PrivateKey

from gateway.backup import keys
from tests.faults.load import Device, Ledger, Process, PromiseBroken, join, settle
from tests.support.forked import Loaded
from tmtp_client.connection import AccountKeys, Connection, DeviceKeys, Disconnected, Payload
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

PATIENCE_S = 60
COMMAND_S = 300.0
_LOADED = Loaded("gateway")
LIFE_S = (0.3, 1.0)  # under load, before a backup and after it
_MORE = """\
backup: {{recipient: "{recipient}", to: {folder}, keep: 3}}
"""


class Site:
    """One gateway, where its backups are, and the key of their owner, which is elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backups = folder / "backups"
        self.secret = PrivateKey.generate()
        self.key = folder / "secret-key"
        self.key.write_text(keys.secret_text(self.secret) + "\n")
        recipient = keys.public_text(self.secret.public_key)
        self.process = Process(folder, more=_MORE.format(recipient=recipient, folder=self.backups))

    async def run(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> tuple[int, str]:
        """A command of `tmtp-gateway`: its exit code, and what it said."""
        ended = await _LOADED.run([*map(str, arguments)], environment or os.environ, COMMAND_S)
        return ended.code, (ended.out + ended.err).decode()

    async def back_up(self, *more: str | Path) -> dict[str, object]:
        """Take a backup; what the command told. Raises `PromiseBroken`."""
        code, said = await self.run("backup", "-c", self.process.settings, "--json", *more)
        if code:
            raise PromiseBroken(f"the backup failed: {said}")
        told: dict[str, object] = json.loads(said)
        return told

    async def lose(self) -> None:
        """The machine is gone: whatever the gateway was about, and its disk."""
        await self.process.end(signal.SIGKILL)
        await asyncio.to_thread(shutil.rmtree, self.process.data)

    async def restore(self, *more: str | Path) -> dict[str, object]:
        """The newest backup, to where the lost data was; what the command told. Raises `PromiseBroken`."""
        newest = max(self.backups.glob("*.tmtpbackup"))
        code, said = await self.run("restore", newest, "--key", self.key, "--to", self.process.data, "--json", *more)
        if code:
            raise PromiseBroken(f"the restore failed: {said}")
        told: dict[str, object] = json.loads(said)
        return told


class Person:
    """An account's first device, by its keys."""

    def __init__(self, site: Site, alias: str) -> None:
        self.site = site
        self.alias = alias
        self.keys = AccountKeys.new(os.urandom)
        self.uid = ""
        self.got: list[tuple[m2.StoredEvent, bytes]] = []

    async def open(self) -> Connection:
        return await Connection.open(self.site.process.endpoint(), self._keep, revision="2")

    async def register(self, invite: str | None) -> None:
        connection = await self.open()
        try:
            registered = await connection.register_keys(self.alias, self.keys, self.alias, invite)
            assert not registered.error
            self.uid = registered.uid
        finally:
            await connection.quit()

    @asynccontextmanager
    async def online(self, device: DeviceKeys | None = None) -> AsyncIterator[Connection]:
        connection = await self.open()
        try:
            info = await connection.login_by_key(self.uid, (device or self.keys.device).signer)
            if info.info != "login ok":
                raise Disconnected(info.info)
            yield connection
        finally:
            await connection.quit()

    async def _keep(self, event: m2.StoredEvent, payload: Payload) -> None:
        self.got.append((event, await payload.read()))

    async def has(self, data: bytes) -> m2.StoredEvent:
        """Wait for a delivery."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for event, content in self.got:
                    if isinstance(event, m.Delivery) and content == data:
                        return event
                await asyncio.sleep(0.02)


async def run(losses: int, seed: int, folder: Path, report: bool = False) -> dict[str, int]:
    """Lose the machine `losses` times; figures of the run. Raises `PromiseBroken`."""
    chance = random.Random(seed)
    site = Site(folder)
    await site.process.start()
    ledger = Ledger()
    devices = await join(site.process.endpoint(), ledger, chance)
    figures = {"losses": losses, "acknowledged before a backup": 0, "of them undelivered at the loss": 0, "lost": 0}
    for number in range(losses):
        await _one_loss(site, ledger, devices, chance, figures)
        if report:
            sys.stderr.write(f"\r{number + 1} of {losses} losses ")
    await site.process.end(signal.SIGTERM)
    figures["posts acknowledged"] = len(ledger.acknowledged)
    return figures


async def _one_loss(
    site: Site, ledger: Ledger, devices: list[Device], chance: random.Random, figures: dict[str, int]
) -> None:
    awake = [device for device in devices if device.name.endswith("a")]
    tasks = [asyncio.create_task(device.run()) for device in awake]
    for device in devices:
        device.posting = True
    await asyncio.sleep(chance.uniform(*LIFE_S))
    safe = dict(ledger.acknowledged)
    await site.back_up()
    await asyncio.sleep(chance.uniform(*LIFE_S))
    await site.lose()
    tasks += [asyncio.create_task(device.run()) for device in devices if device not in awake]
    await asyncio.sleep(0.1)  # they try, and nobody is there
    highest = max([*ledger.acknowledged.values(), *(device.highest for device in devices)])
    figures["acknowledged before a backup"] += len(safe)
    _only(ledger, safe)
    figures["of them undelivered at the loss"] += len(ledger.waiting())
    for device in devices:
        device.surely_ids.clear()  # what came after the backup comes again, under ids by which clients know it
    await site.restore()
    before = set(ledger.acknowledged)
    await site.process.start()
    await ledger.more(50, within_s=60)
    for device in devices:
        device.posting = False
    await settle(ledger, devices)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [result for result in results if isinstance(result, Exception)]
    if failed:
        raise failed[0]
    if ledger.broken:
        raise PromiseBroken("\n".join(ledger.broken[:20]))
    missing = ledger.missing()
    if missing:
        raise PromiseBroken(
            f"{len(missing)} deliveries that were acknowledged before the backup are lost: {missing[:9]}"
        )
    lowest = min(ledger.acknowledged[name] for name in ledger.acknowledged.keys() - before)
    if lowest <= highest:
        raise PromiseBroken(f"after the restore {lowest} was given, and {highest} was seen before it")


def _only(ledger: Ledger, safe: dict[str, str]) -> None:
    """What was acknowledged since the backup began may be lost with the machine; and only that."""
    ledger.acknowledged = safe


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--losses", type=int, default=20, help="how often the machine is lost (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="machine-lost-") as folder:
        try:
            figures = asyncio.run(run(arguments.losses, arguments.seed, Path(folder), report=True))
        except PromiseBroken as broken:
            sys.stderr.write(f"\nA promise was broken (seed {arguments.seed}):\n{broken}\n")
            return 1
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
