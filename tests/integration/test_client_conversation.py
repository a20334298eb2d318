# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two people and a real service: nothing lost, nothing doubled, whoever breaks off in between."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from tmtp_client.engine.engine import Engine
from tmtp_client.engine.history import History, Identity, Outgoing, Recorded
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 0.02)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "service") as instance:
        yield instance


class Person:
    """One account on one device, its engine running."""

    def __init__(self, history: History, identity: Identity) -> None:
        self.history = history
        self.identity = identity
        self.engine: Engine
        self._arrived: asyncio.Queue[Recorded] = asyncio.Queue()

    @property
    def uid(self) -> str:
        """The account's uid."""
        return self.identity.uid

    def queue(self, request_id: str, kind: str, to: str, text: str, *files: Path) -> None:
        """Leave something in the outbox."""
        names = tuple(str(file) for file in files)
        self.history.queue(Outgoing(request_id, kind, to, to, "", text, "", names))

    async def next(self) -> Recorded:
        """The next message that is new here."""
        return await asyncio.wait_for(self._arrived.get(), PATIENCE_S)

    async def outbox_empty(self) -> None:
        """Wait until the service has everything."""
        async with asyncio.timeout(PATIENCE_S):
            while self.history.waiting():
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def online(self) -> AsyncIterator["Person"]:
        """Run the engine."""
        async with Engine(self.history, self.identity, self._arrived.put_nowait).running() as self.engine:
            await self.engine.connection.current(PATIENCE_S)
            yield self


def endpoint(service: TestInstance) -> Endpoint:
    return Endpoint(service.host, service.port, service.spki_pin)


async def join(service: TestInstance, folder: Path, alias: str) -> Person:
    """Open an account."""
    connection = await Connection.open(endpoint(service))
    registered = await connection.register("laptop", alias)
    assert registered.error == ""
    await connection.quit()
    return person(service, folder, registered.uid, registered.nodeid, alias)


def person(service: TestInstance, folder: Path, uid: str, node: str, alias: str) -> Person:
    folder.mkdir(parents=True)
    identity = Identity(uid, node, alias, service.host, service.port, service.spki_pin, None, "Test Site")
    return Person(History(folder / "history.sqlite3"), identity)


@asynccontextmanager
async def two_people(service: TestInstance, folder: Path) -> AsyncIterator[tuple[Person, Person]]:
    """Ada and Bob, both online and acquainted."""
    ada = await join(service, folder / "ada", "Ada Lovelace")
    bob = await join(service, folder / "bob", "Bob Builder")
    async with ada.online(), bob.online():
        ada.queue("hello", "ping", "Bob Builder", "It is me")
        assert (await bob.next()).text == "It is me"
        bob.queue("hello", "ping", "Ada Lovelace", "Good to hear from you")
        assert (await ada.next()).alias == "Bob Builder"
        yield ada, bob
    ada.history.close()
    bob.history.close()


def write(path: Path, size: int) -> Path:
    """A file whose content is not the same anywhere."""
    path.write_bytes(b"".join(number.to_bytes(4) for number in range(size // 4)))
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def test_two_people_converse_with_attachments(service: TestInstance, tmp_path: Path) -> None:
    async with two_people(service, tmp_path) as (ada, bob):
        files = [write(tmp_path / "five megabytes.bin", 5 << 20), write(tmp_path / "small.txt", 400)]
        ada.queue("m1", "message", bob.uid, "Here they are", *files)
        got = await bob.next()
        assert (got.text, got.peer, got.alias) == ("Here they are", ada.uid, "Ada Lovelace")
        stored = bob.history.files(got.id)
        assert [(file.name, file.size) for file in stored] == [("five megabytes.bin", 5 << 20), ("small.txt", 400)]
        assert [digest(Path(file.path)) for file in stored] == [digest(file) for file in files]
        bob.queue("m1", "message", ada.uid, "Thank you")
        assert (await ada.next()).text == "Thank you"
        await ada.outbox_empty()
        sent = ada.history.message(got.id)  # one id on both sides: it becomes the thread's
        assert sent is not None
        assert sent.outgoing
        assert sent.posted == got.posted


async def test_what_was_sent_to_somebody_offline_comes_later_and_in_order(
    service: TestInstance, tmp_path: Path
) -> None:
    ada = await join(service, tmp_path / "ada", "Ada Lovelace")
    bob = await join(service, tmp_path / "bob", "Bob Builder")
    async with ada.online():
        for number in range(30):  # more than one delivery window
            ada.queue(f"m{number}", "message", bob.uid, f"{number}")
        await ada.outbox_empty()
    async with bob.online():
        assert [(await bob.next()).text for _ in range(30)] == [str(number) for number in range(30)]
    async with bob.online():
        await bob.engine.settled(0.3, PATIENCE_S)
    assert len(bob.history.latest(100)) == 30
    ada.history.close()
    bob.history.close()


async def test_a_restart_of_the_service_loses_and_doubles_nothing(service: TestInstance, tmp_path: Path) -> None:
    async with two_people(service, tmp_path) as (ada, bob):
        for number in range(20):
            ada.queue(f"a{number}", "message", bob.uid, f"a{number}")
            bob.queue(f"b{number}", "message", ada.uid, f"b{number}")
        await bob.next()
        await service.restart()
        await ada.outbox_empty()
        await bob.outbox_empty()
        for receiver, count in ((bob, 19), (ada, 20)):
            for _ in range(count):
                await receiver.next()
        for someone, own, other in ((ada, "a", "b"), (bob, "b", "a")):
            messages = [message for message in someone.history.latest(100) if message.kind == "message"]
            expected = {f"{name}{number}" for name in (own, other) for number in range(20)}
            assert len(messages) == 40
            assert {message.text for message in messages} == expected
            received = [message.text for message in messages if not message.outgoing]
            assert received == [f"{other}{number}" for number in range(20)]


async def test_a_post_made_again_under_its_id_is_one_message(service: TestInstance, tmp_path: Path) -> None:
    async with two_people(service, tmp_path) as (ada, bob):
        connection = await ada.engine.connection.current()
        recipients = [m.Recipient(bob.uid, m.TO_UID)]
        first = await connection.post("again", recipients, b"only once")
        second = await connection.post("again", recipients, b"only once")
        assert first.msgid == second.msgid
        await connection.post("other", recipients, b"after it")
        assert [(await bob.next()).text for _ in range(2)] == ["only once", "after it"]


async def test_a_second_device_has_both_sides_of_the_conversation(service: TestInstance, tmp_path: Path) -> None:
    secrets: asyncio.Queue[str] = asyncio.Queue()

    async def listen(event: m2.StoredEvent, payload: Payload) -> None:
        if isinstance(event, m.UserEvent) and event.nodeid is not None:
            secrets.put_nowait(event.nodeid)

    ada = await join(service, tmp_path / "ada", "Ada Lovelace")
    bob = await join(service, tmp_path / "bob", "Bob Builder")
    connection = await Connection.open(endpoint(service), listen)
    await connection.login(ada.uid, ada.identity.node)
    await connection.ask(m.UserEdit("n1", newnode="phone"))
    node = await asyncio.wait_for(secrets.get(), PATIENCE_S)
    await connection.quit()
    phone = person(service, tmp_path / "phone", ada.uid, node, "Ada Lovelace")
    async with ada.online(), bob.online(), phone.online():
        bob.queue("b1", "message", ada.uid, "to both of you")
        assert [(await device.next()).text for device in (ada, phone)] == ["to both of you"] * 2
        ada.queue("a1", "message", bob.uid, "from the laptop")
        copy = await phone.next()
        assert (copy.text, copy.outgoing) == ("from the laptop", True)
        phone.queue("p1", "message", bob.uid, "from the phone")
        assert {(await bob.next()).text for _ in range(2)} == {"from the laptop", "from the phone"}
        assert (await ada.next()).text == "from the phone"
    for device in (ada, bob, phone):
        device.history.close()


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


async def test_refusals_come_in_the_words_of_the_service(service: TestInstance, tmp_path: Path) -> None:
    async with two_people(service, tmp_path) as (ada, _):
        connection = await ada.engine.connection.current()
        with pytest.raises(Refused, match="Nobody Here not found"):
            await connection.ping("p1", "Ada Lovelace", "Nobody Here", "hello")
        with pytest.raises(Refused, match="from must identify sender"):
            await connection.ping("p2", "Bob Builder", "Ada Lovelace", "hello")
        with pytest.raises(Refused, match="not found"):
            await connection.post("m1", [m.Recipient("B" * 32, m.TO_UID)], b"text")
        with pytest.raises(Refused, match="already taken"):
            await connection.ask(m.UserEdit("u1", newalias="Bob Builder"))
        ada.queue("p3", "ping", "Nobody Here", "hello")
        await ada.outbox_empty()
        left = ada.history.outgoing("p3")
        assert left is not None
        assert "not found" in left.error


async def test_a_device_that_is_barred_is_told_so(service: TestInstance, tmp_path: Path) -> None:
    ada = await join(service, tmp_path / "ada", "Ada Lovelace")
    await service.service.bar_account(ada.uid)
    persistent = PersistentConnection(endpoint(service), PasswordLogin(ada.uid, ada.identity.node))
    with pytest.raises(Disconnected, match="login failed"):
        await persistent.current(PATIENCE_S)
    await persistent.stop()
    ada.history.close()


async def test_a_group_lives_from_its_first_invitation(service: TestInstance, tmp_path: Path) -> None:
    async with two_people(service, tmp_path) as (ada, bob):
        hers = await ada.engine.connection.current()
        his = await bob.engine.connection.current()
        await hers.group_invite("g1", "Builders of Engines", "Ada Lovelace", "Bob Builder", "Join us")
        invited = await bob.next()
        assert (invited.kind, invited.subject, invited.text) == ("invitation", "Builders of Engines", "Join us")
        await his.ask(m.GroupEdit("g2", "join", "Builders of Engines"))
        await his.post("g3", [m.Recipient("Builders of Engines", m.TO_GROUP_NOT_SELF)], b"to all of us")
        assert (await ada.next()).text == "to all of us"
        await his.ask(m.GroupEdit("g4", "drop", "Builders of Engines", to="Bob Builder"))
        with pytest.raises(Refused, match="not a member"):
            await his.post("g5", [m.Recipient("Builders of Engines", m.TO_GROUP_NOT_SELF)], b"gone")


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
