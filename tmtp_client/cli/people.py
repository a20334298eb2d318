# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp people`, `accept`, `ignore`, `block`, `unblock`, `report`, `group`: who others are, what they may (A3, A6)."""

import asyncio
from typing import Annotated, Final, Literal

import typer

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.cli.asking import confirm, confirmed
from tmtp_client.cli.common import (
    AccountOption,
    JsonOption,
    YesOption,
    out,
    print_json,
    say,
)
from tmtp_client.cli.sending import send_and_tell
from tmtp_client.cli.session import account_of, listening, person_of, pushed, reach, run
from tmtp_client.cli.show import print_table

_TOLD_S: Final = 5.0  # the service tells everybody in the group, us too, what was done

Act = Literal["accept", "ignore", "block", "unblock"]
Reason = Literal["spam", "abuse", "impersonation", "other"]
GroupAct = Literal["join", "leave", "drop", "alias"]

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="An alias, or a uid: tmtp people shows them.")]
GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
_STANDS: Final[dict[str, str]] = {
    "stranger": "heard of",
    "asked": "you have pinged",
    "asks": "asks to write to you",
    "outside": "writes by mail, not accepted yet",
    "self": "you",
}
_KEYS: Final[dict[str, str]] = {"none": "", "unseen": "keys changed", "seen": "", "compared": "keys compared"}


def people(
    text: Annotated[str, typer.Argument(help="Those whose name has words that begin so; the directory's, too.")] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Whom you know, who asks to write to you; whom you could write to.

    Example: tmtp people bob
    """

    async def work(client: Client) -> list[m.Person]:
        of = await account_of(client, account)
        if not text:
            listed: list[m.Person] = await client.call("people.list", o.OfAccount(of.name))
            return [one for one in listed if one.stands != "self"]
        found: list[m.Person] = await client.call("people.find", o.Find(of.name, text))
        return found

    found = run(work)
    if as_json:
        print_json(found)
    elif not found:
        say("Nobody. A first contact: tmtp ping 'Their Alias' 'It is me'")
    else:
        print_table(out, ("name", "uid", ""), [(one.alias, one.uid, _how(one)) for one in found])


def _how(person: m.Person) -> str:
    marks = [
        _STANDS.get(person.stands, person.stands),
        "blocked" if person.blocked else "",
        "there now" if person.present else "",
        f"by {person.via} ({person.proof})" if person.via else "",
        _KEYS.get(person.keys, "keys: trouble"),
    ]
    return ", ".join(mark for mark in marks if mark)


def accept(
    name: NameArgument,
    text: Annotated[str, typer.Argument(help="What you answer, 140 characters at most.")] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let somebody write to you who has pinged: it pings back.

    Example: tmtp accept 'Ada Lovelace' 'Go ahead.'
    """
    _answer(name, "accept", text, account, as_json=as_json)


def ignore(name: NameArgument, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Leave a ping unanswered, for good; its author hears nothing of that.

    Example: tmtp ignore 'Eve Dropper'
    """
    _answer(name, "ignore", "", account, as_json=as_json)


def block(name: NameArgument, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Have the service take nothing from somebody any more.

    Example: tmtp block 'Eve Dropper'
    """
    _answer(name, "block", "", account, as_json=as_json)


def unblock(name: NameArgument, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """End a block.

    Example: tmtp unblock 'Eve Dropper'
    """
    _answer(name, "unblock", "", account, as_json=as_json)


def report(
    name: NameArgument,
    reason: Annotated[
        Reason, typer.Option(help="Why: unwanted messages, abuse, pretends to be somebody else, or something else.")
    ],
    text: Annotated[str, typer.Argument(help="In your own words, 500 characters at most.")] = "",
    also_block: Annotated[bool, typer.Option("--block", help="And block them.")] = False,
    yes: YesOption = False,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell the administrators of the service of somebody who has written to you.

    They are told who it is, why, and your words; nothing of what was written to you. The person hears nothing.

    Example: tmtp report 'Eve Dropper' --reason spam 'The third time this week' --block
    """

    async def work(client: Client) -> m.Person:
        of = await account_of(client, account)
        person = await person_of(client, of.name, name)
        if not yes:
            told = f"that you report {person.alias} ({reason})" + (f", and say: “{text}”" if text else "")
            await confirmed(f"The administrators of {of.service or of.host} are told {told}. Send it?")
        await reach(client, of.name)
        reported: m.Person = await client.call("people.report", o.ReportPerson(of.name, person.uid, reason, text))
        if also_block:
            reported = await client.call("people.answer", o.AnswerPing(of.name, person.uid, "block"))
        return reported

    person = run(work)
    if as_json:
        print_json(person)
    else:
        say(f"{person.alias}: reported" + (", blocked" if person.blocked else ""))


def _answer(name: str, act: Act, text: str, account: str, *, as_json: bool) -> None:
    async def work(client: Client) -> m.Person:
        of = await account_of(client, account)
        person = await person_of(client, of.name, name)
        if act in {"block", "unblock"}:
            await reach(client, of.name)
        answered: m.Person = await client.call("people.answer", o.AnswerPing(of.name, person.uid, act, text))
        if act == "accept":
            await pushed(client, of.name)  # by a ping back
        return answered

    person = run(work)
    if as_json:
        print_json(person)
    else:
        say(f"{person.alias}: {_how(person) or 'may write to you'}")


# -- groups ----------------------------------------------------------------------------------------------------------
group = typer.Typer(no_args_is_help=True, help="Groups: lists to write to, and who is on them.")


@group.command("list")
def list_groups(account: AccountOption = "", as_json: JsonOption = False) -> None:
    """The groups that you are in, or are invited to.

    Example: tmtp group list
    """

    async def work(client: Client) -> list[m.Group]:
        of = await account_of(client, account)
        listed: list[m.Group] = await client.call("groups.list", o.OfAccount(of.name))
        return listed

    groups = run(work)
    if as_json:
        print_json(groups)
    elif not groups:
        say("No groups. To found one: tmtp group invite 'Builders of Engines' 'Bob Builder'")
    else:
        print_table(out, ("group", "you", "members"), [(one.gid, one.stands, str(len(one.members))) for one in groups])


@group.command("show")
def show_group(gid: GroupArgument, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Who is in a group.

    Example: tmtp group show 'Builders of Engines'
    """

    async def work(client: Client) -> m.Group:
        of = await account_of(client, account)
        await reach(client, of.name)
        shown: m.Group = await client.call("groups.show", o.OfGroup(of.name, gid))
        return shown

    _print_group(run(work), as_json=as_json)


@group.command("invite")
def invite(
    gid: GroupArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom: the exact alias.")],
    text: Annotated[str, typer.Argument(help="What you say to it, 140 characters at most.")] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Invite somebody; a group that is not there yet is founded.

    Example: tmtp group invite 'Builders of Engines' 'Bob Builder' 'Join us'
    """

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        waiting: m.Waiting = await client.call("groups.invite", o.InviteToGroup(of.name, gid, name, text))
        return waiting

    send_and_tell(compose, account, as_json=as_json)


@group.command("join")
def join(
    gid: GroupArgument,
    under: Annotated[str, typer.Option("--as", metavar="NAME", help="Under which of your names.")] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Join a group that you were invited to.

    Example: tmtp group join 'Builders of Engines'
    """
    _act(gid, "join", under, account, as_json=as_json)


@group.command("leave")
def leave(gid: GroupArgument, yes: YesOption = False, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Leave a group: nothing that is written to it reaches you any more.

    Example: tmtp group leave 'Builders of Engines'
    """
    confirm(f"Leave {gid}? To come back you need a new invitation.", yes=yes)
    _act(gid, "leave", "", account, as_json=as_json)


@group.command("drop")
def drop(
    gid: GroupArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom.")],
    yes: YesOption = False,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take somebody out of a group.

    Example: tmtp group drop 'Builders of Engines' 'Eve Dropper'
    """
    confirm(f"Take {name} out of {gid}?", yes=yes)
    _act(gid, "drop", name, account, as_json=as_json)


@group.command("alias")
def alias(
    gid: GroupArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of your names.")],
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Choose under which of your names you are in a group.

    Example: tmtp group alias 'Builders of Engines' 'Ada, sales'
    """
    _act(gid, "alias", name, account, as_json=as_json)


def _act(gid: str, act: GroupAct, alias: str, account: str, *, as_json: bool) -> None:
    async def work(client: Client) -> m.Group:
        of = await account_of(client, account)
        await reach(client, of.name)
        await client.call("accounts.settle", o.Settle(of.name))  # an invitation may be on its way
        async with listening(client) as heard:
            acted: m.Group = await client.call("groups.act", o.ActOnGroup(of.name, gid, act, alias))
            try:
                async with asyncio.timeout(_TOLD_S):
                    while True:
                        data = (await heard.next()).data
                        if isinstance(data, m.GroupEvent) and data.group.gid == gid:
                            return data.group
            except TimeoutError:
                return acted

    _print_group(run(work), as_json=as_json)


def _print_group(one: m.Group, *, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    say(f"{one.gid}: {one.stands}{f' as {one.alias}' if one.alias else ''}", style="bold")
    rows = [(member.alias or member.uid, member.stands, "owner" if member.owner else "") for member in one.members]
    if rows:
        print_table(out, ("member", "stands", ""), rows)
