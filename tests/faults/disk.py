# SPDX-License-Identifier: AGPL-3.0-or-later
"""A mounted disk that keeps back what was not synced, and whose power can be cut. What it may lose: `volatile`."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

READY_S = 30.0
GONE_S = 10.0


def missing() -> str | None:
    """What has to be installed before such a disk can be mounted, if anything."""
    try:
        import mfusepy  # noqa: F401, PLC0415 - it wants libfuse when it is imported
    except (ImportError, OSError) as error:
        return f"apt-get install fuse3, and the extra [test]: {error}"
    if shutil.which("fusermount3") is None:
        return "fusermount3 is missing: apt-get install fuse3"
    return None


class Disk:
    """One disk, its durable content in `store`, seen at `mount`. `seed` decides what each cut takes."""

    def __init__(self, store: Path, mount: Path, seed: int) -> None:
        self.store = store
        self.path = mount
        self._seed = seed
        self._server: asyncio.subprocess.Process | None = None

    async def mount(self) -> None:
        """Serve what is durable."""
        self.store.mkdir(exist_ok=True)
        self.path.mkdir(exist_ok=True)
        self._seed += 1
        self._server = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.disk_server",
            self.store,
            self.path,
            str(self._seed),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(READY_S):
            while not os.path.ismount(self.path):
                if self._server.returncode is not None:
                    raise OSError(f"the disk was not mounted: exit code {self._server.returncode}")
                await asyncio.sleep(0.01)

    async def cut(self) -> dict[str, int]:
        """The power fails, now: every call fails from here on, and `store` holds what survived. Figures."""
        return await self._order(do="cut")

    async def save(self) -> dict[str, int]:
        """Sync everything, and write it to `store`. Figures."""
        return await self._order(do="save")

    async def fail_syncs(self, count: int, suffix: str = "") -> None:
        """The next `count` syncs of files whose name ends so fail with EIO, and what they had to write is lost."""
        await self._order(do="fail_syncs", count=count, suffix=suffix)

    async def leave(self, away: bool) -> None:
        """Every call fails from here on, or none any more; nothing is lost by that."""
        await self._order(do="leave", away=away)

    async def unmount(self) -> None:
        """Take it away. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        unmounting = await asyncio.create_subprocess_exec("fusermount3", "-u", "-q", "-z", self.path)
        await unmounting.wait()
        assert server.stdin is not None
        server.stdin.close()
        try:
            async with asyncio.timeout(GONE_S):
                await server.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
            await server.wait()

    async def _order(self, **order: object) -> dict[str, int]:
        server = self._server
        assert server is not None
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(order).encode() + b"\n")
        await server.stdin.drain()
        answer: dict[str, int] = json.loads(await server.stdout.readline())
        return answer
