# SPDX-License-Identifier: AGPL-3.0-or-later
"""The disk is full: posts are refused for now, nothing acknowledged is lost, and room heals it without a restart."""

import asyncio
import contextlib
import random
import signal
from pathlib import Path

import pytest

from tests.faults import kill9
from tests.faults.load import Ledger, Process, join, settle
from tests.faults.needed import ROOT, small_disk

SIZE_MIB = 24
REFUSALS = 30
PATIENCE_S = 60.0


@ROOT
@pytest.mark.slow
async def test_it_refuses_while_the_disk_is_full_and_heals_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", SIZE_MIB):
        process = Process(tmp_path, tmp_path / "disk/data", log=tmp_path / "gateway.log")
        await process.start()
        ledger = Ledger()
        devices = await join(process.endpoint(), ledger, random.Random(20263))
        tasks = [asyncio.create_task(device.run()) for device in devices]
        try:
            await ledger.more(100, PATIENCE_S)
            for killed in (False, True):
                ballast = _fill(tmp_path / "disk/ballast")
                await ledger.refused(REFUSALS, PATIENCE_S)
                assert process.is_running
                assert not await process.ready()
                if killed:  # what was acknowledged before and meanwhile must be there
                    await process.end(signal.SIGKILL)
                ballast.unlink()
                if killed:
                    await process.start()
                await ledger.more(100, PATIENCE_S)
                assert await process.ready()
            for device in devices:
                device.posting = False
            await settle(ledger, devices)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await process.end(signal.SIGTERM)
        kill9.verify(ledger, process)


@ROOT
@pytest.mark.slow
async def test_a_start_on_a_full_disk_asks_for_room_and_for_no_backup(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with small_disk(tmp_path / "disk", SIZE_MIB):
        process = Process(tmp_path, tmp_path / "disk/data", log=log)
        await process.start()
        await process.end(signal.SIGKILL)
        process.database.with_name("service.sqlite3-shm").unlink()  # gone, as after a power cut
        ballast = _fill(tmp_path / "disk/ballast")
        await process.spawn()
        assert await process.ended() == 1
        assert "make room on its disk" in log.read_text()
        assert "restore" not in log.read_text()
        ballast.unlink()
        await process.start()
        await process.end(signal.SIGTERM)


def _fill(path: Path) -> Path:
    """Leave no room."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path
