# SPDX-License-Identifier: AGPL-3.0-or-later
"""The disk is full: posts are refused for now, nothing acknowledged is lost, and room heals it without a restart."""

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import pytest

from tests.faults import kill9
from tests.faults.load import Ledger, Process, join, settle
from tests.faults.needed import ROOT, small_disk
from tmtp_client.connection import Connection, Disconnected, Refused
from tmtp_core.wire import messages as m

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


def _fill(path: Path, leave: int = 0) -> Path:
    """Leave no room, or about so many octets."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while not leave or os.statvfs(path).f_bavail * os.statvfs(path).f_bsize > leave:
            file.write(bytes(4096))
    return path


@ROOT
@pytest.mark.slow
async def test_a_post_that_takes_the_last_room_gives_it_back(tmp_path: Path) -> None:
    """Its payload fits, and its commit does not; what is refused must not keep the room that the next commit needs."""
    with small_disk(tmp_path / "disk", SIZE_MIB):
        process = Process(tmp_path, tmp_path / "disk/data", log=tmp_path / "gateway.log")
        await process.start()
        try:
            connection = await Connection.open(process.endpoint())
            away = await connection.register("first", "Somebody who is away")
            await connection.quit()
            connection = await Connection.open(process.endpoint())
            registered = await connection.register("first", "Somebody who posts")
            others = [m.Recipient(away.uid, m.TO_UID)]
            _fill(tmp_path / "disk/ballast", leave=1_000_000)
            room = os.statvfs(tmp_path / "disk")
            with contextlib.suppress(Disconnected, Refused):
                await connection.post("large", others, bytes(room.f_bavail * room.f_bsize // 4096 * 4096 - 20_480))
            await connection.close()
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    with contextlib.suppress(Disconnected, Refused):
                        connection = await Connection.open(process.endpoint())
                        await connection.login(registered.uid, registered.nodeid)
                        await connection.post("small", others, b"x")
                        break
                    await asyncio.sleep(0.2)
            await connection.quit()
        finally:
            await process.end(signal.SIGKILL)
