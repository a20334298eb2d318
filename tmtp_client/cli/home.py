# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp accounts`, `lock`, `unlock`, `settings`, `export`: what is on this device, who opens it (B1, B8)."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import typer

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client, Remote
from tmtp_client.cli.asking import confirm, secret_of
from tmtp_client.cli.common import (
    USAGE,
    AccountOption,
    JsonOption,
    YesOption,
    fail,
    out,
    print_json,
    say,
    time_text,
)
from tmtp_client.cli.sending import bar_of
from tmtp_client.cli.session import account_of, passphrase_file, progressing, run
from tmtp_client.cli.show import print_table

_SLOTS: Final = {
    "passphrase": "your passphrase",
    "keyring": "the system's keyring",
    "recovery": "the recovery sheet of the account",
    "device": "anybody who has this device's files",
}

accounts = typer.Typer()


@accounts.callback(invoke_without_command=True)
def list_accounts(context: typer.Context, as_json: JsonOption = False) -> None:
    """Your accounts on this device.

    Example: tmtp accounts
    """
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client) -> m.Home:
        home: m.Home = await client.call("home.state")
        return home

    home = run(work)
    if as_json:
        print_json(home.accounts)
        return
    rows = [(one.name, one.alias, one.service, _news(one)) for one in home.accounts]
    if rows:
        print_table(out, ("account", "name", "service", ""), rows)
    elif not home.damaged and not home.coming:
        say("None yet; see tmtp join --help")
    for one in home.coming:
        waits = f"waits until a device of the account takes this one in; the number is {one.fingerprint}"
        say(f"{one.account} on {one.service}: {one.trouble or waits}", style="yellow")
    for name, why in home.damaged.items():
        say(f"{name} cannot be opened: {why}", style="red")


def _news(one: m.Account) -> str:
    marks = [f"{one.unseen} new" if one.unseen else "", f"{one.waiting} not sent" if one.waiting else "", one.trouble]
    return ", ".join(mark for mark in marks if mark)


@accounts.command("leave")
def leave(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which: tmtp accounts shows them.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Forget an account on this device: its key is destroyed, and with it all that it has here.

    At the service it stays, and on your other devices; with the recovery sheet you come back.

    Example: tmtp accounts leave club
    """
    confirm(f"Forget {name} here, with all its messages and files?", yes=yes)

    async def work(client: Client) -> m.Done:
        done: m.Done = await client.call("accounts.leave", o.OfAccount(name))
        return done

    done = run(work)
    if as_json:
        print_json(done)
    else:
        say(f"{name} is gone from this device.")


# -- the lock --------------------------------------------------------------------------------------------------------
def lock(
    set_passphrase: Annotated[
        bool, typer.Option("--set-passphrase", help="Set or change the passphrase that opens the history.")
    ] = False,
    no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Take the passphrase away.")] = False,
    keyring: Annotated[
        bool | None, typer.Option("--keyring/--no-keyring", help="Let the system's keyring open it, too, or no more.")
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(
            "--after",
            metavar="MINUTES",
            min=0,
            max=limits.IDLE_LOCK_MAX_S // 60,
            help="A daemon locks by itself; 0: never.",
        ),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Say what opens it, and lock nothing.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lock the history on this device, or say what is to open it.

    A passphrase is asked for, or read from standard input; it is no argument, which others could see.

    Example: tmtp lock --set-passphrase
    """
    changes = set_passphrase or no_passphrase or keyring is not None or after is not None
    if set_passphrase and no_passphrase:
        fail("either --set-passphrase or --no-passphrase", USAGE)
    if no_passphrase:
        confirm("Take the passphrase away? Without another lock whoever has this device's files reads all.", yes=yes)

    async def work(client: Client) -> tuple[m.Home, bool]:
        home: m.Home = await client.call("home.state")
        if not changes and not status:
            home = await client.call("home.lock")
        if set_passphrase:
            new = await secret_of("The new passphrase", again=True)
            if not new:
                fail("a passphrase has to say something", USAGE)
            home = await client.call("home.passphrase", o.SetPassphrase(new))
        if no_passphrase:
            home = await client.call("home.passphrase", o.SetPassphrase(""))
        if keyring is not None:
            home = await client.call("home.keyring" if keyring else "home.forget_keyring")
        if after is not None:
            home = await client.call("home.idle_lock", o.SetIdleLock(60 * after))
        return home, isinstance(client, Remote)

    home, daemon = run(work, locked=not changes)
    if as_json:
        print_json(home)
        return
    if not changes and not status:
        say("Locked." if daemon else "Nothing is open: no daemon runs, and each command closes what it opened.")
    _print_lock(home)


def _print_lock(home: m.Home) -> None:
    for slot in home.slots:
        note = f" {slot.note}" if slot.note else ""
        say(f"  opened by {_SLOTS[slot.kind]}{note}, since {time_text(slot.made_ms)}")
    if home.idle_lock_s:
        say(f"  a daemon locks by itself after {home.idle_lock_s // 60} minutes in which nothing is done")
    if not home.protected:
        say("The history is not locked: tmtp lock --set-passphrase", style="yellow")


def unlock(as_json: JsonOption = False) -> None:
    """Open the history of a daemon that runs; the passphrase is asked for, or read from standard input.

    The 24 words of a recovery sheet open it, too.

    Example: tmtp unlock
    """

    async def work(client: Client) -> tuple[m.Home, bool]:
        home: m.Home = await client.call("home.state")
        if home.locked:
            secret = passphrase_file() or await secret_of("Passphrase")
            home = await client.call("home.unlock", o.Unlock(secret))
        return home, isinstance(client, Remote)

    home, daemon = run(work, locked=True)
    if as_json:
        print_json(home)
    else:
        say(
            "Open."
            if daemon
            else "That opens it. No daemon runs, so each command asks again; to stay open: tmtp daemon"
        )


# -- settings --------------------------------------------------------------------------------------------------------
def settings(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Which.")] = "",
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="What it is to be.")] = None,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the settings of an account, or change one, on all your devices.

    Example: tmtp settings notifications mentions
    """

    async def work(client: Client) -> dict[str, Any]:
        of = await account_of(client, account)
        if value is not None:
            await client.call("settings.set", o.SetSetting(of.name, name, _value(value)))
        listed: o.Settings = await client.call("settings.list", o.OfAccount(of.name))
        if name and name not in listed.values:
            fail(f"there is no setting {name}; there are {', '.join(listed.values)}", USAGE)
        return {name: listed.values[name]} if name else listed.values

    values = run(work)
    if as_json:
        print_json(values)
        return
    print_table(out, ("setting", "is"), [(key, msgspec.json.encode(one).decode()) for key, one in values.items()])


def _value(text: str) -> Any:
    """JSON where it is some, else the text itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


# -- out of here -----------------------------------------------------------------------------------------------------
def export(
    path: Annotated[Path, typer.Argument(help="A new file (mbox), or a new folder (json).")],
    format: Annotated[Literal["mbox", "json"], typer.Option("--format", help="As what.")] = "mbox",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write the whole history of an account out, in plain text.

    mbox is for mail programs; json has everything, with the files beside it.

    Example: tmtp export ada.mbox
    """
    target = str(path.absolute())

    async def work(client: Client) -> m.Exported:
        of = await account_of(client, account)
        exporting = client.call("history.export", o.Export(of.name, target, format))
        bar, task = bar_of(0, f"to {path}", counts=True)
        with bar:
            written: m.Exported = await progressing(
                client, exporting, target, lambda have, size: bar.update(task, completed=have, total=size)
            )
        return written

    written = run(work)
    if as_json:
        print_json(written)
    else:
        files = f"{written.files} file{'' if written.files == 1 else 's'}"
        messages = f"{written.messages} message{'' if written.messages == 1 else 's'}"
        say(f"{messages} and {files} are in {written.path}, in plain text.")
