# SPDX-License-Identifier: AGPL-3.0-or-later
"""A member whose program is no program of ours: it posts whatever octets the service takes, as fast as it takes them."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from gateway.app import Gateway
from tests.support.gateway import endpoint
from tests.support.hostile import Letter
from tmtp_client.connection import AccountKeys, Connection, Payload, Refused
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2


class HostileMember:
    """Connected, under `alias`, and under whatever more names the service gave it: `aliases`."""

    def __init__(self, connection: Connection, alias: str) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.aliases = [alias]

    async def rename(self, names: Iterable[str]) -> None:
        """Take all these names, as far as the service gives them."""
        asked = list(names)
        answers = await asyncio.gather(
            *(self._connection.ask(m.UserEdit(self._id(), newalias=name)) for name in asked), return_exceptions=True
        )
        for name, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, BaseException):
                self.aliases.append(name)
            elif not isinstance(answer, Refused):
                raise answer

    async def post(self, uid: str, letters: Sequence[Letter]) -> str:
        """All of them into one new thread, each under another name; the thread's id."""
        names = itertools.cycle(self.aliases[1:] or self.aliases)
        first = await self._post(uid, letters[0], "", next(names))
        await asyncio.gather(*(self._post(uid, one, first, next(names)) for one in letters[1:]))
        return first

    async def ping(self, alias: str, text: str, name: str = "") -> None:
        """A first contact, under this name. Raises `Refused`."""
        await self._connection.ping(self._id(), name or self.aliases[0], alias, text)

    async def invite(self, gid: str, alias: str, text: str, name: str = "") -> None:
        """Into a group that is called so. Raises `Refused`."""
        await self._connection.group_invite(self._id(), gid, name or self.aliases[0], alias, text)

    async def _post(self, uid: str, letter: Letter, thread: str, alias: str) -> str:
        data, head = letter.octets(thread)
        to = [m.Recipient(uid, m.TO_UID)]
        return (await self._connection.post(self._id(), to, data, datahead=head, from_=alias)).msgid

    def _id(self) -> str:
        return f"request {next(self._numbers)}"


@asynccontextmanager
async def hostile_member(gateway: Gateway, instance: str, alias: str) -> AsyncIterator[HostileMember]:
    """One, of an instance that takes everybody, for the length of the block. Raises `Refused`."""

    async def drop(event: m2.StoredEvent, payload: Payload) -> None:
        await payload.read()

    connection = await Connection.open(endpoint(gateway, instance), drop, revision="2")
    try:
        registered = await connection.register_keys("program", AccountKeys.new(os.urandom), alias)
        if registered.error:
            raise Refused(registered.error)
        yield HostileMember(connection, alias)
    finally:
        await connection.quit()
