# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of the power cuts, and the runs that must lose something; the long one is `tests.faults.power_cut`."""

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import altered, power_cut
from tests.faults.disk import Disk
from tests.faults.load import Process
from tests.faults.needed import DISK
from tests.faults.volatile import SECTOR_BYTES, File, Folder
from tests.support.night import NIGHTLY
from tmtp_client.connection import Connection
from tmtp_client.connection.link import LOGIN_OK

CUTS = {False: 1_000, True: 200} if NIGHTLY else {False: 6, True: 6}  # without and with syncs that fail
FIRST_STARTS = 60 if NIGHTLY else 4
FIRST_S = (0.2, 1.5)  # most of a start, and some moments after it
CUTS_MAX = 30  # of a run that must lose something: it does at the first or second


@DISK
@pytest.mark.slow
@pytest.mark.parametrize("failing_syncs", [False, True])
async def test_nothing_is_lost_or_doubled(tmp_path: Path, failing_syncs: bool) -> None:
    cuts = CUTS[failing_syncs]
    figures = await power_cut.run(cuts, seed=20261, folder=tmp_path, failing_syncs=failing_syncs)
    assert figures["cuts"] >= cuts
    assert figures["posts acknowledged"] > cuts
    taken = sum(figures.get(what, 0) for what in ("changes lost", "changes torn", "names lost"))
    assert taken > cuts, "the disk had nothing to lose: no cut proved anything"
    assert bool(figures.get("syncs failed")) is failing_syncs


@DISK
@pytest.mark.slow
@pytest.mark.parametrize(
    "alteration", [altered.without_synchronous, altered.without_payload_sync, altered.without_folder_sync]
)
async def test_it_sees_what_a_missing_sync_loses(tmp_path: Path, alteration: object) -> None:
    lost = await power_cut.loses(alteration.__name__, CUTS_MAX, seed=20262, folder=tmp_path)  # type: ignore[attr-defined]
    assert lost is not None


@DISK
@pytest.mark.slow
async def test_a_first_start_that_is_cut_off_begins_anew(tmp_path: Path) -> None:
    chance = random.Random(20263)
    for number in range(FIRST_STARTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        disk = Disk(folder / "store", folder / "mount", seed=number)
        process = Process(folder, folder / "mount/data", log=folder / "gateway.log")
        try:
            await disk.mount()
            await process.spawn()
            await asyncio.sleep(chance.uniform(*FIRST_S))
            await _lose_power(disk, process)
            await process.start()
            connection = await Connection.open(process.endpoint())
            registered = await connection.register("first", "The only account")
            await connection.close()
            await _lose_power(disk, process)
            await process.start()
            connection = await Connection.open(process.endpoint())  # under the same certificate as before the cut
            assert (await connection.login(registered.uid, registered.nodeid)).info == LOGIN_OK
            await connection.close()
        finally:
            await process.end(signal.SIGKILL)
            await disk.unmount()


async def _lose_power(disk: Disk, process: Process) -> None:
    await disk.cut()
    await process.end(signal.SIGKILL)
    await disk.unmount()
    await disk.mount()


# -- the disk itself -------------------------------------------------------------------------------------------------
def test_a_cut_takes_nothing_that_was_synced() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        folder, file = Folder(0o40700), File(0o100600)
        folder.change({"new": file})
        folder.change({"new": None, "name": file})
        file.write(0, bytes([1]) * 3 * SECTOR_BYTES)
        file.sync()
        folder.sync()
        file.write(SECTOR_BYTES, bytes([2]) * SECTOR_BYTES)
        file.write(3 * SECTOR_BYTES, bytes([3]) * 100)
        folder.change({"name": None, "other": file})
        folder.cut(chance, Counter())
        (name, kept), *more = folder.names.items()
        assert kept is file
        assert name in ("name", "other")
        assert not more
        sectors = [bytes(file.content[at : at + SECTOR_BYTES]) for at in range(0, len(file.content), SECTOR_BYTES)]
        assert sectors[0] == sectors[2] == bytes([1]) * SECTOR_BYTES
        assert sectors[1] in (bytes([1]) * SECTOR_BYTES, bytes([2]) * SECTOR_BYTES)
        assert sectors[3:] in ([], [bytes(100)], [bytes([3]) * 100])


def test_a_cut_takes_any_part_of_what_was_not() -> None:
    seen: set[bytes] = set()
    names: set[frozenset[str]] = set()
    for seed in range(300):
        folder, file = Folder(0o40700), File(0o100600)
        folder.change({"kept": file})
        folder.sync()
        file.write(0, b"a" * SECTOR_BYTES + b"b" * SECTOR_BYTES)
        file.resize(SECTOR_BYTES)
        folder.change({"one": File(0o100600)})
        folder.change({"two": File(0o100600)})
        folder.cut(random.Random(seed), Counter())
        seen.add(bytes(file.content[::SECTOR_BYTES]))
        names.add(frozenset(folder.names))
    assert seen == {b"", b"a", b"\0", b"ab", b"\0b", b"a\0", b"\0\0"}
    assert names == {frozenset({"kept", *more}) for more in ((), ("one",), ("two",), ("one", "two"))}


def test_what_a_failed_sync_lost_stays_lost() -> None:
    contents = set()
    for seed in range(100):
        folder, file = Folder(0o40700), File(0o100600)
        folder.change({"name": file})
        folder.sync()
        file.write(0, b"a" * SECTOR_BYTES)
        file.fail_sync(random.Random(seed), Counter())
        assert file.content == b"a" * SECTOR_BYTES
        file.write(SECTOR_BYTES, b"b")
        file.sync()
        folder.cut(random.Random(seed), Counter())
        contents.add(bytes(file.content[::SECTOR_BYTES]))
    assert contents == {b"ab", b"\0b"}
