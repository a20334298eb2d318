# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp`: join a service, ping people, send messages, read what came (B1).

Exit codes: 0 done · 1 refused or failed, and said why · 2 wrong usage · 3 not now, try again · 130 interrupted.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import ssl
import sys
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from tmtp_client import limits
from tmtp_client.cli.show import as_json as message_json
from tmtp_client.cli.show import print_message, visible
from tmtp_client.connection import AccountKeys, Connection, Disconnected, Endpoint, Refused, WrongService
from tmtp_client.engine.engine import Engine, safe_file_name
from tmtp_client.engine.history import History, Identity, Outgoing, Recorded
from tmtp_client.engine.profile import Profile, default_home
from tmtp_core import limits as service_limits
from tmtp_core.names import NameRefused, check_name
from tmtp_core.wire import messages as m
from tmtp_core.wire.address import ServiceAddress, parse_address

_FAILED: Final = 1
_USAGE: Final = 2
_NOT_NOW: Final = 3
_INTERRUPTED: Final = 130
_UID_CHARACTERS: Final = 32

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", metavar="NAME", help="Which of your accounts.", envvar="TMTP_PROFILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
AttachOption = Annotated[
    list[Path] | None, typer.Option("--attach", "-a", metavar="FILE", help="A file to send along; may come again.")
]


@dataclass(frozen=True, slots=True)
class _Account:
    profile: Profile
    history: History
    identity: Identity


@app.callback()
def _about() -> None:
    """TMTP: messages between people who have agreed to hear from each other."""


@app.command()
def join(
    address: Annotated[str, typer.Argument(help="host:port, or the tmtp:// link you were given.")],
    alias: Annotated[str, typer.Option(help="The name others know you by; 8 bytes or more, yours for ever.")],
    invite: Annotated[str | None, typer.Option(help="The invitation's token, if the link has none.")] = None,
    pin: Annotated[str | None, typer.Option(help="sha256:… of a self-signed service, if the link has none.")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of a private certificate authority.")] = None,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Open an account on a service; this device becomes its first.

    Example: tmtp join 'tmtp://chat.example.org:4433#invite=…' --alias 'Ada Lovelace'
    """
    try:
        parsed = parse_address(address)
    except ValueError as error:
        _fail(str(error), _USAGE)
    _check_name(alias)
    named = ServiceAddress(parsed.host, parsed.port, pin or parsed.pin, invite or parsed.invite)
    place = _profile(profile)
    history = place.open()
    known = history.identity()
    if known is not None:
        _fail(f"the profile {profile} is {known.alias} on {known.service} already; choose another --profile", _USAGE)
    identity = _run(_join(named, alias, str(ca.resolve()) if ca is not None else None, history))
    if as_json:
        _print_json({"uid": identity.uid, "alias": identity.alias, "service": identity.service})
    else:
        _say(f"You are {identity.alias} on {identity.service}.")
        _say("Next: tmtp ping 'Somebody Known' 'Hello, it is me' · tmtp inbox · tmtp watch")


@app.command("alias")
def take_alias(
    name: Annotated[str, typer.Argument(help="8 bytes or more; yours for ever.")], profile: ProfileOption = "default"
) -> None:
    """Take a further name; messages go out under it from now on.

    Example: tmtp alias 'Ada, sales'
    """
    _check_name(name)
    account = _account(profile)
    with account.profile.lock() as ours:
        if not ours:
            _fail("tmtp watch runs for this profile; end it first", _FAILED)
        _run(_take_alias(account, name))
    _say(f"You are {name} now.")


@app.command()
def whoami(profile: ProfileOption = "default", as_json: JsonOption = False) -> None:
    """Who you are, and whom you know.

    Example: tmtp whoami
    """
    account = _account(profile)
    contacts = account.history.contacts()
    if as_json:
        values = {"uid": account.identity.uid, "alias": account.identity.alias, "service": account.identity.service}
        _print_json({**values, "contacts": [{"alias": alias, "uid": uid} for alias, uid in contacts]})
        return
    _say(f"{account.identity.alias} on {account.identity.service} (uid {account.identity.uid})")
    for alias, uid in contacts:
        _say(f"  knows {alias} ({uid})")


@app.command()
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
        _fail(f"a ping has {service_limits.PING_MAX_UTF16_UNITS} characters at most; this one has {units}", _USAGE)
    account = _account(profile)
    _send(account, Outgoing(_new_request_id(), "ping", alias, alias, "", text, "", ()), as_json)


@app.command()
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
    account = _account(profile)
    thread = "" if reply is None else _message(account, reply).thread
    _post(account, _uid_of(account, to), to, text, subject, thread, attach or (), as_json)


@app.command()
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
    account = _account(profile)
    answered = _message(account, message_id)
    if answered.outgoing:
        _fail("that message is your own; tmtp send --reply continues its thread", _USAGE)
    _post(account, answered.peer, answered.alias, text, "", answered.thread, attach or (), as_json)


@app.command()
def inbox(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, the latest.")] = 20,
    offline: Annotated[bool, typer.Option("--offline", help="Show what is here; ask no service.")] = False,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Fetch what came, and show the latest messages.

    Example: tmtp inbox --limit 5
    """
    account = _account(profile)
    if not offline:
        _fetch(account)
    messages = account.history.latest(limit)
    if as_json:
        _print_json([message_json(message, account.history.files(message.id)) for message in messages])
    elif not messages:
        _say("Nothing here yet. Say hello: tmtp ping 'Their Alias' 'It is me'")
    else:
        for message in messages:
            print_message(out, message, account.history.files(message.id), whole=False)
    account.history.mark_seen([message.id for message in messages])


@app.command()
def read(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or its end as tmtp inbox shows it.")],
    save: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Copy the attachments there.")] = None,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show one message whole.

    Example: tmtp read 1f2e3d4c --save Downloads
    """
    account = _account(profile)
    message = _message(account, message_id)
    files = account.history.files(message.id)
    account.history.mark_seen([message.id])
    if as_json:
        _print_json(message_json(message, files))
    else:
        print_message(out, message, files, whole=True)
    if save is None:
        return
    for file in files:
        try:
            target = _copy_new(Path(file.path), save, file.name)
        except OSError as error:
            _fail(f"{file.name} cannot be saved in {save}: {error.strerror}", _FAILED)
        if not as_json:
            _say(f"  saved {target}")


@app.command()
def watch(profile: ProfileOption = "default", as_json: JsonOption = False) -> None:
    """Show messages as they come, until Ctrl-C. Meanwhile tmtp ping and tmtp send work from other terminals.

    Example: tmtp watch
    """
    account = _account(profile)

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
            _fail("tmtp watch runs already for this profile", _FAILED)
        if not as_json:
            name, service = account.identity.alias, account.identity.service
            _say(f"Watching as {name} on {service}; Ctrl-C ends it.", to=err)
        _run(_watch(account, show))


def main() -> None:
    """The program `tmtp`. Never shows a traceback for what a person can mend."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_FAILED)
    except (OSError, SQLAlchemyError) as error:
        _say(f"The profile in {default_home()} cannot be used: {_reason(error)}", to=err, style="red")
        sys.exit(_FAILED)


# -- what the commands do --------------------------------------------------------------------------------------------
async def _join(address: ServiceAddress, alias: str, ca: str | None, history: History) -> Identity:
    """Register; once the service has made the account its secret is kept, whatever follows."""
    endpoint = Endpoint(address.host, address.port, address.pin, Path(ca) if ca else None)
    connection = await Connection.open(endpoint, revision="2")
    try:
        greeting = connection.service.result()
        keys = AccountKeys.new(os.urandom) if greeting.service is not None else None
        if keys is not None:
            registered = await connection.register_keys(socket.gethostname(), keys, alias, address.invite)
        else:  # a service that knows revision 1 only
            registered = await connection.register(alias, alias, address.invite)
        identity = Identity(
            uid=registered.uid,
            node=registered.nodeid,
            alias="" if registered.error else alias,
            host=address.host,
            port=address.port,
            pin=address.pin,
            ca_file=ca,
            service=greeting.name,
            keys=keys,
            service_key=greeting.service.key if greeting.service is not None else "",
        )
        history.set_identity(identity)
    finally:
        await connection.quit()
    if registered.error:
        raise Refused(f"{registered.error}. Your account exists; choose another name: tmtp alias 'Other Name'")
    return identity


async def _take_alias(account: _Account, name: str) -> None:
    async with Engine(account.history, account.identity).running() as engine:
        connection = await engine.connection.at_once(limits.PATIENCE_S)
        await connection.ask(m.UserEdit(_new_request_id(), newalias=name))
    account.history.set_identity(replace(account.identity, alias=name))


def _post(
    account: _Account,
    uid: str,
    called: str,
    text: str,
    subject: str,
    thread: str,
    attach: Iterable[Path],
    as_json: bool,
) -> None:
    """Send a message with copies of the files as they are now: a later try must not send another content."""
    request_id = _new_request_id()
    copies = []
    for place, path in enumerate(attach):
        if not path.is_file():
            _fail(f"{path} is not a file", _USAGE)
        folder = account.history.folder / "attachments" / f"{request_id}-{place}"
        folder.mkdir(mode=0o700, parents=True)
        copies.append(str(_copy_new(path, folder, safe_file_name(path.name))))
    _send(account, Outgoing(request_id, "message", uid, called, subject, text, thread, tuple(copies)), as_json)


def _send(account: _Account, outgoing: Outgoing, as_json: bool) -> None:
    """Into the outbox first; then this process sends it, or the one that runs the engine does."""
    if not account.identity.alias:
        _fail("You have no name yet; choose one: tmtp alias 'Your Name'", _USAGE)
    for typed in (outgoing.alias, outgoing.subject, outgoing.text):
        if not typed.isascii() and "\ufffd" in typed.encode(errors="surrogateescape").decode(errors="replace"):
            _fail("The text is no valid UTF-8; is the terminal set to another encoding?", _USAGE)
    history = account.history
    history.queue(outgoing)
    with account.profile.lock() as ours:
        trouble = _run(_send_now(account, outgoing) if ours else _sent_by_another(history, outgoing))
    if trouble:
        _fail(f"{trouble}. The message is kept and goes out next time.", _NOT_NOW)
    left = history.outgoing(outgoing.request_id)
    if left is not None:
        _forget(history, left)
        _fail(f"The service refused it: {left.error}", _FAILED)
    _tell_of_refusals(history)
    if as_json:
        _print_json({"sent": True, "request_id": outgoing.request_id})
    else:
        _say(f"Sent to {outgoing.alias}.")


async def _send_now(account: _Account, outgoing: Outgoing) -> str:
    """Send it; why it could not be sent now, or nothing."""
    async with Engine(account.history, account.identity).running() as engine:
        trouble = await _connected(engine)
        while not trouble and not _decided(account.history, outgoing):
            await asyncio.sleep(limits.OUTBOX_POLL_S)
            trouble = engine.connection.trouble or ""
        return "" if _decided(account.history, outgoing) else trouble


async def _sent_by_another(history: History, outgoing: Outgoing) -> str:
    """Wait for the process that runs the engine; why it could not send it now, or nothing."""
    try:
        async with asyncio.timeout(limits.PATIENCE_S):
            while not _decided(history, outgoing):  # noqa: ASYNC110 - what is waited for is a row in a file
                await asyncio.sleep(limits.OUTBOX_POLL_S)
    except TimeoutError:
        return "The tmtp watch that runs for this profile does not reach the service"
    return ""


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


def _fetch(account: _Account) -> None:
    """Bring the history up to date, unless another process does that already."""
    with account.profile.lock() as ours:
        trouble = _run(_fetch_now(account)) if ours else ""
    if trouble:
        _say(f"{trouble}. This is what was here before.", to=err, style="yellow")
    _tell_of_refusals(account.history)


async def _fetch_now(account: _Account) -> str:
    async with Engine(account.history, account.identity).running() as engine:
        trouble = await _connected(engine)
        if not trouble:
            await engine.settled(limits.QUIET_S, limits.PATIENCE_S)
        return trouble


def _tell_of_refusals(history: History) -> None:
    """What was sent earlier and refused later: nobody was there to be told."""
    for refused in history.refusals():
        _forget(history, refused)
        _say(f"Not sent to {refused.alias}: {refused.error} ({refused.text[:40]})", to=err, style="red")


def _forget(history: History, refused: Outgoing) -> None:
    history.forget_outgoing(refused.request_id)
    for path in refused.files:
        shutil.rmtree(Path(path).parent, ignore_errors=True)


async def _watch(account: _Account, show: Any) -> None:
    async with Engine(account.history, account.identity, show).running() as engine:
        told = None
        while True:
            try:
                connection = await engine.connection.current(limits.WATCH_POLL_S)
            except TimeoutError:
                trouble = engine.connection.trouble
                if trouble != told:
                    _say(f"Not connected: {trouble}. Trying again.", to=err, style="yellow")
                told = trouble
                continue
            if told is not None:
                _say("Connected again.", to=err)
            told = await connection.closed()
            _say(f"Disconnected: {told}. Trying again.", to=err, style="yellow")


# -- inside ----------------------------------------------------------------------------------------------------------
def _profile(name: str) -> Profile:
    try:
        return Profile(default_home(), name)
    except ValueError as error:
        _fail(str(error), _USAGE)


def _account(name: str) -> _Account:
    profile = _profile(name)
    history = profile.open()
    identity = history.identity()
    if identity is None:
        _fail(f"the profile {name} has joined no service yet; see tmtp join --help", _USAGE)
    return _Account(profile, history, identity)


def _check_name(name: str) -> None:
    """Said here, before an invitation is spent on it."""
    try:
        check_name(name)
    except (NameRefused, UnicodeEncodeError) as refused:
        _fail(f"That cannot be a name: {refused}", _USAGE)


def _message(account: _Account, message_id: str) -> Recorded:
    message = account.history.message(message_id.removeprefix("#"))
    if message is None:
        _fail(f"no message, or more than one, has an id that ends in {message_id}; tmtp inbox shows them", _FAILED)
    return message


def _uid_of(account: _Account, to: str) -> str:
    """The uid behind an alias that the service has vouched for, or a uid as it stands."""
    uid = account.history.contact(to) or (to if len(to) == _UID_CHARACTERS and " " not in to else None)
    if uid is None:
        _fail(
            f"The service has not told yet who {to} is: it does when {to} pings you. Ping first: tmtp ping '{to}' '…'. "
            "To answer a message, tmtp reply needs no name.",
            _FAILED,
        )
    return uid


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except WrongService as error:
        _fail(str(error), _FAILED)
    except Refused as refused:
        _fail(f"The service refused it: {refused}", _FAILED)
    except Disconnected as error:
        _fail(f"The service says: {error}", _FAILED)
    except ssl.SSLCertVerificationError as error:
        _fail(f"The certificate cannot be trusted ({error.verify_message}); a self-signed service needs --pin", _FAILED)
    except (OSError, TimeoutError) as error:
        _fail(f"The service cannot be reached: {error or 'no answer'}", _NOT_NOW)


def _new_request_id() -> str:
    return secrets.token_hex(12)


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


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _reason(error: OSError | SQLAlchemyError) -> str:
    return (error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]) or type(error).__name__


def _say(text: str, *, to: Console = out, style: str = "") -> None:
    """One line. Names and errors come from others: they steer no terminal."""
    to.print(Text(visible(text), style), soft_wrap=True)


def _fail(text: str, code: int) -> NoReturn:
    _say(text, to=err, style="red")
    raise typer.Exit(code)
