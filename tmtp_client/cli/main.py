# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp`: join a service, ping people, send messages, read what came (B1).

Exit codes: 0 done · 1 refused or failed, and said why · 2 wrong usage · 3 not now, try again · 130 interrupted.
"""

import os
import sys

import typer
from sqlalchemy.exc import SQLAlchemyError

from tmtp_client.cli import daemon, joining, messages
from tmtp_client.cli.common import FAILED, INTERRUPTED, err, reason_of, say
from tmtp_client.engine.profile import default_home

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.callback()
def _about() -> None:
    """TMTP: messages between people who have agreed to hear from each other."""


app.command()(joining.join)
app.command()(joining.recover)
app.command("sign-in")(joining.sign_in_again)
app.command("alias")(joining.take_alias)
app.command()(joining.whoami)
app.command()(messages.ping)
app.command()(messages.send)
app.command()(messages.reply)
app.command()(messages.inbox)
app.command()(messages.outbox)
app.command()(messages.read)
app.command()(messages.watch)
app.command()(daemon.daemon)


def main() -> None:
    """The program `tmtp`. Never shows a traceback for what a person can mend."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (OSError, SQLAlchemyError) as error:
        say(f"The profile in {default_home()} cannot be used: {reason_of(error)}", to=err, style="red")
        sys.exit(FAILED)
