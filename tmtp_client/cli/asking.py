# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person is asked on a terminal: secrets unseen, and Ctrl-C ends it at once, also while an engine runs (B8).

A thread that reads a terminal cannot be ended; so no thread reads it: a line is read once it is there.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from tmtp_client import limits
from tmtp_client.cli.common import FAILED, USAGE, err, fail, say, utf8
from tmtp_core.text import visible

_YES: Final = frozenset({"y", "yes"})


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the person means it; without a terminal only with --yes."""
    if not yes:
        asyncio.run(confirmed(question))


async def confirmed(question: str) -> None:
    """The same, while an engine runs."""
    if not sys.stdin.isatty():
        fail(f"{question} Say so with --yes", USAGE)
    if (await line(f"{question} [y/N]")).strip().lower() not in _YES:
        fail("Nothing was done.", FAILED)


async def secret_of(question: str, *, again: bool = False) -> str:
    """Typed unseen on a terminal (twice with `again`), else a line of standard input. Never an argument."""
    if not sys.stdin.isatty():
        return utf8(sys.stdin.readline(limits.PASSPHRASE_MAX_BYTES + 1)).rstrip("\r\n")
    while True:
        typed = await _some(question, hidden=True)
        if not again or await _some("Repeat it", hidden=True) == typed:
            return typed
        say("These were two different ones.", to=err, style="yellow")


async def words_of(question: str) -> str:
    """24 words, which may be seen while they are typed; from standard input they may have several lines."""
    return await _some(question) if sys.stdin.isatty() else utf8(sys.stdin.read(limits.PASSPHRASE_MAX_BYTES))


async def line(question: str, *, hidden: bool = False) -> str:
    """A line that is typed on the terminal; may be empty. Ctrl-D is no line: nothing was done then."""
    if sys.platform == "win32":  # where nobody says when a terminal has a line
        asked = asyncio.to_thread(typer.prompt, visible(question), default="", show_default=False, hide_input=hidden)
        return str(await asked)
    file = sys.stdin.fileno()
    with _unseen(file, hidden=hidden):
        sys.stderr.write(f"{visible(question)}: ")
        sys.stderr.flush()
        try:
            await _readable(file)
            octets = os.read(file, limits.PASSPHRASE_MAX_BYTES)
        finally:
            if hidden:
                sys.stderr.write("\n")
    if not octets:
        fail("Nothing was done.", FAILED)
    return octets.decode(sys.stdin.encoding, "replace").rstrip("\r\n")


async def _some(question: str, *, hidden: bool = False) -> str:
    while not (typed := await line(question, hidden=hidden)):
        pass
    return typed


async def _readable(file: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(file, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(file)


@contextmanager
def _unseen(file: int, *, hidden: bool) -> Iterator[None]:
    """The terminal shows nothing of what is typed; however the block ends, it shows it again."""
    if not hidden or sys.platform == "win32":
        yield
        return
    import termios  # noqa: PLC0415 - not on Windows

    before = termios.tcgetattr(file)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(file, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(file, termios.TCSAFLUSH, before)
