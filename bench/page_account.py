# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts for `bench.client_pages`: a long history, and one conversation of thousands of messages."""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from bench.history import Language, fill
from bench.server import BenchServer
from tmtp_client.api import operations as o
from tmtp_client.api.client import Local
from tmtp_client.api.running import running
from tmtp_client.store import messages
from tmtp_client.store.database import Database
from tmtp_client.store.messages import NewMessage
from tmtp_client.vault.vault import Vault
from tmtp_core.wire.address import parse_address

ACCOUNTS: Final = ("bench", "other")
LONG: Final = "f" * 16
"""The conversation of thousands of messages."""
_LONG_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)  # behind the rest of the history: it is the first of the list
_GROUP: Final = 500


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is, and how often what takes a moment is done."""

    history: int = 100_000
    thread: int = 5_000
    other: int = 5_000
    times: int = 5


def fill_accounts(home: Path, server: BenchServer, size: Size) -> None:
    """Two accounts on one service, with what there is to read."""
    asyncio.run(_join(home, server))
    vault = Vault(home, os.urandom, None, lambda: time.time_ns() // 1_000_000)
    vault.open_alone()
    for account, count in zip(ACCOUNTS, (size.history, size.other), strict=True):
        kept = vault.account(account)
        asyncio.run(fill(kept.folder, kept.database_key, count))
    kept = vault.account(ACCOUNTS[0])
    asyncio.run(_fill_thread(kept.folder, kept.database_key, size.thread))
    vault.lock()


async def _join(home: Path, server: BenchServer) -> None:
    service = parse_address(server.invitation())
    async with running(home) as engine:
        client = Local(engine.dispatcher, engine.home)
        for account in ACCOUNTS:
            joining = o.Join(
                account, f"{service.host}:{service.port}", f"Ada of {account}", account, "", service.pin or ""
            )
            await client.call("accounts.join", joining)
            await client.call("accounts.told", o.OfAccount(account))


async def _fill_thread(folder: Path, key: bytes, count: int) -> None:
    database = Database(folder, key)
    await database.open()
    every = _conversation(count)
    while group := tuple(itertools.islice(every, _GROUP)):

        def record(connection: Connection, group: Sequence[NewMessage] = group) -> None:
            for one in group:
                messages.record(connection, one, frozenset())

        await database.write(record)
    await database.checkpoint()
    await database.close()


def _conversation(count: int) -> Iterator[NewMessage]:
    """One of a busy year: short answers, long ones, lists, code, a table here and there."""
    language, pick = Language(11), random.Random(12)  # noqa: S311 - the same each time

    def words(number: int) -> str:
        return " ".join(language.words(number))

    kinds: dict[int, Callable[[], str]] = {
        0: lambda: "\n".join(f"- {words(6)}" for _ in range(5)),
        1: lambda: f"> {words(12)}\n\n{words(30)}",
        2: lambda: f"```\n{words(20)}\n{words(9)}\n```",
        3: lambda: "| a | b |\n|---|--:|\n" + "\n".join(f"| {words(3)} | {line} |" for line in range(6)),
        4: lambda: f"See [{words(2)}](https://example.org/), *{words(2)}* and **{words(3)}**. {words(90)}",
        5: lambda: "\n\n".join(words(60) for _ in range(4)),
    }

    def text() -> str:
        return kinds.get(pick.randrange(12), lambda: words(pick.choice((3, 8, 20, 40))))()

    for number in range(count):
        id = LONG if not number else f"e{number:015x}"
        author = pick.randrange(1, 12)
        posted = (_LONG_BEGIN + number * timedelta(minutes=40)).isoformat(timespec="milliseconds")
        yield NewMessage(
            id=id,
            kind="message",
            outgoing=author == 1,
            author=f"{author:032}",
            alias=f"Bench Member {author:04}",
            verified=True,
            to=((f"{2:032}", 1),),
            thread=LONG,
            subject="" if number else "All that was said",
            text=f"{text()}\n\nSaid as number {number}",
            posted=posted.replace("+00:00", "Z"),
            received_ms=number,
            state="received",
            seen=True,
            attachments=(),
        )
