# SPDX-License-Identifier: AGPL-3.0-or-later
"""Registration where everybody may register (A2): so many an address, and work for more of them at once."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_client_commands import Terminal
from tests.support.instance import TestInstance, running_instance
from tests.support.raw_peer import RawPeer, framed
from tests.support.sign_in import endpoint, greeting, is_uid, log_in, new_keys, register
from tmtp_client.connection import Connection, Disconnected, Refused
from tmtp_core import limits
from tmtp_core.domain.registering import TOO_MANY, TOO_MANY_HERE, WORK_REQUIRED, RegistrationLimits

COUNTED = RegistrationLimits(3, 0, ())
BUSY = RegistrationLimits(1_000, 2, ())


@pytest.fixture
def easy_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of a second."""
    monkeypatch.setattr(limits, "WORK_BITS_MIN", 8)
    monkeypatch.setattr(limits, "WORK_BITS_MAX", 10)


async def crowd(instance: TestInstance) -> None:
    """So many register that work is asked for."""
    for _ in range(3):
        assert is_uid(await register(instance, None, new_keys()))


@pytest.mark.parametrize("revision", [1, 2])
async def test_an_address_registers_so_often_and_then_later(tmp_path: Path, revision: int) -> None:
    async with running_instance(tmp_path, registrations=COUNTED) as instance:
        answers = [await register(instance, None, new_keys() if revision == 2 else None) for _ in range(5)]
        assert [is_uid(one) for one in answers] == [True] * 3 + [False] * 2
        assert answers[3:] == [TOO_MANY_HERE] * 2
        assert len(await instance.service.list_accounts()) == 3
        await instance.advance(1_200)
        assert is_uid(await register(instance, None, new_keys()))
        assert await register(instance, None, new_keys()) == TOO_MANY_HERE


async def test_by_default_this_machine_is_not_counted(tmp_path: Path) -> None:
    """Behind a proxy all come from there."""
    async with running_instance(tmp_path, registrations=RegistrationLimits(1, 0)) as instance:
        assert all([is_uid(await register(instance, None, new_keys())) for _ in range(3)])


async def test_who_is_refused_may_log_in(tmp_path: Path) -> None:
    async with running_instance(tmp_path, registrations=RegistrationLimits(1, 0, ())) as instance:
        keys = new_keys()
        uid = await register(instance, None, keys)
        assert await register(instance, None, new_keys()) == TOO_MANY_HERE
        assert await log_in(instance, uid, keys) == "login ok"


@pytest.mark.parametrize("registration", ["invite", "closed"])
async def test_where_strangers_are_not_taken_nothing_is_counted(tmp_path: Path, registration: str) -> None:
    async with running_instance(
        tmp_path, registration=registration, registrations=RegistrationLimits(1, 1, ())
    ) as instance:
        wanted = {"invite": "invitation required", "closed": "registration is closed"}[registration]
        assert {await register(instance, None, new_keys()) for _ in range(4)} == {wanted}
        assert (await greeting(instance, "2")).work is None


async def test_a_registration_costs_nothing_while_few_register(tmp_path: Path) -> None:
    async with running_instance(tmp_path, registrations=BUSY) as instance:
        assert (await greeting(instance, "2")).work is None


@pytest.mark.usefixtures("easy_work")
async def test_a_crowd_works_for_its_accounts(tmp_path: Path) -> None:
    async with running_instance(tmp_path, registrations=BUSY) as instance:
        await crowd(instance)
        greeted = await greeting(instance, "2")
        assert greeted.work is not None
        assert (greeted.work.bits, greeted.work.seconds) == (8, 120)
        told: list[tuple[int, int]] = []
        connection = await Connection.open(endpoint(instance), revision="2")
        registered = await connection.register_keys(
            "laptop", new_keys(), "_", on_work=lambda tried, most: told.append((tried, most))
        )
        await connection.quit()
        assert is_uid(registered.uid)
        assert told[0] == (0, 256)
        await instance.advance(600)
        assert (await greeting(instance, "2")).work is None


@pytest.mark.usefixtures("easy_work")
async def test_revision_1_waits_until_the_crowd_is_gone(tmp_path: Path) -> None:
    """It cannot be asked for work, and must be no way around it."""
    async with running_instance(tmp_path, registrations=BUSY) as instance:
        await crowd(instance)
        assert await register(instance, None) == TOO_MANY
        assert len(await instance.service.list_accounts()) == 3
        assert (await greeting(instance)).work is None
        await instance.advance(600)
        assert is_uid(await register(instance, None))


@pytest.mark.usefixtures("easy_work")
@pytest.mark.parametrize(
    "bend",
    [
        lambda request: request.pop("work"),
        lambda request: request.update(work=""),
        lambda request: request.update(work="AAAAAAAAAAA"),
        lambda request: request.update(work=request["work"] + "A"),
        lambda request: request.update(work="ä"),
    ],
    ids=["none", "empty", "a guess", "longer", "no base64url"],
)
async def test_who_has_not_worked_gets_no_account(
    tmp_path: Path, bend: Callable[[dict[str, Any]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is looked up: nothing reaches the writer."""
    async with running_instance(tmp_path, registrations=RegistrationLimits(1_000, 2, ())) as instance:
        await crowd(instance)
        for name in ("WORK_BITS_MIN", "WORK_BITS_MAX"):  # a guess holds once in 65,536 times
            monkeypatch.setattr(limits, name, 16)
        await instance.settle()
        decided = instance.service.figures()["decisions_total"]
        connection = await Connection.open(endpoint(instance), revision="2")
        sent = connection._send

        async def bent(frame: bytes) -> None:
            request = json.loads(frame[4:])
            if request["op"] == 1:
                bend(request)
                frame = framed(request)
            await sent(frame)

        monkeypatch.setattr(connection, "_send", bent)
        with pytest.raises(Disconnected, match=WORK_REQUIRED):
            await connection.register_keys("laptop", new_keys(), "_")
        await connection.close()
        assert instance.service.figures()["decisions_total"] == decided
        assert len(await instance.service.list_accounts()) == 3


@pytest.mark.usefixtures("easy_work")
async def test_work_has_its_own_time_and_a_log_in_its_five_seconds(tmp_path: Path) -> None:
    async with running_instance(tmp_path, registrations=BUSY) as instance:
        calm = await Connection.open(endpoint(instance), revision="2")
        await crowd(instance)
        working = await Connection.open(endpoint(instance), revision="2")
        await instance.advance(limits.LOGIN_DEADLINE_S + 1)
        assert await calm.closed() == "the service closed the connection"
        assert working.is_open
        await instance.advance(limits.WORK_S - 10)
        assert is_uid((await working.register_keys("laptop", new_keys(), "_")).uid)
        late = await Connection.open(endpoint(instance), revision="2")
        await crowd(instance)
        late_too = await Connection.open(endpoint(instance), revision="2")
        await instance.advance(limits.WORK_S + limits.LOGIN_DEADLINE_S + 1)
        assert await late.closed() == await late_too.closed() == "the service closed the connection"
        for connection in (calm, working, late, late_too):
            await connection.close()


@pytest.mark.usefixtures("easy_work")
async def test_only_so_many_have_time_to_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORKING_LINKS_MAX", 2)
    async with running_instance(tmp_path, registrations=BUSY) as instance:
        await crowd(instance)
        links = [await Connection.open(endpoint(instance), revision="2") for _ in range(3)]
        assert await links[0].closed() == TOO_MANY
        assert links[1].is_open
        assert is_uid((await links[1].register_keys("laptop", new_keys(), "_")).uid)
        for link in links:
            await link.quit()
        await asyncio.sleep(0)
        await instance.settle()
        assert not instance.service._reception._working


@pytest.mark.usefixtures("easy_work")
@pytest.mark.usefixtures("easy_work")
async def test_members_make_no_room_for_who_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has logged in works on nothing any more, and stays, however many come."""
    monkeypatch.setattr(limits, "WORKING_LINKS_MAX", 2)
    async with running_instance(tmp_path, registrations=BUSY) as instance:
        keys = new_keys()
        uid = await register(instance, None, keys)
        await crowd(instance)
        member = await Connection.open(endpoint(instance), revision="2")
        await member.login_by_key(uid, keys.device.signer)
        others = [await Connection.open(endpoint(instance), revision="2") for _ in range(3)]
        for one in others:
            await one.service
        assert member.is_open
        assert await others[0].closed() == TOO_MANY
        for one in (member, *others):
            await one.close()


async def test_an_answer_serves_on_its_own_link_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the link's nonce: none can be kept, or sold."""
    monkeypatch.setattr(limits, "WORK_BITS_MIN", 14)
    monkeypatch.setattr(limits, "WORK_BITS_MAX", 14)
    async with running_instance(tmp_path, registrations=BUSY) as instance:
        for _ in range(3):
            instance.service._reception.opened()
        one = await Connection.open(endpoint(instance), revision="2")
        other = await Connection.open(endpoint(instance), revision="2")
        frames: list[bytes] = []

        async def kept(frame: bytes) -> None:
            frames.append(frame)
            raise Disconnected("kept")

        monkeypatch.setattr(one, "_send", kept)
        keys = new_keys()
        with pytest.raises(Disconnected):
            await one.register_keys("laptop", keys, "_")
        work = json.loads(frames[0][4:])["work"]
        sent = other._send

        async def with_its_work(frame: bytes) -> None:
            await sent(framed({**json.loads(frame[4:]), "work": work}))

        monkeypatch.setattr(other, "_send", with_its_work)
        with pytest.raises(Disconnected, match=WORK_REQUIRED):
            await other.register_keys("laptop", keys, "_")
        await one.close()
        await other.close()


async def test_tmtp_join_works_where_it_must_and_says_so(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance", registrations=BUSY) as instance:
        for _ in range(3):
            instance.service._reception.opened()
        terminal = Terminal(tmp_path / "ada")
        ran = await terminal.run(
            "join", f"{instance.host}:{instance.port}", "--pin", instance.spki_pin, "--alias", "Ada Lovelace"
        )
        assert (ran.code, "Many people join just now" in ran.err) == (0, True), ran.err
        assert len(await instance.service.list_accounts()) == 1


async def test_a_client_does_not_work_itself_to_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_BITS_MIN", 60)
    monkeypatch.setattr(limits, "WORK_BITS_MAX", 60)
    async with running_instance(tmp_path, registrations=BUSY) as instance:
        for _ in range(3):
            instance.service._reception.opened()
        connection = await Connection.open(endpoint(instance), revision="2")
        with pytest.raises(Refused, match="60 bits"):
            await connection.register_keys("laptop", new_keys(), "_")
        await connection.close()


async def test_an_existing_client_hears_it_in_plain_words(tmp_path: Path) -> None:
    async with running_instance(tmp_path, registrations=RegistrationLimits(1, 0, ())) as instance:
        assert is_uid(await register(instance, None))
        peer = await RawPeer().connect(instance)
        await peer.send(framed({"op": 0, "id": "1"}) + framed({"op": 1, "newnode": "n", "newalias": "_"}))
        assert TOO_MANY_HERE.encode() in await peer.until(b"quit")
        peer.close()
