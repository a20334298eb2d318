# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is there (A6): told by the service while connected, never kept as an event."""

import asyncio
import contextlib
from collections.abc import Iterable

from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.connection import Connection, Disconnected, Refused
from tmtp_client.engine.context import Context
from tmtp_client.store import people
from tmtp_client.store.tables import person
from tmtp_client.sync import settings
from tmtp_core.wire import messages as m

ON = 1


class Presence:
    """Of one running account."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._came: dict[str, bool] = {}
        self._heard = asyncio.Event()
        self._shown_to: set[str] = set()
        self._to_show = False

    def heard(self, ohi: m.Ohi) -> None:
        """From the connection: somebody came or went."""
        self._came[ohi.from_] = ohi.status == ON
        if len(self._came) > limits.PRESENCE_MAX:
            del self._came[next(iter(self._came))]
        self._heard.set()

    def look(self) -> None:
        """There may be contacts who do not know yet that one is there."""
        self._to_show = True
        self._heard.set()

    async def run(self, connection: Connection) -> None:
        """While this connection lasts. Contacts are told that one is there, unless the person does not want it."""
        database = self._context.database
        present = set(connection.present)
        await database.write(lambda c: _only(c, present))
        for uid in present:
            self._context.tell("presence", models.PresenceEvent(uid, present=True))
        self._shown_to.clear()
        await self.show(connection)
        while connection.is_open:
            await self._heard.wait()
            self._heard.clear()
            came, self._came = self._came, {}
            if came:
                await self._keep(came)
            if self._to_show:
                self._to_show = False
                await self.show(connection)

    async def show(self, connection: Connection) -> None:
        """Tell contacts who do not know yet."""
        with contextlib.suppress(Refused, Disconnected, TimeoutError):
            wanted = await self._context.database.read(_to_be_told)
            new = sorted(wanted - self._shown_to)
            for place in range(0, len(new), limits.PRESENCE_AT_ONCE):
                some = new[place : place + limits.PRESENCE_AT_ONCE]
                entries = tuple(m.Recipient(uid, m.TO_UID) for uid in some)
                await connection.ask(m.OhiEdit(self._context.request_id(), "init", entries))
                self._shown_to.update(some)

    async def ended(self) -> None:
        """There is no connection: who is there is not known."""
        self._came.clear()
        await self._context.database.write(people.forget_presence)

    async def _keep(self, came: dict[str, bool]) -> None:
        changed = await self._context.database.write(
            lambda c: [uid for uid, there in came.items() if people.set_present(c, uid, there)]
        )
        for uid in changed:
            self._context.tell("presence", models.PresenceEvent(uid, came[uid]))


def _only(c: Rows, uids: Iterable[str]) -> None:
    """These are there, and nobody else."""
    people.forget_presence(c)
    for uid in uids:
        people.set_present(c, uid, True)


def _to_be_told(c: Rows) -> set[str]:
    """Contacts that are not blocked; nobody where the person does not show that he is there."""
    if not settings.get(c, "presence_shown"):
        return set()
    asked = select(person.c.uid).where(person.c.stands == "contact", person.c.blocked == 0, person.c.via == "")
    return set(c.scalars(asked))
