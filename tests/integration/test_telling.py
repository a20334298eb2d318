# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators are told by a message: one of a kind an hour, also when the service is away meanwhile (C2)."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridges import limits
from bridges.smtp.posts.telling import Telling
from tests.support.devices import KeyDevice, genesis_of, newcomer
from tests.support.instance import TestInstance, running_instance
from tmtp_client import limits as client_limits
from tmtp_client.connection import AccountKeys, Endpoint, KeyLogin, PersistentConnection
from tmtp_core.crypto.encoding import to_text
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import decode_post_head

HOSTNAME = "mx.example.org"


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "instance") as running:
        yield running


async def connected(instance: TestInstance) -> tuple[str, PersistentConnection]:
    """A bridge with a route to the administrators."""
    keys = AccountKeys.new(os.urandom)
    routes = {"admins@example.org": "Ada Lovelace"}
    uid = await instance.service.ensure_bridge("intake", routes, genesis_of(instance, keys), replies=True)
    login = KeyLogin(uid, keys.device.signer, to_text(instance.service.identity.public_key))
    return uid, PersistentConnection(Endpoint(instance.host, instance.port, instance.spki_pin), login)


async def texts(device: KeyDevice) -> list[str]:
    """What it was told so far, without the heads."""
    await device.all_of(m.Delivery)
    return [data[event.datahead :].decode() for event, data in device.got if isinstance(event, m.Delivery)]


async def test_one_of_a_kind_an_hour_in_the_bridges_own_words(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    uid, service = await connected(instance)
    telling = Telling("intake", uid, HOSTNAME, "admins@example.org", instance.clock, os.urandom)
    telling.start(service)
    try:
        for attempt in range(5):
            telling.tell(f"a@x.example is suspended, try {attempt}\n\x1b[2Jsecond line", "suspended a@x.example")
        event, data = await ada.next(m.Delivery)
        head = decode_post_head(data[: event.datahead])
        assert event.via == m.Via("intake", "postmaster@mx.example.org", "gateway")
        assert (head.subject, head.alias) == ("[gateway] For administrators", "postmaster@mx.example.org")
        assert data[event.datahead :].decode().splitlines() == [
            "[gateway] a@x.example is suspended, try 0",
            "[gateway] [2Jsecond line",
        ]
        telling.tell("b@x.example is suspended")
        assert (await ada.next(m.Delivery))[1].endswith(b"[gateway] b@x.example is suspended")
        instance.clock.advance(limits.TELL_EVERY_S - 1)
        telling.tell("too early", "suspended a@x.example")
        instance.clock.advance(1)
        telling.tell("an hour later", "suspended a@x.example")
        assert (await ada.next(m.Delivery))[1].endswith(b"[gateway] an hour later")
        assert len(await texts(ada)) == 3
    finally:
        await telling.stop()
        await service.stop()


async def test_it_waits_for_a_service_that_is_away_and_is_told_once(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((limits, "TELL_AGAIN_S"), (limits, "SERVICE_WAIT_S"), (client_limits, "RECONNECT_LONGEST_S")):
        monkeypatch.setattr(module, name, 0.2)
    ada = await newcomer(instance, "Ada Lovelace")
    uid, service = await connected(instance)
    await service.current(20)
    telling = Telling("intake", uid, HOSTNAME, "admins@example.org", instance.clock, os.urandom)
    telling.start(service)
    try:
        await instance.stop()
        for number in range(limits.TELLINGS_MAX + 5):
            telling.tell(f"trouble {number}")
        await asyncio.sleep(0.5)
        await instance.start()
        await ada.log_in()
        for _ in range(limits.TELLINGS_MAX):
            await ada.next(m.Delivery)
        told = await texts(ada)
        assert told == [f"[gateway] trouble {number}" for number in range(limits.TELLINGS_MAX)]
    finally:
        await telling.stop()
        await service.stop()


async def test_nobody_to_tell_is_no_trouble(instance: TestInstance) -> None:
    """No route, or one that is refused: the log has it, and what comes next is told all the same."""
    ada = await newcomer(instance, "Ada Lovelace")
    uid, service = await connected(instance)
    silent = Telling("intake", uid, HOSTNAME, None, instance.clock, os.urandom)
    wrong = Telling("intake", uid, HOSTNAME, "gone@example.org", instance.clock, os.urandom)
    for one in (silent, wrong):
        one.start(service)
        one.tell("nobody hears this")
    right = Telling("intake", uid, HOSTNAME, "admins@example.org", instance.clock, os.urandom)
    right.start(service)
    right.tell("somebody hears this")
    assert (await ada.next(m.Delivery))[1].endswith(b"somebody hears this")
    for one in (silent, wrong, right):
        await one.stop()
    await service.stop()
