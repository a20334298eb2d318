# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp drafts`: what is being written, on whichever device: list, edit, delete, send (B1, B3)."""

import os
from typing import Annotated

import msgspec
import typer

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.cli.asking import confirm
from tmtp_client.cli.common import (
    FAILED,
    USAGE,
    AccountOption,
    JsonOption,
    YesOption,
    bare,
    ending,
    fail,
    out,
    print_json,
    say,
    text_of,
    time_text,
)
from tmtp_client.cli.sending import send_and_tell, staged
from tmtp_client.cli.session import account_of, pushed, run
from tmtp_client.cli.show import print_table
from tmtp_client.cli.writing import AttachOption, UndoOption

DraftArgument = Annotated[str, typer.Argument(metavar="ID", help="The draft, by its end: tmtp drafts shows it.")]

drafts = typer.Typer()


@drafts.callback(invoke_without_command=True)
def list_drafts(context: typer.Context, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """What you are writing, on any of your devices.

    Example: tmtp drafts
    """
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client) -> list[m.Draft]:
        return await _drafts(client, (await account_of(client, account)).name)

    found = run(work)
    if as_json:
        print_json(found)
    elif not found:
        say("No drafts. To begin one: tmtp drafts edit --to 'Their Alias' --text 'Dear …'")
    else:
        print_table(out, ("id", "changed", "to", "", ""), [_row(one) for one in found])


@drafts.command("edit")
def edit(
    draft_id: Annotated[str, typer.Argument(metavar="[ID]", help="Which; without one a new draft.")] = "",
    text: Annotated[str | None, typer.Option("--text", "-t", help="The text; - reads it from standard input.")] = None,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="NAME", help="Whom; may come again.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", "-s", help="What it is about.")] = None,
    reply: Annotated[str, typer.Option(metavar="ID", help="A new one: an answer in this message's thread.")] = "",
    attach: AttachOption = None,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Begin a draft, or change one: what is given takes the place of what was there, files are added.

    Example: tmtp drafts edit --to 'Bob Builder' --subject 'The plan' --text 'Dear Bob,'
    """
    if draft_id and reply:
        fail("either a draft's ID, or --reply for a new one", USAGE)
    typed = text_of(text) if text is not None else None
    if (typed, to, subject, attach) == (None,) * 4:
        fail("say what: --text, --to, --subject, --attach", USAGE)

    async def work(client: Client) -> m.Draft:
        of = await account_of(client, account)
        draft = await _begun(client, of.name, draft_id, reply)
        files = (*draft.files, *await staged(client, of.name, attach or ()))
        edited = msgspec.structs.replace(
            draft,
            text=draft.text if typed is None else typed,
            to=draft.to if to is None else tuple(to),
            subject=draft.subject if subject is None else subject,
            files=files,
        )
        saved: m.Draft = await client.call("drafts.save", o.SaveDraft(of.name, edited))
        await pushed(client, of.name)
        return saved

    saved = run(work)
    if as_json:
        print_json(saved)
    elif saved.changed_ms or saved.files:
        say(f"Kept as #{ending(saved.key)}. To send it: tmtp drafts send {ending(saved.key)}")
    else:
        say("Nothing is left in it: it is no draft any more.")


@drafts.command("delete")
def delete(
    draft_id: DraftArgument, yes: YesOption = False, account: AccountOption = "", as_json: JsonOption = False
) -> None:
    """Throw a draft away, on all your devices.

    Example: tmtp drafts delete 1f2e3d4c
    """
    confirm(f"Throw the draft {draft_id} away?", yes=yes)

    async def work(client: Client) -> m.Done:
        of = await account_of(client, account)
        draft = await _named(client, of.name, draft_id)
        done: m.Done = await client.call("drafts.drop", o.OfDraft(of.name, draft.key))
        await pushed(client, of.name)
        return done

    done = run(work)
    if as_json:
        print_json(done)
    else:
        say("Thrown away.")


@drafts.command("send")
def send(
    draft_id: DraftArgument, undo: UndoOption = 0, account: AccountOption = "", as_json: JsonOption = False
) -> None:
    """Send a draft. What the service refuses stays in the outbox: tmtp outbox shows why.

    Example: tmtp drafts send 1f2e3d4c
    """

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        draft = await _named(client, of.name, draft_id)
        if draft.filled:
            fail("it is an answer to a form: tmtp form fill, or the pages, give it", USAGE)
        reply = ""
        if draft.thread:
            latest: m.Messages = await client.call("threads.read", o.ReadThread(of.name, draft.thread, limit=1))
            reply = latest.messages[-1].id
        elif not draft.to:
            fail(f"it says not to whom: tmtp drafts edit {draft_id} --to NAME", USAGE)
        said = (draft.to, draft.subject, draft.text, reply)
        asked = o.Send(of.name, *said, files=draft.files, form=draft.form, delay_s=undo, draft=draft.key)
        waiting: m.Waiting = await client.call("messages.send", asked)
        return waiting

    send_and_tell(compose, account, as_json=as_json, undo_s=undo, keep_refused=True)


# -- inside ----------------------------------------------------------------------------------------------------------
async def _drafts(client: Client, account: str) -> list[m.Draft]:
    found: list[m.Draft] = await client.call("drafts.list", o.OfAccount(account))
    return found


async def _named(client: Client, account: str, id: str) -> m.Draft:
    """Ends the command where none, or several, are called so."""
    found = [one for one in await _drafts(client, account) if one.key.endswith(bare(id))]
    if len(found) != 1:
        fail(f"no draft, or more than one, has an id that ends in {id}; tmtp drafts shows them", FAILED)
    return found[0]


async def _begun(client: Client, account: str, id: str, reply: str) -> m.Draft:
    """The draft of this id, the one of a message's thread, or a new one."""
    if id:
        return await _named(client, account, id)
    if not reply:
        return m.Draft(f"new-{os.urandom(8).hex()}")
    message: m.Message = await client.call("messages.show", o.OfMessage(account, bare(reply)))
    of_thread = [one for one in await _drafts(client, account) if one.key == message.thread]
    return of_thread[0] if of_thread else m.Draft(message.thread, thread=message.thread)


def _row(one: m.Draft) -> tuple[str, ...]:
    to = ", ".join(one.to) or (f"answer in #{ending(one.thread)}" if one.thread else "")
    files = f"{len(one.files)} files" if len(one.files) > 1 else "1 file" if one.files else ""
    made = "a form" if one.form is not None else "filled in a form" if one.filled else ""
    shown = one.subject or one.text[:60].replace("\n", " ") or made
    return (f"#{ending(one.key)}", time_text(one.changed_ms), to, shown, files)
