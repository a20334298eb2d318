# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of what a person has written: a command waits for it, and says it (B3)."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.api.problems import ProblemError
from tmtp_client.cli.common import FAILED, NOT_NOW, USAGE, err, fail, print_json, say, time_text, warn
from tmtp_client.cli.session import Heard, account_of, listening, reach, run, trouble_of
from tmtp_core.text import visible

_KEPT: Final = "The message is kept and goes out next time; tmtp outbox shows it, and can drop it."
_BAR_FROM_BYTES: Final = 4 << 20  # what is smaller is gone before a bar is read

Compose = Callable[[Client, m.Account], Coroutine[Any, Any, m.Waiting]]
"""Makes an entry of the outbox."""
Ask = Callable[[Client, m.Account], Coroutine[Any, Any, None]]


def send_and_tell(
    compose: Compose,
    account: str,
    *,
    as_json: bool,
    undo_s: int = 0,
    keep_refused: bool = False,
    first: Ask | None = None,
) -> None:
    """Put it into the outbox, wait until it is sent or cannot be now, and say so. `first`: what is to be asked before.

    What the service refuses leaves the outbox, as its person knows what he typed; unless `keep_refused`.
    """

    async def work(client: Client) -> _Fate:
        meant = await _writer(client, account)
        if first is not None:
            await first(client, meant)
        return await _sent(client, compose, meant, undo_s=undo_s, keep_refused=keep_refused)

    fate = run(work)
    if as_json:
        print_json({"sent": fate.gone, "request_id": fate.waiting.request, "message": fate.message})
    elif fate.gone:
        say(f"Sent to {', '.join(fate.waiting.to)}.")
    elif fate.waiting.state == "scheduled":
        when = time_text(fate.waiting.due_ms)
        say(f"It goes out at {when} if tmtp daemon runs then, else with the first command after it.")


class _Fate:
    """What became of an entry. `gone`: it is in the outbox no more; `message`: the service has it as this."""

    def __init__(self, waiting: m.Waiting) -> None:
        self.waiting = waiting
        self.gone = False
        self.message = ""
        self.moved = False  # something of it, or before it, is on its way

    @property
    def decided(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.gone or self.waiting.state in {"refused", "held", "scheduled"}


async def _writer(client: Client, account: str) -> m.Account:
    meant = await account_of(client, account)
    if not meant.alias:
        fail("You have no name yet; choose one: tmtp alias 'Your Name'", USAGE)
    return meant


async def _sent(client: Client, compose: Compose, meant: m.Account, *, undo_s: int, keep_refused: bool) -> _Fate:
    async with listening(client) as heard:
        composing = asyncio.ensure_future(compose(client, meant))
        try:
            fate = _Fate(await asyncio.shield(composing))
        except asyncio.CancelledError:  # Ctrl-C: what was typed is kept first
            await _interrupted(client, meant.name, _Fate(await composing))
            raise
        try:
            await _decided(client, heard, meant.name, fate, undo_s=undo_s)
        except asyncio.CancelledError:
            await _interrupted(client, meant.name, fate)
            raise
        except ProblemError as error:
            problem = error.problem
            text = f"{problem.text[:1].upper()}{problem.text[1:]}. {_KEPT}"
            fail(text, FAILED if problem.code == "refused" else NOT_NOW)
    if fate.gone and not fate.message and fate.waiting.kind == "note":  # the copy of a sealed thread; its note follows
        await client.call("accounts.settle", o.Settle(meant.name, limits.PATIENCE_S))
    elif fate.gone and not fate.message:
        fail("It was taken back elsewhere; nothing was sent.", FAILED)
    if fate.waiting.state == "held" and not fate.gone:
        fail(f"Not sent yet: {fate.waiting.error}. {_KEPT} Look at the keys: tmtp keys NAME", NOT_NOW)
    if fate.waiting.state == "refused" and not fate.gone:
        why = f"The service refused it: {fate.waiting.error}"
        if keep_refused:
            fail(f"{why}. It is kept; tmtp outbox shows it, and can try again or drop it.", FAILED)
        await client.call("outbox.act", o.OfWaiting(meant.name, fate.waiting.request, "drop"))
        fail(why, FAILED)
    return fate


async def _decided(client: Client, heard: Heard, account: str, fate: _Fate, *, undo_s: int) -> None:
    """Until the service has it or will not. Raises `ProblemError` when it cannot be sent now."""
    bar, task = bar_of(fate.waiting.size, f"to {', '.join(fate.waiting.to)}")
    with bar:
        if undo_s and not fate.decided:
            say(f"It leaves in {undo_s} seconds; Ctrl-C takes it back.", to=err)
            await _heard_until(heard, fate, account, time.monotonic() + undo_s)
        if not fate.decided:
            await _wait_online(client, heard, account, fate)
        deadline = time.monotonic() + limits.PATIENCE_S
        while not fate.decided:
            if fate.waiting.state == "waiting" and fate.waiting.error:
                raise ProblemError("not_now", fate.waiting.error)
            fate.moved = False
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    have = _take(await heard.next(), account, fate)
            except TimeoutError:
                raise ProblemError("not_now", "the service does not answer") from None
            if fate.moved:
                deadline = time.monotonic() + limits.PATIENCE_S
                bar.update(task, completed=max(have, fate.waiting.sent))


async def _heard_until(heard: Heard, fate: _Fate, account: str, until_s: float) -> None:
    try:
        async with asyncio.timeout(max(until_s - time.monotonic(), 0)):
            while not fate.decided:
                _take(await heard.next(), account, fate)
    except TimeoutError:
        pass


async def _wait_online(client: Client, heard: Heard, account: str, fate: _Fate) -> None:
    """As `reach`, while what is told of the entry is taken in. Raises `ProblemError`."""
    reaching = asyncio.create_task(reach(client, account))
    try:
        while not fate.decided and not reaching.done():
            hearing = asyncio.create_task(heard.next())
            try:
                await asyncio.wait({hearing, reaching}, return_when=asyncio.FIRST_COMPLETED)
                if hearing.done():
                    _take(hearing.result(), account, fate)
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)
        if not fate.decided:
            await reaching
    finally:
        reaching.cancel()
        await asyncio.gather(reaching, return_exceptions=True)


def _take(event: m.Event, account: str, fate: _Fate) -> int:
    """What an event says of the entry, or of its way; how much of it has gone. Raises `ProblemError`."""
    if event.account != account:
        return 0
    data = event.data
    fate.moved = isinstance(data, m.ProgressEvent | m.OutboxEvent)
    if isinstance(data, m.OutboxEvent) and data.request == fate.waiting.request:
        if data.waiting is not None:
            fate.waiting = data.waiting
        else:
            fate.gone, fate.message = True, data.message
    elif isinstance(data, m.AccountEvent):
        trouble = trouble_of(data.account)
        if trouble is not None:
            raise trouble
    return data.have if isinstance(data, m.ProgressEvent) and data.what == fate.waiting.request else 0


async def _interrupted(client: Client, account: str, fate: _Fate) -> None:
    """Ctrl-C: what can still be taken back is; what waits for its turn is kept."""
    waiting: list[m.Waiting] = await client.call("outbox.list", o.OfAccount(account))
    left = next((one for one in waiting if one.request == fate.waiting.request), None)
    if left is None:
        warn("Interrupted; the service has it already.")
    elif left.state == "undo":
        await client.call("outbox.act", o.OfWaiting(account, left.request, "undo"))
        warn("Taken back; nothing was sent.")
    else:
        warn(f"Interrupted. {_KEPT}")


async def at_once(client: Client, of: m.Account, waiting: m.Waiting) -> m.Waiting:
    """Without the time to undo that is set for windows: on the command line one has seen what one typed."""
    if waiting.state != "undo":
        return waiting
    await client.call("outbox.act", o.OfWaiting(of.name, waiting.request, "now"))
    listed: list[m.Waiting] = await client.call("outbox.list", o.OfAccount(of.name))
    return next((one for one in listed if one.request == waiting.request), waiting)


def bar_of(size: int, what: str, *, counts: bool = False) -> tuple[Progress, TaskID]:
    """A bar for what takes a while: of octets, or of pieces (`counts`); shown on a terminal only."""
    how_much = MofNCompleteColumn() if counts else DownloadColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), how_much, TimeRemainingColumn())
    small = size < _BAR_FROM_BYTES and not counts
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal or small)
    return bar, bar.add_task(visible(what), total=size)


async def staged(client: Client, account: str, paths: Sequence[Path]) -> tuple[str, ...]:
    """Copies of files as they are now: a later try must not send another content."""
    for path in paths:
        try:
            is_file = path.is_file()
        except OSError as error:  # a folder that is not for this person, or a name that no file can have
            fail(f"{path}: {error.strerror}", USAGE)
        if not is_file:
            fail(f"{path} is not a file", USAGE)
    taken: list[m.Staged] = [await client.call("files.stage", o.Stage(account, str(path.absolute()))) for path in paths]
    return tuple(one.file for one in taken)
