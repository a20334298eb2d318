# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp`: join a service, ping people, send messages, read what came (B1). Every command speaks the local API.

Exit codes: 0 done · 1 refused or failed, and said why · 2 wrong usage · 3 not now, try again · 130 interrupted.
"""

import io
import os
import sys
from pathlib import Path

import typer

from tmtp_client.cli import (
    daemon,
    devices,
    drafts,
    forms,
    home,
    joining,
    keys,
    opening,
    people,
    reading,
    watching,
    writing,
)
from tmtp_client.cli.common import FAILED, INTERRUPTED, USAGE, default_home, err, say
from tmtp_client.cli.query import QueryCommand

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.callback()
def _about() -> None:
    """TMTP: messages between people who have agreed to hear from each other."""


app.command()(joining.join)
app.command("open")(opening.open_pages)
app.command()(joining.recover)
app.command("sign-in")(joining.sign_in_again)
app.command("alias")(joining.take_alias)
app.command()(joining.whoami)
app.command()(writing.ping)
app.command()(writing.send)
app.command()(writing.reply)
app.command()(writing.forward)
app.command()(writing.add)
app.command()(writing.outbox)
app.add_typer(drafts.drafts, name="drafts")
app.add_typer(forms.form, name="form")
app.command()(reading.inbox)
app.command()(reading.read)
app.command()(reading.thread)
app.command(cls=QueryCommand)(reading.search)
app.command()(reading.mark)
app.command()(watching.watch)
app.command()(people.people)
app.command()(people.accept)
app.command()(people.ignore)
app.command()(people.block)
app.command()(people.unblock)
app.command()(people.report)
app.command()(keys.keys)
app.add_typer(keys.wishes, name="wishes")
app.add_typer(people.group, name="group")
app.add_typer(devices.devices, name="devices")
app.add_typer(devices.link, name="link")
app.add_typer(devices.recovery, name="recovery")
app.add_typer(home.accounts, name="accounts")
app.command()(home.lock)
app.command()(home.unlock)
app.command()(home.settings)
app.command()(home.export)
app.command()(daemon.daemon)


def main() -> None:
    """The program `tmtp`. Never shows a traceback for what a person can mend."""
    _stand_in_for_closed_streams()
    if isinstance(sys.stdin, io.TextIOWrapper):  # what is no UTF-8 is found where it is taken: `common.utf8`
        sys.stdin.reconfigure(errors="surrogateescape")
    if isinstance(sys.stdout, io.TextIOWrapper):  # others' letters, on a terminal that has not all of them
        sys.stdout.reconfigure(errors="replace")
    if not all(map(_is_text, sys.argv)):
        say("An argument is no valid UTF-8; is the terminal set to another encoding?", to=err, style="red")
        sys.exit(USAGE)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has seen enough
        _say_no_more()
        sys.exit(FAILED)
    except OSError as error:
        where = f"The home {default_home()} cannot be used"
        if error.filename is None:  # something was open already, and no more could be written
            where = f"The home {default_home()}, or where the output goes, takes no more"
            _say_no_more()
        say(f"{where}: {error.strerror or error}", to=err, style="red")
        sys.exit(FAILED)


def _stand_in_for_closed_streams() -> None:
    """Whoever starts a program may have closed them (`<&-`): nothing comes then, and nothing is said. Nor may a file of
    the home be opened as one of them.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the program ends


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _say_no_more() -> None:
    """Python writes out what waits when it ends, and would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
