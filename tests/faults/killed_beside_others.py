# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two gateway processes on one PostgreSQL, one of them killed again and again: nothing is lost, nothing comes twice.

    python -m tests.faults.killed_beside_others --kills 100 --seed 1

Devices go to either process; when theirs dies they go on at the other, and some come back (A4; docs/scaling.md).
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
from pathlib import Path

from bench.postgresql import Cluster
from tests.faults.load import Ledger, Process, PromiseBroken, join, settle

LIFE_S = (0.1, 1.5)  # how long both are under load before one is killed
AWAY_S = (0.0, 1.0)  # how long it is gone
BURIAL_S = 60.0  # nobody is buried in the first seconds of a database, nor by who has just come


async def run(kills: int, seed: int, folder: Path, cluster: Cluster, report: bool = False) -> dict[str, int]:
    """Kill one or the other `kills` times; figures of the run. Raises `PromiseBroken`."""
    chance = random.Random(seed)
    database = cluster.new_database()
    processes = [Process(folder, database=database, number=number) for number in (1, 2)]
    for process in processes:
        await process.start()
    ledger = Ledger()
    devices = await join(processes[0].endpoint(), ledger, chance)
    for device in devices:
        device.endpoints = [process.endpoint() for process in processes]
    tasks = [asyncio.create_task(device.run()) for device in devices]
    try:
        for kill in range(kills):
            await asyncio.sleep(chance.uniform(*LIFE_S))
            process = chance.choice(processes)
            await process.end(signal.SIGKILL)
            await asyncio.sleep(chance.uniform(*AWAY_S))
            await process.start()
            if report and (kill + 1) % 10 == 0:
                sys.stderr.write(f"\r{kill + 1} of {kills} kills, {len(ledger.acknowledged)} posts acknowledged ")
            if ledger.broken:
                break
        for device in devices:
            device.posting = False
        await settle(ledger, devices)
        await buried(cluster, database, len(processes))
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for process in processes:
            await process.end(signal.SIGTERM)
    failed = [result for result in results if isinstance(result, Exception)]
    if failed:
        raise failed[0]
    verify(ledger, processes[0], cluster, database)
    return {
        "kills": kills,
        "posts acknowledged": len(ledger.acknowledged),
        "deliveries": sum(sum(seen.values()) for seen in ledger.seen.values()),
        "repeated before their ack was durable": ledger.repeated,
        "lost": 0,
        "repeated after": 0,
    }


async def buried(cluster: Cluster, database: str, alive: int) -> None:
    """Wait until those that live have buried those that were killed. Raises `PromiseBroken`."""
    try:
        async with asyncio.timeout(BURIAL_S):
            while int(cluster.ask("SELECT count(*) FROM process", database)[0]) > alive:
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise PromiseBroken(f"processes that were killed are not buried within {BURIAL_S} s") from None


def verify(ledger: Ledger, process: Process, cluster: Cluster, database: str) -> None:
    """Nothing was lost, nothing came twice, nothing was kept; both have stopped. Raises `PromiseBroken`."""
    if ledger.broken:
        raise PromiseBroken("\n".join(ledger.broken[:20]))
    missing = ledger.missing()
    if missing:
        raise PromiseBroken(f"{len(missing)} acknowledged deliveries are lost: {missing[:20]}")
    kept = int(cluster.ask("SELECT count(*) FROM message WHERE size > 0", database)[0])
    unclaimed = int(
        cluster.ask(
            "SELECT count(*) FROM message AS m WHERE NOT EXISTS (SELECT 1 FROM queue WHERE message = m.number)",
            database,
        )[0]
    )
    if kept or unclaimed:
        raise PromiseBroken(f"delivered messages were kept: {kept} with content, {unclaimed} for nobody")
    left = cluster.ask("SELECT (SELECT count(*) FROM process) + (SELECT count(*) FROM link)", database)
    if left != ["0"]:
        raise PromiseBroken(f"{left[0]} leases of processes and links were left by processes that are gone")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="how often one of them is killed (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    arguments = parser.parse_args()
    cluster = Cluster()
    cluster.start()
    with tempfile.TemporaryDirectory(prefix="killed-") as folder:
        try:
            figures = asyncio.run(run(arguments.kills, arguments.seed, Path(folder), cluster, report=True))
        except PromiseBroken as broken:
            sys.stderr.write(f"\nA promise was broken (seed {arguments.seed}):\n{broken}\n")
            return 1
        finally:
            cluster.remove()
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
