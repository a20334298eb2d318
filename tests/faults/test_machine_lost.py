# SPDX-License-Identifier: AGPL-3.0-or-later
"""Machines that are lost, and backups that are cut off (C1, A4, B4, D1); the long run is `tests.faults.machine_lost`."""

import asyncio
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.faults import machine_lost
from tests.faults.load import PROGRAM
from tests.faults.machine_lost import PATIENCE_S, Person, Site
from tests.faults.needed import ROOT, small_disk
from tests.support.homes import look_until, running_home, until
from tests.support.night import NIGHTLY
from tmtp_client.connection import Connection, DeviceKeys, Disconnected
from tmtp_client.engine.account import Account
from tmtp_client.engine.home import Home
from tmtp_client.store import identity as identities
from tmtp_client.store.database import Database
from tmtp_client.store.identity import Identity
from tmtp_core.crypto.account_log import Entry
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.log_records import compose, decode_records
from tmtp_core.crypto.signing import Signer
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.address import parse_address


@pytest.mark.slow
async def test_nothing_acknowledged_before_the_backup_is_lost_or_doubled(tmp_path: Path) -> None:
    figures = await machine_lost.run(20 if NIGHTLY else 1, seed=7, folder=tmp_path)
    assert figures["acknowledged before a backup"] > 50
    assert figures["of them undelivered at the loss"] > 20
    assert figures["lost"] == 0


async def invite(site: Site) -> str:
    """A token for one."""
    code, said = await site.run("invite", "-c", site.process.settings, "-i", "load")
    assert not code, said
    found = re.search(r"tmtp://[^\s']+", said)
    assert found is not None, said
    token = parse_address(found[0]).invite
    assert token is not None
    return token


@asynccontextmanager
async def running_site(folder: Path) -> AsyncIterator[Site]:
    """A gateway where only the invited register."""
    site = Site(folder)
    text = site.process.settings.read_text()
    site.process.settings.write_text(text.replace("registration: open", "registration: invite"))
    await site.process.start()
    try:
        yield site
    finally:
        if site.process.is_running:
            await site.process.end(signal.SIGTERM)


async def post(connection: Connection, request: str, to: Person, data: bytes) -> m.Acked:
    return await connection.post(request, [m.Recipient(to.uid, m.TO_UID)], data)


async def add_phone(person: Person, connection: Connection) -> DeviceKeys:
    """A second device, confirmed by the recovery key."""
    phone = DeviceKeys.new(os.urandom)
    service = connection.service.result().service
    assert service is not None
    await append(
        person, connection, "add", person.keys.device.signer, phone.signer, device=phone.signer.public, box=phone.box
    )
    return phone


async def append(person: Person, connection: Connection, act: str, *signers: Signer, **fields: str) -> None:
    page, _ = await connection.inquire(m2.LogFetch(f"fetch {act}", person.uid))
    assert isinstance(page, m2.LogPage)
    key = (await connection.channel()).service_key
    entry, sigs = compose(Entry(act, page.head, **fields), {one.public: one for one in signers}, key)  # type: ignore[arg-type]
    await connection.ask(m2.LogAppend(f"append {act}", entry, sigs))


async def refused_login(person: Person, device: DeviceKeys | None = None) -> str:
    with pytest.raises(Disconnected) as refused:
        async with person.online(device):
            pass
    return str(refused.value)


@pytest.mark.slow
async def test_what_was_barred_blocked_revoked_used_or_named_after_the_backup_holds(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        ada, bob, carol, eve, dave = (
            Person(site, f"{name} of the Site") for name in ("Ada", "Bob", "Carol", "Eve", "Dave")
        )
        for person in (ada, bob, carol, eve):
            await person.register(await invite(site))
        token, unused = await invite(site), await invite(site)
        async with ada.online() as connection:
            phone = await add_phone(ada, connection)
            before = await post(connection, "before", bob, b"before the backup")
        await site.back_up()
        # From here on everything is in the journal, or lost with the machine.
        async with ada.online() as connection:
            await append(ada, connection, "suspend", ada.keys.device.signer, target=phone.signer.public)
            late = await post(connection, "late", carol, b"after the backup")
        async with bob.online() as connection:
            await bob.has(b"before the backup")
            await connection.ask(m2.BlockEdit("block", "block", carol.uid))
        code, said = await site.run("account", "bar", eve.uid, "-c", site.process.settings, "-i", "load")
        assert not code, said
        await dave.register(token)
        await site.lose()
        told = await site.restore()
        assert told["remarks"] == []
        assert told["facts"] == {"load": 7}  # suspended, blocked, barred, used; opened, named, and Dave's genesis
        await site.process.start()

        assert await refused_login(eve) == "login failed"
        assert await refused_login(ada, phone) == "device suspended"
        mallory = Person(site, "Mallory the Second")
        with pytest.raises(Disconnected):
            await mallory.register(token)
        namesake = Person(site, "Dave of the Site")
        connection = await namesake.open()
        registered = await connection.register_keys("x", namesake.keys, namesake.alias, unused)
        await connection.quit()
        assert "already taken" in registered.error  # D1: the name is the other Dave's for ever
        async with dave.online() as connection:
            assert await connection.ask(m.UserEdit("mine", newalias=dave.alias))  # who was let in is still in
        async with carol.online() as connection:
            new = await post(connection, "unheard", bob, b"you cannot tell")
        assert new.msgid > late.msgid > before.msgid
        bob.got.clear()
        async with bob.online() as connection:
            again = await bob.has(b"before the backup")  # it came before; a client knows it by its id
            assert again.id == before.msgid
            async with ada.online() as sender:
                await post(sender, "fence", bob, b"fence")
            await bob.has(b"fence")
        assert b"you cannot tell" not in [data for _, data in bob.got]


@pytest.mark.slow
async def test_a_device_hands_over_what_the_service_has_lost(tmp_path: Path) -> None:
    """B4: without the journal, the account's own devices know who was revoked."""
    async with running_site(tmp_path) as site:
        ada, bob = Person(site, "Ada of the Site"), Person(site, "Bob of the Site")
        for person in (ada, bob):
            await person.register(await invite(site))
        async with ada.online() as connection:
            phone = await add_phone(ada, connection)
        await site.back_up()
        endpoint = site.process.endpoint()
        async with ada.online() as connection:
            key = to_text((await connection.channel()).service_key)
            await append(ada, connection, "suspend", ada.keys.device.signer, target=phone.signer.public)
            tablet = DeviceKeys.new(os.urandom)
            await append(
                ada,
                connection,
                "add",
                ada.keys.device.signer,
                tablet.signer,
                device=tablet.signer.public,
                box=tablet.box,
            )
        who = (ada.uid, "", ada.alias, endpoint.host, endpoint.port, endpoint.pin, None, "load")
        identity = Identity(*who, keys=ada.keys.device, service_key=key)
        async with running_home(tmp_path / "home") as home:
            account = await _begun(home, identity)
            trust = account.context.trust
            assert trust is not None
            await look_until(account, lambda c: len(trust.logs.records(c, ada.uid)) == 4)
        await site.lose()
        code, said = await site.run(
            "restore",
            max(site.backups.glob("*.tmtpbackup")),
            "--key",
            site.key,
            "--to",
            site.process.data,
            "--without-journal",
        )
        assert not code, said
        assert "who was barred after the backup is not" in said
        await site.process.start()
        async with ada.online(phone):
            pass  # the thief's device is in again, until one of the account's own comes
        assert await _records(ada) == 2
        async with asyncio.timeout(PATIENCE_S):
            while await _records(ada) < 4:  # by the same device, which is connected once at a time
                async with running_home(tmp_path / "home") as home:
                    await asyncio.wait_for(home.account("ada").caught_up.wait(), PATIENCE_S)
                    await asyncio.sleep(0.5)
                    assert (await home.account("ada").view()).trouble == ""
        assert await refused_login(ada, phone) == "device suspended"
        async with ada.online(tablet):
            pass
        async with running_home(tmp_path / "home") as home:  # and now it is as long as the device's
            await until(home.account("ada").caught_up.is_set)
            await asyncio.sleep(0.3)
            assert (await home.account("ada").view()).trouble == ""
        assert await _records(ada) == 4


async def _begun(home: Home, identity: Identity) -> Account:
    """An account that was opened elsewhere, with this device's keys."""
    kept = home.vault.account("ada", make=True)
    database = Database(kept.folder, kept.database_key)
    await database.open()
    await database.write(lambda c: identities.put(c, identity))
    await database.close()
    return await home.start("ada")


async def _records(person: Person) -> int:
    """How many the service has of somebody's log."""
    async with person.online() as connection:
        _, data = await connection.inquire(m2.LogFetch("how many", person.uid))
        return len(decode_records(data))


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.5, 0.8, 1.0, 1.2] if not NIGHTLY else [x / 50 for x in range(20, 100)])
async def test_a_backup_that_is_killed_leaves_nothing_that_looks_whole(tmp_path: Path, after_s: float) -> None:
    site = Site(tmp_path)
    await site.process.start()
    await site.process.end(signal.SIGTERM)
    _fatten(site, messages=300)
    running = await asyncio.create_subprocess_exec(sys.executable, *PROGRAM, "backup", "-c", str(site.process.settings))
    await asyncio.sleep(after_s)
    if running.returncode is None:
        running.send_signal(signal.SIGKILL)
    await running.wait()
    whole = list(site.backups.glob("*.tmtpbackup")) if site.backups.exists() else []
    assert whole or running.returncode != 0
    for one in whole:  # killed between its name and its last word, perhaps: what has the name is whole
        code, said = await site.run("restore", one, "--key", site.key, "--to", tmp_path / "restored", "--json")
        assert code == 0, said
    await site.back_up()  # and what it left is no hindrance, and gone
    assert not (site.process.data / "backup.tmp").exists()
    assert len(list(site.backups.glob(".*"))) == 0
    assert len(list(site.backups.glob("*.tmtpbackup"))) == len(whole) + 1


@pytest.mark.slow
@ROOT
async def test_a_full_disk_leaves_no_backup_and_keeps_the_old_one(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.process.start()
    await site.process.end(signal.SIGTERM)
    with small_disk(site.backups, 2):
        told = await site.back_up()
        first = Path(str(told["file"])).read_bytes()
        _fatten(site, messages=60)
        code, said = await site.run("backup", "-c", site.process.settings)
        assert code == 1
        assert "make room" in said
        assert "Traceback" not in said
        assert [path.read_bytes() for path in site.backups.glob("*.tmtpbackup")] == [first]
        assert not list(site.backups.glob(".*"))
        assert not (site.process.data / "backup.tmp").exists()


@pytest.mark.slow
async def test_the_gateway_removes_what_a_killed_backup_left(tmp_path: Path) -> None:
    """A copy of the database holds messages, and is gone with the next start (A4, D5)."""
    site = Site(tmp_path)
    left = site.process.data / "backup.tmp"
    left.mkdir(parents=True)
    (left / "0.sqlite3").write_text("messages")
    await site.process.start()
    await site.process.end(signal.SIGTERM)
    assert not left.exists()


def _fatten(site: Site, messages: int) -> None:
    """Messages that wait, some of them in files."""
    with closing(sqlite3.connect(site.process.database)) as database:
        for number in range(1, messages + 1):
            file = os.urandom(16).hex() if number % 10 == 0 else None
            body = None if file else os.urandom(60_000)
            if file:
                (site.process.payloads / file).write_bytes(os.urandom(200_000))
            row = (number, b"head", 200_000 if file else 60_000, body, file)
            database.execute("INSERT INTO message (number, head, size, body, file) VALUES (?, ?, ?, ?, ?)", row)
            database.execute("INSERT INTO queue (device, rank, message) VALUES (1, 1, ?)", (number,))
        database.commit()
