# SPDX-License-Identifier: AGPL-3.0-or-later
"""The disk fails now and then: nothing is acknowledged that is not on it, and it heals without a restart."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from tests.faults import kill9
from tests.faults.disk import Disk
from tests.faults.load import Ledger, Process, join, settle
from tests.faults.needed import DISK, STRACE
from tmtp_client.connection import Connection, Disconnected
from tmtp_core.wire import messages as m

PATIENCE_S = 60.0
POSTS = 100
LARGE = 100_000  # lies in a file
ATTEMPTS = 20


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@STRACE
@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "error", "every"),
    [("fdatasync", "EIO", 11), ("fsync", "EIO", 7), ("pwrite64", "EIO", 499), ("pwrite64", "ENOSPC", 499)],
)
async def test_a_call_that_fails_is_never_acknowledged(tmp_path: Path, call: str, error: str, every: int) -> None:
    """Of such calls of each thread, one in `every` fails: a commit needs one `fdatasync`, or some hundred writes."""
    process = Process(tmp_path, log=tmp_path / "gateway.log")
    await process.start()
    ledger = Ledger()
    devices = await join(process.endpoint(), ledger, random.Random(20264))
    await process.end(signal.SIGTERM)
    trace = tmp_path / "trace"
    process.under = (
        *("strace", "-D", "-f", "--seccomp-bpf", "-q", "-o", str(trace)),
        *("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={every}+{every}"),
    )
    await process.start()
    tasks = [asyncio.create_task(device.run()) for device in devices]
    try:
        await ledger.more(POSTS, PATIENCE_S)
        await ledger.refused(3, PATIENCE_S)
        await ledger.more(POSTS, PATIENCE_S)
        assert process.is_running
        assert "(INJECTED)" in trace.read_text()
        await process.end(signal.SIGKILL)
        process.under = ()
        await process.start()
        for device in devices:
            device.posting = False
        await settle(ledger, devices)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await process.end(signal.SIGTERM)
    kill9.verify(ledger, process)


@DISK
@pytest.mark.slow
async def test_it_outlives_a_disk_that_is_away_for_a_moment(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "store", tmp_path / "mount", seed=20265)
    await disk.mount()
    process = Process(tmp_path, tmp_path / "mount/data", log=tmp_path / "gateway.log")
    tasks: list[asyncio.Task[None]] = []
    try:
        await process.start()
        ledger = Ledger()
        devices = await join(process.endpoint(), ledger, random.Random(20265))
        tasks = [asyncio.create_task(device.run()) for device in devices]
        await ledger.more(POSTS, PATIENCE_S)
        await disk.leave(away=True)
        await ledger.refused(3, PATIENCE_S)
        await disk.leave(away=False)
        await ledger.more(POSTS, PATIENCE_S)
        for device in devices:
            device.posting = False
        await settle(ledger, devices)
        await process.end(signal.SIGTERM)
        kill9.verify(ledger, process)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await process.end(signal.SIGKILL)
        await disk.unmount()


@DISK
@pytest.mark.slow
async def test_the_payload_of_a_failed_commit_stays_until_the_next_one(tmp_path: Path) -> None:
    """The commit may be on the disk all the same, and come back after a power cut; then it needs its payload."""
    disk = Disk(tmp_path / "store", tmp_path / "mount", seed=20266)
    await disk.mount()
    process = Process(tmp_path, tmp_path / "mount/data", log=tmp_path / "gateway.log")
    try:
        await process.start()
        connection = await Connection.open(process.endpoint())
        away = await connection.register("first", "Somebody who is away")  # whose acks would be commits of their own
        await connection.quit()
        connection = await Connection.open(process.endpoint())
        registered = await connection.register("first", "Somebody who posts")
        others = [m.Recipient(away.uid, m.TO_UID)]
        kept: set[str] = set()
        with pytest.raises(Disconnected) as ended:
            for number in range(ATTEMPTS):  # the commit that fails may also be that of an ack
                kept = _names(process.payloads)
                await disk.fail_syncs(1, "-wal")
                await connection.post(f"once {number}", others, bytes(LARGE))
        # A failed commit ends no link without a word: where one ends so, the process died, or was not heard of for long.
        said, log = str(ended.value), (tmp_path / "gateway.log").read_text("utf-8")
        assert "unavailable" in said, f"{said}; after post {number}, {process.is_running=}; its log: {log}"
        await connection.close()
        doubtful = _names(process.payloads) - kept
        assert len(doubtful) == 1

        connection = await Connection.open(process.endpoint())
        await connection.login(registered.uid, registered.nodeid)
        assert kept <= _names(process.payloads)
        assert not doubtful & _names(process.payloads)
        await connection.quit()
    finally:
        await process.end(signal.SIGKILL)
        await disk.unmount()
