# SPDX-License-Identifier: AGPL-3.0-or-later
"""D5: an attacker takes an organisation's whole correspondence by breaking into one server.

The thief has the whole database, the payloads and the configuration file, and runs the same program over the copy.
"""

import asyncio
import base64
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.devices import KeyDevice, fresh_signer, newcomer
from tests.support.gateway import SETTINGS, endpoint, running_gateway
from tests.support.instance import running_instance
from tests.support.postgresql import ON_SQLITE
from tmtp_client.connection import AccountKeys, Connection, Disconnected, Endpoint
from tmtp_core.crypto.possession import LOGIN, login_proof
from tmtp_core.crypto.signing import Signer
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

DELIVERED = b"canary: this was delivered"
LARGE = b"canary: this was large, too. " * 10_000
WAITING = b"canary: this still waits"


def everything_in(folder: Path) -> dict[str, bytes]:
    """All files, with their octets."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@ON_SQLITE
async def test_no_delivered_message_is_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
        await ada.post(bob.uid, data=DELIVERED)
        await ada.post(bob.uid, data=LARGE)
        await ada.ping("Bob Builder", DELIVERED.decode())
        await bob.next(m.PingEvent)
        await bob.all_of(m.Delivery)
        await bob.quit()
        await ada.post(bob.uid, data=WAITING)
        await ada.quit()
        await instance.advance(60)  # by then the log has been emptied
        await asyncio.sleep(0.5)
        stolen = await asyncio.to_thread(everything_in, folder)
    assert any(WAITING in octets for octets in stolen.values())  # what waits is there: the search finds what is there
    for name, octets in stolen.items():
        assert b"this was" not in octets, name


@ON_SQLITE
async def test_no_secret_that_logs_in_is_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    keys = AccountKeys.new(os.urandom)
    async with running_instance(folder) as instance:
        where = Endpoint(instance.host, instance.port, instance.spki_pin)
        ada = await Connection.open(where, revision="2")
        await ada.register_keys("laptop", keys, "Ada Lovelace")
        await ada.quit()
        old = await Connection.open(where)
        password = (await old.register("laptop", "Old Timer")).nodeid
        await old.quit()
        token = await instance.new_invitation()
        stolen = await asyncio.to_thread(everything_in, folder)
    seeds = (keys.device.seed, keys.recovery_seed, keys.device.box_key)
    for name, octets in stolen.items():
        for seed in seeds:
            for form in (
                seed,
                base64.urlsafe_b64encode(seed).rstrip(b"="),
                base64.b64encode(seed),
                seed.hex().encode(),
            ):
                assert form not in octets, name
        assert password.encode() not in octets, name
        assert token.encode() not in octets, name


@ON_SQLITE
async def test_the_thief_logs_in_as_nobody(tmp_path: Path) -> None:
    """Every text that the stolen database holds is tried as a password, every blob as a key."""
    folder = tmp_path / "instance"
    async with running_instance(folder) as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        where = Endpoint(instance.host, instance.port, instance.spki_pin)
        old = await Connection.open(where)
        old_uid = (await old.register("laptop", "Old Timer")).uid
        await ada.quit()
        await old.quit()
        await asyncio.to_thread(shutil.copytree, folder, tmp_path / "stolen")
        found = await asyncio.to_thread(values_of, tmp_path / "stolen" / "service.sqlite3")
        assert len(found) > 10
        for uid in (ada.uid, old_uid):
            for value in found:
                text = value.decode("latin-1") if isinstance(value, bytes) else value
                connection = await Connection.open(where, revision="2")
                with pytest.raises(Disconnected):
                    await connection.login(uid, text or "1" * 40)
                await connection.close()
        for value in found:
            seed = value if isinstance(value, bytes) else value.encode()
            thief = KeyDevice(instance, ada.uid, fresh_signer(), ada.recovery)
            if len(seed) == 32:
                thief.signer = Signer(seed)
            connection = await thief.open()
            await connection._send(
                m.encode_head(
                    m2.LoginByKey(ada.uid, ada.name, thief.signer.sign(LOGIN, (await connection.channel()).binding))
                )
            )
            assert await connection.closed() == "login failed"
            await connection.close()


async def test_a_recorded_log_in_does_not_serve_again(tmp_path: Path) -> None:
    """Even with what went over the wire: a nonce serves once."""
    async with running_instance(tmp_path / "instance") as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        await ada.quit()
        connection = await ada.open()
        recorded = m.encode_head(
            m2.LoginByKey(ada.uid, ada.name, login_proof(ada.signer, await connection.channel(), ada.uid))
        )
        await connection._send(recorded)
        await connection._wait(connection._entered)
        await connection.quit()
        thief = await ada.open()
        await thief._send(recorded)
        assert await thief.closed() == "login failed"
        await thief.close()


async def test_the_configuration_file_holds_no_secret(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert endpoint(gateway, "public")
    kept = everything_in(tmp_path)
    for name, octets in kept.items():
        if name.endswith((".key", "gateway.yaml")):
            continue
        for secret in (value for key, value in kept.items() if key.endswith(".key")):
            assert secret not in octets, name
    assert SETTINGS.encode() == kept["gateway.yaml"]
    for path in tmp_path.rglob("*.key"):
        assert path.stat().st_mode & 0o077 == 0


def values_of(database: Path) -> list[bytes | str]:
    """Every text and blob of a database."""
    found: list[bytes | str] = []
    with closing(sqlite3.connect(database)) as raw:
        tables = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in raw.execute(f'SELECT * FROM "{table}"'):
                found += [value for value in row if isinstance(value, bytes | str)]
    return list(dict.fromkeys(found))
