# SPDX-License-Identifier: AGPL-3.0-or-later
"""An engine in a process of its own, to be killed: `python -m tests.faults.engine_process HOME`.

Takes commands as lines of JSON, and answers each with a line. Its person looks at once at whatever keys have changed.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection as Rows
from sqlalchemy import func, select

from tests.support.homes import look_at_keys, now_ms, vault
from tmtp_client import limits
from tmtp_client.api import operations
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.home import Home, owned
from tmtp_client.store.tables import message, outbox

_LOOK_S = 0.2


async def serve(folder: Path) -> None:
    """Until the input ends."""
    limits.RECONNECT_LONGEST_S = limits.RECONNECT_FIRST_S  # else it would soon wait for longer than a life lasts
    home = Home(vault(folder), now_ms, os.urandom)
    await home.open()
    looking = asyncio.create_task(_look(home))
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        _say({"ready": True})
        while line := await reader.readline():
            _say(await _do(home, msgspec.json.decode(line)))
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await home.close()


async def _do(home: Home, asked: dict[str, Any]) -> dict[str, Any]:
    account = home.account(asked["account"])
    if asked["do"] == "send":
        send = operations.Send(asked["account"], (asked["to"],), "", asked["text"], delay_s=0)
        waiting = await Composing(account.context).send(send)
        return {"request": waiting.request}
    if asked["do"] == "list":
        return {"messages": await account.context.database.read(_listed)}
    connection = account.context.connection
    return {
        "waiting": await account.context.database.read(_waiting),
        "online": connection is not None and connection.is_connected and account.caught_up.is_set(),
        "count": await account.context.database.read(lambda c: c.scalar(select(func.count()).select_from(message))),
    }


def _listed(c: Rows) -> list[tuple[str, str, str, str, str]]:
    m = message.c
    asked = select(m.id, m.author, m.text, m.state, m.sealed).where(m.kind == "message").order_by(m.id)
    return [tuple(row) for row in c.execute(asked)]


def _waiting(c: Rows) -> list[tuple[str, str, str]]:
    asked = select(outbox.c.kind, outbox.c.state, outbox.c.error)
    return [tuple(row) for row in c.execute(asked)]


async def _look(home: Home) -> None:
    while True:
        for account in home.accounts():
            with contextlib.suppress(OSError):
                await look_at_keys(account.context)
        await asyncio.sleep(_LOOK_S)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with owned(Path(sys.argv[1])):
        asyncio.run(serve(Path(sys.argv[1])))
