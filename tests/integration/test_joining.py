# SPDX-License-Identifier: AGPL-3.0-or-later
"""Joining, coming back and signing in again as functions, against a real service of either revision (B1, B4)."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from gateway.app import Gateway
from tests.support.canary import plain_text_in
from tests.support.gateway import accounts_of, endpoint, invited, member, running_gateway
from tests.support.revision1 import only_revision_1
from tmtp_client.connection import Connection, Disconnected, Payload, Refused, WrongService
from tmtp_client.engine import joining
from tmtp_client.engine.joining import Place, Service, Ways, service_at
from tmtp_client.store import identity as identities
from tmtp_client.store.database import Database
from tmtp_client.vault.recovery import words_of
from tmtp_client.vault.vault import Vault, WrongSecret
from tmtp_core.crypto.encoding import from_text
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.address import ServiceAddress

ALIAS = "Ada Lovelace"
PATIENCE_S = 60.0


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    (tmp_path / "gateway").mkdir()
    async with running_gateway(tmp_path / "gateway") as running:
        yield running


def nobody(label: str, url: str) -> None:
    raise AssertionError("nobody asks for a browser here")


WAYS = Ways(nobody)


@asynccontextmanager
async def place(home: Path, name: str = "work") -> AsyncIterator[Place]:
    """An account of a home, as a process opens it."""
    vault = Vault(home, os.urandom, None, lambda: 1)
    if not vault.is_made:
        vault.make()
    vault.open_alone()
    account = vault.account(name, make=True)
    database = Database(account.folder, account.database_key)
    await database.open()
    try:
        yield Place(name, database, vault, os.urandom)
    finally:
        await database.close()


def service(gateway: Gateway, invite: str = "", instance: str = "public") -> Service:
    where = endpoint(gateway, instance)
    return service_at(f"{where.host}:{where.port}", pin=where.pin or "", invite=invite)


async def enters(place: Place) -> m.Info:
    """The account's device logs in with what the database has."""
    identity = await place.database.read(identities.get)
    assert identity is not None
    endpoint = Service(ServiceAddress(identity.host, identity.port, identity.pin), identity.ca_file).endpoint
    connection = await Connection.open(endpoint, revision=identity.login.revision)
    try:
        return await connection.enter(identity.login)
    finally:
        await connection.quit()


async def test_an_account_is_opened_with_keys(gateway: Gateway, tmp_path: Path) -> None:
    async with place(tmp_path / "home") as here:
        joined = await joining.join(here, service(gateway), ALIAS, "laptop", WAYS)
        identity = joined.identity
        assert (identity.alias, identity.label, identity.node, identity.revision) == (ALIAS, "laptop", "", 2)
        assert (joined.error, joined.other_devices) == ("", 0)
        assert await here.database.read(identities.get) == identity
        assert (await enters(here)).info == "login ok"
    (account,) = [one for one in await accounts_of(gateway, "public") if ALIAS in one.aliases]
    assert account.uid == identity.uid


async def test_the_recovery_key_is_a_slot_and_once_told_nowhere_else(gateway: Gateway, tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with place(home) as here:
        joined = await joining.join(here, service(gateway), ALIAS, "", WAYS)
        seed = joined.recovery
        assert len(seed) == 32
        # Cut off before it was shown: the next time it can be, without asking the service.
        again = await joining.join(here, service(gateway), "Another Name", "", WAYS)
        assert (again.recovery, again.identity) == (seed, joined.identity)
        await joining.told(here.database)
        with pytest.raises(Refused, match=f"work is {ALIAS} on"):
            await joining.join(here, service(gateway), ALIAS, "", WAYS)
        assert await here.database.read(lambda c: identities.pending(c, joined.identity.service_key)) is None
        here.vault.set_passphrase("correct horse battery")
        key = here.vault.account("work").database_key
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert seed not in kept
    assert seed not in await asyncio.to_thread(_decrypted, home / "accounts" / "work" / "history.db", key)
    assert plain_text_in(home, [ALIAS]) == []
    vault = Vault(home, os.urandom, None, lambda: 1)
    with pytest.raises(WrongSecret):
        vault.unlock(words_of(os.urandom(32)))
    vault.unlock(words_of(seed))
    assert vault.account("work").database_key == key


def _decrypted(path: Path, key: bytes) -> bytes:
    """The database as whoever has its key sees it."""
    plain = path.with_name("plain")
    connection = sqlcipher.connect(str(path))
    connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    connection.execute(f"ATTACH DATABASE '{plain}' AS plain KEY ''")
    connection.execute("SELECT sqlcipher_export('plain')")
    connection.close()
    raw = plain.read_bytes()
    plain.unlink()
    assert ALIAS.encode() in raw  # it is what it is taken for
    return raw


@pytest.mark.parametrize("awaited", ["_registered", "_entered"])
async def test_a_join_that_was_cut_off_is_taken_up_again(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, awaited: str
) -> None:
    """The service has made the account, and its answer is lost: the next try gets the same account, and its sheet."""
    whole = Connection._wait

    async def cut_off(self: Connection, future: "asyncio.Future[Any]") -> Any:
        answer = await whole(self, future)
        if future is getattr(self, awaited):
            raise Disconnected("the connection broke")
        return answer

    async with place(tmp_path / "home") as here:
        monkeypatch.setattr(Connection, "_wait", cut_off)
        with pytest.raises(Disconnected):
            await joining.join(here, service(gateway), ALIAS, "", WAYS)
        monkeypatch.setattr(Connection, "_wait", whole)
        assert await here.database.read(identities.get) is None
    async with place(tmp_path / "home") as here:  # another process
        joined = await joining.join(here, service(gateway), ALIAS, "", WAYS)
        assert (joined.identity.alias, joined.error) == (ALIAS, "")
        assert (await enters(here)).info == "login ok"
    accounts = [one for one in await accounts_of(gateway, "public") if ALIAS in one.aliases]
    assert [(one.uid, one.devices) for one in accounts] == [(joined.identity.uid, 1)]


async def test_whose_alias_is_taken_has_the_account_and_its_sheet_all_the_same(
    gateway: Gateway, tmp_path: Path
) -> None:
    async with member(gateway, "public", ALIAS), place(tmp_path / "home") as here:
        joined = await joining.join(here, service(gateway), ALIAS, "", WAYS)
        assert joined.error
        assert (joined.identity.alias, len(joined.recovery)) == ("", 32)
        connection = await Connection.open(service(gateway).endpoint, revision="2")
        await connection.enter(joined.identity.login)
        named = await joining.take_alias(connection, here.database, joined.identity, "Ada, Countess", "r")
        assert named.alias == "Ada, Countess"
        assert await here.database.read(identities.get) == named
        again = await joining.take_alias(connection, here.database, named, "Ada, Countess", "r2")
        assert again == named
        with pytest.raises(Refused):
            await joining.take_alias(connection, here.database, named, ALIAS, "r3")
        assert await here.database.read(identities.get) == named
        await connection.quit()


async def test_without_an_invitation_nobody_joins_and_is_told_why(gateway: Gateway, tmp_path: Path) -> None:
    async with place(tmp_path / "home") as here:
        with pytest.raises(Refused, match="takes an invitation"):
            await joining.join(here, service(gateway, instance="members"), ALIAS, "", WAYS)
        with pytest.raises(Refused, match="used, revoked, or has expired"):
            await joining.join(here, service(gateway, "no such token", "members"), ALIAS, "", WAYS)
        token = (await invited(gateway, "members")).token
        joined = await joining.join(here, service(gateway, token, "members"), ALIAS, "", WAYS)
        assert joined.identity.alias == ALIAS


# -- revision 1 ------------------------------------------------------------------------------------------------------
async def test_a_service_that_knows_revision_1_only_is_joined_by_it(gateway: Gateway, tmp_path: Path) -> None:
    async with (
        only_revision_1(endpoint(gateway, "public"), tmp_path / "front") as old,
        place(tmp_path / "home") as here,
    ):
        joined = await joining.join(here, old, ALIAS, "laptop", WAYS)
        identity = joined.identity
        assert (identity.revision, identity.keys, identity.service_key) == (1, None, "")
        assert (len(identity.node), joined.recovery) == (40, b"")
        assert "recovery" not in {slot.kind for slot in here.vault.slots()}  # there is no such key
        assert (await enters(here)).info == "login ok"
        with pytest.raises(Refused, match="without keys cannot"):
            await joining.sign_in_again(identity, nobody)
    async with only_revision_1(endpoint(gateway, "public"), tmp_path / "front") as old, place(tmp_path / "new") as here:
        with pytest.raises(Refused, match="knows no recovery keys"):
            await joining.recover(here, old, identity.uid, bytes(32), "")


async def test_nobody_is_stepped_down_to_revision_1(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a join that was begun, nor a device: whoever answers in the service's place gets nothing (B4)."""
    whole = Connection.register_keys

    async def cut_off(*arguments: Any, **named: Any) -> Any:
        raise Disconnected("the connection broke")

    async with (
        only_revision_1(endpoint(gateway, "public"), tmp_path / "front") as old,
        place(tmp_path / "home") as here,
    ):
        monkeypatch.setattr(Connection, "register_keys", cut_off)
        with pytest.raises(Disconnected):
            await joining.join(here, service(gateway), ALIAS, "", WAYS)
        monkeypatch.setattr(Connection, "register_keys", whole)
        with pytest.raises(Refused, match="somebody else may answer in its place"):
            await joining.join(here, old, ALIAS, "", WAYS)
        joined = await joining.join(here, service(gateway), ALIAS, "", WAYS)
        connection = await Connection.open(old.endpoint, revision="2")
        with pytest.raises(Disconnected, match="revision 1 only"):
            await connection.enter(joined.identity.login)
        await connection.close()
        there = identities.Identity(
            **{
                **{name: getattr(joined.identity, name) for name in joined.identity.__dataclass_fields__},
                "port": old.address.port,
                "pin": None,
                "ca_file": old.ca_file,
            }
        )
        with pytest.raises(WrongService):
            await joining.sign_in_again(there, nobody)


# -- the way back ----------------------------------------------------------------------------------------------------
async def account(gateway: Gateway, home: Path) -> tuple[str, bytes]:
    """Of somebody who lost his device: uid and the seed of the recovery key."""
    async with place(home) as here:
        joined = await joining.join(here, service(gateway), ALIAS, "", WAYS)
        await joining.told(here.database)
    return joined.identity.uid, joined.recovery


@pytest.mark.parametrize("revoke_others", [False, True])
async def test_with_the_recovery_sheet_one_comes_back(gateway: Gateway, tmp_path: Path, revoke_others: bool) -> None:
    uid, seed = await account(gateway, tmp_path / "lost")
    async with place(tmp_path / "new") as here:
        back = await joining.recover(here, service(gateway), uid, seed, "new one", revoke_others=revoke_others)
        assert (back.identity.uid, back.identity.alias, back.identity.label) == (uid, "", "new one")
        assert back.other_devices == (0 if revoke_others else 1)
        assert (await enters(here)).info == "login ok"
        assert not await here.database.read(identities.is_pending)
        here.vault.set_passphrase("correct horse battery")
        with pytest.raises(Refused, match="choose another name"):
            await joining.recover(here, service(gateway), uid, seed, "")
    Vault(tmp_path / "new", os.urandom, None, lambda: 1).unlock(words_of(seed))  # the sheet opens this home, too
    async with place(tmp_path / "lost") as there:
        if revoke_others:
            with pytest.raises(Disconnected):
                await enters(there)
        else:
            assert (await enters(there)).info == "login ok"


@pytest.mark.parametrize("where", ["add", "revoke"])
async def test_a_way_back_that_was_cut_off_is_taken_up_again(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """With the device that it had begun with: no second one is left behind in the account."""
    uid, seed = await account(gateway, tmp_path / "lost")
    whole = Connection.ask

    async def cut_off(self: Connection, request: Any) -> Any:
        acked = await whole(self, request)
        if isinstance(request, m2.LogAppend) and f'"{where}"'.encode() in from_text(request.entry):
            raise Disconnected("the connection broke")
        return acked

    async with place(tmp_path / "new") as here:
        monkeypatch.setattr(Connection, "ask", cut_off)
        with pytest.raises(Disconnected):
            await joining.recover(here, service(gateway), uid, seed, "", revoke_others=True)
        monkeypatch.setattr(Connection, "ask", whole)
        with pytest.raises(Refused, match="on its way back"):
            await joining.join(here, service(gateway), "Ada the Second", "", WAYS)
    async with place(tmp_path / "new") as here:
        back = await joining.recover(here, service(gateway), uid, seed, "", revoke_others=True)
        assert back.other_devices == 0
        assert (await enters(here)).info == "login ok"
    (one,) = [one for one in await accounts_of(gateway, "public") if one.uid == uid]
    assert one.devices == 1


async def test_the_words_of_another_sheet_bring_nobody_back(gateway: Gateway, tmp_path: Path) -> None:
    uid, _ = await account(gateway, tmp_path / "lost")
    async with place(tmp_path / "new") as here:
        with pytest.raises(Disconnected, match="login failed"):
            await joining.recover(here, service(gateway), uid, os.urandom(32), "")
        assert not await here.database.read(identities.is_pending)


# -- messages --------------------------------------------------------------------------------------------------------
async def test_what_comes_while_one_joins_is_left_for_who_keeps_it(gateway: Gateway, tmp_path: Path) -> None:
    """Nothing is acknowledged on a connection that keeps nothing (B3)."""
    uid, _ = await account(gateway, tmp_path / "lost")
    async with member(gateway, "public", "Bob Builder") as bob, place(tmp_path / "lost") as here:
        await bob.connection.ping("p1", "Bob Builder", ALIAS, "It is me")
        identity = await here.database.read(identities.get)
        assert identity is not None
        assert identity.keys is not None
        async with joining._greeted(service(gateway)) as (connection, _):  # as `sign_in_again` enters
            await connection.login_by_key(uid, identity.keys.signer, identity.service_key)
            await asyncio.sleep(0.3)  # it would be here by now
        got: asyncio.Queue[str] = asyncio.Queue()

        async def keep(event: m2.StoredEvent, payload: Payload) -> None:
            text = (await payload.read()).decode()
            if isinstance(event, m.PingEvent):
                got.put_nowait(text)

        connection = await Connection.open(service(gateway).endpoint, keep, revision="2")
        await connection.enter(identity.login)
        assert await asyncio.wait_for(got.get(), PATIENCE_S) == "It is me"
        await connection.quit()


@pytest.mark.parametrize(
    ("address", "more", "said"),
    [
        ("http://chat.example.org", {}, "begins with tmtp://"),
        ("chat.example.org:99999", {}, "no port between"),
        ("tmtp://", {}, "names no host"),
        ("chat.example.org", {"ca_file": "/no/such/file.pem"}, "holds no certificates"),
    ],
)
def test_what_was_typed_wrong_is_said(address: str, more: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        service_at(address, **more)
