# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a program comes to the engine of a home: to the daemon that runs it, else by running it itself."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tmtp_client.api import daemon_file, problems
from tmtp_client.api.client import Client, Local, to_daemon
from tmtp_client.api.problems import ProblemError


@asynccontextmanager
async def connected(home: Path) -> AsyncIterator[Client]:
    """A client of the engine of this home. In this process it runs only for the length of the block.

    Raises `ProblemError` (not_now) where another process runs it and does not answer: it is starting, ending, or no
    daemon.
    """
    async with AsyncExitStack() as stack:
        file = daemon_file.read(home)
        client: Client | None = None
        if file is not None:
            try:
                client = await stack.enter_async_context(to_daemon(file))
            except ProblemError:  # what a daemon left that was killed: the lock says whether one runs
                client = None
        yield client if client is not None else await stack.enter_async_context(_here(home))


@asynccontextmanager
async def _here(home: Path) -> AsyncIterator[Client]:
    from tmtp_client.api.running import running  # noqa: PLC0415 - who finds a daemon need not load an engine
    from tmtp_client.engine.home import HomeBusy  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        try:
            engine = await stack.enter_async_context(running(home))
        except HomeBusy:
            raise problems.not_now(f"another process runs the accounts of {home}, and does not answer") from None
        yield Local(engine.dispatcher, engine.home)
