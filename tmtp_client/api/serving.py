# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine of a home and its local API, for other processes of the same person: `tmtp daemon`, and `tmtp watch`."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tmtp_client.api import daemon_file
from tmtp_client.api.daemon_file import DaemonFile
from tmtp_client.api.entrance import Entrance
from tmtp_client.api.models import VERSION
from tmtp_client.api.running import Engine, running
from tmtp_client.api.server import Server
from tmtp_client.engine.home import HomeBusy

__all__ = ["HomeBusy", "PortTaken", "Served", "serving"]


@dataclass(frozen=True, slots=True)
class Served:
    """What runs, and where it is. `left`: the file of one before it that was cut off."""

    engine: Engine
    server: Server
    left: DaemonFile | None


class PortTaken(Exception):
    """The port that was asked for cannot be had; the text says why."""


@asynccontextmanager
async def serving(home: Path, port: int = 0) -> AsyncIterator[Served]:
    """Run the accounts of a home and serve their API for the length of the block. The file that says where goes last
    but the lock.

    Raises `HomeBusy`, `PortTaken`, `VaultDamaged`, OSError.
    """
    async with running(home) as engine:
        left = await asyncio.to_thread(daemon_file.read, home)  # the home's lock is ours: whoever wrote it is gone
        entrance = Entrance(time.monotonic, os.urandom)
        server = Server(engine.dispatcher, engine.home, engine.files, entrance)
        try:
            listener = server.bound(port)
        except OSError as error:
            raise PortTaken(error.strerror or str(error)) from None
        async with server.listening(listener):
            file = DaemonFile(VERSION, os.getpid(), server.port, server.url, entrance.key)
            await asyncio.to_thread(file.write, home)
            try:
                yield Served(engine, server, left)
            finally:
                await asyncio.to_thread(file.remove, home)
