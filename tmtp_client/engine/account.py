# SPDX-License-Identifier: AGPL-3.0-or-later
"""One account that runs: connected as long as it can be, its events kept, what waits sent, its logs and keys looked
after, its devices in step (B1, B3, B4).
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.connection import Connection, Disconnected, Endpoint, PersistentConnection, Refused, WrongService
from tmtp_client.engine import arriving, groups, meeting, notifying, regaining, reporting
from tmtp_client.engine.arrival import After
from tmtp_client.engine.context import Context
from tmtp_client.engine.parts import Assembling
from tmtp_client.engine.presence import Presence
from tmtp_client.engine.receiving import Receiving
from tmtp_client.engine.sending import Sending
from tmtp_client.engine.unforeseen import report
from tmtp_client.store import changes, outbox, people, threads
from tmtp_client.store.changes import Since
from tmtp_client.sync import state
from tmtp_client.sync.telling import keep_telling
from tmtp_client.trust.logs import standing
from tmtp_core.wire.address import ServiceAddress


class Account:
    """Runs from `start` to `stop`. Its database is open all the while, and is the caller's to close."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._receiving = Receiving(context, self._arrived)
        self._presence = Presence(context)
        self._assembling = Assembling(context)
        self._look_at: set[str] = set()
        self._to_look = asyncio.Event()
        self._groups: set[str] = set()
        self._to_ask = asyncio.Event()
        self._keys: set[str] = set()
        self._to_open = asyncio.Event()
        self._told_state = asyncio.Event()
        self.caught_up = context.caught_up
        self._tasks: list[asyncio.Task[None]] = []

    # -- running -----------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Connect, and go on by itself. Raises `OSError`."""
        context = self.context
        await context.database.write(self._begin)
        identity = context.identity
        ca_file = Path(identity.ca_file) if identity.ca_file else None
        self._connect(Endpoint(identity.host, identity.port, identity.pin, ca_file))
        for work in (
            self._connected,
            Sending(context).run,
            self._assembling.run,
            self._sync,
            self._wake,
            self._open_what_waited,
            self._tell_state,
        ):
            self._tasks.append(asyncio.create_task(self._kept_up(work), name=f"{context.name} {work.__name__}"))
        context.to_sync.set()
        self._assembling.look()

    async def stop(self) -> None:
        """Log out and rest; what was begun is on the disk or has left nothing. Idempotent."""
        connection, self.context.connection = self.context.connection, None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.caught_up.clear()
        if connection is not None:
            await connection.stop()
            with contextlib.suppress(OSError):  # a full disk keeps nobody from locking; the next start forgets it
                await self._presence.ended()

    def _connect(self, endpoint: Endpoint) -> None:
        self.context.connection = PersistentConnection(
            endpoint,
            self.context.identity.login,
            self._receiving.event,
            self._presence.heard,
            on_batch=self._receiving.batch,
            on_change=self._told_state.set,
        )

    def _begin(self, c: Rows) -> None:
        context = self.context
        people.learn(c, context.uid, context.identity.alias, "self", context.clock())
        people.forget_presence(c)
        context.aliases = people.own_aliases(c)

    async def _kept_up(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """One of the account's tasks; what nobody foresaw is said, and ends none of the others."""
        while True:
            try:
                await work()
            except (OSError, Disconnected, TimeoutError):  # the disk, or the connection: again
                pass
            except Exception as error:
                report(f"{self.context.name} {work.__name__}", error)
            await asyncio.sleep(limits.TASK_AGAIN_S)

    # -- while connected ---------------------------------------------------------------------------------------------
    async def _connected(self) -> None:
        """Connection after connection; none any more once the service lets this device in no more."""
        while True:
            try:
                connection = await self.context.current()
            except Disconnected:  # for good: `view` says why
                await asyncio.Event().wait()
                return
            tasks = [
                asyncio.create_task(self._settle(connection)),
                asyncio.create_task(self._presence.run(connection)),
                asyncio.create_task(self._ask_for_members(connection)),
            ]
            try:
                await connection.closed()
            finally:
                self.caught_up.clear()  # before anything is waited for: the next connection may be there by then
                for task in tasks:
                    task.cancel()
                for ended in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(ended, Exception) and not isinstance(ended, OSError | Disconnected | TimeoutError):
                        report(f"{self.context.name} connected", ended)
            await self._presence.ended()

    async def _settle(self, connection: Connection) -> None:
        """Logs and keys: one's own at log-in, and whatever has moved since (B4, B9)."""
        context, trust = self.context, self.context.trust
        if trust is None:
            return
        await context.database.write(trust.logged_in)
        head = connection.head
        self._to_look.set()
        while connection.is_open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.THERE_S):
                    await self._to_look.wait()
            await context.database.write(trust.is_there)
            if not self._to_look.is_set():
                continue
            self._to_look.clear()
            uids, self._look_at = self._look_at, set()
            try:
                await trust.settle(connection, context.database, head)
                head = ""
                if uids:
                    await trust.look_at(connection, context.database, uids)
                uids = set()
                for after in await context.database.write(lambda c: arriving.again(c, context)):
                    self._follow(after)
            except (Refused, TimeoutError, WrongService):
                pass
            finally:
                self._look_at |= uids  # which were not looked at
            context.to_send.set()
            await asyncio.sleep(limits.SETTLE_PAUSE_S)

    async def _ask_for_members(self, connection: Connection) -> None:
        """Who else is in a group that was just joined (op 20). What is not answered is asked on the next connection."""
        self._to_ask.set()
        while True:
            await self._to_ask.wait()
            self._to_ask.clear()
            for gid in tuple(self._groups):
                self._groups.discard(gid)  # before it is asked: who joins meanwhile is asked for once more
                if not await groups.refresh(self.context, connection, gid):
                    self._groups.add(gid)

    # -- what came ---------------------------------------------------------------------------------------------------
    def _arrived(self, done: Sequence[After]) -> None:
        for after in done:
            self._follow(after)

    def _follow(self, after: After) -> None:
        context = self.context
        for event in after.progress:
            context.tell("progress", event)
        if after.sends:
            context.to_send.set()
        if after.parts:
            self._assembling.look()
        if after.look_at or after.own_log:
            self._look_at.update(after.look_at)
            self._to_look.set()
        if after.members_of:
            self._groups.update(after.members_of)
            self._to_ask.set()
        if after.keys:
            self._keys.update(after.keys)
            self._to_open.set()
        if after.caught_up:
            self.caught_up.set()
        if after.counts or after.aliases:
            self._told_state.set()

    # -- by itself ---------------------------------------------------------------------------------------------------
    async def _sync(self) -> None:
        """What devices agree about: told to the others soon after it was done here, several edits at once."""
        context = self.context
        await keep_telling(
            context.database,
            context.to_sync,
            context.to_send,
            now_ms=context.clock,
            random_bytes=context.random_bytes,
            alone=self._is_alone,
            edited=self._presence.look,
        )

    def _is_alone(self, c: Rows) -> bool:
        """Whether the account's log has no other device. Of an account without a log nobody knows."""
        trust = self.context.trust
        log = trust.logs.kept(c, self.context.uid) if trust is not None else None
        return log is not None and len(tuple(log.state.unrevoked())) == 1

    async def _wake(self) -> None:
        """Snoozed conversations come back in time."""
        context = self.context
        while True:
            await context.database.write(self._wake_now)
            next_ms = await context.database.read(state.next_wake_ms)
            late_s = limits.WAKE_LOOK_S if next_ms is None else (next_ms - context.clock()) / 1000
            await asyncio.sleep(min(max(late_s, limits.WAKE_PAUSE_S), limits.WAKE_LOOK_S))

    def _wake_now(self, c: Rows) -> None:
        for id in state.wake(c, self.context.clock()):
            notifying.came_back(c, self.context, id)
        changes.trim(c)
        arriving.trim(c)

    async def _open_what_waited(self) -> None:
        """Sealed messages whose key has come."""
        while True:
            while self._keys:
                id = min(self._keys)
                self._keys.discard(id)
                try:
                    after = await regaining.open_again(self.context, id)
                except OSError:  # the disk: once more, when this begins anew
                    self._keys.add(id)
                    raise
                if after is not None:
                    self._follow(after)
            self._to_open.clear()
            await self._to_open.wait()

    async def settled(self) -> None:
        """Wait until what was queued at log-in is here and what is due is sent; or the service lets this device in no
        more.
        """
        while (connection := self.context.connection) is not None and connection.failed is None:
            due = await self.context.database.read(lambda c: outbox.next_due(c, self.context.clock()).entry)
            if self.caught_up.is_set() and due is None:
                return
            await asyncio.sleep(limits.SETTLED_LOOK_S)

    def reopen(self, messages: Iterable[str]) -> None:
        """These messages were sealed, and their key may be here now."""
        self._keys.update(messages)
        self._to_open.set()

    def changed(self) -> None:
        """Something about it has changed that watchers should hear of."""
        self._told_state.set()

    # -- how it stands -----------------------------------------------------------------------------------------------
    async def view(self) -> models.Account:
        """As a person sees it. Raises `OSError`."""
        return await self.context.database.read(self._view)

    async def events_since(self, number: int, limit: int) -> Since:
        """Kept events after a number (`tmtp_client.api.events`). Raises `OSError`."""
        name = self.context.name

        def read(c: Rows) -> Since:
            found = changes.since(c, name, number, limit)
            return Since(found, found[-1].number if found else changes.latest(c))

        return await self.context.database.read(read)

    def _view(self, c: Rows) -> models.Account:
        context, identity = self.context, self.context.identity
        totals = threads.totals(c)
        stands, trouble = self._stands()
        if not trouble and context.trust is not None:
            one = context.trust.following
            trouble = one.trouble(c, standing(c, context.uid))
        return models.Account(
            name=context.name,
            uid=context.uid,
            alias=identity.alias,
            aliases=tuple(sorted(context.aliases)),
            service=identity.service,
            host=identity.host,
            port=identity.port,
            revision=context.revision,
            state=stands,
            trouble=trouble,
            unseen=totals.unseen,
            mentions=totals.mentions,
            pings=totals.pings,
            waiting=outbox.count(c),
            device=identity.keys.signer.public if identity.keys is not None else "",
            introductions=meeting.introductions(c),
            link=ServiceAddress(identity.host, identity.port, identity.pin).link(),
            reports=reporting.offered(context),
        )

    def _stands(self) -> tuple[models.AccountState, str]:
        """Whether it is online, and why not."""
        connection = self.context.connection
        if connection is None:
            return "offline", ""
        if connection.is_connected:
            return "online", ""
        if connection.failed is not None:
            return "refused", connection.failed
        return ("offline", connection.trouble) if connection.trouble else ("connecting", "")

    async def _tell_state(self) -> None:
        """Watchers hear how it stands, when that has changed, and not more often than one can read."""
        told: models.Account | None = None
        while True:
            await self._told_state.wait()
            self._told_state.clear()
            self.context.aliases = await self.context.database.read(people.own_aliases)
            self._presence.look()
            now = await self.view()
            if now != told:
                self.context.tell("account", models.AccountEvent(now))
                told = now
            await asyncio.sleep(limits.STATE_PAUSE_S)
