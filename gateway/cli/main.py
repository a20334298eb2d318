# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway`: serve, check the settings, invite, look after accounts and devices (C1, C4).

Exit codes: 0 done · 1 refused or failed, and said why · 2 wrong usage or settings · 75 start again · 130 interrupted.
"""

import sys
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import process as serving
from gateway.cli.accounts import account, device
from gateway.cli.administration import audit, console_link, console_people, console_remove, overview, queue, token
from gateway.cli.backup import backup, backup_key, restore
from gateway.cli.bridge import bridge
from gateway.cli.common import (
    INTERRUPTED,
    USAGE,
    ConfigOption,
    JsonOption,
    complain,
    err,
    fail,
    print_json,
    say,
    settings_of,
)
from gateway.cli.doctor import doctor
from gateway.cli.finding import VARIABLE, found_config
from gateway.cli.groups import group
from gateway.cli.invitations import invitation, invite
from gateway.cli.invite_many import invite_many
from gateway.cli.problems import print_problems
from gateway.cli.reports import report
from gateway.cli.smtp import smtp
from gateway.settings import Address, SettingsInvalid, load_settings

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command()(overview)
app.command("status", hidden=True)(overview)
app.command()(invite)
app.command()(backup)
app.command("backup-key")(backup_key)
app.command()(restore)
app.command("invite-many")(invite_many)
app.command()(doctor)
app.add_typer(account, name="account")
app.add_typer(device, name="device")
app.add_typer(group, name="group")
app.add_typer(invitation, name="invitation")
app.add_typer(report, name="report")
app.add_typer(queue, name="queue")
app.add_typer(audit, name="audit")
app.add_typer(token, name="token")
app.add_typer(bridge, name="bridge")
app.add_typer(smtp, name="smtp")
app.command("console-link")(console_link)
app.command("console-people")(console_people)
app.command("console-remove")(console_remove)


@app.callback()
def _about() -> None:
    """TMTP Gateway: the messaging service that lets an organisation leave SMTP."""


@app.command()
def serve(
    config: ConfigOption = Path("gateway.yaml"),
    process: Annotated[
        int,
        typer.Option(min=1, max=99, help="Its number, where several processes serve these instances from PostgreSQL."),
    ] = 1,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where health and metrics of this process are, if not as in the file."),
    ] = None,
) -> None:
    """Run all instances and bridges of a settings file until SIGTERM or Ctrl-C.

    Where all instances are on PostgreSQL, further processes share the work, on the same addresses. Bridges run in one.

    Exit code 75: the others have taken this process for dead; start it again.

    Example: tmtp-gateway serve -c gateway.yaml

    Example: tmtp-gateway serve -c gateway.yaml --process 2 --http 127.0.0.1:8082
    """
    settings = settings_of(config)
    try:
        address = Address.model_validate(http) if http is not None else None
    except ValueError:
        fail(f"--http {http} is no address; for example 127.0.0.1:8082", USAGE)
    if address is not None and not address.loopback:
        fail(f"--http {http} can be reached from outside; give an address of loopback", USAGE)
    embedded = [one.name for one in settings.instances if one.database is None]
    if process > 1 and embedded:
        fail(f"instance {embedded[0]} keeps its data in SQLite, which one process has for itself: no --process", USAGE)
    if process > 1 and address is None:
        fail("--process needs --http: two processes cannot show their health at the same address", USAGE)
    if not config.is_file():  # a pipe, which cannot be read again: what has been read is served here
        serving.serve(settings, process, address)
    serving.become(config, process, http)


@app.command("check-config")
def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", envvar=VARIABLE, callback=found_config)] = Path(
        "gateway.yaml"
    ),
    as_json: JsonOption = False,
) -> None:
    """Name every mistake of a settings file: where, what is wrong, what would be right. Exit code 2 if there are any.

    Without FILE it is the one that the other commands take.

    Example: tmtp-gateway check-config gateway.yaml
    """
    try:
        settings = load_settings(file, open_pictures=True)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", USAGE)
    except SettingsInvalid as invalid:
        if as_json:
            print_json({"ok": False, "problems": [asdict(problem) for problem in invalid.problems]})
        else:
            print_problems(err, file, invalid.problems)
        raise typer.Exit(USAGE) from None
    if as_json:
        print_json({"ok": True, "problems": []})
    else:
        names = ", ".join(instance.name for instance in settings.instances)
        bridges = ", ".join(bridge.name for bridge in settings.bridges.smtp) or "none"
        say(f"{file} is fine: instances: {names}; SMTP bridges: {bridges}")


@app.command("sample-config")
def sample_config() -> None:
    """Print a settings file with every setting, its default and its reason.

    Example: tmtp-gateway sample-config > gateway.yaml
    """
    sys.stdout.write(resources.files("config").joinpath("gateway.yaml").read_text("utf-8"))


def _is_utf8(argument: str) -> bool:
    """Whether it is text; what is not comes with surrogates in it (PEP 383)."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def main() -> None:
    """The program `tmtp-gateway`. Never shows a traceback for what a person can mend."""
    for argument in sys.argv[1:]:
        if not _is_utf8(argument):  # it could be kept nowhere: not in a name, nor a note, nor the audit log
            complain(f"{argument}: it is not UTF-8")
            sys.exit(USAGE)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
