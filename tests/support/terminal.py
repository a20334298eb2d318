# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp` as people use it: each in a terminal with a home of their own, every command a real process."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.forked import Loaded
from tests.support.instance import TestInstance
from tmtp_core.wire.address import ServiceAddress

TMTP = (sys.executable, "-c", "from tmtp_client.program import main; main()")
PATIENCE_S = 120.0
_LOADED = Loaded("tmtp_client", warnings="error")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, for scripts."""
        return json.loads(self.out)


class Terminal:
    """One person's terminal: a home of their own."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TMTP_")},
            "TMTP_HOME": str(home),
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "PYTHONWARNINGS": "error",
            **environment,
        }

    async def start(self, *arguments: str, reads: bool = False) -> asyncio.subprocess.Process:
        """A command that goes on."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *TMTP,
            *arguments,
            stdin=pipe if reads else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=self.environment,
            limit=1 << 20,
        )

    async def run(self, *arguments: str, given: str | None = None) -> Ran:
        """A command, to its end. Whatever it says, it never shows a traceback."""
        ended = await _LOADED.run(arguments, self.environment, PATIENCE_S, (given or "").encode())
        assert b"Traceback" not in ended.err, ended.err.decode()
        return Ran(ended.code, ended.out.decode(), ended.err.decode())

    async def does(self, *arguments: str, given: str | None = None) -> Ran:
        """The same of one that has to succeed."""
        ran = await self.run(*arguments, given=given)
        assert ran.code == 0, (arguments, ran)
        return ran


def link(service: TestInstance, invite: str | None = None) -> str:
    """What an administrator hands to a person."""
    return ServiceAddress(service.host, service.port, service.spki_pin, invite).link()


async def joined(service: TestInstance, home: Path, alias: str) -> Terminal:
    """Somebody with an account."""
    terminal = Terminal(home)
    ran = await terminal.does("join", link(service), "--alias", alias)
    assert f"You are {alias} on Test Site" in ran.out
    return terminal


async def acquainted(service: TestInstance, folder: Path) -> tuple[Terminal, Terminal]:
    """Ada and Bob, who have pinged one another and looked."""
    ada = await joined(service, folder / "ada", "Ada Lovelace")
    bob = await joined(service, folder / "bob", "Bob Builder")
    await ada.does("ping", "Bob Builder", "Hello")
    await bob.does("ping", "Ada Lovelace", "Hello")
    await ada.does("inbox")
    return ada, bob
