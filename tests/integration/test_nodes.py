# SPDX-License-Identifier: AGPL-3.0-or-later
"""Revision 1 nodes and their secrets (wire.md §4.7)."""

import asyncio
from pathlib import Path

from tests.support.instance import running_instance
from tmtp_client.connection import Connection, Endpoint, Payload
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2


async def test_a_new_nodes_secret_is_for_the_node_that_asked(tmp_path: Path) -> None:
    """Revision 1: also where the next new node begins with what still waits for that one."""
    async with running_instance(tmp_path / "instance") as instance:

        async def hear(event: m2.StoredEvent, payload: Payload) -> None:
            if isinstance(event, m.UserEvent):
                await asyncio.Event().wait()  # it is never acknowledged

        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        asking = await Connection.open(endpoint, hear)
        registered = await asking.register("laptop", "Ada Lovelace")
        await asking.ask(m.UserEdit("1", newnode="phone"))
        await asking.ask(m.UserEdit("2", newnode="tablet"))
        await asking.close()
        told: list[m2.StoredEvent] = []

        async def hear_all(event: m2.StoredEvent, payload: Payload) -> None:
            told.append(event)

        again = await Connection.open(endpoint, hear_all)
        await again.login(registered.uid, registered.nodeid)
        await again.ask(m.UserEdit("3", newalias="Ada the Second"))
        secrets = {event.newnode: event.nodeid for event in told if isinstance(event, m.UserEvent) and event.nodeid}
        assert set(secrets) == {"phone", "tablet"}
        told.clear()
        tablet = await Connection.open(endpoint, hear_all)
        await tablet.login(registered.uid, secrets["tablet"] or "")
        await tablet.ask(m.UserEdit("4", newalias="Ada the Third"))
        assert [event.nodeid for event in told if isinstance(event, m.UserEvent) and event.nodeid] == []
        for connection in (again, tablet):
            await connection.close()
