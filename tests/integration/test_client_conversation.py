# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections of people and a real service: who answers, what is refused, one request id for one message.

What the engine makes of it: tests/integration/test_engine_*.py and test_sending.py.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.instance import TestInstance, running_instance
from tmtp_client import limits
from tmtp_client.connection import (
    Connection,
    Disconnected,
    Endpoint,
    PasswordLogin,
    Payload,
    PersistentConnection,
    Refused,
    WrongService,
)
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 0.02)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "service") as instance:
        yield instance


def endpoint(service: TestInstance) -> Endpoint:
    return Endpoint(service.host, service.port, service.spki_pin)


class Person:
    """One account, connected; what was delivered to it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.got: asyncio.Queue[tuple[m2.StoredEvent, bytes]] = asyncio.Queue()
        self.connection: Connection
        self.uid = self.node = ""

    async def join(self, service: TestInstance) -> "Person":
        self.connection = await Connection.open(endpoint(service), self._hear)
        registered = await self.connection.register("laptop", self.alias)
        assert registered.error == ""
        self.uid, self.node = registered.uid, registered.nodeid
        return self

    async def delivered(self) -> bytes:
        """What the next message says."""
        while True:
            event, data = await asyncio.wait_for(self.got.get(), PATIENCE_S)
            if isinstance(event, m.Delivery):
                return data

    async def _hear(self, event: m2.StoredEvent, payload: Payload) -> None:
        self.got.put_nowait((event, await payload.read()))


@pytest.fixture
async def people(service: TestInstance) -> AsyncIterator[tuple[Person, Person]]:
    """Ada and Bob, who have pinged one another."""
    ada, bob = [await Person(alias).join(service) for alias in ("Ada Lovelace", "Bob Builder")]
    await ada.connection.ping("hello", ada.alias, bob.alias, "It is me")
    await bob.connection.ping("hello", bob.alias, ada.alias, "Good to hear from you")
    yield ada, bob
    await asyncio.gather(ada.connection.quit(), bob.connection.quit())


async def test_a_post_made_again_under_its_id_is_one_message(people: tuple[Person, Person]) -> None:
    ada, bob = people
    recipients = [m.Recipient(bob.uid, m.TO_UID)]
    first = await ada.connection.post("again", recipients, b"only once")
    second = await ada.connection.post("again", recipients, b"only once")
    assert first.msgid == second.msgid
    await ada.connection.post("other", recipients, b"after it")
    assert [await bob.delivered() for _ in range(2)] == [b"only once", b"after it"]


async def test_another_service_at_the_address_gets_nothing(service: TestInstance) -> None:
    wrong = Endpoint(service.host, service.port, "sha256:" + "A" * 43)
    with pytest.raises(WrongService):
        await Connection.open(wrong)
    persistent = PersistentConnection(wrong, PasswordLogin("A" * 32, "N" * 40))
    async with asyncio.timeout(PATIENCE_S):
        while persistent.trouble is None:
            await asyncio.sleep(0.01)
    await persistent.stop()
    assert "not the one that was pinned" in persistent.trouble


async def test_refusals_come_in_the_words_of_the_service(people: tuple[Person, Person]) -> None:
    connection = people[0].connection
    with pytest.raises(Refused, match="Nobody Here not found"):
        await connection.ping("p1", "Ada Lovelace", "Nobody Here", "hello")
    with pytest.raises(Refused, match="from must identify sender"):
        await connection.ping("p2", "Bob Builder", "Ada Lovelace", "hello")
    with pytest.raises(Refused, match="not found"):
        await connection.post("m1", [m.Recipient("B" * 32, m.TO_UID)], b"text")
    with pytest.raises(Refused, match="already taken"):
        await connection.ask(m.UserEdit("u1", newalias="Bob Builder"))


async def test_a_device_that_is_barred_is_told_so(service: TestInstance) -> None:
    ada = await Person("Ada Lovelace").join(service)
    await ada.connection.quit()
    await service.service.bar_account(ada.uid)
    persistent = PersistentConnection(endpoint(service), PasswordLogin(ada.uid, ada.node))
    with pytest.raises(Disconnected, match="login failed"):
        await persistent.current(PATIENCE_S)
    await persistent.stop()


async def test_a_member_that_was_dropped_from_a_group_writes_to_it_no_more(people: tuple[Person, Person]) -> None:
    ada, bob = people
    await ada.connection.group_invite("g1", "Builders of Engines", "Ada Lovelace", "Bob Builder", "Join us")
    await bob.connection.ask(m.GroupEdit("g2", "join", "Builders of Engines"))
    to_group = [m.Recipient("Builders of Engines", m.TO_GROUP_NOT_SELF)]
    await bob.connection.post("g3", to_group, b"to all of us")
    assert await ada.delivered() == b"to all of us"
    await bob.connection.ask(m.GroupEdit("g4", "drop", "Builders of Engines", to="Bob Builder"))
    with pytest.raises(Refused, match="not a member"):
        await bob.connection.post("g5", to_group, b"gone")


async def test_sixty_connections_in_one_process(service: TestInstance) -> None:
    connections = await asyncio.gather(*(Connection.open(endpoint(service)) for _ in range(60)))
    registered = await asyncio.gather(
        *(one.register("laptop", f"Member number {number}") for number, one in enumerate(connections))
    )
    to_next = [m.Recipient(registered[(number + 1) % 60].uid, m.TO_UID) for number in range(60)]
    acked = await asyncio.gather(
        *(one.post(f"m{n}", [to_next[number]], b"x") for number, one in enumerate(connections) for n in range(5))
    )
    assert len({answer.msgid for answer in acked}) == 300
    await asyncio.gather(*(one.quit() for one in connections))
