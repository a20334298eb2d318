# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on people and groups (A3, A6, D1, D2)."""

from typing import Final

from msgspec.structs import replace
from sqlalchemy import Connection as Rows

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import Handlers, Rooms, found
from tmtp_client.engine import acquaintance, reporting
from tmtp_client.engine import groups as acting
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.context import Context
from tmtp_client.store import groups, people
from tmtp_core.limits import NAME_MAX_CHARACTERS
from tmtp_core.names import check_name

NO_PERSON: Final = "this person is not known here"


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
            "people.report": self.report,
            "people.introductions": self.introductions,
            "groups.list": self.list_groups,
            "groups.show": self.show_group,
            "groups.invite": self.invite,
            "groups.act": self.act,
        }

    # -- people ------------------------------------------------------------------------------------------------------
    async def list_people(self, p: o.OfAccount) -> list[m.Person]:
        """Everybody known, by alias."""
        context = self._rooms.context(p.account)
        return await context.database.read(lambda c: [_with_keys(c, context, one) for one in people.listed(c)])

    async def show(self, p: o.OfPerson) -> m.Person:
        """One of them."""
        context = self._rooms.context(p.account)

        def show(c: Rows) -> m.Person | None:
            person = people.view(c, p.uid)
            return person and _with_keys(c, context, person)

        return found(await context.database.read(show), NO_PERSON, "uid")

    async def find(self, p: o.Find) -> list[m.Person]:
        """Those known here, and members of the service's directory."""
        if len(p.text) > NAME_MAX_CHARACTERS:  # of nobody's name
            return []
        return await acquaintance.find(self._rooms.context(p.account), p.text)

    async def ping(self, p: o.SendPing) -> m.Waiting:
        """A first contact."""
        return await Composing(self._rooms.context(p.account)).ping(p.alias, p.text)

    async def answer(self, p: o.AnswerPing) -> m.Person:
        """Accept, ignore, block."""
        return await acquaintance.answer(self._rooms.context(p.account), p.uid, p.act, p.text)

    async def report(self, p: o.ReportPerson) -> m.Person:
        """Tell the administrators of them."""
        return await reporting.report(self._rooms.context(p.account), p.uid, p.reason, p.text)

    async def introductions(self, p: o.SetIntroductions) -> m.Account:
        """Whether others may introduce people."""
        account = self._rooms.account(p.account)
        await acquaintance.introductions(account.context, p.wanted)
        account.changed()
        return await account.view()

    # -- groups ------------------------------------------------------------------------------------------------------
    async def list_groups(self, p: o.OfAccount) -> list[m.Group]:
        """Groups, by name."""
        return await self._rooms.context(p.account).database.read(groups.listed)

    async def show_group(self, p: o.OfGroup) -> m.Group:
        """As the service has it now, if it can be asked."""
        return await acting.show(self._rooms.context(p.account), p.gid)

    async def invite(self, p: o.InviteToGroup) -> m.Waiting:
        """Somebody; a group that is not there yet is founded when the service has the invitation."""
        return await Composing(self._rooms.context(p.account)).invite(p.gid, p.alias, p.text)

    async def act(self, p: o.ActOnGroup) -> m.Group:
        """Join, leave, drop somebody, choose the name one has in it."""
        if p.act == "drop" and len(p.alias) > NAME_MAX_CHARACTERS:
            raise problems.not_found("nobody can be called so", "alias")
        if p.alias and p.act != "drop":
            check_name(p.alias)
        return await acting.act(self._rooms.context(p.account), p.gid, p.act, p.alias)


def _with_keys(c: Rows, context: Context, person: m.Person) -> m.Person:
    """What of their keys has to be seen before anything more is sealed to them."""
    if context.trust is None or person.keys not in {"unseen", "trouble"}:
        return person
    unseen = context.trust.unseen(c, person.uid)
    if unseen is None:
        return person
    changes = (*unseen.changes, unseen.trouble) if unseen.trouble else unseen.changes
    return replace(person, keys_changed=changes, keys_head=unseen.head)
