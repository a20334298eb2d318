# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a running account has to do besides: none of it is forgotten because something else failed, or came just then."""

import asyncio
import errno
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.client_peer import scripted_peer
from tests.support.homes import until
from tests.unit.test_client_kept_and_sent import BOB, running
from tmtp_client import limits
from tmtp_client.connection import Connection
from tmtp_client.engine import account as accounts
from tmtp_client.engine import acquaintance, groups, regaining, reporting
from tmtp_client.engine.arrival import After
from tmtp_client.engine.context import Context
from tmtp_client.engine.presence import Presence
from tmtp_client.store import groups as joined


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended begins anew at once."""
    monkeypatch.setattr(limits, "TASK_AGAIN_S", 0.01)
    monkeypatch.setattr(limits, "SETTLE_PAUSE_S", 0.01)


async def test_messages_whose_key_came_are_opened_also_after_the_disk_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    async def open_again(context: Context, id: str) -> None:
        tried.append(id)
        if len(tried) == 1:
            raise OSError(errno.EIO, "the disk does not do its part")
        if len(tried) == 2:
            raise RuntimeError("nobody foresaw it")

    monkeypatch.setattr(regaining, "open_again", open_again)
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, _):
        account.reopen(["1", "2", "3"])
        await until(lambda: len(tried) == 4)
        assert tried == ["1", "1", "2", "3"]


async def test_who_joins_while_it_is_asked_who_has_joined_is_asked_for_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, _):

        async def refresh(context: Context, connection: Connection, gid: str) -> bool:
            asked.append(gid)
            if len(asked) == 1:
                account._follow(After(members_of=(gid,)))
            return True

        monkeypatch.setattr(groups, "refresh", refresh)
        account._follow(After(members_of=("A group",)))
        await until(lambda: asked == ["A group"] * 2)


async def test_the_next_connection_may_have_caught_up_before_all_of_the_last_one_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def run(presence: Presence, connection: Connection) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            presence._context.caught_up.set()

    async def has_ended(presence: Presence) -> None:
        ended.set()

    monkeypatch.setattr(Presence, "run", run)
    monkeypatch.setattr(Presence, "ended", has_ended)
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, link):
        await asyncio.sleep(0.1)
        await link.close()
        await ended.wait()
        assert account.caught_up.is_set()


class _Trust:
    """Looks at logs; the first time the service does not answer."""

    def __init__(self) -> None:
        self.looked: list[set[str]] = []

    def logged_in(self, c: object) -> None: ...

    def is_there(self, c: object) -> None: ...

    async def settle(self, *args: object) -> None: ...

    async def look_at(self, asker: object, database: object, uids: Iterable[str]) -> None:
        self.looked.append(set(uids))
        if len(self.looked) == 1:
            raise TimeoutError


async def test_whose_logs_could_not_be_looked_at_is_looked_at_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, _):
        trust = _Trust()
        monkeypatch.setattr(accounts.arriving, "again", lambda c, context: [])
        account.context.trust = trust  # type: ignore[assignment]
        connection = await account.context.current()
        settling = asyncio.create_task(account._settle(connection))
        account._follow(After(look_at=("E" * 32,)))
        await until(lambda: len(trust.looked) == 1)
        account._follow(After(own_log=True))
        await until(lambda: len(trust.looked) == 2)
        assert trust.looked == [{"E" * 32}] * 2
        account.context.trust = None
        settling.cancel()


# -- what a person waits for -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "ask",
    [
        lambda context: acquaintance.answer(context, BOB, "block"),
        lambda context: acquaintance.introductions(context, False),
        lambda context: groups.act(context, "A group", "leave"),
        lambda context: reporting.report(context, BOB, "spam", ""),
    ],
    ids=["to block", "introductions", "to leave a group", "to report"],
)
async def test_what_the_service_has_to_hear_of_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Context], Coroutine[Any, Any, object]]
) -> None:
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 600.0)
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, link):
        context = account.context
        await context.database.write(lambda c: joined.put(c, "A group", "joined", "Ada Lovelace", "", 0))
        await link.close()
        await until(lambda: context.connection is not None and not context.connection.is_connected)
        monkeypatch.setattr(Context, "revision", 2)
        monkeypatch.setattr(limits, "ANSWER_TIMEOUT_S", 0.05)
        async with asyncio.timeout(30) as patience:
            with pytest.raises(TimeoutError):
                await ask(context)
        assert not patience.expired()
        monkeypatch.undo()
