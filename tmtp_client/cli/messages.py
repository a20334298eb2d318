# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp ping`, `send`, `reply`, `inbox`, `read` and `watch`: conversation on a terminal (B1, B3)."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tmtp_client import limits
from tmtp_client.cli.common import (
    FAILED,
    NOT_NOW,
    USAGE,
    Account,
    JsonOption,
    ProfileOption,
    account_of,
    err,
    fail,
    new_request_id,
    out,
    print_json,
    run,
    say,
)
from tmtp_client.cli.show import as_json as message_json
from tmtp_client.cli.show import print_message
from tmtp_client.connection import Disconnected
from tmtp_client.engine.engine import Engine, safe_file_name
from tmtp_client.engine.history import History, Outgoing, Recorded
from tmtp_core import limits as service_limits

_UID_CHARACTERS: Final = 32
_KEPT: Final = "The message is kept and goes out next time; tmtp outbox shows it, and can drop it."

AttachOption = Annotated[
    list[Path] | None, typer.Option("--attach", "-a", metavar="FILE", help="A file to send along; may come again.")
]


def ping(
    alias: Annotated[str, typer.Argument(help="Whom: the exact alias.")],
    text: Annotated[str, typer.Argument(help="At most 140 characters of plain text.")],
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """A first contact: say who you are in 140 characters.

    Example: tmtp ping 'Bob Builder' 'Ada here, from sales. May I send you the plan?'
    """
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if units > service_limits.PING_MAX_UTF16_UNITS:
        fail(f"a ping has {service_limits.PING_MAX_UTF16_UNITS} characters at most; this one has {units}", USAGE)
    account = account_of(profile)
    _send(account, Outgoing(new_request_id(), "ping", alias, alias, "", text, "", ()), as_json)


def send(
    to: Annotated[str, typer.Argument(help="Whom: an alias you know, or a uid.")],
    text: Annotated[str, typer.Argument(help="The message.")],
    subject: Annotated[str, typer.Option("--subject", "-s", help="What it is about.")] = "",
    attach: AttachOption = None,
    reply: Annotated[str | None, typer.Option(metavar="ID", help="Answer this message, in its thread.")] = None,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Send a message to somebody you are acquainted with.

    Example: tmtp send 'Bob Builder' 'Here it is.' --subject 'The plan' --attach plan.pdf
    """
    account = account_of(profile)
    thread = "" if reply is None else _message(account, reply).thread
    _post(account, _uid_of(account, to), to, text, subject, thread, attach or (), as_json)


def reply(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or its end as tmtp inbox shows it.")],
    text: Annotated[str, typer.Argument(help="The message.")],
    attach: AttachOption = None,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Answer a message: to the account it came from, whatever name it claimed, in its thread.

    Example: tmtp reply 1f2e3d4c 'Thank you, it arrived.'
    """
    account = account_of(profile)
    answered = _message(account, message_id)
    if answered.outgoing or answered.kind == "return":
        fail("nobody else wrote that; tmtp send --reply continues its thread", USAGE)
    _post(account, answered.peer, answered.alias, text, "", answered.thread, attach or (), as_json)


def inbox(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, the latest.")] = 20,
    offline: Annotated[bool, typer.Option("--offline", help="Show what is here; ask no service.")] = False,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Fetch what came, and show the latest messages.

    Example: tmtp inbox --limit 5
    """
    account = account_of(profile)
    fetched = offline or _fetch(account)
    messages = account.history.latest(limit)
    if as_json:
        print_json([message_json(message, account.history.files(message.id)) for message in messages])
    elif not messages:
        say("Nothing here yet. Say hello: tmtp ping 'Their Alias' 'It is me'")
    else:
        for message in messages:
            print_message(out, message, account.history.files(message.id), whole=False)
    account.history.mark_seen([message.id for message in messages])
    unseen = account.history.unseen()
    if unseen:
        say(f"{unseen} more are new and older: tmtp inbox -n {limit + unseen}", to=err, style="yellow")
    if not fetched:
        raise typer.Exit(NOT_NOW)


def outbox(
    drop: Annotated[str | None, typer.Option(metavar="ID", help="Send this one no more.")] = None,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show what still waits to be sent; drop what is to be sent no more.

    What is dropped in the midst of being sent may have arrived.

    Example: tmtp outbox --drop 1f2e3d4c
    """
    account = account_of(profile)
    waiting = account.history.waiting()
    if drop is not None:
        ending = drop.removeprefix("#")
        found = [one for one in waiting if ending and one.request_id.endswith(ending)]
        if len(found) != 1:
            fail(
                f"no message that waits, or more than one, has an id that ends in {drop}; tmtp outbox shows them",
                FAILED,
            )
        with account.profile.lock() as ours:
            if not ours or account.profile.is_waited_for(found[0].request_id):
                fail("another tmtp runs for this profile and may be sending it; end it first", FAILED)
            _forget(account.history, found[0])
        waiting = [one for one in waiting if one is not found[0]]
    if as_json:
        print_json(
            [{"id": one.request_id, "to": one.alias, "subject": one.subject, "text": one.text} for one in waiting]
        )
    elif not waiting:
        say("Nothing waits to be sent.")
    for one in waiting if not as_json else ():
        say(f"  to {one.alias}  #{one.request_id[-8:]}  {one.subject or one.text[:60]}")


def read(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or its end as tmtp inbox shows it.")],
    save: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Copy the attachments there.")] = None,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show one message whole.

    Example: tmtp read 1f2e3d4c --save Downloads
    """
    account = account_of(profile)
    message = _message(account, message_id)
    files = account.history.files(message.id)
    account.history.mark_seen([message.id])
    if as_json:
        print_json(message_json(message, files))
    else:
        print_message(out, message, files, whole=True)
    if save is None:
        return
    for file in files:
        try:
            save.mkdir(parents=True, exist_ok=True)
            target = _copy_new(Path(file.path), save, file.name)
        except OSError as error:
            fail(f"{file.name} cannot be saved in {save}: {error.filename}: {error.strerror}", FAILED)
        if not as_json:
            say(f"  saved {target}")


def watch(profile: ProfileOption = "default", as_json: JsonOption = False) -> None:
    """Show messages as they come, until Ctrl-C. Meanwhile tmtp ping and tmtp send work from other terminals.

    Example: tmtp watch
    """
    account = account_of(profile)

    def show(message: Recorded) -> None:
        files = account.history.files(message.id)
        if as_json:
            sys.stdout.write(json.dumps(message_json(message, files), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            print_message(out, message, files, whole=True)
        account.history.mark_seen([message.id])

    with account.profile.lock() as ours:
        if not ours:
            fail("tmtp watch runs already for this profile", FAILED)
        if not as_json:
            name, service = account.identity.alias, account.identity.service
            say(f"Watching as {name} on {service}; Ctrl-C ends it.", to=err)
        run(_watch(account, show))


def _post(
    account: Account,
    uid: str,
    called: str,
    text: str,
    subject: str,
    thread: str,
    attach: Iterable[Path],
    as_json: bool,
) -> None:
    """Send a message with copies of the files as they are now: a later try must not send another content."""
    request_id = new_request_id()
    copies: list[str] = []
    for path in attach:
        if not path.is_file():
            fail(f"{path} is not a file", USAGE)
    for place, path in enumerate(attach):
        folder = account.history.folder / "attachments" / f"{request_id}-{place}"
        folder.mkdir(mode=0o700, parents=True)
        copies.append(str(_copy_new(path, folder, safe_file_name(path.name))))
    _send(account, Outgoing(request_id, "message", uid, called, subject, text, thread, tuple(copies)), as_json)


def _send(account: Account, outgoing: Outgoing, as_json: bool) -> None:
    """Into the outbox first; then this process sends it, or the one that runs the engine does."""
    if not account.identity.alias:
        fail("You have no name yet; choose one: tmtp alias 'Your Name'", USAGE)
    for typed in (outgoing.alias, outgoing.subject, outgoing.text):
        if not typed.isascii() and "\ufffd" in typed.encode(errors="surrogateescape").decode(errors="replace"):
            fail("The text is no valid UTF-8; is the terminal set to another encoding?", USAGE)
    with account.profile.sending(outgoing.request_id):
        _send_and_tell(account, outgoing, as_json)


def _send_and_tell(account: Account, outgoing: Outgoing, as_json: bool) -> None:
    history = account.history
    history.queue(outgoing)
    try:
        trouble = run(_delivered(account, outgoing))
    except KeyboardInterrupt:
        kept = not _decided(history, outgoing)
        say(f"Interrupted. {_KEPT}" if kept else "Interrupted; the service has it already.", to=err, style="yellow")
        raise
    except typer.Exit:  # why has been said
        if not _decided(history, outgoing):
            say(_KEPT, to=err, style="yellow")
        raise
    if trouble:
        fail(f"{trouble}. {_KEPT}", NOT_NOW)
    left = history.outgoing(outgoing.request_id)
    if left is not None:
        _forget(history, left)
        fail(f"The service refused it: {_in_words(left)}", FAILED)
    _tell_of_refusals(account)
    if as_json:
        print_json({"sent": True, "request_id": outgoing.request_id})
    else:
        say(f"Sent to {outgoing.alias}.")


async def _delivered(account: Account, outgoing: Outgoing) -> str:
    """Send it, or see it sent by the process that runs the engine; why that was not possible now, or nothing."""
    loop = asyncio.get_running_loop()
    until = loop.time() + limits.PATIENCE_S
    while not _decided(account.history, outgoing):
        with account.profile.lock() as ours:
            if ours:
                return await _send_now(account, outgoing)
        if loop.time() > until:
            return "Another tmtp of this profile, a tmtp watch perhaps, is at work and did not get to it"
        await asyncio.sleep(limits.OUTBOX_POLL_S)
    return ""


async def _send_now(account: Account, outgoing: Outgoing) -> str:
    """Send it; why it could not be sent now, or nothing."""
    async with Engine(account.history, account.identity).running() as engine:
        trouble = await _connected(engine)
        while not trouble and not _decided(account.history, outgoing):
            await asyncio.sleep(limits.OUTBOX_POLL_S)
            trouble = engine.connection.trouble or ""
        return "" if _decided(account.history, outgoing) else trouble


def _decided(history: History, outgoing: Outgoing) -> bool:
    """Whether an outbox entry is gone, or refused."""
    left = history.outgoing(outgoing.request_id)
    return left is None or bool(left.error)


async def _connected(engine: Engine) -> str:
    """Wait until the service has let us in; why it did not, or nothing. Raises `Disconnected` when it never will."""
    try:
        await engine.connection.at_once(limits.PATIENCE_S)
    except (Disconnected, TimeoutError) as error:
        if engine.connection.failed is not None:
            raise
        return f"The service cannot be reached: {str(error) or 'no answer'}"
    return ""


def _fetch(account: Account) -> bool:
    """Bring the history up to date, unless another process does that already. False when it could not be done."""
    with account.profile.lock() as ours:
        trouble = run(_fetch_now(account)) if ours else ""
    if trouble:
        say(f"{trouble}. This is what was here before.", to=err, style="yellow")
    _tell_of_refusals(account)
    waiting = len(account.history.waiting())
    if waiting:
        say(f"{waiting} of yours still wait to be sent: tmtp outbox", to=err, style="yellow")
    return not trouble


def _tell_of_another_log(trouble: str) -> None:
    """Somebody may be putting back a device that was revoked (B4)."""
    say(f"Mind: {trouble}", to=err, style="red")


async def _fetch_now(account: Account) -> str:
    engine_of_it = Engine(account.history, account.identity, on_log_trouble=_tell_of_another_log)
    async with engine_of_it.running() as engine:
        trouble = await _connected(engine)
        if not trouble:
            await engine.settled(limits.QUIET_S, limits.PATIENCE_S)
        return trouble


def _tell_of_refusals(account: Account) -> None:
    """What was sent earlier and refused later: nobody was there to be told."""
    for refused in account.history.refusals():
        if not account.profile.is_waited_for(refused.request_id):
            _forget(account.history, refused)
            text = f"Not sent to {refused.alias}: {_in_words(refused)} ({refused.text[:40]})"
            say(text, to=err, style="red")


def _in_words(refused: Outgoing) -> str:
    """Why the service refused it, for people."""
    if refused.error.endswith("not found"):
        return f"nobody there is called {refused.alias}"
    if refused.error == "data too long for request type":
        return "it is larger than this service takes"
    return refused.error


def _forget(history: History, refused: Outgoing) -> None:
    history.forget_outgoing(refused.request_id)
    for path in refused.files:
        shutil.rmtree(Path(path).parent, ignore_errors=True)


async def _watch(account: Account, show: Any) -> None:
    async with Engine(account.history, account.identity, show, _tell_of_another_log).running() as engine:
        told = None
        while True:
            try:
                connection = await engine.connection.current(limits.WATCH_POLL_S)
            except TimeoutError:
                trouble = engine.connection.trouble
                if trouble != told:
                    say(f"Not connected: {trouble}. Trying again.", to=err, style="yellow")
                told = trouble
                continue
            if told is not None:
                say("Connected again.", to=err)
            told = await connection.closed()
            say(f"Disconnected: {told}. Trying again.", to=err, style="yellow")


def _message(account: Account, message_id: str) -> Recorded:
    message = account.history.message(message_id.removeprefix("#"))
    if message is None:
        fail(f"no message, or more than one, has an id that ends in {message_id}; tmtp inbox shows them", FAILED)
    return message


def _uid_of(account: Account, to: str) -> str:
    """The uid behind an alias that the service has vouched for, or a uid as it stands."""
    uid = account.history.contact(to) or (to if len(to) == _UID_CHARACTERS and " " not in to else None)
    if uid is None:
        fail(
            f"You have not heard from {to} yet. Introduce yourself: tmtp ping '{to}' '…'. Once {to} has answered, and "
            "you have looked (tmtp inbox), this works. To answer a message, tmtp reply needs no name.",
            FAILED,
        )
    return uid


def _copy_new(source: Path, folder: Path, name: str) -> Path:
    """A durable copy in `folder` under a name that nothing there has yet. Raises OSError."""
    target, count = folder / name, 1
    while True:
        with contextlib.suppress(FileExistsError), source.open("rb") as old, target.open("xb") as new:
            shutil.copyfileobj(old, new)
            new.flush()
            os.fsync(new.fileno())
            return target
        count += 1
        target = folder / f"{Path(name).stem}-{count}{Path(name).suffix}"
