# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp daemon`: runs the engine of this device and its local API, in the foreground (B1)."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tmtp_client import limits
from tmtp_client.api import daemon_file
from tmtp_client.api.problems import ProblemError
from tmtp_client.cli.common import FAILED, JsonOption, default_home, err, fail, fail_by, out, print_json, say

PortOption = Annotated[int, typer.Option("--port", min=0, max=65_535, help="Where it listens; 0: the system chooses.")]
StopOption = Annotated[bool, typer.Option("--stop", help="End the one that runs, also one that tmtp open began.")]


class Started(msgspec.Struct, frozen=True):
    """What `--json` prints once the API is there. `enter`: lets one browser in, soon."""

    pid: int
    port: int
    url: str
    enter: str
    locked: bool


def daemon(port: PortOption = 0, stop: StopOption = False, as_json: JsonOption = False) -> None:
    """Run your accounts until Ctrl-C: windows and commands then use this one engine.

    Example: tmtp daemon
    """
    if stop:
        _stop(default_home(), as_json=as_json)
        return
    from tmtp_client.api.opening import BUSY  # noqa: PLC0415 - other commands need not load an engine
    from tmtp_client.api.serving import HomeBusy, PortTaken  # noqa: PLC0415

    home = default_home()
    try:
        asyncio.run(_run(home, port, as_json=as_json))
    except HomeBusy:
        fail(_who_runs(home), BUSY)
    except PortTaken as taken:
        fail(f"The port {port} cannot be had: {taken}", FAILED)


def _stop(home: Path, *, as_json: bool) -> None:
    from tmtp_client.api.opening import ended  # noqa: PLC0415

    try:
        found = asyncio.run(ended(home, limits.PATIENCE_S))
    except ProblemError as error:
        fail_by(error.problem)
    if as_json:
        print_json({"ended": found})
    else:
        say("The daemon has ended." if found else "No daemon runs.", to=err)


async def _run(home: Path, port: int, *, as_json: bool) -> None:
    """Until a signal comes. What was begun is finished or has left nothing."""
    from tmtp_client.api.serving import serving  # noqa: PLC0415

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, ended.set)
    async with serving(home, port) as served:
        if served.left is not None:
            say(f"A daemon before this one (process {served.left.pid}) was cut off; what it left is tidied up.", to=err)
        server, locked = served.server, served.engine.home.locked
        started = Started(os.getpid(), server.port, server.url, server.way_in(), locked)
        if as_json:
            print_json(started)
        else:
            say(f"Your accounts run here until Ctrl-C. To open them in a browser: {started.enter}", to=out)
            if started.locked:
                say("The history is locked; unlock it: tmtp unlock", to=out)
        await ended.wait()


def _who_runs(home: Path) -> str:
    file = daemon_file.read(home)
    if file is None:
        return f"Another process runs the accounts of {home} just now."
    return f"A daemon runs already: process {file.pid}, {file.url}"
