# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp inbox`, `read`, `thread`, `search`, `mark`: what came, found and put away (B1)."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import typer

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.cli.common import (
    USAGE,
    AccountOption,
    JsonOption,
    bare,
    ending,
    err,
    fail,
    moment_ms,
    out,
    print_json,
    say,
    time_text,
    warn,
)
from tmtp_client.cli.query import query_of
from tmtp_client.cli.session import account_of, fetched, run, with_subjects
from tmtp_client.cli.show import print_message, print_table, snippet_text
from tmtp_client.cli.writing import IdArgument

Of = Literal["inbox", "archived", "snoozed", "unseen", "all"]

LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=limits.PAGE_MAX, help="How many, the latest.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Show what is here; ask no service.")]
_NEVER: Final = "none"


def inbox(
    limit: LimitOption = 20, offline: OfflineOption = False, account: AccountOption = "", as_json: JsonOption = False
) -> None:
    """Fetch what came, and show the latest messages.

    Example: tmtp inbox --limit 5
    """

    async def work(client: Client) -> tuple[int, list[m.Message], m.Account, list[m.Waiting]]:
        of = await account_of(client, account)
        code = 0 if offline else await fetched(client, [of.name])
        messages: list[m.Message] = await client.call("messages.latest", o.Latest(of.name, limit))
        await _seen(client, of.name, messages)
        waiting: list[m.Waiting] = await client.call("outbox.list", o.OfAccount(of.name))
        messages = await with_subjects(client, of.name, messages)
        return code, messages, await account_of(client, of.name), waiting

    code, messages, now, waiting = run(work)
    if as_json:
        print_json(messages)
    elif not messages:
        say("Nothing here yet. Say hello: tmtp ping 'Their Alias' 'It is me'")
    else:
        for message in messages:
            print_message(out, message, whole=False)
    if now.unseen:
        warn(f"{now.unseen} more are new and older: tmtp inbox -n {limit + now.unseen}")
    _tell_of_waiting(waiting)
    if code:
        raise typer.Exit(code)


def read(
    message_id: IdArgument,
    save: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Copy the attachments there.")] = None,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one message whole; save what is attached.

    Example: tmtp read 1f2e3d4c --save Downloads
    """

    async def work(client: Client) -> tuple[m.Message, list[str]]:
        of = await account_of(client, account)
        message: m.Message = await client.call("messages.show", o.OfMessage(of.name, bare(message_id)))
        await _seen(client, of.name, [message])
        saved = []
        for file in message.attachments if save is not None else ():
            kept: m.Exported = await client.call("files.save", o.SaveFile(of.name, message.id, file.place, str(folder)))
            saved.append(kept.path)
        return (await with_subjects(client, of.name, [message]))[0], saved

    folder = _folder(save)
    message, saved = run(work)
    if as_json:
        print_json({**msgspec.structs.asdict(message), "saved": saved})
        return
    print_message(out, message, whole=True)
    for path in saved:
        say(f"  saved {path}")


def thread(
    message_id: Annotated[str, typer.Argument(metavar="[ID]", help="Of a message in it, or of the thread.")] = "",
    limit: LimitOption = 50,
    of: Annotated[Of, typer.Option("--of", help="Without an ID: which threads to list.")] = "inbox",
    tag: Annotated[str, typer.Option(help="Without an ID: those with this tag.")] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a conversation, or list the conversations, the latest first.

    Example: tmtp thread 1f2e3d4c
    """

    async def work(client: Client) -> m.Messages | m.Page:
        meant = await account_of(client, account)
        if not message_id:
            which = "tag" if tag else of
            page: m.Page = await client.call("threads.list", o.ListThreads(meant.name, which, tag, limit=limit))
            return page
        id = await thread_id(client, meant.name, message_id)
        found: m.Messages = await client.call("threads.read", o.ReadThread(meant.name, id, limit=limit))
        await _seen(client, meant.name, found.messages)
        return found

    shown = run(work)
    if as_json:
        print_json(shown.threads if isinstance(shown, m.Page) else shown)
    elif isinstance(shown, m.Page):
        _print_threads(shown)
    else:
        _print_thread(shown)


def search(
    query: Annotated[list[str], typer.Argument(help="Words, 'a phrase', pref*, -without, from: to: in: has: …")],
    limit: LimitOption = 20,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Find messages, in all your accounts unless one is named; best first.

    Words must all be there, -word must not. from: and to: (a name, or me), in: (a thread's subject, a group, inbox,
    archive), has: (file, form, link, image), before: and after: (a day, month or year), tag: narrow it; with a minus
    before them they turn round. What is quoted is a phrase; pref* is how a word begins. Behind -- all are words.

    Example: tmtp search plan from:bob after:2026-11-01 -draft
    """
    words = query_of(query)

    async def work(client: Client) -> m.Results:
        await account_of(client, account) if account else None
        found: m.Results = await client.call("search", o.Search(words, account, limit))
        return found

    results = run(work)
    if results.problem:
        warn(f"{results.problem[:1].upper()}{results.problem[1:]}")
    if as_json:
        print_json(results)
        return
    several = len({one.account for one in results.found}) > 1
    for one in results.found:
        print_message(
            out, one.message, whole=False, account=one.account if several else "", text=snippet_text(one.snippet)
        )
    if not results.found:
        say("Nothing found.")
    elif results.more:
        say(f"There is more: --limit {2 * limit}", style="dim")


def mark(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="Of a message in the thread, or of the thread.")],
    archive: Annotated[bool | None, typer.Option("--archive/--unarchive", help="Out of the inbox, or back.")] = None,
    mute: Annotated[bool | None, typer.Option("--mute/--unmute", help="Be told of it no more, or again.")] = None,
    snooze: Annotated[str, typer.Option(metavar="TIME", help="Away until 3h, '2026-12-24 09:00'; none: back.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Put this tag on; may come again.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="Take this tag off; may come again.")] = None,
    seen: Annotated[bool | None, typer.Option("--seen/--unseen", help="All of it is read, or unread.")] = None,
    encrypt: Annotated[
        bool | None, typer.Option("--encrypt/--plain", help="Seal what is written in it, or no more.")
    ] = None,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Archive, mute, snooze, tag a conversation; on all your devices.

    Example: tmtp mark 1f2e3d4c --archive --tag plans
    """
    until = None if not snooze else 0 if snooze == _NEVER else moment_ms(snooze, "--snooze")
    sealing: dict[bool | None, Literal["on", "off"] | None] = {None: None, True: "on", False: "off"}
    first = (archive, mute, until, sealing[encrypt])
    tags = [(one, "") for one in tag or ()] + [("", one) for one in untag or ()]
    if first == (None,) * len(first) and not tags and seen is None:
        fail("say what: --archive, --mute, --snooze, --tag, --seen, --encrypt …", USAGE)

    async def work(client: Client) -> m.Thread:
        of = await account_of(client, account)
        id = await thread_id(client, of.name, message_id)
        if seen is not None:
            await client.call("messages.seen", o.MarkSeen(of.name, thread=id, seen=seen))
        for on, off in tags:
            await client.call("threads.mark", o.MarkThread(of.name, id, tag=on, untag=off))
        marked: m.Thread = await client.call(
            "threads.mark", o.MarkThread(of.name, id, archive, mute, until, encryption=sealing[encrypt])
        )
        return marked

    marked = run(work)
    if as_json:
        print_json(marked)
    else:
        _print_threads(m.Page((marked,)))


# -- inside ----------------------------------------------------------------------------------------------------------
async def thread_id(client: Client, account: str, id: str) -> str:
    """Of the thread in which a message is; the first message's id is its thread's."""
    message: m.Message = await client.call("messages.show", o.OfMessage(account, bare(id)))
    return message.thread


async def _seen(client: Client, account: str, messages: Any) -> None:
    new = tuple(one.id for one in messages if not one.seen and not one.outgoing)
    if new:
        await client.call("messages.seen", o.MarkSeen(account, new))


def _tell_of_waiting(waiting: list[m.Waiting]) -> None:
    for one in waiting:
        if one.state == "refused":
            text = (
                f"Not sent to {', '.join(one.to)}: {one.error} ({one.text[:40]}); to try again, or drop it: tmtp outbox"
            )
            say(text, to=err, style="red")
    left = sum(one.state not in {"refused", "scheduled"} for one in waiting)
    if left:
        warn(f"{left} of yours still wait to be sent: tmtp outbox")


def _folder(save: Path | None) -> Path | None:
    """Where to save to; made when it is not there."""
    if save is None:
        return None
    try:
        save.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"nothing can be saved in {save}: {error.strerror}", USAGE)
    return save.absolute()


def _print_threads(page: m.Page) -> None:
    if not page.threads:
        say("No conversations here.")
        return
    columns = ("id", "last", "from", "subject", "messages", "")
    print_table(out, columns, [_row(one) for one in page.threads])
    if page.next:
        say("There is more: --limit", style="dim")


def _row(one: m.Thread) -> tuple[str, ...]:
    marks = [
        f"{one.unseen} new" if one.unseen else "",
        "archived" if one.archived else "",
        "muted" if one.muted else "",
        f"until {time_text(one.snoozed_until_ms)}" if one.snoozed_until_ms else "",
        "sealed" if one.encryption != "off" else "",
        *(f"+{tag}" for tag in one.tags),
    ]
    subject = one.subject or one.last_text.strip()[:60].replace("\n", " ") or _brought_by(one.last_attached)
    shown = (f"#{ending(one.id)}", one.last_posted[:16].replace("T", " "), one.last_alias, subject, str(one.messages))
    return (*shown, " ".join(mark for mark in marks if mark))


def _brought_by(first: m.Attachment | None) -> str:
    """Of a message without words, what it brings."""
    return "" if first is None else {"filled": "(an answer to a form)", "form": "(a form)"}.get(first.kind, first.name)


def _print_thread(shown: m.Messages) -> None:
    of = shown.thread
    say(of.subject or "(no subject)", style="bold")
    if of.readers:
        say(f"  read by {', '.join(one.alias or one.uid for one in of.readers)}", style="dim")
    if shown.before:
        say(f"  … {of.messages - len(shown.messages)} before: --limit", style="dim")
    for message in shown.messages:
        print_message(out, msgspec.structs.replace(message, subject=""), whole=True)
    for one in shown.waiting:
        say(f"  waits to be sent: {one.text[:60]}", style="yellow")
