# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp watch`, while what it is told is decided here (B1, B3)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from msgspec import Struct

from tmtp_client.api import models as m
from tmtp_client.cli.watching import _Watch


class Told:
    """Whoever is asked for one account's messages, and tells the events that are put here."""

    def __init__(self) -> None:
        self.messages: list[m.Message] = []
        self.happens: asyncio.Queue[m.Event] = asyncio.Queue()
        self.follows = asyncio.Event()

    async def call(self, name: str, params: Struct | None = None) -> Any:
        """See `Client`."""
        if name == "accounts.list":
            self.follows.set()
        return {"messages.latest": list(self.messages), "accounts.list": [], "messages.seen": m.Done()}[name]

    async def events(
        self, since: Mapping[str, int] | None = None, on_start: Callable[[], None] | None = None
    ) -> AsyncIterator[m.Event]:
        """See `Client`."""
        assert on_start is not None
        on_start()
        while True:
            yield await self.happens.get()


async def test_what_came_while_too_much_happened_is_shown_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told()
    watching = asyncio.create_task(_Watch("", as_json=True)._follow(told, ["work"]))
    await told.follows.wait()
    told.messages.append(
        m.Message("1", "message", "received", False, "U", "Bob", "1", "2026-11-01T09:00:00Z", seen=False)
    )
    told.happens.put_nowait(m.Event("gap", "work", 20_000, m.GapEvent(1)))
    said = ""
    async with asyncio.timeout(60):
        while not (said := said + capsys.readouterr().out):
            await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert '"alias":"Bob"' in said
