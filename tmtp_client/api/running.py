# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine of a home with all its operations: put together here, for the daemon and for a command by itself."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tmtp_client.api.dispatcher import Dispatcher
from tmtp_client.api.on_accounts import OnAccounts
from tmtp_client.api.on_codes import OnCodes
from tmtp_client.api.on_conversation import OnConversation
from tmtp_client.api.on_devices import OnDevices
from tmtp_client.api.on_files import OnFiles
from tmtp_client.api.on_forms import OnForms
from tmtp_client.api.on_home import OnHome
from tmtp_client.api.on_people import OnPeople
from tmtp_client.api.on_writing import OnWriting
from tmtp_client.api.rooms import Rooms, complete
from tmtp_client.engine.home import Home, owned
from tmtp_client.engine.rendering_process import Renderer
from tmtp_client.vault.keyrings import system_keyring
from tmtp_client.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs: its home, what answers requests, and its files."""

    home: Home
    dispatcher: Dispatcher
    files: OnFiles


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Engine]:
    """Run the accounts of a home for the length of the block.

    Raises `HomeBusy` where another process does, `VaultDamaged`, OSError.
    """
    with owned(folder):
        vault = await asyncio.to_thread(Vault, folder, os.urandom, system_keyring(), _now_ms)
        home = Home(vault, _now_ms, os.urandom)
        rooms = Rooms(home)
        renderer = Renderer()
        accounts = OnAccounts(rooms, _now_ms, os.urandom)
        files = OnFiles(rooms)
        handlers = complete(
            OnHome(home).handlers(),
            accounts.handlers(),
            OnPeople(rooms).handlers(),
            OnConversation(rooms).handlers(),
            OnWriting(rooms, renderer).handlers(),
            files.handlers(),
            OnForms(rooms).handlers(),
            OnDevices(rooms).handlers(),
            OnCodes().handlers(),
        )
        try:
            await home.open()
            yield Engine(home, Dispatcher(handlers, lambda: home.locked, home.stir), files)
        finally:
            await accounts.stop()
            await home.close()
            await renderer.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
