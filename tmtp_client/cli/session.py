# SPDX-License-Identifier: AGPL-3.0-or-later
"""A command's way to the engine: the daemon, or one in this process; open, with the account that is meant (B1, B8).

One process runs a home. A command that finds a daemon, or a `tmtp watch`, asks it; else it runs the engine itself, and
others wait for it to end. So several terminals may be at work at once, and none has to know of the others.
"""

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.api.connecting import connected
from tmtp_client.api.problems import ProblemError
from tmtp_client.cli.asking import secret_of
from tmtp_client.cli.common import (
    FAILED,
    NOT_NOW,
    USAGE,
    default_home,
    err,
    fail,
    fail_by,
    warn,
)

Got = TypeVar("Got")
Told = Callable[[int, int], None]
Work = Callable[[Client], Coroutine[Any, Any, Got]]

_FILE: Final = "TMTP_PASSPHRASE_FILE"
_TRIES: Final = 3
FIRST_NAME: Final = "default"
"""Of an account for which nobody chose one."""


def run(work: Work[Got], *, locked: bool = False, serves: bool = False) -> Got:
    """Run it to its end with a client of this home, which is opened unless `locked`; problems are said plainly."""
    try:
        return asyncio.run(_run(work, locked=locked, serves=serves))
    except ProblemError as error:
        fail_by(error.problem)


async def _run(work: Work[Got], *, locked: bool, serves: bool) -> Got:
    async with opened(locked=locked, serves=serves) as client:
        return await work(client)


@asynccontextmanager
async def opened(*, locked: bool = False, serves: bool = False) -> AsyncIterator[Client]:
    """A client of this home. `serves`: if it has to run the engine itself, other commands may use it, too.

    Raises `ProblemError`.
    """
    home = default_home()

    def waits() -> None:
        if err.is_terminal:
            warn("Another tmtp is at work in this home; waiting for it.")

    async with connected(home, limits.PATIENCE_S, serves=serves, on_wait=waits) as client:
        if not locked:
            await _unlock(client)
        yield client


async def _unlock(client: Client) -> None:
    """Nothing to do where it is open. Raises `ProblemError` (locked) where nobody can be asked."""
    state: m.Home = await client.call("home.state")
    if not state.locked:
        return
    secret = passphrase_file()
    if secret:
        await client.call("home.unlock", o.Unlock(secret))
        return
    for _ in range(_TRIES if sys.stdin.isatty() else 0):
        try:
            await client.call("home.unlock", o.Unlock(await secret_of("Passphrase")))
        except ProblemError as error:
            if error.problem.code != "refused":
                raise
            warn(f"{error.problem.text[:1].upper()}{error.problem.text[1:]}.")
        else:
            return
    raise ProblemError("locked", "")


def passphrase_file() -> str:
    """The first line of the file that TMTP_PASSPHRASE_FILE names; empty where it names none."""
    path = os.environ.get(_FILE)
    if not path:
        return ""
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.readline(limits.PASSPHRASE_MAX_BYTES).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        fail(f"{_FILE} names {path}, which cannot be read: {why}", USAGE)


# -- accounts --------------------------------------------------------------------------------------------------------
async def account_of(client: Client, name: str) -> m.Account:
    """The account that is meant: of this name, or the only one. Ends the command where there is none.

    Raises `ProblemError` (locked) where the home was locked meanwhile: nothing is told of accounts then.
    """
    state: m.Home = await client.call("home.state")
    if state.locked:
        raise ProblemError("locked", "")
    by_name = {one.name: one for one in state.accounts}
    if not name and len(by_name) == 1:
        return next(iter(by_name.values()))
    wanted = name or FIRST_NAME
    if wanted in by_name:
        return by_name[wanted]
    if wanted in state.damaged:
        fail(f"The account {wanted} in {default_home()} cannot be used: {state.damaged[wanted]}", FAILED)
    if not by_name:
        fail("You have joined no service yet; see tmtp join --help", USAGE)
    known = ", ".join(by_name)
    if name:
        return fail(f"You have no account {name} here; there is {known}", USAGE)
    return fail(f"You have several accounts: {known}. Say which: --account NAME, or TMTP_ACCOUNT", USAGE)


async def person_of(client: Client, account: str, name: str) -> m.Person:
    """Somebody who is known here, by an exact alias or uid. Ends the command where nobody is, or several are."""
    people: list[m.Person] = await client.call("people.list", o.OfAccount(account))
    found = [one for one in people if name in {one.uid, one.alias, *one.aliases} and one.stands != "self"]
    if len(found) == 1:
        return found[0]
    if found:
        return fail(f"Several people are called {name}; say whose uid you mean: tmtp people", USAGE)
    return fail(f"Nobody called {name} is known here; tmtp people shows who is", FAILED)


async def with_subjects(client: Client, account: str, messages: Sequence[m.Message]) -> list[m.Message]:
    """The same; what was not delivered has the subject of what it was."""
    shown = []
    for message in messages:
        if message.kind == "return" and message.of and not message.subject:
            with contextlib.suppress(ProblemError):  # it is not here any more
                of: m.Message = await client.call("messages.show", o.OfMessage(account, message.of))
                shown.append(msgspec.structs.replace(message, subject=of.subject))
                continue
        shown.append(message)
    return shown


# -- events ----------------------------------------------------------------------------------------------------------
class Heard:
    """Events as they come; those that come meanwhile wait."""

    def __init__(self) -> None:
        self._events: deque[m.Event] = deque()
        self._some = asyncio.Event()
        self._ended: ProblemError | None = None

    def put(self, event: m.Event) -> None:
        """One more."""
        self._events.append(event)
        self._some.set()

    def end(self, why: ProblemError) -> None:
        """There will be no more."""
        self._ended = why
        self._some.set()

    async def next(self) -> m.Event:
        """The next one. Whoever is cancelled has taken none. Raises `ProblemError` (not_now) when the engine ends."""
        while not self._events:
            if self._ended is not None:
                raise self._ended
            self._some.clear()
            await self._some.wait()
        return self._events.popleft()


@asynccontextmanager
async def listening(client: Client) -> AsyncIterator[Heard]:
    """Hear everything that happens from the moment when the block begins. Raises `ProblemError`."""
    heard = Heard()
    begun = asyncio.Event()

    async def pump() -> None:
        try:
            async for event in client.events(on_start=begun.set):
                heard.put(event)
        except ProblemError as error:
            heard.end(error)
            begun.set()

    task = asyncio.create_task(pump())
    try:
        await begun.wait()
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def progressing(client: Client, asking: Coroutine[Any, Any, Got], what: str, told: Told) -> Got:
    """The answer to a request; `told` hears of the progress of `what` meanwhile: so much of so much."""
    async with listening(client) as heard:
        asked = asyncio.create_task(asking)
        try:
            while not asked.done():
                hearing = asyncio.create_task(heard.next())
                try:
                    await asyncio.wait({asked, hearing}, return_when=asyncio.FIRST_COMPLETED)
                    data = hearing.result().data if hearing.done() else None
                finally:
                    hearing.cancel()
                    await asyncio.gather(hearing, return_exceptions=True)
                if isinstance(data, m.ProgressEvent) and data.what == what:
                    told(data.have, data.size)
            return await asked
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)


# -- the service -----------------------------------------------------------------------------------------------------
def trouble_of(account: m.Account) -> ProblemError | None:
    """Why the service cannot be asked now, or will not be at all; None: it can be, or nobody knows yet."""
    if account.state == "refused":
        mend = "; sign in again: tmtp sign-in" if account.trouble == "authentication required" else ""
        return ProblemError("refused", f"the service says: {account.trouble}{mend}")
    if account.state == "offline" and account.trouble:
        return ProblemError("not_now", f"the service cannot be reached: {account.trouble}")
    return None


async def reach(client: Client, name: str) -> None:
    """Wait until the account is online. Raises `ProblemError` as soon as one try has failed."""
    async with listening(client) as heard:
        accounts: list[m.Account] = await client.call("accounts.list")
        account = next((one for one in accounts if one.name == name), None)
        try:
            async with asyncio.timeout(limits.PATIENCE_S):
                while account is not None and account.state != "online":
                    trouble = trouble_of(account)
                    if trouble is not None:
                        raise trouble
                    account = await changed(heard, name)
        except TimeoutError:
            raise ProblemError("not_now", "the service cannot be reached: no answer") from None


async def pushed(client: Client, name: str) -> None:
    """What was done here is told to the service now, if it can be reached; else it is with the next command."""
    try:
        await reach(client, name)
    except ProblemError as error:
        warn(f"{error.problem.text[:1].upper()}{error.problem.text[1:]}. It goes out next time.")
    else:
        await client.call("accounts.settle", o.Settle(name))


async def changed(heard: Heard, name: str) -> m.Account:
    """How an account stands, the next time that this changes."""
    while True:
        event = await heard.next()
        if isinstance(event.data, m.AccountEvent) and event.account == name:
            return event.data.account


async def fetched(client: Client, names: list[str]) -> int:
    """Bring these accounts up to date, each as far as it can be; what hinders is said. The exit code for it."""
    troubles = await asyncio.gather(*(_fetched(client, name) for name in names))
    for name, trouble in zip(names, troubles, strict=True):
        if trouble is not None:
            where = f" ({name})" if len(names) > 1 else ""
            warn(f"{trouble.problem.text[:1].upper()}{trouble.problem.text[1:]}{where}. This is what was here before.")
    refused = any(trouble is not None and trouble.problem.code == "refused" for trouble in troubles)
    return FAILED if refused else NOT_NOW if any(troubles) else 0


async def _fetched(client: Client, name: str) -> ProblemError | None:
    try:
        await reach(client, name)
    except ProblemError as error:
        return error
    async with listening(client) as heard:
        settling = asyncio.create_task(client.call("accounts.settle", o.Settle(name, limits.PATIENCE_S)))
        leaving = asyncio.create_task(_trouble(heard, name))
        try:
            await asyncio.wait({settling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not settling.done():
                return leaving.result()
            for account in settling.result():
                if account.state == "online" and account.trouble:  # somebody may be putting back a revoked device (B4)
                    warn(f"Mind: {account.trouble}")
            return None
        finally:
            for task in (settling, leaving):
                task.cancel()
            await asyncio.gather(settling, leaving, return_exceptions=True)


async def _trouble(heard: Heard, name: str) -> ProblemError:
    while True:
        trouble = trouble_of(await changed(heard, name))
        if trouble is not None:
            return trouble
