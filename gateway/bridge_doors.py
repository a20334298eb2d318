# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ways to an intake that nobody may run just now: its process, if there is one, or its folder (C2)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from bridges.smtp.control.door import BridgeDoor, BridgeRefused
from bridges.smtp.control.socket import SocketDoor
from bridges.smtp.intake import SmtpIntake
from gateway.bridge_folder import BridgeFolder
from gateway.bridges import started_intake
from gateway.instance import StartFailed
from gateway.settings import SmtpBridge
from tmtp_core.clock import Clock
from tmtp_core.ids import RandomBytes


class FolderDoor:
    """Implements `BridgeDoor` on the folder of a bridge that does not run, which it opens when it is asked first."""

    def __init__(self, bridge: SmtpBridge, folder: BridgeFolder, clock: Clock, random_bytes: RandomBytes) -> None:
        self._bridge = bridge
        self._folder = folder
        self._clock = clock
        self._random_bytes = random_bytes
        self._opening = asyncio.Lock()
        self._intake: SmtpIntake | None = None

    def is_of_another(self) -> bool:
        """Whether a bridge with a process of its own has kept nothing here (disk): then it runs on another machine,
        and what was written here nobody would read.
        """
        return self._bridge.process == "own" and not self._folder.database.exists()

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None, by: str
    ) -> Any:
        """See `BridgeDoor`."""
        async with self._opening:
            if self._intake is None:
                self._intake = await self._opened()
        return await self._intake.desk.perform(operation, arguments, body, by)

    async def _opened(self) -> SmtpIntake:
        try:
            keys, place = await asyncio.to_thread(lambda: (self._folder.keys(), self._folder.service()))
            return await started_intake(
                self._bridge, self._folder, place, keys, self._clock, self._random_bytes, listening=False
            )
        except StartFailed as failed:
            raise BridgeRefused("away", f"the bridge {self._bridge.name} does not run: {failed}") from None

    async def close(self) -> None:
        """Let go of the folder. Idempotent."""
        if self._intake is not None:
            await self._intake.stop(0.0)
            self._intake = None


class EitherDoor:
    """Implements `BridgeDoor` by asking the bridge's process, or where there is none, on its folder."""

    def __init__(self, process: SocketDoor, folder: FolderDoor) -> None:
        self._process = process
        self._folder = folder

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None, by: str
    ) -> Any:
        """See `BridgeDoor`."""
        door: BridgeDoor = self._folder
        if await self._process.answers() or await asyncio.to_thread(self._folder.is_of_another):
            door = self._process
        return await door.perform(operation, arguments, body, by)

    async def close(self) -> None:
        """Let go of the folder. Idempotent."""
        await self._folder.close()
