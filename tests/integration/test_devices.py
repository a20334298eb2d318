# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices that prove themselves by key, and the account's log over the wire (B4, D4)."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.devices import (
    KeyDevice,
    acquainted,
    fresh_box,
    fresh_id,
    fresh_signer,
    newcomer,
    refusal,
)
from tests.support.instance import TestInstance, running_instance
from tmtp_client.connection import AccountKeys, Connection, Disconnected, Endpoint, WrongService
from tmtp_core import limits
from tmtp_core.crypto.account_log import RECOVERY, Entry
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.log_records import compose, decode_record, decode_records
from tmtp_core.crypto.possession import Channel, login_proof, registration_proof
from tmtp_core.domain.policy import Acquaintance, Policy
from tmtp_core.errors import LoginRefused
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

HOUR_MS = 3_600_000


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "instance") as running:
        yield running


async def test_what_revision_2_announces(instance: TestInstance) -> None:
    connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), revision="2")
    greeting = connection.service.result()
    assert greeting.id == "2"
    assert greeting.service == m.ServiceKey(instance.service.identity.public, "public", "Test Site")
    assert len(from_text(greeting.nonce)) == 32
    assert greeting.limits is not None
    assert (greeting.limits.header, greeting.limits.ping) == (65_535, 140)
    await connection.close()


async def test_register_log_in_and_talk(instance: TestInstance) -> None:
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await ada.post(bob.uid, data=b"good morning")
    event, data = await bob.next(m.Delivery)
    assert (event.from_, event.alias, data) == (ada.uid, "Ada Lovelace", b"good morning")
    await bob.quit()
    await ada.post(bob.uid, data=b"are you there?")
    info = await bob.log_in()
    assert (info.info, info.window) == ("login ok", 64)
    assert info.head == (await bob.log()).head_text
    assert (await bob.next(m.Delivery))[1] == b"are you there?"


async def test_the_alias_that_speaks_is_checked(instance: TestInstance) -> None:
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await ada.connection.ask(m.UserEdit(fresh_id(), newalias="Ada, support"))
    await ada.post(bob.uid, from_="Ada, support")
    assert (await bob.next(m.Delivery))[0].alias == "Ada, support"
    assert await refusal(ada.post(bob.uid, from_="Bob Builder")) == "from must identify sender"


async def test_no_password_opens_an_account_with_keys(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    assert "have keys" in await refusal(ada.connection.ask(m.UserEdit(fresh_id(), newnode="old style")))
    old = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
    with pytest.raises(Disconnected, match="login failed"):
        await old.login(ada.uid, "1" * 40)
    await old.close()


@pytest.mark.parametrize("wrong", ["key", "nonce", "service", "certificate", "uid"])
async def test_a_signature_for_anything_else_is_refused(instance: TestInstance, wrong: str) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    bob = await newcomer(instance, "Bob Builder")
    await ada.quit()
    connection = await ada.open()
    there = await connection.channel()
    elsewhere = os.urandom(32)
    channel = Channel(
        elsewhere if wrong == "nonce" else there.nonce,
        elsewhere if wrong == "service" else there.service_key,
        elsewhere if wrong == "certificate" else there.spki_hash,
    )
    signer = fresh_signer() if wrong == "key" else ada.signer
    proof = login_proof(signer, channel, bob.uid if wrong == "uid" else ada.uid)
    await connection._send(m.encode_head(m2.LoginByKey(ada.uid, ada.name, proof)))
    assert await connection.closed() == "login failed"
    await connection.close()


async def test_a_signature_serves_on_its_own_connection_only(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    await ada.quit()
    first = await ada.open()
    proof = login_proof(ada.signer, await first.channel(), ada.uid)
    second = await ada.open()
    await second._send(m.encode_head(m2.LoginByKey(ada.uid, ada.name, proof)))
    assert await second.closed() == "login failed"
    await first._send(m.encode_head(m2.LoginByKey(ada.uid, ada.name, proof)))
    assert (await first._wait(first._entered)).info == "login ok"
    await first.quit()
    await second.close()


async def test_a_client_does_not_sign_for_another_service(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    await ada.quit()
    connection = await ada.open()
    with pytest.raises(WrongService, match="nothing was signed"):
        await connection.login_by_key(ada.uid, ada.signer, fresh_signer().public)
    await connection.close()


async def test_a_bad_registration_leaves_nothing_behind(instance: TestInstance) -> None:
    before = len(await instance.service.list_accounts())
    keys, other = AccountKeys.new(os.urandom), AccountKeys.new(os.urandom)
    token = await instance.service.create_invitation()
    for entry_of, device, recovery in (
        (other, keys.device.signer, keys.recovery),
        (keys, keys.device.signer, other.recovery),
        (keys, other.device.signer, keys.recovery),
    ):
        connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), revision="2")
        entry, sigs = entry_of.genesis(instance.service.identity.public_key)
        channel = await connection.channel()
        request = m2.RegisterKeys(
            "n",
            "Ada Lovelace",
            keys.device.signer.public,
            entry,
            sigs,
            registration_proof(device, channel, from_text(entry)),
            registration_proof(recovery, channel, from_text(entry)),
            invite=token,
        )
        await connection._send(m.encode_head(request))
        assert "signature does not hold" in await connection.closed()
        await connection.close()
    assert len(await instance.service.list_accounts()) == before
    ada = await newcomer(instance, "Ada Lovelace", token)  # the invitation was not used up
    assert ada.uid


async def test_devices_are_added_confirmed_and_told(instance: TestInstance) -> None:
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await acquainted(ada, bob)
    await ada.quit()
    await bob.post(ada.uid, data=b"waits")
    await ada.log_in()
    phone = await ada.add_device()
    state = await phone.log()
    assert state.standing(phone.name, state.time_ms) == "provisional"
    assert await refusal(phone.append("suspend", target=ada.name)) == (
        "LogAppend: 4: the signer is not a full device that is not suspended"
    )
    assert "3: a device's sponsor" in await refusal(ada.append("confirm", target=phone.name))
    await ada.append("confirm", recovery=True, target=phone.name)
    state = await ada.log()
    assert state.standing(phone.name, state.time_ms) == "full"
    for watcher in (phone, bob):
        event, data = await watcher.next(m2.LogEvent, lambda event: event.place == 2)
        assert (event.uid, event.head) == (ada.uid, state.head_text)
        assert decode_record(data).time == state.time_ms
    assert (await bob.log(ada.uid)).head == state.head


async def test_who_is_no_acquaintance_sees_no_log(tmp_path: Path) -> None:
    policy = Policy(acquaintance=Acquaintance.PING)
    async with running_instance(tmp_path / "instance", policy=policy) as instance:
        ada, eve = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Eve Dropper")
        assert "no log" in await refusal(eve.log(ada.uid))
        await ada.add_device()
        assert await eve.all_of(m2.LogEvent) == []


async def test_pinging_somebody_opens_no_log(tmp_path: Path) -> None:
    """Whose log it is must have agreed, not who asks for it."""
    async with running_instance(tmp_path / "instance", policy=Policy(acquaintance=Acquaintance.PING)) as instance:
        eve, bob = await newcomer(instance, "Eve Dropper"), await newcomer(instance, "Bob Builder")
        await eve.ping("Bob Builder")
        assert "no log" in await refusal(eve.log(bob.uid))
        assert (await bob.log(eve.uid)).count == 1  # she wrote to him: he may answer, and needs her keys
        await bob.post(eve.uid)
        assert (await eve.log(bob.uid)).count == 1


async def test_whoever_had_to_do_with_an_account_is_told_of_its_changes(instance: TestInstance) -> None:
    """Where all are acquainted: those who wrote to it, and those to whom it wrote; and not all the others."""
    ada, bob, dan, eve = [
        await newcomer(instance, name) for name in ("Ada Lovelace", "Bob Builder", "Dan Dare", "Eve Dropper")
    ]
    await ada.post(bob.uid)
    await dan.post(ada.uid)
    await ada.add_device()
    for told in (bob, dan):
        assert (await told.next(m2.LogEvent))[0].uid == ada.uid
    assert await eve.all_of(m2.LogEvent) == []


async def test_suspend_cuts_at_once_and_leaves_the_right_to_contest(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    phone, tablet = await ada.add_full_device(), await ada.add_full_device()
    await ada.append("suspend", target=phone.name)
    assert await phone.ends() == "device suspended"
    bob = await newcomer(instance, "Bob Builder")
    await bob.post(ada.uid, data=b"not for the suspended")
    taken = len(phone.got)
    assert (await phone.log_in()).info == "device suspended"
    assert (await phone.log()).standing(phone.name, 0).endswith("suspended")
    assert await refusal(phone.post(bob.uid)) == "this device may only look at its account's log and add to it"
    await phone.log_in()
    assert await refusal(phone.log(bob.uid)) == "LogFetch: only this account's own log is for you"
    await phone.append("contest")
    assert await ada.ends() == "device suspended"
    assert len(phone.got) == taken  # nothing came out of its queue
    assert (await tablet.next(m2.LogEvent, lambda event: event.place == 6))[0].uid == ada.uid
    await tablet.append("resume", recovery=True, target=ada.name)
    assert (await ada.log_in()).info == "login ok"
    assert await refusal(phone.append("contest")) == "LogAppend: 5: this suspension was contested before"


async def test_revoke_deletes_queue_and_key(instance: TestInstance) -> None:
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    phone, tablet = await ada.add_full_device(), await ada.add_full_device()
    await phone.quit()
    await bob.post(ada.uid)
    waiting = {one.key: one.queued for one in await instance.service.list_devices(ada.uid)}
    assert waiting[phone.name] > 0
    await ada.append("revoke", ada, tablet, target=phone.name)
    devices = [one.key for one in await instance.service.list_devices(ada.uid)]
    assert devices == [ada.name, tablet.name]
    assert await refusal(phone.log_in()) == "login failed"


async def test_the_recovery_key_brings_a_device_when_all_are_lost(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    await ada.connection.close()
    phone = await ada.recover()
    assert (await phone.log()).standing(phone.name, 0) == "full"
    await phone.append("revoke", recovery=True, target=ada.name)
    assert await refusal(ada.log_in()) == "login failed"
    await phone.quit()
    assert (await phone.log_in()).info == "login ok"


async def test_only_the_recovery_key_enters_that_way(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    thief = KeyDevice(instance, ada.uid, fresh_signer(), fresh_signer())  # with a recovery key of its own
    with pytest.raises(Disconnected, match="login failed"):
        await thief.recover()
    by_device = KeyDevice(instance, ada.uid, fresh_signer(), ada.signer)
    with pytest.raises(Disconnected, match="login failed"):
        await by_device.recover()


async def test_the_recovery_key_looks_and_adds_and_does_nothing_else(instance: TestInstance) -> None:
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await acquainted(ada, bob)
    sheet = KeyDevice(instance, ada.uid, fresh_signer(), ada.recovery)
    assert (await sheet.enter_by_recovery()).info == "recovery"
    await ada.next(m.LoginEvent, lambda event: event.node == "recovery")  # whoever reads the sheet is noticed
    assert (await sheet.log()).head == (await ada.log()).head
    assert "only this account's own log" in await refusal(sheet.log(bob.uid))
    await bob.post(ada.uid)
    await ada.next(m.Delivery)
    assert sheet.got == []
    for attempt in (
        lambda: sheet.post(bob.uid),
        lambda: sheet.ping("Bob Builder"),
        lambda: sheet.block(bob.uid),
        lambda: sheet.connection.ask(m.UserEdit(fresh_id(), newalias="Ada the Second")),
        lambda: sheet.connection.ask(m.OhiEdit(fresh_id(), "add", (m.Recipient(bob.uid),))),
        lambda: sheet.connection.inquire(m2.Find(fresh_id(), "Bob")),
    ):
        assert "may only look at its account's log" in await refusal(attempt())
        await sheet.connection.close()
        await sheet.enter_by_recovery()
    again = KeyDevice(instance, ada.uid, fresh_signer(), ada.recovery)
    await again.enter_by_recovery()  # it is no device: two links do not contend for it
    await sheet.append("revoke", recovery=True, target=ada.name)
    assert await ada.ends() == "device revoked"
    for link in (sheet, again):
        await link.quit()


async def test_a_recovery_key_that_was_replaced_is_let_out(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    thief = KeyDevice(instance, ada.uid, fresh_signer(), ada.recovery)
    await thief.enter_by_recovery()
    new = fresh_signer()
    head = (await ada.log()).head_text
    entry, sigs = compose(Entry("rekey", head, recovery=new.public), {RECOVERY: ada.recovery}, ada.service_key)
    await ada.connection.ask(m2.LogAppend(fresh_id(), entry, sigs))
    assert await refusal(thief.log()) == "login failed"
    with pytest.raises(Disconnected, match="login failed"):
        await thief.enter_by_recovery()
    thief.recovery = new
    assert (await thief.enter_by_recovery()).info == "recovery"
    await thief.quit()


async def test_an_administrators_reset_is_a_visible_new_beginning(instance: TestInstance) -> None:
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await acquainted(ada, bob)
    token = await instance.service.reset_account("Ada Lovelace")
    new = await newcomer(instance, "_", token)
    assert new.uid == ada.uid
    assert await ada.ends() == "device revoked"
    _, data = await bob.next(m2.LogEvent, lambda event: event.uid == ada.uid)
    assert b"genesis" in from_text(decode_record(data).entry)
    state = await bob.log(ada.uid)
    assert [device.key for device in state.unrevoked()] == [new.name]
    assert state.recovery == new.recovery.public
    with pytest.raises(Disconnected, match="invitation required"):
        await newcomer(instance, "_", token)


async def test_with_a_reset_one_may_ask_for_an_alias(instance: TestInstance) -> None:
    """One has it, or gets it, or hears why not; the account begins anew in any case."""
    eve = await newcomer(instance, "Eve Dropper")
    await (await newcomer(instance, "Ada Lovelace")).quit()
    for alias, error in (("Ada Lovelace", ""), ("Ada Byron King", ""), ("Eve Dropper", "already taken")):
        keys, token = AccountKeys.new(os.urandom), await instance.service.reset_account("Ada Lovelace")
        connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), revision="2")
        registered = await connection.register_keys("laptop", keys, alias, token)
        assert error in registered.error
        assert bool(error) is bool(registered.error)
        await connection.quit()
    aliases = {one.uid: one.aliases for one in await instance.service.list_accounts()}
    assert aliases == {eve.uid: ("Eve Dropper",), registered.uid: ("Ada Lovelace", "Ada Byron King")}


async def test_only_the_newest_reset_is_good_and_only_once(instance: TestInstance) -> None:
    await (await newcomer(instance, "Ada Lovelace")).quit()
    first, second = [await instance.service.reset_account("Ada Lovelace") for _ in range(2)]
    with pytest.raises(Disconnected, match="invitation required"):
        await newcomer(instance, "_", first)
    new = await newcomer(instance, "_", second)
    for token in (first, second):
        with pytest.raises(Disconnected, match="invitation required"):
            await newcomer(instance, "_", token)
    await new.quit()


async def test_a_full_log_can_be_begun_anew(instance: TestInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    monkeypatch.setattr(limits, "LOG_RECORDS_MAX", 1)
    assert "the log is full" in await refusal(ada.append("revoke", recovery=True, target=ada.name))
    new = await newcomer(instance, "_", await instance.service.reset_account("Ada Lovelace"))
    assert (await new.log()).count == 2


async def test_nobody_moves_to_keys_that_are_somebody_elses(instance: TestInstance) -> None:
    """A genesis can be read by every acquaintance; the keys in it cannot."""
    ada = await newcomer(instance, "Ada Lovelace")
    endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
    mallory = await Connection.open(endpoint, revision="2")
    old = await Connection.open(endpoint)
    registered = await old.register("laptop", "Mallory Mal")
    await old.quit()
    await mallory.login(registered.uid, registered.nodeid)
    _, data = await ada.connection.inquire(m2.LogFetch(fresh_id(), ada.uid))
    (record,) = decode_records(data)
    attempt = m2.LogAppend("1", record.entry, record.sigs)
    assert "signatures for this link do not hold" in await refusal(mallory.ask(attempt))
    keys, others = AccountKeys.new(os.urandom), AccountKeys.new(os.urandom)
    entry, sigs, proof, _ = await mallory._genesis(keys)
    _, _, _, other_proof = await mallory._genesis(others)
    attempt = m2.LogAppend("2", entry, sigs, proof, other_proof)
    assert "signatures for this link do not hold" in await refusal(mallory.ask(attempt))
    await mallory.move_to_keys("3", keys)
    await mallory.close()


async def test_a_password_that_was_shown_before_the_move_opens_nothing_after_it(instance: TestInstance) -> None:
    """Between the two halves of a log-in the account may move to keys."""
    endpoint, rules = Endpoint(instance.host, instance.port, instance.spki_pin), instance.service.rules
    old = await Connection.open(endpoint)
    registered = await old.register("laptop", "Ada Lovelace")
    await old.quit()
    login = m.Login(registered.uid, registered.nodeid)
    asker = await instance.service.decide(lambda ledger: rules.accounts.recognise(ledger, login))
    moving = await Connection.open(endpoint, revision="2")
    await moving.login(registered.uid, registered.nodeid)
    await moving.move_to_keys("1", AccountKeys.new(os.urandom))
    await moving.close()
    with pytest.raises(LoginRefused, match="login failed"):
        await instance.service.decide(lambda ledger: rules.accounts.log_in(ledger, asker, instance.service.moment()))


async def test_an_account_moves_from_passwords_to_keys(instance: TestInstance) -> None:
    endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
    secrets: list[str] = []

    async def listen(event: m2.StoredEvent, payload: object) -> None:
        if isinstance(event, m.UserEvent) and event.nodeid:
            secrets.append(event.nodeid)

    old = await Connection.open(endpoint, listen)
    registered = await old.register("laptop", "Ada Lovelace")
    await old.ask(m.UserEdit("1", newnode="phone"))
    await old.post("2", [], b"x")
    await old.quit()
    bob = await newcomer(instance, "Bob Builder")
    await bob.post(registered.uid, data=b"waits over the move")

    keys = AccountKeys.new(os.urandom)
    moving = await Connection.open(endpoint, revision="2")
    await moving.login(registered.uid, registered.nodeid)
    acked = await moving.move_to_keys("3", keys)
    assert acked.head
    assert await moving.closed() == "log in with the device's key"
    for secret in (registered.nodeid, *secrets):
        again = await Connection.open(endpoint)
        with pytest.raises(Disconnected, match="login failed"):
            await again.login(registered.uid, secret)
        await again.close()
    ada = KeyDevice(instance, registered.uid, keys.device.signer, keys.recovery)
    await ada.log_in()
    await moving.close()


async def test_where_revision_1_is_denied_a_password_only_moves_over(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        old = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin))
        registered = await old.register("laptop", "Ada Lovelace")
        await old.quit()
    async with running_instance(folder, policy=Policy(revision1=False)) as instance:
        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        with pytest.raises(Disconnected, match="revision 1 is not spoken here"):
            await Connection.open(endpoint)
        moving = await Connection.open(endpoint, revision="2")
        assert (await moving.login(registered.uid, registered.nodeid)).info == "move this account to keys"
        keys = AccountKeys.new(os.urandom)
        await moving.move_to_keys("3", keys)
        await moving.close()
        ada = KeyDevice(instance, registered.uid, keys.device.signer, keys.recovery)
        assert (await ada.log_in()).info == "login ok"


async def test_revision_1_devices_never_see_revision_2(instance: TestInstance) -> None:
    endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
    got: list[m2.StoredEvent] = []

    async def listen(event: m2.StoredEvent, payload: object) -> None:
        got.append(event)

    old = await Connection.open(endpoint, listen)
    registered = await old.register("laptop", "Old Timer")
    ada = await newcomer(instance, "Ada Lovelace")
    await old.ping("1", "Old Timer", "Ada Lovelace", "hi")
    await ada.ping("Old Timer")
    await ada.add_device()
    await ada.post(registered.uid, data=b"x")
    await old.post("2", [m.Recipient(ada.uid, m.TO_UID)], b"y")
    assert (await ada.next(m.Delivery))[0].alias == "Old Timer"
    await old.post("3", [], b"z")
    deliveries = [event for event in got if isinstance(event, m.Delivery)]
    assert [event.alias for event in deliveries] == [""]
    assert {type(event) for event in got} <= {m.Delivery, m.PingEvent, m.LoginEvent}
    await old.quit()


async def test_prekeys_are_the_devices_own(instance: TestInstance) -> None:
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    key, now_ms = fresh_box(), instance.clock.wall_ns() // 1_000_000

    def signed(by: KeyDevice, uid: str, time_ms: int, service_key: bytes = ada.service_key) -> m2.KeyEdit:
        what = m2.prekey_signed(service_key, uid, time_ms, from_text(key))
        return m2.KeyEdit(fresh_id(), key, time_ms, by.signer.sign(*what))

    for wrong in (
        signed(bob, ada.uid, now_ms),
        signed(ada, bob.uid, now_ms),
        signed(ada, ada.uid, now_ms, bytes(32)),
        replace(signed(ada, ada.uid, now_ms), time=now_ms + 1),
    ):
        assert "does not hold" in await refusal(ada.connection.ask(wrong))
    for far in (now_ms - 25 * HOUR_MS, now_ms + 25 * HOUR_MS):
        assert "set this device's clock" in await refusal(ada.connection.ask(signed(ada, ada.uid, far)))
    assert "key" in await refusal(ada.connection.ask(replace(signed(ada, ada.uid, now_ms), key=to_text(bytes(32)))))
    good = signed(ada, ada.uid, now_ms)
    await ada.connection.ask(good)
    page, _ = await bob.connection.inquire(m2.LogFetch(fresh_id(), ada.uid))
    assert isinstance(page, m2.LogPage)
    assert page.prekeys == (m2.Prekey(ada.name, key, now_ms, good.sig),)


async def test_a_log_comes_in_pages(instance: TestInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_PAGE_MAX_BYTES", 1_500)
    ada = await newcomer(instance, "Ada Lovelace")
    for _ in range(5):
        await ada.add_device()
    assert (await ada.log()).count == 6


async def test_two_who_append_at_once_do_not_overwrite_one_another(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    phone = fresh_signer()
    entry, sigs = await ada.composed("add", ada.signer, phone, device=phone.public, box=fresh_box())
    await ada.add_device()
    assert "the log has moved on" in await refusal(ada.connection.ask(m2.LogAppend(fresh_id(), entry, sigs)))


async def test_the_log_survives_a_restart(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    phone = await ada.add_full_device()
    head = (await ada.log()).head
    await instance.restart()
    await phone.log_in()
    assert (await phone.log()).head == head
    await phone.append("suspend", target=ada.name)
    assert (await ada.log_in()).info == "device suspended"


async def test_acks_come_many_at_once(instance: TestInstance) -> None:
    ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
    await bob.quit()
    for number in range(20):
        await ada.post(bob.uid, data=b"%d" % number)
    connection = await bob.open()
    ids: list[str] = []

    async def never(event: m2.StoredEvent, payload: object) -> None:
        ids.append(event.id)

    connection._on_event = never
    connection._acknowledge = lambda message_id: _nothing()  # type: ignore[method-assign]
    await connection.login_by_key(bob.uid, bob.signer)
    await ada.post(ada.uid)
    while len(ids) < 21:
        await connection.post(fresh_id(), [], b"x")
    await connection._send(m.encode_head(m.Ack("", "ok", 0, tuple(ids))))
    await connection.quit()
    waiting = {one.key: one.queued for one in await instance.service.list_devices(bob.uid)}
    assert waiting[bob.name] == 0


async def _nothing() -> None:
    return


async def test_encodings_have_one_form() -> None:
    assert to_text(b"\xff\xfe") == "__4"
    for text in ("__5", "__4=", "//4", "__4\n", "A"):
        with pytest.raises(ValueError):
            from_text(text)
