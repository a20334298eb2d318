# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole gateway in this process: two instances and an SMTP intake, on loopback, ports chosen by the system."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.administration import local_user, models
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.settings import load_settings
from tmtp_client.connection import AccountKeys, Connection, Endpoint, Payload
from tmtp_core.wire import revision2 as m2

SETTINGS = """\
data_dir: ./data
http: {listen: "127.0.0.1:0"}
log: {level: error}
instances:
  - {name: members, policy: members, registration: invite, listen: [{tls: "127.0.0.1:0"}]}
  - {name: public, policy: public, registration: open, acquaintance: everyone, listen: [{tls: "127.0.0.1:0"}]}
bridges:
  smtp:
    - name: intake
      instance: public
      listen: 127.0.0.1:0
      hostname: mx.example.org
      senders:
        - {address: orders@partner.example, proof: [network: 127.0.0.0/8]}
        - {address: far@partner.example, proof: [network: 192.0.2.0/24]}
      routes:
        - {recipient: support@example.org, to: Support Desk}
        - {recipient: sales@example.org, to: Sales Desk}
        - {recipient: nobody@example.org, to: Nobody Yet}
      limits: {message_max_bytes: 2000000, connections_per_address_max: 10}
"""


@asynccontextmanager
async def running_gateway(folder: Path, settings: str = SETTINGS) -> AsyncIterator[Gateway]:
    """Run a gateway for the length of the block."""
    file = folder / "gateway.yaml"
    await asyncio.to_thread(file.write_text, settings, "utf-8")
    gateway = Gateway(load_settings(file), SystemClock(), os.urandom)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop(grace_s=2.0)


def endpoint(gateway: Gateway, instance: str) -> Endpoint:
    """Where an instance is."""
    running = gateway.instances[instance]
    host, port = running.address
    return Endpoint(host, port, running.spki_pin)


async def invited(gateway: Gateway, instance: str, note: str = "") -> models.NewInvitation:
    """An invitation of an administrator's for one person."""
    owner = gateway.administration.on_behalf_of(local_user())
    made = await owner.perform("invitations.create", {"instance": instance}, models.CreateInvitation(note=note))
    assert isinstance(made, models.NewInvitation)
    return made


async def administer(
    gateway: Gateway, operation: str, body: msgspec.Struct | None = None, /, **arguments: object
) -> Any:
    """Do what the owner of the machine asks."""
    return await gateway.administration.on_behalf_of(local_user()).perform(operation, arguments, body)


async def accounts_of(gateway: Gateway, instance: str) -> list[models.Account]:
    """All accounts of a small instance, as an administrator sees them."""
    owner = gateway.administration.on_behalf_of(local_user())
    page = await owner.perform("accounts.list", {"instance": instance})
    assert isinstance(page, models.AccountPage)
    return page.accounts


@dataclass
class Desk:
    """A member that keeps what it gets."""

    connection: Connection
    uid: str
    got: list[tuple[m2.StoredEvent, bytes]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, count: int) -> list[tuple[m2.StoredEvent, bytes]]:
        """The first `count` messages."""
        async with asyncio.timeout(60):
            while len(self.got) < count:
                self.heard.clear()
                await self.heard.wait()
        return self.got


@asynccontextmanager
async def member(gateway: Gateway, instance: str, alias: str, invite: str | None = None) -> AsyncIterator[Desk]:
    """A new member of an instance whose device has a key, connected for the length of the block.

    Without an invitation an administrator makes one.
    """
    got: list[tuple[m2.StoredEvent, bytes]] = []
    heard = asyncio.Event()

    async def keep(event: m2.StoredEvent, payload: Payload) -> None:
        got.append((event, await payload.read()))
        heard.set()

    token = invite or (await invited(gateway, instance, alias)).token
    connection = await Connection.open(endpoint(gateway, instance), keep, revision="2")
    registered = await connection.register_keys(alias, AccountKeys.new(os.urandom), alias, token)
    assert not registered.error
    try:
        yield Desk(connection, registered.uid, got, heard)
    finally:
        await connection.quit()
