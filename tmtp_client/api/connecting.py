# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a program comes to the engine of a home: to the daemon that runs it, else by running it itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tmtp_client import limits
from tmtp_client.api import daemon_file, problems
from tmtp_client.api.client import Client, Local, to_daemon
from tmtp_client.api.daemon_file import HOST, DaemonFile
from tmtp_client.api.neighbours import whose_server
from tmtp_client.api.problems import ProblemError


@asynccontextmanager
async def connected(
    home: Path, patience_s: float = 0.0, *, serves: bool = False, on_wait: Callable[[], None] | None = None
) -> AsyncIterator[Client]:
    """A client of the engine of this home. In this process it runs only for the length of the block; with `serves`
    other processes may then use it, as they use a daemon.

    Where another process runs it that does not answer (it is starting, ending, or a command that is soon done), this
    waits so long, after `on_wait`. Raises `ProblemError`: not_now when that is over, refused where the home is damaged.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    async with AsyncExitStack() as stack:
        while (client := await _client(home, stack, serves=serves)) is None:
            if loop.time() >= until:
                raise problems.not_now(f"another process runs the accounts of {home}, and does not answer")
            if on_wait is not None:
                on_wait()
                on_wait = None
            await asyncio.sleep(limits.HOME_POLL_S)
        yield client


async def _client(home: Path, stack: AsyncExitStack, *, serves: bool) -> Client | None:
    """The daemon's, or one's own; None: another process has the home, and does not answer."""
    file = await asyncio.to_thread(daemon_file.read, home)
    if file is not None and await asyncio.to_thread(is_own, file):
        try:
            return await stack.enter_async_context(to_daemon(file))
        except ProblemError:  # what a daemon left that was killed: the lock says whether one runs
            pass
    return await _here(home, stack, serves=serves)


def is_own(file: DaemonFile) -> bool:
    """Whether what this file tells of can be a daemon of this person, as far as the system says.

    A daemon that was killed leaves its file, and its port to whoever takes it next: a stranger there would be handed
    the passphrase.
    """
    return file.lives() and whose_server((HOST, file.port)) != "other"


async def _here(home: Path, stack: AsyncExitStack, *, serves: bool) -> Client | None:
    # Who finds a daemon need not load an engine.
    from tmtp_client.api.running import running  # noqa: PLC0415
    from tmtp_client.api.serving import serving  # noqa: PLC0415
    from tmtp_client.engine.home import HomeBusy  # noqa: PLC0415
    from tmtp_client.vault.vault import VaultDamaged  # noqa: PLC0415

    try:
        engine = (
            (await stack.enter_async_context(serving(home))).engine
            if serves
            else await stack.enter_async_context(running(home))
        )
    except HomeBusy:
        return None
    except VaultDamaged as damaged:
        raise problems.refused(str(damaged)) from None
    except OSError as error:
        raise problems.refused(f"the home {home} cannot be used: {error.strerror or error}") from None
    return Local(engine.dispatcher, engine.home)
