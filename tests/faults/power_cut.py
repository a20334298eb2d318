# SPDX-License-Identifier: AGPL-3.0-or-later
"""Power cuts under load: nothing acknowledged is lost, nothing comes twice, and what is on the disk is whole (A4, B3).

    python -m tests.faults.power_cut --cuts 200 --seed 1 [--failing-syncs] [--altered without_payload_sync]

The gateway's data lies on a disk of our own (`tests.faults.disk`), which holds back what was not synced. At a random
moment the disk stops and keeps a random part of that; then the process is killed, what the disk holds is examined,
and the gateway starts again from it. Half of the processes checkpoint often (`tests.faults.altered`), and some are cut
off while they start. `--failing-syncs`: before most cuts some syncs fail with EIO, and what they had to write is lost.
"""

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults import altered
from tests.faults.disk import Disk
from tests.faults.load import PROGRAM, Device, Ledger, Process, PromiseBroken, join, settle
from tmtp_core.ids import message_id_text

LIFE_S = (0.0, 0.8)  # how long a process acknowledges posts before the cut
LOAD_S = 60.0  # and how long it may take until it does
LONG_LIFE_S = 2.5  # of some: long enough for the checkpoints that empty the log
LONG_ONE_IN = 6
STARTING_S = (0.1, 1.2)  # how long one lives that is cut off while it starts, or just afterwards
STARTING_ONE_IN = 8
FAILING_SYNCS_MAX = 4
AWAY_S = 5.0  # at most, of every second device, so that messages wait through several cuts


class Lost(PromiseBroken):
    """What was acknowledged is not on the disk, or not whole."""


class PowerCuts:
    """One run: a gateway, its load, and its disk, in `folder`."""

    def __init__(self, seed: int, folder: Path, alteration: str | None = None, failing_syncs: bool = False) -> None:
        self.ledger = Ledger()
        self.count: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._disk = Disk(folder / "store", folder / "mount", seed)
        self._examined = folder / "examined"
        self._alteration = alteration
        self._failing_syncs = failing_syncs
        self._process = Process(folder, folder / "mount/data", log=folder / "gateway.log")
        self._devices: list[Device] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Mount, serve, register, begin to post."""
        await self._disk.mount()
        self._choose_program()
        await self._process.start()
        self._devices = await join(self._process.endpoint(), self.ledger, self._chance)
        for device in self._devices[1::2]:
            device.away_s = AWAY_S
        self._tasks = [asyncio.create_task(device.run()) for device in self._devices]

    async def cut(self) -> None:
        """One cut; what the disk holds afterwards is examined, and the gateway runs again. Raises `PromiseBroken`."""
        if not self._alteration:  # with data lost, nobody may be let in any more
            await self.ledger.more(1, LOAD_S)
        long = self._chance.randrange(LONG_ONE_IN) == 0
        await asyncio.sleep(LONG_LIFE_S if long else self._chance.uniform(*LIFE_S))
        if self._failing_syncs and self._chance.random() < 0.8:
            suffix = self._chance.choice(("-wal", "-wal", ".sqlite3", ""))
            await self._disk.fail_syncs(self._chance.randint(1, FAILING_SYNCS_MAX), suffix)
            await asyncio.sleep(self._chance.uniform(*LIFE_S) / 4)
        await self._lose_power()
        if self._chance.randrange(STARTING_ONE_IN) == 0:
            await self._process.spawn()
            await asyncio.sleep(self._chance.uniform(*STARTING_S))
            await self._lose_power()
        await self._process.start()

    async def finish(self) -> None:
        """No more posts; everything is delivered. Raises `PromiseBroken`."""
        for device in self._devices:
            device.posting = False
        await settle(self.ledger, self._devices)
        await self._stop_posting()
        await self._process.end(signal.SIGTERM)
        await self._disk.save()
        self._examine()
        missing = self.ledger.missing()
        if missing:
            raise Lost(f"{len(missing)} acknowledged deliveries have not come: {missing[:20]}")

    async def close(self) -> None:
        """End everything. Idempotent."""
        await self._stop_posting()
        if self._process.is_running:
            await self._process.end(signal.SIGKILL)
        await self._disk.unmount()

    async def _lose_power(self) -> None:
        self.count.update(await self._disk.cut())
        self.count["cuts"] += 1
        if not self._process.is_running:
            raise PromiseBroken("the gateway ended before the cut")
        await self._process.end(signal.SIGKILL)
        await self._disk.unmount()
        self._examine()
        await self._disk.mount()
        self._choose_program()

    def _choose_program(self) -> None:
        choice = self._alteration or self._chance.choice((None, altered.checkpoints_often.__name__))
        self._process.program = PROGRAM if choice is None else altered.program(choice)

    async def _stop_posting(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [result for result in results if isinstance(result, Exception)]
        if failed:
            raise failed[0]

    def _examine(self) -> None:
        """Look at a copy of what the disk holds, as the next start will find it. Raises `PromiseBroken`."""
        if self.ledger.broken and not self._alteration:
            raise PromiseBroken("\n".join(self.ledger.broken[:20]))
        instance = self._disk.store / "data/instances/load"
        if not (instance / "service.sqlite3").exists():
            raise Lost("the database is gone")
        shutil.rmtree(self._examined, ignore_errors=True)
        self._examined.mkdir()
        for name in ("service.sqlite3", "service.sqlite3-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(instance / name, self._examined)
        try:
            with contextlib.closing(sqlite3.connect(self._examined / "service.sqlite3")) as database:
                self._examine_database(database)
                _examine_payloads(database, instance / "payloads")
        except sqlite3.Error as error:
            raise Lost(f"the database cannot be read: {error}") from None

    def _examine_database(self, database: sqlite3.Connection) -> None:
        """Whole; every acknowledged delivery that has not come is queued; none that is surely acknowledged."""
        sound = database.execute("PRAGMA integrity_check").fetchall()
        if sound != [("ok",)]:
            raise Lost(f"integrity_check: {sound[:5]}")
        keys = database.execute("SELECT uid, device.key FROM device JOIN account ON account.key = account ORDER BY 2")
        by_uid: dict[str, list[int]] = {}
        for uid, key in keys:
            by_uid.setdefault(uid, []).append(key)
        if any(device.uid not in by_uid for device in self._devices):
            raise Lost("an account is gone")
        key_of = {device.name: by_uid[device.uid][device.name.endswith("b")] for device in self._devices}
        queued = set(database.execute("SELECT device, queue.message FROM queue JOIN message ON number = queue.message"))
        lost = [
            f"{name} at {device}"
            for name, device in self.ledger.waiting()
            if (key_of[device], int(self.ledger.acknowledged[name], 16)) not in queued
        ]
        if lost:
            raise Lost(f"{len(lost)} acknowledged deliveries are lost: {lost[:20]}")
        if self._alteration:  # what it forgets first, mostly, is an ack; it is to lose a message
            return
        device_of = {key_of[device.name]: device for device in self._devices}
        for key, number in queued:
            if message_id_text(number) in device_of[key].surely_ids:
                raise PromiseBroken(f"{device_of[key].name} will get {number} again after its ack was durable")


def _examine_payloads(database: sqlite3.Connection, payloads: Path) -> None:
    """Every file that a message names is there with all that was posted."""
    for number, size, file in database.execute("SELECT number, size, file FROM message WHERE file IS NOT NULL"):
        try:
            content = (payloads / file).read_bytes()
        except FileNotFoundError:
            raise Lost(f"the payload of message {number} is gone") from None
        if len(content) != size or content[40:].strip(b"x"):
            raise Lost(f"the payload of message {number} is not whole")


async def run(cuts: int, seed: int, folder: Path, failing_syncs: bool = False, report: bool = False) -> dict[str, int]:
    """Cut the power `cuts` times; figures of the run. Raises `PromiseBroken`."""
    cutting = PowerCuts(seed, folder, failing_syncs=failing_syncs)
    try:
        await cutting.start()
        while cutting.count["cuts"] < cuts:
            await cutting.cut()
            if report:
                done = f"{cutting.count['cuts']} of {cuts} cuts, {len(cutting.ledger.acknowledged)} posts acknowledged"
                sys.stderr.write(f"\r{done} ")
        await cutting.finish()
    finally:
        await cutting.close()
    return {
        **cutting.count,
        "posts acknowledged": len(cutting.ledger.acknowledged),
        "deliveries": sum(sum(seen.values()) for seen in cutting.ledger.seen.values()),
        "repeated before their ack was durable": cutting.ledger.repeated,
        "lost": 0,
        "repeated after": 0,
    }


async def loses(alteration: str, cuts_max: int, seed: int, folder: Path) -> str | None:
    """What an altered gateway loses within so many cuts; None when it loses nothing."""
    cutting = PowerCuts(seed, folder, alteration)
    try:
        await cutting.start()
        for _ in range(cuts_max):
            await cutting.cut()
    except PromiseBroken as lost:
        return f"at cut {cutting.count['cuts']}: {lost}"
    finally:
        await cutting.close()
    return None


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cuts", type=int, default=200, help="how often the power fails (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    parser.add_argument("--failing-syncs", action="store_true", help="syncs fail with EIO before most cuts")
    parser.add_argument(
        "--altered", choices=sorted(altered.ALTERED), help="an altered gateway; those `without_…` must lose something"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="power-cut-") as name:
        folder = Path(name)
        try:
            if arguments.altered:
                lost = asyncio.run(loses(arguments.altered, arguments.cuts, arguments.seed, folder))
                sys.stdout.write(f"{arguments.altered}: {lost or 'nothing was lost'}\n")
                return 0
            figures = asyncio.run(run(arguments.cuts, arguments.seed, folder, arguments.failing_syncs, report=True))
        except PromiseBroken as broken:
            sys.stderr.write(f"\nA promise was broken (seed {arguments.seed}):\n{broken}\n")
            return 1
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
