# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway bridge smtp` as a process, and what it says."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PATIENCE_S = 60.0
PROGRAM = (sys.executable, "-c", "from gateway.cli.main import main; main()")


class BridgeProcess:
    """One, with the lines that it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []
        self._changed = asyncio.Event()
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.said.append(line.decode())
            self._changed.set()
        self._changed.set()

    async def until(self, text: str) -> None:
        """It has said this."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(text in line for line in self.said):
                assert not self._reading.done(), self.said
                self._changed.clear()
                await self._changed.wait()

    async def ended(self, number: int | None = None) -> int:
        """Its exit code, when it was sent this signal, or by itself; all that it said is there."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            await self._reading
        return code


@asynccontextmanager
async def begun_bridge(config: Path, *more: str, around: tuple[str, ...] = ()) -> AsyncIterator[BridgeProcess]:
    """One that was started, for the length of the block; `around`: what it is started by."""
    command = (*around, *PROGRAM, "bridge", "smtp", "-c", str(config), *more)
    one = BridgeProcess(await asyncio.create_subprocess_exec(*command, stderr=PIPE))
    try:
        yield one
    finally:
        if one.process.returncode is None:
            one.process.kill()
        await one.ended()


@asynccontextmanager
async def running_bridge(config: Path, *more: str, around: tuple[str, ...] = ()) -> AsyncIterator[BridgeProcess]:
    """One that is ready, for the length of the block."""
    async with begun_bridge(config, *more, around=around) as one:
        await one.until(" ready ")
        yield one
