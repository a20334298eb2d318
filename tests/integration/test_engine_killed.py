# SPDX-License-Identifier: AGPL-3.0-or-later
"""An engine that is killed while hundreds of messages come: the service brings again what was not acknowledged (B3)."""

import asyncio
import signal
from functools import partial
from pathlib import Path

from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tests.faults.killed_clients import Engine
from tests.support.gateway import endpoint, member, running_gateway
from tests.support.homes import has_text, joined_at, look_until, running_home
from tmtp_client.store.tables import message
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import PostHead, encode_post_head

COUNT = 500


async def test_500_messages_in_flight_and_kills_lose_none_and_double_none(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Bob Builder") as bob:
        async with running_home(tmp_path / "home") as home:
            ada = await joined_at(home, "work", endpoint(gateway, "public"), "Ada Lovelace")
            uid = ada.context.uid
            await bob.connection.ping("p", "Bob Builder", "Ada Lovelace", "hello")
            await has_text(ada, "hello")
        head = encode_post_head(PostHead())
        for number in range(COUNT):
            text = f"{number:03}".encode()
            await bob.connection.post(f"m{number}", [m.Recipient(uid, m.TO_UID)], head + text, datahead=len(head))
        engine = Engine("ada", tmp_path / "home")
        for life_s in (0.05, 0.15, 0.3):
            await engine.start()
            await asyncio.sleep(life_s)
            await engine.end(signal.SIGKILL)
        async with running_home(tmp_path / "home") as home:
            ada = home.account("work")
            kept: list[str] = []
            while f"{COUNT - 1:03}" not in kept:  # a busy machine may take long; one message after the other comes
                kept = await look_until(ada, partial(_more, known=len(kept)))
            assert kept == [f"{number:03}" for number in range(COUNT)]


def _texts(c: Rows) -> list[str]:
    return list(c.scalars(select(message.c.text).where(message.c.kind == "message").order_by(message.c.id)))


def _more(c: Rows, known: int) -> list[str]:
    """All of them, once there are more than so many."""
    texts = _texts(c)
    return texts if len(texts) > known else []
