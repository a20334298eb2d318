# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp`: join a service, ping people, send messages, read what came (B1).

Exit codes: 0 done · 1 refused or failed, and said why · 2 wrong usage · 3 not now, try again · 130 interrupted.
"""

import asyncio
import json
import secrets
import ssl
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console

from tmtp_client.cli.show import as_json as message_json
from tmtp_client.cli.show import print_message
from tmtp_client.connection import Connection, Disconnected, Endpoint, Refused, WrongService
from tmtp_client.engine.engine import Engine
from tmtp_client.engine.history import History, Identity, Outgoing, Recorded
from tmtp_client.engine.profile import Profile, default_home
from tmtp_core import limits as service_limits
from tmtp_core.wire import messages as m
from tmtp_core.wire.address import ServiceAddress, parse_address

_FAILED: Final = 1
_USAGE: Final = 2
_NOT_NOW: Final = 3
_INTERRUPTED: Final = 130
_SEND_WAIT_S: Final = 60.0
_QUIET_S: Final = 0.7  # after which nothing more is expected to come
_POLL_S: Final = 0.2
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
        out.print(f"You are {identity.alias} on {identity.service}.", markup=False)
        out.print("Next: tmtp ping 'Somebody Known' 'Hello, it is me' · tmtp inbox · tmtp watch", markup=False)


@app.command("alias")
def take_alias(
    name: Annotated[str, typer.Argument(help="8 bytes or more; yours for ever.")], profile: ProfileOption = "default"
) -> None:
    """Take a further name; messages go out under it from now on.

    Example: tmtp alias 'Ada, sales'
    """
    account = _account(profile)
    with account.profile.lock() as ours:
        if not ours:
            _fail("tmtp watch runs for this profile; end it first", _FAILED)
        _run(_take_alias(account, name))
    out.print(f"You are {name} now.", markup=False)


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
    out.print(f"{account.identity.alias} on {account.identity.service} (uid {account.identity.uid})", markup=False)
    for alias, uid in contacts:
        out.print(f"  knows {alias} ({uid})", markup=False)


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
    files = []
    for path in attach or []:
        if not path.is_file():
            _fail(f"{path} is not a file", _USAGE)
        files.append(str(path.resolve()))
    thread = ""
    if reply is not None:
        answered = account.history.message(reply)
        if answered is None:
            _fail(f"no message has the id {reply}; tmtp inbox shows them", _USAGE)
        thread = answered.thread
    outgoing = Outgoing(_new_request_id(), "message", _uid_of(account, to), to, subject, text, thread, tuple(files))
    _send(account, outgoing, as_json)


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
        out.print("Nothing here yet. Say hello: tmtp ping 'Their Alias' 'It is me'", markup=False)
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
    message = account.history.message(message_id.removeprefix("#"))
    if message is None:
        _fail(f"no message, or more than one, has an id that ends in {message_id}; tmtp inbox shows them", _FAILED)
    files = account.history.files(message.id)
    account.history.mark_seen([message.id])
    if as_json:
        _print_json(message_json(message, files))
    else:
        print_message(out, message, files, whole=True)
    if save is None:
        return
    for file in files:
        target = _free_name(save, file.name)
        try:
            target.write_bytes(Path(file.path).read_bytes())
        except OSError as error:
            _fail(f"{target} cannot be written: {error.strerror}", _FAILED)
        if not as_json:
            out.print(f"  saved {target}", markup=False)


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
            err.print(f"Watching as {name} on {service}; Ctrl-C ends it.", markup=False)
        _run(_watch(account, show))


def main() -> None:
    """The program `tmtp`. Never shows a traceback for what a person can mend."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


# -- what the commands do --------------------------------------------------------------------------------------------
async def _join(address: ServiceAddress, alias: str, ca: str | None, history: History) -> Identity:
    """Register; once the service has made the account its secret is kept, whatever follows."""
    connection = await Connection.open(Endpoint(address.host, address.port, address.pin, Path(ca) if ca else None))
    try:
        greeting = connection.service.result()
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
        )
        history.set_identity(identity)
    finally:
        await connection.quit()
    if registered.error:
        raise Refused(f"{registered.error}. Your account exists; choose another name: tmtp alias 'Other Name'")
    return identity


async def _take_alias(account: _Account, name: str) -> None:
    async with Engine(account.history, account.identity).running() as engine:
        connection = await engine.connection.current(_SEND_WAIT_S)
        await connection.ask(m.UserEdit(_new_request_id(), newalias=name))
    account.history.set_identity(replace(account.identity, alias=name))


def _send(account: _Account, outgoing: Outgoing, as_json: bool) -> None:
    """Into the outbox first; then this process sends it, or the one that runs the engine does."""
    history = account.history
    history.queue(outgoing)
    with account.profile.lock() as ours:
        done = _run(_send_now(account, outgoing) if ours else _sent_by_another(history, outgoing))
    if not done:
        _fail("The service cannot be reached. The message is kept and goes out next time.", _NOT_NOW)
    left = history.outgoing(outgoing.request_id)
    if left is not None:
        history.forget_outgoing(outgoing.request_id)
        _fail(f"The service refused it: {left.error}", _FAILED)
    if as_json:
        _print_json({"sent": True, "request_id": outgoing.request_id})
    else:
        out.print(f"Sent to {outgoing.alias}.", markup=False)


async def _send_now(account: _Account, outgoing: Outgoing) -> bool:
    async with Engine(account.history, account.identity).running() as engine:
        try:
            await engine.connection.current(_SEND_WAIT_S)
        except TimeoutError:
            return False
        return await _sent_by_another(account.history, outgoing)


async def _sent_by_another(history: History, outgoing: Outgoing) -> bool:
    """Wait until an outbox entry is gone, or refused."""
    while True:
        left = history.outgoing(outgoing.request_id)
        if left is None or left.error:
            return True
        await asyncio.sleep(_POLL_S)


def _fetch(account: _Account) -> None:
    """Bring the history up to date, unless another process does that already."""
    with account.profile.lock() as ours:
        if not ours:
            return
        if not _run(_fetch_now(account)):
            err.print("The service cannot be reached; this is what was here before.", style="yellow")


async def _fetch_now(account: _Account) -> bool:
    async with Engine(account.history, account.identity).running() as engine:
        try:
            await engine.connection.current(_SEND_WAIT_S)
        except TimeoutError:
            return False
        await engine.settled(_QUIET_S, _SEND_WAIT_S)
        return True


async def _watch(account: _Account, show: Any) -> None:
    async with Engine(account.history, account.identity, show).running() as engine:
        while True:
            connection = await engine.connection.current()
            reason = await connection.closed()
            err.print(f"Disconnected: {reason}. Trying again.", markup=False, style="yellow")


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


def _uid_of(account: _Account, to: str) -> str:
    """The uid behind an alias that the service has vouched for, or a uid as it stands."""
    uid = account.history.contact(to) or (to if len(to) == _UID_CHARACTERS and " " not in to else None)
    if uid is None:
        _fail(f"You do not know {to} yet. Ping first: tmtp ping '{to}' '…'; when {to} answers, you can write.", _FAILED)
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


def _free_name(folder: Path, name: str) -> Path:
    """A path in `folder` that nothing has yet."""
    target, count = folder / name, 1
    while target.exists():
        count += 1
        target = folder / f"{Path(name).stem}-{count}{Path(name).suffix}"
    return target


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _fail(text: str, code: int) -> NoReturn:
    err.print(text, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)
