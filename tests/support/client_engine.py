# SPDX-License-Identifier: AGPL-3.0-or-later
"""People with real engines: each a home of its own, asked by the local API; every answer is held against its type."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.app import Gateway
from tests.support.gateway import endpoint, invited
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client, Local, typed_answer
from tmtp_client.api.running import Engine, running

PATIENCE_S = 120.0


class Person:
    """One device of somebody. `asked`: the operations that were answered."""

    def __init__(self, client: Client, engine: Engine | None = None) -> None:
        self.client = client
        self._engine = engine
        self.asked: set[str] = set()

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    async def __call__(self, name: str, params: Struct | None = None) -> Any:
        """Ask; the answer is of the type that the operation has, and stays so on the wire."""
        answer = await self.client.call(name, params)
        operation = o.BY_NAME[name]
        self.asked.add(name)
        assert typed_answer(operation, msgspec.json.decode(msgspec.json.encode(answer))) == answer
        return answer

    async def join(self, gateway: Gateway, instance: str, account: str, alias: str, port: int = 0) -> m.Joined:
        """A new account, of which the person wrote the recovery sheet down. `port`: of the cable to the instance, if any."""
        where = endpoint(gateway, instance)
        invite = (await invited(gateway, instance, alias)).token if instance == "members" else ""
        address = f"{where.host}:{port or where.port}"
        joined = await self("accounts.join", o.Join(account, address, alias, "laptop", invite, where.pin or ""))
        await self("accounts.told", o.OfAccount(account))
        await self.online(account)
        assert isinstance(joined, m.Joined)
        return joined

    async def online(self, account: str) -> m.Account:
        """Wait until the account is connected."""

        async def look() -> m.Account | None:
            [one] = [one for one in await self("accounts.list") if one.name == account]
            return one if one.state == "online" else None

        return await until(look)

    async def message(self, account: str, text: str) -> m.Message:
        """Wait for the message whose text begins so."""

        async def look() -> m.Message | None:
            found = [one for one in await self("messages.latest", o.Latest(account)) if one.text.startswith(text)]
            return found[-1] if found else None

        return await until(look)

    async def sent(self, account: str) -> None:
        """Wait until nothing waits to be sent."""

        async def look() -> bool:
            return not await self("outbox.list", o.OfAccount(account))

        await until(look)


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` gives, once it gives something."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await look()):
            await asyncio.sleep(0.05)
    return found


@asynccontextmanager
async def device(home: Path) -> AsyncIterator[Person]:
    """A device whose engine runs in this process for the length of the block."""
    async with running(home) as engine:
        yield Person(Local(engine.dispatcher, engine.home), engine)


async def acquainted(one: Person, other: Person, account: str, names: tuple[str, str]) -> tuple[str, str]:
    """Both know each other by a ping that was accepted; their uids."""
    mine, theirs = names
    await one("people.ping", o.SendPing(account, theirs, "Hello, it is me"))

    async def asks() -> m.Person | None:
        found = [p for p in await other("people.list", o.OfAccount(account)) if p.alias == mine]
        return found[0] if found and found[0].stands == "asks" else None

    asker = await until(asks)
    await other("people.answer", o.AnswerPing(account, asker.uid, "accept", "Welcome"))

    async def contact() -> m.Person | None:
        found = [p for p in await one("people.list", o.OfAccount(account)) if p.alias == theirs]
        return found[0] if found and found[0].stands == "contact" else None

    answered = await until(contact)
    return asker.uid, answered.uid
