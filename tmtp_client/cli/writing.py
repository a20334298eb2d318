# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp ping`, `send`, `reply`, `forward`, `add`, `outbox`: what a person writes (B1, B3)."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.cli.common import (
    FAILED,
    USAGE,
    AccountOption,
    JsonOption,
    bare,
    ending,
    fail,
    moment_ms,
    print_json,
    say,
    text_of,
    time_text,
)
from tmtp_client.cli.sending import at_once, send_and_tell, staged
from tmtp_client.cli.session import account_of, run

Act = Literal["undo", "now", "retry", "drop"]

TextArgument = Annotated[str, typer.Argument(help="The message; - reads it from standard input.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id, or its end as tmtp inbox shows it.")]
AttachOption = Annotated[
    list[Path] | None, typer.Option("--attach", "-f", metavar="FILE", help="A file to send along; may come again.")
]
UndoOption = Annotated[
    int,
    typer.Option(metavar="SECONDS", min=0, max=limits.UNDO_MAX_S, help="Wait so long; Ctrl-C then takes it back."),
]
AtOption = Annotated[str, typer.Option("--at", metavar="TIME", help="Later: 3h, or '2026-12-24 09:00'.")]


def ping(
    alias: Annotated[str, typer.Argument(help="Whom: the exact alias.")],
    text: Annotated[str, typer.Argument(help="At most 140 characters of plain text.")],
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """A first contact: say who you are in 140 characters.

    Example: tmtp ping 'Bob Builder' 'Ada here, from sales. May I send you the plan?'
    """
    typed = text_of(text)

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        waiting: m.Waiting = await client.call("people.ping", o.SendPing(of.name, alias, typed))
        return waiting

    send_and_tell(compose, account, as_json=as_json)


def send(
    to: Annotated[str, typer.Argument(help="Whom: an alias or a group you know, or a uid.")],
    text: TextArgument,
    subject: Annotated[str, typer.Option("--subject", "-s", help="What it is about.")] = "",
    attach: AttachOption = None,
    also: Annotated[list[str] | None, typer.Option("--also", metavar="NAME", help="To these, too.")] = None,
    reply: Annotated[str, typer.Option(metavar="ID", help="Answer this message, in its thread.")] = "",
    undo: UndoOption = 0,
    at: AtOption = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a message to somebody you are acquainted with.

    It waits for what becomes of it. Ctrl-C keeps it in the outbox, from where it goes out next time.

    Example: tmtp send 'Bob Builder' 'Here it is.' --subject 'The plan' --attach plan.pdf
    """
    typed = text_of(text)
    due_ms = moment_ms(at, "--at") if at else 0

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        files = await staged(client, of.name, attach or ())
        asked = o.Send(
            of.name, (to, *(also or ())), subject, typed, bare(reply), files=files, delay_s=undo, due_ms=due_ms
        )
        waiting: m.Waiting = await client.call("messages.send", asked)
        return waiting

    send_and_tell(compose, account, as_json=as_json, undo_s=undo)


def reply(
    message_id: IdArgument,
    text: TextArgument,
    attach: AttachOption = None,
    to_all: Annotated[bool, typer.Option("--all", help="To everybody who reads the thread.")] = False,
    undo: UndoOption = 0,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Answer a message: to the account it came from, whatever name it claimed, in its thread.

    Example: tmtp reply 1f2e3d4c 'Thank you, it arrived.'
    """
    typed = text_of(text)

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        answered: m.Message = await client.call("messages.show", o.OfMessage(of.name, bare(message_id)))
        if not to_all and (answered.outgoing or answered.kind in {"return", "notice"}):
            fail("nobody else wrote that; tmtp reply --all continues its thread", USAGE)
        files = await staged(client, of.name, attach or ())
        asked = o.Send(of.name, text=typed, reply=answered.id, only_author=not to_all, files=files, delay_s=undo)
        waiting: m.Waiting = await client.call("messages.send", asked)
        return waiting

    send_and_tell(compose, account, as_json=as_json, undo_s=undo)


def forward(
    message_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Messages of one thread.")],
    to: Annotated[list[str], typer.Option("--to", metavar="NAME", help="Whom; may come again.")],
    text: Annotated[str, typer.Option("--text", "-t", help="What you say to it.")] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Forward messages with their attachments, in a new thread, marked as what they are.

    Example: tmtp forward 1f2e3d4c --to 'Carol Shaw' --text 'See what Bob says.'
    """
    typed = text_of(text)

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        named: list[m.Message] = [
            await client.call("messages.show", o.OfMessage(of.name, bare(one))) for one in message_ids
        ]
        if len({one.thread for one in named}) > 1:
            fail("these messages are of several threads; forward them one after the other", USAGE)
        ids = tuple(dict.fromkeys(one.id for one in named))
        asked = o.Forward(of.name, named[0].thread, ids, tuple(to), typed)
        return await at_once(client, of, await client.call("messages.forward", asked))

    send_and_tell(compose, account, as_json=as_json)


def add(
    message_id: IdArgument,
    to: Annotated[list[str], typer.Argument(metavar="NAME…", help="Whom.")],
    note: Annotated[str, typer.Option("--note", "-n", help="What they are told; the other readers see it, too.")],
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask people into the thread of a message: they get a copy of it, and what is written in it from then on.

    Example: tmtp add 1f2e3d4c 'Carol Shaw' --note 'Carol knows the plan.'
    """

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        of_thread: m.Message = await client.call("messages.show", o.OfMessage(of.name, bare(message_id)))
        waiting: m.Waiting = await client.call("threads.add", o.AddReaders(of.name, of_thread.thread, tuple(to), note))
        return waiting

    send_and_tell(compose, account, as_json=as_json)


def outbox(
    drop: Annotated[str, typer.Option(metavar="ID", help="Send this one no more.")] = "",
    now: Annotated[str, typer.Option(metavar="ID", help="Send this one now, not later.")] = "",
    retry: Annotated[str, typer.Option(metavar="ID", help="Try this one again, which was refused or held.")] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what was not sent yet, and why; drop what is to be sent no more.

    What is being sent cannot be dropped: it may have arrived.

    Example: tmtp outbox --drop 1f2e3d4c
    """
    acts: list[tuple[Act, str]] = [("drop", drop), ("now", now), ("retry", retry)]

    async def work(client: Client) -> list[m.Waiting]:
        of = await account_of(client, account)
        listed: list[m.Waiting] = await client.call("outbox.list", o.OfAccount(of.name))
        for act, id in acts:
            if id:
                await client.call("outbox.act", o.OfWaiting(of.name, _request(listed, bare(id)), act))
                listed = await client.call("outbox.list", o.OfAccount(of.name))
        return listed

    waiting = run(work)
    if as_json:
        print_json([{"id": one.request, **_named(one)} for one in waiting])
    elif not waiting:
        say("Nothing waits to be sent.")
    for one in waiting if not as_json else ():
        say(f"  to {', '.join(one.to)}  #{ending(one.request)}  {_state(one)}  {one.subject or one.text[:60]}")
        if one.error:
            say(f"    {one.error}", style="red" if one.state == "refused" else "yellow")


# -- inside ----------------------------------------------------------------------------------------------------------
def _request(waiting: list[m.Waiting], id: str) -> str:
    found = [one.request for one in waiting if one.request.endswith(id)]
    if len(found) != 1:
        fail(f"nothing that waits, or more than one, has an id that ends in {id}; tmtp outbox shows them", FAILED)
    return found[0]


def _named(waiting: m.Waiting) -> dict[str, object]:
    """As an object for scripts, under the names that messages have."""
    names = ("kind", "state", "to", "thread", "subject", "text", "files", "due_ms", "sent", "size", "error")
    return {name: getattr(waiting, name) for name in names}


def _state(waiting: m.Waiting) -> str:
    if waiting.state in {"undo", "scheduled"}:
        return f"at {time_text(waiting.due_ms)}"
    return waiting.state
