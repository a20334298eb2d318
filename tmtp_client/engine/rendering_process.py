# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rendering that costs a bounded time, whatever a text says: a process of its own, ended when it takes too long.

Reading CommonMark takes time that grows with the square of the length for texts made for that; 64 KiB of them can take
half a minute. A short text is rendered at once. A longer one goes to a process that is started when first needed, has
no rights, and is ended at `limits.RENDER_DEADLINE_S`; the text then stands as it was written.

As a program (`python -m tmtp_client.engine.rendering_process`) this module is that process: a text and its HTML go
through its standard streams, each after its length in four octets, big-endian.
"""

import asyncio
import contextlib
import struct
import sys
from typing import BinaryIO, Final

from tmtp_client import limits
from tmtp_client.api.models import Rendered
from tmtp_client.engine.rendering import plain, render

_LENGTH: Final = struct.Struct(">I")
_READY: Final = b"\0"
_NOTHING_MORE: Final = (asyncio.IncompleteReadError, OSError)


class Renderer:
    """One process at most, one text at a time."""

    def __init__(self, deadline_s: float = limits.RENDER_DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def render(self, text: str) -> Rendered:
        """Safe HTML of a text (`tmtp_client.engine.rendering`). Raises nothing of the text's doing."""
        if len(text) <= limits.RENDER_HERE_MAX_CHARACTERS:
            return Rendered(render(text))
        if len(text) > limits.RENDER_MAX_CHARACTERS:
            return Rendered(await asyncio.to_thread(plain, text))
        async with self._turn:
            try:
                return Rendered(await self._ask(text))
            except (TimeoutError, *_NOTHING_MORE):
                await self._end()
                return Rendered(plain(text))
            except asyncio.CancelledError:  # its answer must not be taken for the next text's
                await self._end()
                raise

    async def close(self) -> None:
        """End the process. Idempotent; what is asked afterwards starts another."""
        async with self._turn:
            await self._end()

    async def _ask(self, text: str) -> str:
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        octets = text.encode("utf-8", "replace")
        async with asyncio.timeout(self._deadline_s):
            process.stdin.write(_LENGTH.pack(len(octets)) + octets)
            (size,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
            return (await process.stdout.readexactly(size)).decode()

    async def _start(self) -> asyncio.subprocess.Process:
        """A process that has read its code: what follows is a text's own time."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "tmtp_client.engine.rendering_process"),  # -P: no code from here
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=limits.RENDERED_MAX_BYTES,
        )
        assert process.stdout is not None
        async with asyncio.timeout(limits.RENDER_START_S):
            await process.stdout.readexactly(len(_READY))
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(OSError):
            await process.communicate()  # closes the streams, and waits


def _give_up_rights() -> None:
    """No file, no process, no more memory than this, where the system knows such limits."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (limits.RENDER_MEMORY_MAX_BYTES, limits.RENDER_MEMORY_MAX_BYTES))
    for closed in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(closed, (0, 0))


def _serve(texts: BinaryIO, answers: BinaryIO) -> None:
    """Render until the other end closes."""
    answers.write(_READY)
    answers.flush()
    while len(length := texts.read(_LENGTH.size)) == _LENGTH.size:
        html = render(texts.read(_LENGTH.unpack(length)[0]).decode()).encode()
        answers.write(_LENGTH.pack(len(html)) + html)
        answers.flush()


if __name__ == "__main__":
    _give_up_rights()
    _serve(sys.stdin.buffer, sys.stdout.buffer)
