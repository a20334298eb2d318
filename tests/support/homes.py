# SPDX-License-Identifier: AGPL-3.0-or-later
"""Homes of the client's engine in this process, with accounts on real services."""

import asyncio
import linecache
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection as Rows

from gateway.app import Gateway
from tests.support.gateway import endpoint, invited
from tmtp_client.api import models, operations
from tmtp_client.connection import Endpoint
from tmtp_client.engine import joining
from tmtp_client.engine.account import Account
from tmtp_client.engine.being_linked import BeingLinked, OpenPlace
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.context import Context
from tmtp_client.engine.home import Home
from tmtp_client.engine.joining import Place, Service, Ways
from tmtp_client.store import messages, outbox, people
from tmtp_client.store.database import Database
from tmtp_client.trust import linking
from tmtp_client.vault.vault import Vault
from tmtp_core.crypto.encoding import from_text, to_text

Got = TypeVar("Got")
PATIENCE_S = 60.0  # of a test, on a machine that has much else to do


def now_ms() -> int:
    """The real time."""
    return time.time_ns() // 1_000_000


def vault(folder: Path) -> Vault:
    """Of a home, without a keyring."""
    return Vault(folder, os.urandom, None, now_ms)


@asynccontextmanager
async def running_home(folder: Path) -> AsyncIterator[Home]:
    """A home for the length of the block."""
    home = Home(vault(folder), now_ms, os.urandom)
    await home.open()
    try:
        yield home
    finally:
        await home.close()


async def joined_at(home: Home, name: str, where: Endpoint, alias: str, token: str = "") -> Account:
    """An account of that name on a service; it runs."""
    service = joining.service_at(f"{where.host}:{where.port}", invite=token, pin=where.pin or "")
    return await joined_at_service(home, name, service, alias)


async def joined_at_service(home: Home, name: str, service: Service, alias: str) -> Account:
    """The same."""
    kept = home.vault.account(name, make=True)
    database = Database(kept.folder, kept.database_key)
    await database.open()
    try:
        place = Place(name, database, home.vault, os.urandom)

        def nobody(name: str, url: str) -> None:
            raise AssertionError("nobody signs in here")

        joined = await joining.join(place, service, alias, "a test", Ways(nobody))
        assert not joined.error, joined.error
        await joining.told(database)
    finally:
        await database.close()
    return await home.start(name)


async def joined(home: Home, gateway: Gateway, instance: str, alias: str) -> Account:
    """An account on an instance of a gateway, invited where it takes that."""
    token = (await invited(gateway, instance)).token if instance == "members" else ""
    account = await joined_at(home, f"{instance}-{alias[:3].lower()}", endpoint(gateway, instance), alias, token)
    await until(lambda: account.caught_up.is_set() or connected(account))
    return account


def connected(account: Account) -> bool:
    """Whether it is online."""
    connection = account.context.connection
    return connection is not None and connection.is_connected


async def until(holds: Callable[[], bool]) -> None:
    """Wait until this holds. Raises AssertionError with what was waited for."""
    with waiting_for(holds):
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.01)


async def look_until(account: Account, look: Callable[[Rows], Got | None]) -> Got:
    """Wait until a look at an account's database finds something. Raises AssertionError with what was waited for."""
    with waiting_for(look):
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await account.context.database.read(look)):
                await asyncio.sleep(0.05)
    return found


@contextmanager
def waiting_for(look: Callable[..., object]) -> Iterator[None]:
    """Say what was looked for in vain: where the look stands, and how it reads."""
    try:
        yield
    except TimeoutError:
        code = look.__code__
        lines = "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :][:4]).rstrip()
        known = {
            name: repr(cell.cell_contents)[:200]
            for name, cell in zip(code.co_freevars, look.__closure__ or (), strict=True)
        }
        raise AssertionError(
            f"not within {PATIENCE_S:.0f} s, {code.co_filename}:{code.co_firstlineno}, with {known}:\n{lines}"
        ) from None


async def texts(account: Account) -> list[str]:
    """The latest messages' texts, oldest first."""
    return [one.text for one in await account.context.database.read(lambda c: messages.latest(c, 200))]


async def has_text(account: Account, text: str) -> models.Message:
    """Wait for a message that says this."""
    return await look_until(account, lambda c: next((one for one in messages.latest(c, 200) if one.text == text), None))


async def ping(account: Account, alias: str, text: str) -> None:
    """A first contact."""
    await Composing(account.context).ping(alias, text)


async def send(account: Account, *to: str, text: str, subject: str = "", reply: str = "") -> models.Waiting:
    """A message that leaves at once."""
    asked = operations.Send(account.context.name, tuple(to), subject, text, reply, delay_s=0)
    return await Composing(account.context).send(asked)


def moved(account: Account, where: Endpoint) -> None:
    """The service is elsewhere now: after a start of its process at another port."""
    context = account.context
    context.identity = replace(context.identity, host=where.host, port=where.port)


# -- further devices -------------------------------------------------------------------------------------------------
def places(home: Home) -> OpenPlace:
    """Where accounts of a home are kept that do not run yet."""

    @asynccontextmanager
    async def place(name: str) -> AsyncIterator[Place]:
        kept = home.vault.account(name, make=True)
        database = Database(kept.folder, kept.database_key)
        await database.open()
        try:
            yield Place(name, database, home.vault, os.urandom)
        finally:
            await database.close()

    return place


async def linked(account: Account, home: Home) -> Account:
    """A further device of an account, in another home, under the same name there."""
    context = account.context
    trust = context.trust
    assert trust is not None
    identity = context.identity
    place = linking.Place(identity.host, identity.port, identity.service, identity.alias, identity.pin or "")
    offer = await trust.linking.offer(await context.current(), context.database, place)
    being = BeingLinked(places(home), home.start, now_ms)
    try:
        answer = await being.answer(context.name, offer.text, "a further one")
        await trust.linking.finish(await context.current(), context.database, answer.text, answer.fingerprint)
        async with asyncio.timeout(PATIENCE_S):
            while context.name not in [one.context.name for one in home.accounts()]:
                await asyncio.sleep(0.02)
    finally:
        await being.stop()
    return home.account(context.name)


def of_another(offer: str) -> str:
    """A first text that was changed on its way: it names another device as the one that offers."""
    return _changed(offer, sponsor=to_text(os.urandom(32)))


def without_its_pin(offer: str) -> str:
    """A first text by which authorities have to vouch for the service."""
    return _changed(offer, pin="")


def _changed(offer: str, **fields: str) -> str:
    prefix, _, rest = offer.partition(":")
    said = msgspec.json.decode(from_text(rest), type=linking.Offer)
    return f"{prefix}:{to_text(msgspec.json.encode(msgspec.structs.replace(said, **fields)))}"


async def look_at_keys(context: Context) -> None:
    """A person who looks at once at whatever changed of anybody's keys."""
    trust = context.trust
    if trust is None:
        return

    def seen(c: Rows) -> bool:
        some = False
        for uid in [one.uid for one in people.listed(c)]:
            unseen = trust.unseen(c, uid)
            some |= unseen is not None and trust.seen(c, uid, unseen.head)
        return some and outbox.release_held(c, context.clock()) > 0

    if await context.database.write(seen):
        context.to_send.set()
