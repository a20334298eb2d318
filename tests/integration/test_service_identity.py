# SPDX-License-Identifier: AGPL-3.0-or-later
"""A service is known by its key: to its clients behind any certificate, and to its own database (D4, D5)."""

import asyncio
import os
import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import structlog

from gateway.certificates import make_self_signed, server_context, spki_pin
from gateway.instance import ListenOn, StartFailed
from tests.support.devices import KeyDevice, fresh_box, fresh_id, fresh_signer, newcomer, refusal
from tests.support.instance import TestInstance, running_instance
from tests.support.people import DAY_S, form_group, to_group
from tests.support.postgresql import ON_SQLITE
from tmtp_client.connection import AccountKeys, Connection, Disconnected, Endpoint, WrongService
from tmtp_client.connection.endpoint import spki_hash
from tmtp_core.crypto.account_log import Entry
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.log_records import Record, compose
from tmtp_core.crypto.possession import Channel
from tmtp_core.domain.policy import Policy
from tmtp_core.schema import DatabaseUnfit
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2


@asynccontextmanager
async def in_between(instance: TestInstance, folder: Path) -> AsyncIterator[Endpoint]:
    """Somebody between client and service, with a certificate that the client's authority has signed.

    It passes everything on as it is, greeting, nonce and all.
    """
    make_self_signed(folder / "c.pem", folder / "k.pem", "localhost", datetime.now(UTC))
    to_service = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    to_service.check_hostname, to_service.verify_mode = False, ssl.CERT_NONE

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(instance.host, instance.port, ssl=to_service)
        await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)

    context = server_context(folder / "c.pem", folder / "k.pem")
    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    try:
        yield Endpoint("localhost", server.sockets[0].getsockname()[1], ca_file=folder / "c.pem")
    finally:
        server.close()


async def test_nobody_in_between_speaks_for_a_service(tmp_path: Path) -> None:
    """A certificate of a careless authority is not enough, neither to log in nor to be posted to."""
    async with running_instance(tmp_path / "instance") as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        await ada.quit()
        async with in_between(instance, tmp_path) as endpoint:
            for attempt in ("log in", "register"):
                connection = await Connection.open(endpoint, revision="2")
                with pytest.raises(WrongService, match="does not prove that it has its key"):
                    if attempt == "log in":
                        await connection.login_by_key(ada.uid, ada.signer)
                    else:
                        await connection.register_keys("laptop", AccountKeys.new(os.urandom), "Bob Builder")
                await connection.close()
            careless = await Connection.open(endpoint, revision="2")  # a client that does not look
            careless.channel = lambda: _channel_unchecked(careless)  # type: ignore[method-assign]
            with pytest.raises(Disconnected, match="login failed"):
                await careless.login_by_key(ada.uid, ada.signer)
            await careless.close()


async def _channel_unchecked(connection: Connection) -> Channel:
    greeting = connection.service.result()
    assert greeting.service is not None
    own = spki_hash(connection._writer)
    assert own is not None
    return Channel(from_text(greeting.nonce), from_text(greeting.service.key), own)


async def test_behind_a_proxy_the_pins_that_are_configured_hold_and_no_other(tmp_path: Path) -> None:
    """Where a proxy ends TLS its certificate is the one that devices name; without TLS nobody else is let in."""
    make_self_signed(tmp_path / "c.pem", tmp_path / "k.pem", "localhost", datetime.now(UTC))
    folder = tmp_path / "instance"
    async with running_instance(
        folder, listen=(ListenOn("127.0.0.1", 0, tls=False),), proxy_certificates=(tmp_path / "c.pem",)
    ) as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        await ada.quit()
        await ada.log_in()  # by the instance's own certificate
        await ada.quit()
        plain = instance.running.listeners[1].address

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection(*plain)
            await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)

        context = server_context(tmp_path / "c.pem", tmp_path / "k.pem")
        proxy = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
        pinned = Endpoint("localhost", proxy.sockets[0].getsockname()[1], spki_pin(tmp_path / "c.pem"))
        connection = await Connection.open(pinned, revision="2")
        assert (await connection.login_by_key(ada.uid, ada.signer)).info == "login ok"
        await connection.quit()
        proxy.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
    writer.close()


async def test_a_service_that_lost_its_key_does_not_become_another(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        await (await newcomer(instance, "Ada Lovelace")).quit()
    kept = (folder / "service.key").read_bytes()
    (folder / "service.key").unlink()
    for _ in range(2):  # it has not made a new one meanwhile
        with pytest.raises((StartFailed, DatabaseUnfit), match=r"service\.key is (missing|not the one).*the backup"):
            async with running_instance(folder):
                pass
    (folder / "service.key").write_bytes(kept)
    async with running_instance(folder):
        pass


# -- the database ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["a forged device", "another signer", "one record less", "another time"])
@ON_SQLITE
async def test_who_writes_the_database_and_has_not_the_key_gets_nobody_in(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
        phone = await ada.add_full_device()
        thief = KeyDevice(instance, ada.uid, fresh_signer(), fresh_signer())
        head, service_key = (await ada.log()).head_text, ada.service_key
        for device in (ada, phone, bob):
            await device.quit()
        await instance.stop()
        with closing(sqlite3.connect(folder / "service.sqlite3")) as raw:
            (key,) = raw.execute("SELECT key FROM account WHERE uid = ?", (ada.uid,)).fetchone()
            rows = raw.execute(
                "SELECT place, record FROM log_record WHERE account = ? ORDER BY place", (key,)
            ).fetchall()
            last = msgspec.json.decode(rows[-1][1], type=Record)
            if how == "a forged device":
                add = Entry("add", head, device=thief.name, box=fresh_box())
                entry, sigs = compose(add, {"recovery": thief.recovery, thief.name: thief.signer}, service_key)
                forged = msgspec.json.encode(Record(entry, sigs, last.time, last.stamp))
                raw.execute("INSERT INTO log_record VALUES (?, ?, ?)", (key, len(rows), forged))
                raw.execute(
                    "INSERT INTO device (account, credential, created_ms, public) VALUES (?, x'', 0, ?)",
                    (key, thief.name),
                )
            elif how == "another signer":
                signed = msgspec.structs.replace(last, sigs=(msgspec.structs.replace(last.sigs[0], by=ada.name),))
                raw.execute(
                    "UPDATE log_record SET record = ? WHERE place = ?", (msgspec.json.encode(signed), len(rows) - 1)
                )
            elif how == "another time":
                later = msgspec.structs.replace(last, time=last.time + DAY_S)
                raw.execute(
                    "UPDATE log_record SET record = ? WHERE place = ?", (msgspec.json.encode(later), len(rows) - 1)
                )
            else:
                raw.execute("DELETE FROM log_record WHERE account = ? AND place = 1", (key,))
                raw.execute("UPDATE log_record SET place = 1 WHERE account = ? AND place = 2", (key,))
            raw.commit()
        await instance.start()
        assert await refusal(ada.log_in()) == "service temporarily unavailable, try again"
        assert await refusal(thief.log_in()) in {"service temporarily unavailable, try again", "login failed"}
        await bob.log_in()  # and nobody else is the worse for it
        await bob.quit()


@ON_SQLITE
async def test_what_was_stored_may_wait_for_who_mends_it(tmp_path: Path) -> None:
    """An account whose log is not as it was written stays shut, and its messages stay where they are."""
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
        await ada.quit()
        await bob.post(ada.uid, data=b"waits")
        await bob.quit()
        await instance.stop()
        with closing(sqlite3.connect(folder / "service.sqlite3")) as raw:
            rows = raw.execute("SELECT account, place, record FROM log_record").fetchall()
            raw.execute("UPDATE log_record SET record = ? WHERE account = ?", (rows[1][2], rows[0][0]))
            raw.commit()
        await instance.start()
        assert "temporarily unavailable" in await refusal(ada.log_in())
        await instance.stop()
        with closing(sqlite3.connect(folder / "service.sqlite3")) as raw:
            raw.execute("UPDATE log_record SET record = ? WHERE account = ?", (rows[0][2], rows[0][0]))
            raw.commit()
        await instance.start()
        await ada.log_in()
        assert (await ada.next(m.Delivery))[1] == b"waits"
        await ada.quit()


@ON_SQLITE
async def test_what_is_damaged_can_begin_anew_and_stops_nobody_else(tmp_path: Path) -> None:
    """Groups go on, stale messages go back, and an administrator sees the account, resets it, removes it."""
    rules = Policy(return_after_ms=30 * DAY_S * 1000)
    async with running_instance(tmp_path / "instance", policy=rules) as instance:
        ada, bob, eve = [await newcomer(instance, alias) for alias in ("Ada Lovelace", "Bob Builder", "Eve Dropper")]
        await form_group("The Chess Club", ada, bob, eve)
        for device in (ada, bob, eve):
            await device.quit()
        await instance.stop()
        with closing(sqlite3.connect(instance.folder / "service.sqlite3")) as raw:
            for uid in (ada.uid, eve.uid):
                (key,) = raw.execute("SELECT key FROM account WHERE uid = ?", (uid,)).fetchone()
                raw.execute("UPDATE log_record SET record = x'00' WHERE account = ?", (key,))
            raw.commit()
        with structlog.testing.capture_logs() as logged:
            await instance.start()
            await bob.log_in()
            sent = await bob.connection.post(fresh_id(), to_group("The Chess Club"), b"to the club")
        damaged = [entry["uid"] for entry in logged if entry["event"] == "account_log_damaged"]
        assert damaged == [ada.uid, eve.uid]
        await bob.quit()
        await instance.advance(31 * DAY_S)
        await instance.settle()
        await bob.log_in()
        event, _ = await bob.next(m2.ReturnEvent, lambda event: event.msgid == sent.msgid)
        assert set(event.for_) == {ada.uid, eve.uid}

        service = instance.service
        (device,) = await service.list_devices("Ada Lovelace")
        assert (device.standing, device.key) == ("log damaged", ada.name)
        again = await newcomer(instance, "_", await service.reset_account("Ada Lovelace"))
        assert again.uid == ada.uid
        assert (await again.log()).standing(again.name, 0) == "full"
        assert await refusal(ada.log_in()) == "login failed"
        await again.add_full_device()
        await bob.connection.post(fresh_id(), to_group("The Chess Club"), b"welcome back")
        assert (await again.next(m.Delivery))[1] == b"welcome back"
        await instance.restart()
        await again.log_in()
        await instance.service.remove_account("Eve Dropper")
        assert await refusal(eve.log_in()) == "login failed"


# -- opening an account ----------------------------------------------------------------------------------------------
async def test_a_registration_whose_answer_was_lost_is_answered_again(tmp_path: Path) -> None:
    """The same keys, the same account: no second one, no invitation spent twice, no name lost."""
    async with running_instance(tmp_path / "instance", registration="invite") as instance:
        keys, token = AccountKeys.new(os.urandom), await instance.new_invitation()
        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        uids = set()
        for _ in range(3):
            connection = await Connection.open(endpoint, revision="2")
            registered = await connection.register_keys("laptop", keys, "Ada Lovelace", token)
            assert not registered.error
            uids.add(registered.uid)
            await connection.close()
        assert len(uids) == 1
        assert [account.aliases for account in await instance.service.list_accounts()] == [("Ada Lovelace",)]
        ada = KeyDevice(instance, uids.pop(), keys.device.signer, keys.recovery)
        assert (await ada.log_in()).info == "login ok"
        await ada.quit()
        eve = await newcomer(instance, "Eve Dropper", await instance.new_invitation())
        for alias, error in (
            ("Eve Dropper", "already taken"),
            ("x" * 2_000, "longer than 255 bytes"),
            ("Ada Byron King", ""),
            ("_", ""),
        ):
            connection = await Connection.open(endpoint, revision="2")
            registered = await connection.register_keys("laptop", keys, alias, token)
            assert registered.uid == ada.uid
            assert error in registered.error
            assert bool(error) is bool(registered.error)
            await connection.close()
        assert await ada.aliases() == ["Ada Lovelace", "Ada Byron King"]
        await eve.quit()
        other = AccountKeys(keys.device, os.urandom(32))  # the same device, with another recovery key
        connection = await Connection.open(endpoint, revision="2")
        with pytest.raises(Disconnected, match="this key is a device's already"):
            await connection.register_keys("laptop", other, "Eve Dropper", await instance.new_invitation())
        await connection.close()


@ON_SQLITE
async def test_a_revoked_device_whose_row_is_put_back_does_not_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        phone = await ada.add_full_device()
        await ada.append("revoke", recovery=True, target=phone.name)
        await phone.ends()
        await ada.quit()
        await instance.stop()
        with closing(sqlite3.connect(folder / "service.sqlite3")) as raw:
            (key,) = raw.execute("SELECT key FROM account WHERE uid = ?", (ada.uid,)).fetchone()
            raw.execute(
                "INSERT INTO device (account, credential, created_ms, public) VALUES (?, x'', 0, ?)", (key, phone.name)
            )
            raw.commit()
        await instance.start()
        assert "service temporarily unavailable" in await refusal(phone.log_in())
        (device, *_) = await instance.service.list_devices(ada.uid)
        assert device.standing == "log damaged"
