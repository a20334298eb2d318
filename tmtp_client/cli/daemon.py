# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp daemon`: runs the engine of this device and its local API, in the foreground (B1)."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tmtp_client.api import daemon_file
from tmtp_client.api.daemon_file import DaemonFile
from tmtp_client.api.entrance import Entrance
from tmtp_client.api.models import VERSION
from tmtp_client.api.running import Engine, running
from tmtp_client.api.server import Server
from tmtp_client.cli.common import FAILED, JsonOption, err, fail, out, print_json, say
from tmtp_client.engine.home import HomeBusy
from tmtp_client.engine.profile import default_home

PortOption = Annotated[int, typer.Option("--port", min=0, max=65_535, help="Where it listens; 0: the system chooses.")]


class Started(msgspec.Struct, frozen=True):
    """What `--json` prints once the API is there. `enter`: lets one browser in, soon."""

    pid: int
    port: int
    url: str
    enter: str
    locked: bool


def daemon(port: PortOption = 0, as_json: JsonOption = False) -> None:
    """Run your accounts until Ctrl-C: windows and commands then use this one engine."""
    home = default_home()
    try:
        asyncio.run(_run(home, port, as_json=as_json))
    except HomeBusy:
        fail(_who_runs(home), FAILED)


async def _run(home: Path, port: int, *, as_json: bool) -> None:
    """Until a signal comes. What was begun is finished or has left nothing; the file goes last but the lock."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, ended.set)
    async with running(home) as engine, _served(engine, home, port) as server:
        started = Started(os.getpid(), server.port, server.url, server.way_in(), engine.home.locked)
        if as_json:
            print_json(msgspec.to_builtins(started))
        else:
            say(f"Your accounts run here until Ctrl-C. To open them in a browser: {started.enter}", to=out)
            if started.locked:
                say("The history is locked; unlock it: tmtp unlock", to=out)
        await ended.wait()


@asynccontextmanager
async def _served(engine: Engine, home: Path, port: int) -> AsyncIterator[Server]:
    """The API of an engine, and the file that says where it is."""
    left = daemon_file.read(home)
    if left is not None:  # the home's lock is ours: whoever wrote it is gone
        say(f"A daemon before this one (process {left.pid}) was cut off; what it left is tidied up.", to=err)
    entrance = Entrance(time.monotonic, os.urandom)
    server = Server(engine.dispatcher, engine.home, engine.files, entrance)
    try:
        listener = server.bound(port)
    except OSError as error:
        fail(f"The port {port} cannot be had: {error.strerror}", FAILED)
    async with server.listening(listener):
        file = DaemonFile(VERSION, os.getpid(), server.port, server.url, entrance.key)
        await asyncio.to_thread(file.write, home)
        try:
            yield server
        finally:
            await asyncio.to_thread(file.remove, home)


def _who_runs(home: Path) -> str:
    file = daemon_file.read(home)
    if file is None:
        return f"Another process runs the accounts of {home} just now."
    return f"A daemon runs already: process {file.pid}, {file.url}"
