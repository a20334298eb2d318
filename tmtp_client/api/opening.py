# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the pages are opened: by a daemon, which is started where none runs, and by a token that it gives (B1)."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from tmtp_client import limits
from tmtp_client.api import daemon_file, problems
from tmtp_client.api.connecting import is_own
from tmtp_client.api.daemon_file import DaemonFile
from tmtp_client.api.guards import DOOR
from tmtp_client.api.server import TOKENS, Token
from tmtp_client.vault.disk import make_folder

LOG: Final = "daemon.log"
"""In the home: what a daemon that runs in the background says of failures, since it began. No words of messages."""

BUSY: Final = 3
"""How `tmtp daemon` ends where another process has the home."""


async def way_in(home: Path, patience_s: float) -> str:
    """Where one browser comes in, once and soon. A daemon runs then, and goes on when this process ends.

    Raises `ProblemError`: refused where none can run here, not_now where another process has the home all the time.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    begun: subprocess.Popen[bytes] | None = None
    while True:
        running = await _running(home)
        if running is not None:
            return running[1]
        if begun is not None and begun.poll() is not None:
            if begun.returncode != BUSY:
                raise problems.refused(await asyncio.to_thread(_last_words, home))
            begun = None
            await asyncio.sleep(limits.DAEMON_AGAIN_S)
        if begun is None:
            begun = await asyncio.to_thread(_begin, home)
        if loop.time() >= until:
            raise problems.not_now(f"another process runs the accounts of {home}, and does not answer")
        await asyncio.sleep(limits.HOME_POLL_S)


async def ended(home: Path, patience_s: float) -> bool:
    """End the daemon of this home, and wait until it has; False: none runs. Raises `ProblemError` (not_now)."""
    running = await _running(home)
    if running is None:
        return False
    file, _ = running
    with contextlib.suppress(ProcessLookupError):  # it ends by itself just now
        os.kill(file.pid, signal.SIGTERM)
    until = asyncio.get_running_loop().time() + patience_s
    while file.lives() and await asyncio.to_thread(daemon_file.read, home) == file:
        if asyncio.get_running_loop().time() >= until:
            raise problems.not_now(f"the daemon (process {file.pid}) does not end")
        await asyncio.sleep(limits.HOME_POLL_S)
    return True


async def _running(home: Path) -> tuple[DaemonFile, str] | None:
    """The daemon that answers there, and a way in; None: none does."""
    file = await asyncio.to_thread(daemon_file.read, home)
    if file is None or not await asyncio.to_thread(is_own, file):
        return None
    found = await _asked(file)
    return None if found is None else (file, found)


async def _asked(file: DaemonFile) -> str | None:
    """What the daemon answers; None: nobody does, or somebody else."""
    timeout = aiohttp.ClientTimeout(total=limits.API_CONNECT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {file.key}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.post(file.url + TOKENS, headers=headers, allow_redirects=False) as answer,
        ):
            found = msgspec.json.decode(await answer.content.read(limits.TOKEN_ANSWER_MAX_BYTES), type=Token)
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError):
        return None
    return found.url if found.url.startswith(f"{file.url}{DOOR}?") else None


def _begin(home: Path) -> "subprocess.Popen[bytes]":
    """A daemon in a session of its own, which no terminal ends. Raises `ProblemError`."""
    try:
        make_folder(home)
        log = os.open(home / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise problems.refused(f"the home {home} cannot be used: {error.strerror or error}") from None
    try:
        # -P: what lies in the folder where the person happens to be is no part of the program.
        return subprocess.Popen(
            (sys.executable, "-P", "-m", "tmtp_client", "daemon"),
            env=os.environ | {"TMTP_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # its first words have a way in
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)


def _last_words(home: Path) -> str:
    """Why a daemon ended, as it said so."""
    lines = (home / LOG).read_text("utf-8", "replace").strip().splitlines()
    return lines[-1][: limits.LAST_WORDS_MAX_CHARACTERS] if lines else "the daemon ended at once, and said nothing"
