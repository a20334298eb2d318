# SPDX-License-Identifier: AGPL-3.0-or-later
"""`kill -9` at random moments under load: nothing acknowledged is lost, nothing comes twice (A4, B3).

    python -m tests.faults.kill9 --kills 200 --seed 1

The gateway's process is killed again and again under the load of `tests.faults.load`.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path

from tests.faults.load import Ledger, Process, PromiseBroken, join, settle

LIFE_S = (0.02, 0.8)  # how long a process is under load before it is killed


async def run(kills: int, seed: int, folder: Path, report: bool = False) -> dict[str, int]:
    """Kill it `kills` times; figures of the run. Raises `PromiseBroken`."""
    chance = random.Random(seed)
    process = Process(folder)
    await process.start()
    ledger = Ledger()
    devices = await join(process.endpoint(), ledger, chance)
    tasks = [asyncio.create_task(device.run()) for device in devices]
    try:
        for kill in range(kills):
            await asyncio.sleep(chance.uniform(*LIFE_S))
            await process.end(signal.SIGKILL)
            await process.start()
            if report and (kill + 1) % 10 == 0:
                sys.stderr.write(f"\r{kill + 1} of {kills} kills, {len(ledger.acknowledged)} posts acknowledged ")
            if ledger.broken:
                break
        for device in devices:
            device.posting = False
        await settle(ledger, devices)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await process.end(signal.SIGTERM)
    failed = [result for result in results if isinstance(result, Exception)]
    if failed:
        raise failed[0]
    verify(ledger, process)
    return {
        "kills": kills,
        "posts acknowledged": len(ledger.acknowledged),
        "deliveries": sum(sum(seen.values()) for seen in ledger.seen.values()),
        "repeated before their ack was durable": ledger.repeated,
        "lost": 0,
        "repeated after": 0,
    }


def verify(ledger: Ledger, process: Process) -> None:
    """Nothing was lost, nothing came twice, nothing was kept; the gateway has stopped. Raises `PromiseBroken`."""
    if ledger.broken:
        raise PromiseBroken("\n".join(ledger.broken[:20]))
    missing = ledger.missing()
    if missing:
        raise PromiseBroken(f"{len(missing)} acknowledged deliveries are lost: {missing[:20]}")
    with contextlib.closing(sqlite3.connect(process.database)) as database:
        sound = database.execute("PRAGMA integrity_check").fetchall()
        if sound != [("ok",)]:
            raise PromiseBroken(f"integrity_check: {sound}")
        left = {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("message", "queue")
        }
    unnamed = len(list(process.payloads.iterdir()))
    logins = left["queue"]  # a last `login` message may wait for the devices that were cut off at the end
    if left["message"] > logins or unnamed:
        raise PromiseBroken(f"delivered messages were kept: {left}, {unnamed} payload files")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="how often the process is killed (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill9-") as folder:
        try:
            figures = asyncio.run(run(arguments.kills, arguments.seed, Path(folder), report=True))
        except PromiseBroken as broken:
            sys.stderr.write(f"\nA promise was broken (seed {arguments.seed}):\n{broken}\n")
            return 1
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
