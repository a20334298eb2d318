# SPDX-License-Identifier: AGPL-3.0-or-later
"""The power fails while a client changes its vault, its history and its files: what was said to be durable is (B8)."""

import asyncio
import json
import os
import random
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.faults.disk import Disk
from tests.faults.needed import DISK
from tests.support.night import NIGHTLY
from tmtp_client.store.database import Database
from tmtp_client.store.tables import stamp
from tmtp_client.vault.vault import Vault

CUTS = 300 if NIGHTLY else 8
LIFE_S = (0.0, 0.6)  # after it was opened


@dataclass
class Promised:
    """What the writer has said. `ways`: the secrets of which one opens it, None: it opens by itself."""

    ways: set[str | None] = field(default_factory=lambda: {None})
    rows: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)

    def hear(self, state: str, what: str, *more: str) -> None:
        """One line."""
        if what in {"passphrase", "away"}:
            way = more[0] if more else None
            self.ways = {way} if state == "done" else self.ways | {way}
        elif what == "row":
            self.rows |= set(more)
        elif what == "file":
            self.files[more[0]] = more[1]
        elif what == "leave":
            self.left.add(more[0])


async def _life(home: Path, promised: Promised, seed: int, way: str | None, cut: Disk, life_s: float) -> None:
    """A writer, until the power fails."""
    command = [
        sys.executable,
        "-m",
        "tests.faults.home_writer",
        str(home),
        str(seed),
        *([way] if way is not None else []),
    ]
    writer = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert writer.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert json.loads(await writer.stdout.readline()) == ["done", "opened"]
        cutting = asyncio.ensure_future(_after(life_s, cut))
        while line := await writer.stdout.readline():
            promised.hear(*json.loads(line))
            if cutting.done():
                break
        await cutting
        with suppress(ProcessLookupError):
            writer.send_signal(signal.SIGKILL)
        # What it said before the disk was gone is a promise; a line that was cut off is none.
        for line in (await writer.stdout.read()).split(b"\n"):
            with suppress(ValueError):
                promised.hear(*json.loads(line))
    finally:
        with suppress(ProcessLookupError):
            writer.kill()
        await writer.wait()


async def _after(life_s: float, disk: Disk) -> None:
    await asyncio.sleep(life_s)
    await disk.cut()


async def _kept(home: Path, promised: Promised) -> str | None:
    """All that was promised is there; by which way it opened."""
    vault = Vault(home, os.urandom, None, lambda: 1)
    assert vault.is_made
    found = None
    if not vault.open_alone():
        for way in promised.ways - {None}:
            with suppress(Exception):
                vault.unlock(str(way))
                found = way
        assert not vault.locked, "no secret of before or afterwards opens it"
    else:
        assert None in promised.ways
    promised.ways = {found}
    assert not promised.left & set(vault.accounts())
    account = vault.account("kept")
    database = Database(account.folder, account.database_key)
    await database.open()
    rows = await database.read(lambda c: set(c.scalars(select(stamp.c.latest))))
    await database.close()
    assert promised.rows <= rows
    for file, digest in promised.files.items():
        content = blake2b(digest_size=32)
        for piece in account.files.read(file):
            content.update(piece)
        assert content.hexdigest() == digest
    return found


@DISK
@pytest.mark.slow
async def test_what_was_durable_survives_the_power_cut(tmp_path: Path) -> None:
    chance, promised, way = random.Random(20266), Promised(), None
    disk = Disk(tmp_path / "store", tmp_path / "mount", seed=20267)
    home = tmp_path / "mount" / "home"
    try:
        for number in range(CUTS):
            await disk.mount()
            await _life(home, promised, number, way, disk, chance.uniform(*LIFE_S))
            await disk.unmount()
            await disk.mount()
            way = await _kept(home, promised)
            await disk.save()
            await disk.unmount()
    finally:
        await disk.unmount()
    assert len(promised.rows) > CUTS
    assert promised.files
    assert promised.left
