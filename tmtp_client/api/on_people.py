# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on people and groups (A3, A6, D1, D2)."""

import contextlib
from typing import Final

import msgspec

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import Handlers, Rooms, changed, found
from tmtp_client.connection import Disconnected, LogInRefused, Refused
from tmtp_client.engine import arriving, meeting
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.context import Context
from tmtp_client.store import groups, people
from tmtp_client.sync import state
from tmtp_core.wire import messages as wire
from tmtp_core.wire import revision2 as wire2

NO_PERSON: Final = "nobody of this uid is known here"
NO_GROUP: Final = "this account is in no group of this name, and invited into none"
_DIRECTORY_MIN: Final = 3  # characters, of op 17


class OnPeople:
    """Their handlers."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {
            "people.list": self.list_people,
            "people.show": self.show,
            "people.find": self.find,
            "people.ping": self.ping,
            "people.answer": self.answer,
            "groups.list": self.list_groups,
            "groups.show": self.show_group,
            "groups.invite": self.invite,
            "groups.act": self.act,
        }

    # -- people ------------------------------------------------------------------------------------------------------
    async def list_people(self, p: o.OfAccount) -> list[m.Person]:
        """Everybody known, by alias."""
        return await self._rooms.context(p.account).database.read(people.listed)

    async def show(self, p: o.OfPerson) -> m.Person:
        """One of them."""
        return await _person(self._rooms.context(p.account), p.uid)

    async def find(self, p: o.Find) -> list[m.Person]:
        """Those known here; then members of a directory, who have no uid until they are known."""
        context = self._rooms.context(p.account)
        known = await context.database.read(lambda c: people.find(c, p.text))
        names = {alias for person in known for alias in person.aliases}
        members = await _directory(context, p.text.strip())
        return known + [m.Person("", alias, (alias,), "stranger", "directory") for alias in members - names]

    async def ping(self, p: o.SendPing) -> m.Waiting:
        """A first contact."""
        return await Composing(self._rooms.context(p.account)).ping(p.alias, p.text)

    async def answer(self, p: o.AnswerPing) -> m.Person:
        """Accept, ignore, block."""
        context = self._rooms.context(p.account)
        person = await _person(context, p.uid)
        if p.act == "accept":
            if not person.via:
                await Composing(context).ping(person.alias, p.text)
            await _stands(context, p.uid, "contact")
        elif p.act == "ignore":
            await _stands(context, p.uid, "ignored")
        else:
            asker = await context.current(limits.ANSWER_TIMEOUT_S)
            await asker.ask(wire2.BlockEdit(context.request_id(), p.act, p.uid))
            blocked = p.act == "block"
            await context.database.write(lambda c: meeting.set_blocked(c, context, p.uid, blocked))
        return await _person(context, p.uid)

    # -- groups ------------------------------------------------------------------------------------------------------
    async def list_groups(self, p: o.OfAccount) -> list[m.Group]:
        """Groups, by name."""
        return await self._rooms.context(p.account).database.read(groups.listed)

    async def show_group(self, p: o.OfGroup) -> m.Group:
        """As the service has it now, if it can be asked."""
        context = self._rooms.context(p.account)
        group = found(await context.database.read(lambda c: groups.view(c, p.gid)), NO_GROUP, "gid")
        if group.stands != "joined":
            return group
        with contextlib.suppress(Refused, Disconnected, LogInRefused, TimeoutError):
            await _look_at_members(context, p.gid)
        return found(await context.database.read(lambda c: groups.view(c, p.gid)), NO_GROUP, "gid")

    async def invite(self, p: o.InviteToGroup) -> m.Waiting:
        """Somebody; a group that is not there yet is founded when the service has the invitation."""
        return await Composing(self._rooms.context(p.account)).invite(p.gid, p.alias, p.text)

    async def act(self, p: o.ActOnGroup) -> m.Group:
        """Join, leave, drop somebody, choose the name one has in it."""
        context = self._rooms.context(p.account)
        group = found(await context.database.read(lambda c: groups.view(c, p.gid)), NO_GROUP, "gid")
        asker = await context.current(limits.ANSWER_TIMEOUT_S)
        await asker.ask(_edit(context, p, group))
        return found(await context.database.read(lambda c: groups.view(c, p.gid)), NO_GROUP, "gid")


def _edit(context: Context, p: o.ActOnGroup, group: m.Group) -> wire.GroupEdit:
    """Op 6. What follows from it comes as an event of the service, as to all other devices."""
    request = context.request_id()
    if p.act == "join":
        return wire.GroupEdit(request, "join", p.gid, newalias=p.alias or None)
    if p.act == "leave":
        return wire.GroupEdit(request, "drop", p.gid, to=group.alias or context.identity.alias)
    if not p.alias:
        raise problems.usage("say which name", "alias")
    if p.act == "drop":
        return wire.GroupEdit(request, "drop", p.gid, to=p.alias)
    return wire.GroupEdit(request, "alias", p.gid, newalias=p.alias)


async def _person(context: Context, uid: str) -> m.Person:
    return found(await context.database.read(lambda c: people.view(c, uid)), NO_PERSON, "uid")


async def _stands(context: Context, uid: str, stands: m.PersonStands) -> None:
    """On all devices of the account."""
    await changed(context, lambda c, at: state.set(c, at, "person", uid, {"stands": stands}))


async def _directory(context: Context, text: str) -> set[str]:
    """Aliases that begin so, where the service has a directory and can be asked."""
    if len(text) < _DIRECTORY_MIN or context.connection is None or not context.connection.is_connected:
        return set()
    with contextlib.suppress(Refused, Disconnected, LogInRefused, TimeoutError, msgspec.DecodeError):
        asker = await context.current(limits.ANSWER_TIMEOUT_S)
        _, listed = await asker.inquire(wire2.Find(context.request_id(), text))
        return set(msgspec.json.decode(listed, type=list[str]))
    return set()


async def _look_at_members(context: Context, gid: str) -> None:
    asker = await context.current(limits.ANSWER_TIMEOUT_S)
    _, listed = await asker.inquire(wire2.GroupInfo(context.request_id(), gid))
    members = msgspec.json.decode(listed, type=list[wire2.MemberListed])
    now_ms = context.clock()
    await context.database.write(lambda c: arriving.members(c, context, gid, members, now_ms))
