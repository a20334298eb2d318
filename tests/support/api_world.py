# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two people who know each other on a real service, each asked by the operations of the local API."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.app import Gateway
from tests.support.client_engine import Person, acquainted, device
from tmtp_client.api import frames
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.problems import ProblemError

ADA, BOB = "Ada Lovelace", "Bob Babbage"
WORK: Final = o.OfAccount("work")


class World:
    """Two people who know each other, and whoever comes."""

    ada: Person
    bob: Person
    ada_uid: str
    bob_uid: str

    def __init__(self, gateway: Gateway, folder: Path, stack: AsyncExitStack) -> None:
        self.gateway = gateway
        self.folder = folder
        self._stack = stack

    async def device(self, name: str) -> Person:
        return await self._stack.enter_async_context(device(self.folder / name))

    async def talk(self, text: str = "Hello Bob", **more: Any) -> tuple[m.Message, m.Message]:
        """Ada writes to Bob; the message as she and as he has it."""
        await self.ada("messages.send", o.Send("work", (BOB,), "Plans", text, delay_s=0, **more))
        there = await self.bob.message("work", text)
        await self.ada.sent("work")
        return await self.ada.message("work", text), there


async def problem(asked: Any) -> frames.Problem:
    with pytest.raises(ProblemError) as raised:
        await asked
    assert raised.value.problem.code != "internal"
    return raised.value.problem


@asynccontextmanager
async def acquainted_world(gateway: Gateway, folder: Path) -> AsyncIterator[World]:
    """Ada and Bob, each with an account `work` there."""
    async with AsyncExitStack() as stack:
        made = World(gateway, folder, stack)
        made.ada = await made.device("ada")
        made.bob = await made.device("bob")
        await made.ada.join(gateway, "public", "work", ADA)
        await made.bob.join(gateway, "public", "work", BOB)
        made.ada_uid, made.bob_uid = await acquainted(made.ada, made.bob, "work", (ADA, BOB))
        yield made


async def send_now(person: Person) -> None:
    """Nothing is left to be undone."""
    for one in await person("outbox.list", WORK):
        await person("outbox.act", o.OfWaiting("work", one.request, "now"))
