# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an administrator's acts lead to while people come and go (C1)."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.control import ControlClient
from tests.support.devices import newcomer
from tests.support.gateway import running_gateway
from tests.support.instance import TestInstance, running_instance
from tmtp_core.errors import ServiceUnavailable
from tmtp_core.store.writer import Job
from tmtp_core.wire import messages as m


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "instance") as running:
        yield running


async def test_an_administrators_message_comes_once(instance: TestInstance) -> None:
    """Also to a device whose log-in is in the same commit."""
    ada = await newcomer(instance, "Ada Lovelace")
    await ada.quit()
    held = threading.Event()
    instance.service._writer.submit(Job(lambda ledger: held.wait(10), lambda result: None))
    entering = asyncio.create_task(ada.log_in())
    await asyncio.sleep(0.3)  # its log-in waits for the writer
    given = asyncio.create_task(instance.service.give_alias("Ada Lovelace", "Support Desk"))
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(entering, given)
    told = [event.newalias for event in await ada.all_of(m.UserEvent)]
    assert told.count("Support Desk") == 1


async def test_a_gateway_that_knows_a_command_not_is_said_to_be_of_another_release(tmp_path: Path) -> None:
    async with running_gateway(tmp_path):
        connector = aiohttp.UnixConnector(str(tmp_path / "data" / "control.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(ServiceUnavailable, match="answered with 404; it may be of another release"):
                await ControlClient(session)._call("GET", "/instances/members/something/new", {}, None)
