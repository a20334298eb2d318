# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trust against a real gateway: linking, confirming, suspending, contesting, revoking; sealed messages between two people
with two devices each; keys that changed, held until they are seen; a key wrapped again (B4, B9).
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.instance import TestInstance, running_instance
from tmtp_client.connection import AccountKeys, Connection, DeviceKeys, Disconnected, Endpoint, Payload
from tmtp_client.store import identity, messages
from tmtp_client.store.database import Database
from tmtp_client.trust import Held, Plan, Sealed, ToSeal, Trust, linking
from tmtp_client.trust.devices import Changed, NotPossible
from tmtp_client.trust.linking import LinkRefused, Place, check_joined, read_offer
from tmtp_client.trust.wrapping import ASK, GIVE, Wish
from tmtp_client.vault.recovery import words_of
from tmtp_core.crypto.envelope import Delivered, Octets, Opened, Opening, Sealing
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import PostHead, encode_post_head


class Client:
    """One device of the client, without its engine: a connection, a database, trust."""

    def __init__(self, instance: TestInstance, folder: Path, uid: str, keys: DeviceKeys) -> None:
        self.instance = instance
        self.uid = uid
        self.keys = keys
        self.name = keys.signer.public
        self.database = Database(folder, os.urandom(32))
        self.trust = self._trust(uid)
        self.connection: Connection
        self.got: list[tuple[m2.StoredEvent, bytes]] = []
        self.read: dict[str, tuple[str, Sealed]] = {}
        self.sealed: dict[str, tuple[Any, bytes]] = {}
        self.requests = 0

    def _trust(self, uid: str) -> Trust:
        clock = self.instance.clock
        return Trust(
            uid, self.keys, self.instance.service.identity.public, lambda: clock.wall_ns() // 10**6, os.urandom
        )

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.instance.host, self.instance.port, self.instance.spki_pin)

    async def open(self) -> None:
        self.connection = await Connection.open(self.endpoint, self._hear, revision="2")

    async def enter(self) -> str:
        """Log in and settle; what the service said."""
        await self.open()
        info = await self.connection.login_by_key(self.uid, self.keys.signer, self.instance.service.identity.public)
        await self.settle(info.head)
        return info.info

    async def settle(self, head: str = "") -> None:
        await self.trust.settle(self.connection, self.database, head)

    async def leave(self) -> None:
        await self.connection.quit()

    async def _hear(self, event: m2.StoredEvent, payload: Payload) -> None:
        data = await payload.read()
        if isinstance(event, m2.LogEvent):
            await self.database.write(lambda c: self.trust.heard(c, event, data))
        elif isinstance(event, m.Delivery):
            await self.open_sealed(event, data)
        elif isinstance(event, m.LoginEvent):
            await self.database.write(self.trust.caught_up)
        self.got.append((event, data))

    async def open_sealed(self, event: m.Delivery, data: bytes, *, waited: bool = False) -> None:
        """As the engine does: whole or not at all."""
        outer, stream = data[: event.datahead], data[event.datahead :]
        e2e = decode_outer(outer)
        key = await self.database.read(lambda c: self.trust.key_for(c, event.id, e2e))
        if key is None:
            self.sealed[event.id] = event, data
            await self.database.write(lambda c: messages.record(c, _message(event, "sealed", "", ""), frozenset()))
            return
        opening = Opening(
            key, outer, len(stream), Delivered(self.instance.service.identity.public_key, event.from_, self.uid)
        )
        given = opening.push(stream)
        opening.finish()
        opened = next(one for one in given if isinstance(one, Opened))
        text = b"".join(one.data for one in given if isinstance(one, Octets)).decode()

        def keep(c: Any) -> Sealed:
            sealed = self.trust.judge(c, event.id, event.from_, event.posted, opened, waited=waited)
            if not waited:
                encoded = msgspec.json.encode(sealed).decode()
                messages.record(c, _message(event, "received", encoded, text), frozenset())
            return sealed

        self.read[event.id] = text, await self.database.write(keep)

    # -- sending -----------------------------------------------------------------------------------------------------
    async def plan(self, *uids: str) -> object:
        await self.trust.look_at(self.connection, self.database, uids)
        return await self.database.write(lambda c: self.trust.plan(c, uids))

    async def send(self, text: str, *uids: str, control: str = "") -> str:
        """A sealed message; its id."""
        plan = await self.plan(*uids)
        assert isinstance(plan, Plan), plan
        self.requests += 1
        request_id = f"{self.name} {self.requests}"
        recipients = tuple(m.Recipient(uid, m.TO_UID) for uid in uids)
        to_seal = ToSeal(request_id, recipients, encode_post_head(PostHead(control=control)), text.encode())
        composed = await self.database.write(lambda c: self.trust.prepare(c, to_seal, plan))
        sealing = Sealing(composed, self.instance.service.identity.public_key)
        data = composed.outer + sealing.push(text.encode()) + b"".join(sealing.finish())
        acked = await self.connection.post(request_id, recipients, data, datahead=len(composed.outer))
        await self.database.write(lambda c: self.trust.sent(c, request_id, acked.msgid))
        return acked.msgid

    async def has_read(self, message: str) -> str:
        """What a message says, once it has come; without a doubt."""
        await until(lambda: message in self.read)
        text, sealed = self.read[message]
        assert sealed.doubts == ()
        return text

    async def see(self, *uids: str) -> None:
        """The person looks at what changed."""
        for uid in (*uids, self.uid):
            unseen = await self.database.read(lambda c, uid=uid: self.trust.unseen(c, uid))
            if unseen is not None:
                await self.database.write(lambda c, uid=uid, unseen=unseen: self.trust.seen(c, uid, unseen.head))

    # -- devices -----------------------------------------------------------------------------------------------------
    async def act(self, act: Any, target: "Client", words: str = "") -> None:
        await self.trust.devices.act(self.connection, self.database, act, target.name, words)

    async def stands(self) -> dict[str, str]:
        """How the account's devices stand, by the list that the person sees."""
        await self.settle()
        listed = await self.database.read(lambda c: self.trust.devices.listed(c, self.uid))
        return {one.key: one.stands for one in listed.devices}


def _message(event: m.Delivery, state: Any, sealed: str, text: str) -> messages.NewMessage:
    return messages.NewMessage(
        event.id, "message", False, event.from_, "", True, (), "", "", text, event.posted, 0, state, False, 2, sealed
    )


class Site:
    """An instance, and who is on it."""

    def __init__(self, instance: TestInstance, folder: Path, stack: AsyncExitStack) -> None:
        self.instance = instance
        self._folder = folder
        self._stack = stack
        self._count = 0

    async def device(self, uid: str, keys: DeviceKeys) -> Client:
        self._count += 1
        folder = self._folder / f"device-{self._count}"
        folder.mkdir()
        client = Client(self.instance, folder, uid, keys)
        await client.database.open()
        self._stack.push_async_callback(client.database.close)
        return client

    async def join(self, alias: str) -> tuple[Client, str]:
        """A new account's first device, and the words of its recovery sheet."""
        keys = AccountKeys.new(os.urandom)
        client = await self.device("", keys.device)
        await client.open()
        registered = await client.connection.register_keys("laptop", keys, alias)
        client.uid = registered.uid
        client.trust = client._trust(registered.uid)
        self._stack.push_async_callback(client.leave)
        await client.settle()
        return client, words_of(keys.recovery_seed)

    async def link(self, old: Client) -> Client:
        """A further device, by the two texts."""
        place = Place(self.instance.host, self.instance.port, "test", "Ada", self.instance.spki_pin)
        offered = await old.trust.linking.offer(old.connection, old.database, place)
        offer = read_offer(offered.text)
        assert (offer.uid, offer.service_key) == (old.uid, self.instance.service.identity.public)
        new = await self.device(offer.uid, DeviceKeys.new(os.urandom))
        answered = linking.answer(offer, new.keys)
        assert old.trust.linking.check(answered.text).fingerprint == answered.fingerprint
        added = await old.trust.linking.finish(old.connection, old.database, answered.text, answered.fingerprint)
        assert added == new.name
        assert await new.enter() == "login ok"
        self._stack.push_async_callback(new.leave)
        assert await new.database.write(lambda c: check_joined(c, new.trust.logs, new.trust.own, offer)) == ""
        return new


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_instance(tmp_path / "instance") as instance, AsyncExitStack() as stack:
        yield Site(instance, tmp_path, stack)


async def acquaint(one: Client, other: Client, aliases: tuple[str, str]) -> None:
    await one.connection.ping("p1", aliases[0], aliases[1], "hi")
    await other.connection.ping("p1", aliases[1], aliases[0], "hi")


async def test_devices_come_and_go(site: Site) -> None:
    """Linking a second and a third, confirming, suspending, contesting, revoking."""
    laptop, words = await site.join("Ada Lovelace")
    phone = await site.link(laptop)
    assert (await laptop.stands())[phone.name] == "provisional"
    with pytest.raises(NotPossible, match="recovery sheet"):
        await laptop.act("confirm", phone)  # which added it
    with pytest.raises(NotPossible, match="full device"):
        await site.link(phone)
    await laptop.act("confirm", phone, words)
    tablet = await site.link(phone)
    await laptop.act("confirm", tablet)
    assert set((await tablet.stands()).values()) == {"full"}
    await phone.settle()
    await phone.act("suspend", tablet)
    assert await tablet.connection.closed() == "device suspended"
    assert await tablet.enter() == "device suspended"
    await tablet.act("contest", tablet)
    assert await phone.connection.closed() == "device suspended"
    assert (await laptop.stands())[phone.name] == "full suspended"
    with pytest.raises(NotPossible, match="recovery sheet"):
        await laptop.act("revoke", phone)
    with pytest.raises(NotPossible, match="not this account's"):
        await laptop.act("revoke", phone, words_of(os.urandom(32)))
    await laptop.act("revoke", phone, words)
    await laptop.act("resume", tablet, words)
    assert (await laptop.stands())[phone.name] == "revoked"
    await tablet.leave()
    assert await tablet.enter() == "login ok"
    listed = await laptop.database.read(lambda c: laptop.trust.devices.listed(c, laptop.uid))
    assert [line.act for line in listed.log] == [
        *("genesis", "add", "confirm", "add", "confirm", "suspend", "contest", "revoke", "resume"),
    ]
    with pytest.raises(Disconnected):
        await phone.enter()
    await phone.connection.close()


async def test_a_new_recovery_key_and_the_check_of_its_words(site: Site) -> None:
    laptop, words = await site.join("Ada Lovelace")
    check: Callable[[str], Any] = lambda text: laptop.trust.devices.check_recovery(laptop.database, text)  # noqa: E731
    assert await check(words)
    new = await laptop.trust.devices.new_recovery(laptop.connection, laptop.database, words)
    await laptop.database.write(identity.forget_pending)
    assert await check(new)
    assert not await check(words)
    with pytest.raises(NotPossible):
        await laptop.trust.devices.new_recovery(laptop.connection, laptop.database, words)
    with pytest.raises(ValueError, match="24 words"):
        await check("abandon")


class LosesAnswers:
    """A connection that the service hears, and that breaks off before it is heard."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.inquire = connection.inquire

    async def ask(self, request: Any) -> m.Acked:
        """See `Asker`."""
        await self._connection.ask(request)
        raise Disconnected("the connection has ended")


async def test_a_recovery_key_whose_answer_is_lost_is_told_when_it_is_asked_for_again(site: Site) -> None:
    """Else the account would have a recovery key that nobody has."""
    laptop, words = await site.join("Ada Lovelace")
    renew = laptop.trust.devices.new_recovery
    with pytest.raises(Disconnected):
        await renew(LosesAnswers(laptop.connection), laptop.database, words)
    new = await renew(laptop.connection, laptop.database, words)
    assert await laptop.trust.devices.check_recovery(laptop.database, new)
    assert not await laptop.trust.devices.check_recovery(laptop.database, words)
    await laptop.database.write(identity.forget_pending)  # it was told
    with pytest.raises(NotPossible):
        await renew(laptop.connection, laptop.database, words)


async def test_a_link_that_was_tampered_with_or_is_too_late_adds_nothing(site: Site) -> None:
    laptop, _ = await site.join("Ada Lovelace")
    mallory, _ = await site.join("Mallory the First")
    place = Place(site.instance.host, site.instance.port, "test")
    offered = await laptop.trust.linking.offer(laptop.connection, laptop.database, place)
    good = linking.answer(read_offer(offered.text), DeviceKeys.new(os.urandom))
    swapped = linking.answer(read_offer(offered.text), DeviceKeys.new(os.urandom))
    finish = laptop.trust.linking.finish
    with pytest.raises(LinkRefused, match="fingerprints differ"):
        await finish(laptop.connection, laptop.database, swapped.text, good.fingerprint)
    with pytest.raises(LinkRefused, match="another account"):
        await mallory.trust.linking.finish(mallory.connection, mallory.database, good.text, good.fingerprint)
    for text in (good.text[:-4], good.text.replace("tmtp-linked-1:", "tmtp-link-1:"), "hello", offered.text):
        with pytest.raises(LinkRefused):
            await finish(laptop.connection, laptop.database, text, good.fingerprint)
    await site.link(laptop)  # the log moves on
    with pytest.raises(Changed, match="begin again"):
        await finish(laptop.connection, laptop.database, good.text, good.fingerprint)
    assert len(await laptop.stands()) == 2


async def test_sealed_messages_between_two_people_with_two_devices_each(site: Site) -> None:
    """And keys that changed hold what is to be sent, until they are seen."""
    ada, _ = await site.join("Ada Lovelace")
    bob, _ = await site.join("Bob Builder")
    await acquaint(ada, bob, ("Ada Lovelace", "Bob Builder"))
    await ada.trust.look_at(ada.connection, ada.database, [bob.uid])
    await bob.trust.look_at(bob.connection, bob.database, [ada.uid])
    first = await ada.send("one", bob.uid)
    assert await bob.has_read(first) == "one"
    phone = await site.link(bob)
    await until(lambda: any(isinstance(event, m2.LogEvent) for event, _ in ada.got))
    held = await ada.plan(bob.uid)
    assert isinstance(held, Held)
    assert phone.name[:8] in held.text
    await ada.see(bob.uid)
    second = await ada.send("two", bob.uid)
    for device in (bob, phone):
        assert await device.has_read(second) == "two"
    tablet = await site.link(ada)
    await phone.trust.look_at(phone.connection, phone.database, [ada.uid], anew=True)
    await phone.see(ada.uid)
    third = await phone.send("three", ada.uid)
    for device in (ada, tablet, bob):
        await until(lambda device=device: third in device.read)
        await device.settle()
        assert device.read[third][0] == "three"
        assert device.read[third][1].doubts == ()
    number = await ada.database.read(lambda c: ada.trust.safety_number(c, bob.uid))
    await bob.trust.look_at(bob.connection, bob.database, [ada.uid], anew=True)
    theirs = await bob.database.read(lambda c: bob.trust.safety_number(c, ada.uid))
    assert number is not None
    assert theirs is not None
    assert number.digits == theirs.digits


async def test_a_key_is_wrapped_again_when_the_person_agrees(site: Site) -> None:
    """A device that came later asks for what was written before."""
    ada, _ = await site.join("Ada Lovelace")
    bob, _ = await site.join("Bob Builder")
    await acquaint(ada, bob, ("Ada Lovelace", "Bob Builder"))
    await bob.leave()
    early = await ada.send("before", bob.uid)
    assert await bob.enter() == "login ok"
    await bob.has_read(early)
    await bob.leave()
    late = await ada.send("while away", bob.uid)
    await bob.open()
    bob.connection._on_event = _deaf  # it has not taken it yet
    await bob.connection.login_by_key(bob.uid, bob.keys.signer)
    phone = await site.link(bob)
    await until(lambda: late in phone.sealed)
    await ada.see(bob.uid)
    await phone.trust.look_at(phone.connection, phone.database, [ada.uid])
    question = await phone.send(phone.trust.wrapping.ask(late).decode(), ada.uid, control=ASK)
    text = await ada.has_read(question)
    await ada.trust.look_at(ada.connection, ada.database, [bob.uid], anew=True)
    who = (bob.uid, phone.name)
    wish = await ada.database.write(lambda c: ada.trust.wrapping.asked(c, text.encode(), *who))
    assert isinstance(wish, Wish)
    answer = await ada.database.write(lambda c: ada.trust.wrapping.answer(c, late, *who, agreed=True))
    assert answer is not None
    await ada.see(bob.uid)
    given = await ada.send(answer.decode(), bob.uid, control=GIVE)
    told = await phone.has_read(given)
    event, data = phone.sealed[late]
    e2e = decode_outer(data[: event.datahead])
    found = await phone.database.write(lambda c: phone.trust.wrapping.regained(c, told.encode(), ada.uid, e2e))
    assert found == late
    await phone.open_sealed(event, data, waited=True)
    assert await phone.has_read(late) == "while away"
    await bob.connection.close()


async def test_what_a_restored_service_has_lost_is_handed_over(site: Site) -> None:
    """Contacts go on with what they know, and are told what it may be; the account's own device hands it over."""
    if site.instance.running._shared:
        pytest.skip("a database on PostgreSQL goes back by its own means")
    ada, words = await site.join("Ada Lovelace")
    bob, _ = await site.join("Bob Builder")
    await acquaint(ada, bob, ("Ada Lovelace", "Bob Builder"))
    phone = await site.link(ada)
    for one in (ada, bob, phone):
        await one.leave()
    await site.instance.stop()
    database, copy = site.instance.folder / "service.sqlite3", site.instance.folder / "old"
    shutil.copyfile(database, copy)
    await site.instance.start()
    for one in (ada, bob):
        assert await one.enter() == "login ok"
    await ada.act("revoke", phone, words)
    await bob.trust.look_at(bob.connection, bob.database, [ada.uid], anew=True)
    for one in (ada, bob):
        await one.leave()
    await site.instance.stop()
    for path in site.instance.folder.glob("service.sqlite3*"):
        path.unlink()
    shutil.copyfile(copy, database)
    await site.instance.start()
    assert await phone.enter() == "login ok"  # the service does not know better
    assert await bob.enter() == "login ok"
    await bob.trust.look_at(bob.connection, bob.database, [ada.uid], anew=True)
    await bob.see(ada.uid)
    listed = await bob.database.read(lambda c: bob.trust.devices.listed(c, ada.uid))
    assert "restored from a backup" in listed.trouble
    plan = await bob.plan(ada.uid)
    assert isinstance(plan, Plan)
    assert phone.name not in {one.device for one in plan.targets}
    assert await ada.enter() == "login ok"
    assert await phone.connection.closed() == "device revoked"
    await bob.trust.look_at(bob.connection, bob.database, [ada.uid], anew=True)
    assert (await bob.database.read(lambda c: bob.trust.devices.listed(c, ada.uid))).trouble == ""


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the service sends."""
    async with asyncio.timeout(180):
        while not holds():
            await asyncio.sleep(0.02)


async def _deaf(event: m2.StoredEvent, payload: Payload) -> None:
    await asyncio.Event().wait()
