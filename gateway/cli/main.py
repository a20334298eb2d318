# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway`: serve, check the settings, invite, look after accounts (C1, C4).

Exit codes: 0 done · 1 refused or failed, and said why · 2 wrong usage or settings · 130 interrupted.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from gateway.administration import Act, Administration
from gateway.app import DataFolderInUse, Gateway
from gateway.cli.problems import print_problems
from gateway.clock import SystemClock
from gateway.control import SOCKET_NAME, control_client
from gateway.instance import StartFailed
from gateway.settings import Settings, SettingsInvalid, load_settings
from tmtp_core.domain.administration import AccountSummary
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import posted_text

T = TypeVar("T")

_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130
_UID_CHARACTERS: Final = 32
_DURATION: Final = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
account = typer.Typer(no_args_is_help=True, help="List, bar, unbar and remove accounts.")
app.add_typer(account, name="account")

out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The settings file.")]
InstanceOption = Annotated[str, typer.Option("--instance", "-i", metavar="NAME", help="Which instance.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
WhoArgument = Annotated[str, typer.Argument(metavar="UID-OR-ALIAS")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.callback()
def _about() -> None:
    """TMTP Gateway: the messaging service that lets an organisation leave SMTP."""


@app.command()
def serve(config: ConfigOption = Path("gateway.yaml")) -> None:
    """Run all instances and bridges of a settings file until SIGTERM or Ctrl-C.

    Example: tmtp-gateway serve -c gateway.yaml
    """
    from gateway.cli.serving import serve_until_told  # noqa: PLC0415 - only this command needs it

    settings = _settings(config)
    _run(lambda: serve_until_told(settings), uvloop=True)


@app.command("check-config")
def check_config(file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: JsonOption = False) -> None:
    """Name every mistake of a settings file: where, what is wrong, what would be right. Exit code 2 if there are any.

    Example: tmtp-gateway check-config gateway.yaml
    """
    try:
        settings = load_settings(file)
    except OSError as error:
        _fail(f"{file} cannot be read: {error.strerror}", _USAGE)
    except SettingsInvalid as invalid:
        if as_json:
            _print_json({"ok": False, "problems": [asdict(problem) for problem in invalid.problems]})
        else:
            print_problems(err, file, invalid.problems)
        raise typer.Exit(_USAGE) from None
    if as_json:
        _print_json({"ok": True, "problems": []})
    else:
        names = ", ".join(instance.name for instance in settings.instances)
        out.print(f"{file} is fine: instances {names}; {len(settings.bridges.smtp)} SMTP bridges")


@app.command("sample-config")
def sample_config() -> None:
    """Print a settings file with every setting, its default and its reason.

    Example: tmtp-gateway sample-config > gateway.yaml
    """
    sys.stdout.write(resources.files("config").joinpath("gateway.yaml").read_text("utf-8"))


@app.command()
def invite(
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    uses: Annotated[int, typer.Option(help="How many people may register with it.")] = 1,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="For example 12h, 7d or 4w; default: never.")
    ] = None,
    note: Annotated[str, typer.Option(help="For whom; kept with the invitation.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an invitation: a token, told once, that lets people register on an instance.

    Example: tmtp-gateway invite -c gateway.yaml --instance members --expires 7d --note "Ada, sales"
    """
    expires_ms = _expiry_ms(expires)
    made = _administer(config, lambda admin: admin.create_invitation(instance, uses, expires_ms, note))
    if as_json:
        _print_json({**asdict(made), "expires": posted_text(expires_ms) if expires_ms is not None else None})
        return
    out.print("Give this to the person; it is shown only now:", highlight=False)
    out.print(f"  tmtp join '{made.link}' --alias 'Their Name'", highlight=False, soft_wrap=True)
    out.print(f"The token alone, for other clients: {made.token}", highlight=False, soft_wrap=True)


@account.command("list")
def list_accounts(
    instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Show all accounts of an instance, and how many deliveries wait for each.

    Example: tmtp-gateway account list -c gateway.yaml --instance members
    """
    accounts = _administer(config, lambda admin: admin.list_accounts(instance))
    if as_json:
        _print_json([asdict(one) for one in accounts])
        return
    if not accounts:
        out.print(f"No accounts on {instance} yet. Invite somebody: tmtp-gateway invite --instance {instance}")
        return
    table = Table("aliases", title=f"Accounts on {instance}")
    table.add_column("uid", no_wrap=True, min_width=_UID_CHARACTERS)
    for column in ("devices", "waiting", "role", "status"):
        table.add_column(column)
    for one in accounts:
        aliases = "\n".join(one.aliases) or "(none)"
        table.add_row(aliases, one.uid, str(one.devices), str(one.queued), one.role, one.status)
    out.print(table)


@account.command()
def bar(
    who: WhoArgument, instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Bar an account: its connections end and it cannot log in, until unbarred.

    Example: tmtp-gateway account bar -c gateway.yaml --instance members "Ada Lovelace"
    """
    _act(config, instance, "bar", who, as_json)


@account.command()
def unbar(
    who: WhoArgument, instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Let a barred account in again.

    Example: tmtp-gateway account unbar -c gateway.yaml --instance members "Ada Lovelace"
    """
    _act(config, instance, "unbar", who, as_json)


@account.command()
def remove(
    who: WhoArgument,
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove an account for good, with its devices and what waits for them. Its aliases stay taken for ever (D1).

    Example: tmtp-gateway account remove -c gateway.yaml --instance members "Ada Lovelace"
    """
    if not yes and not typer.confirm(f"Remove {who} from {instance}? What waits for it is lost."):
        _fail("Nothing was removed.", _FAILED)
    _act(config, instance, "remove", who, as_json)


def main() -> None:
    """The program `tmtp-gateway`. Never shows a traceback for what a person can mend."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


# -- inside ----------------------------------------------------------------------------------------------------------
def _act(config: Path, instance: str, act: Act, who: str, as_json: bool) -> None:
    done = _administer(config, lambda admin: admin.administer(instance, act, who))
    if as_json:
        _print_json(asdict(done))
    else:
        out.print(f"{_named(done)} is {done.status}.", highlight=False)


def _named(one: AccountSummary) -> str:
    return f"{one.aliases[0]} ({one.uid})" if one.aliases else one.uid


def _administer(config: Path, act: Callable[[Administration], Awaitable[T]]) -> T:
    """Ask the running gateway, or act on its data when none runs."""
    settings = _settings(config)

    async def run() -> T:
        async with _administration(settings) as administration:
            return await act(administration)

    try:
        return _run(run)
    except RequestRefused as refusal:
        _fail(refusal.text, _FAILED)


@asynccontextmanager
async def _administration(settings: Settings) -> AsyncIterator[Administration]:
    async with control_client(settings.data_dir / SOCKET_NAME) as client:
        if client is not None:
            yield client
            return
    import os  # noqa: PLC0415 - the one source of randomness, where nothing else is handed in

    gateway = Gateway(settings, SystemClock(), os.urandom)
    await gateway.start(listening=False)
    try:
        yield gateway.administration()
    finally:
        await gateway.stop()


def _run(work: Callable[[], Coroutine[Any, Any, T]], *, uvloop: bool = False) -> T:
    try:
        if uvloop:
            from gateway.cli.serving import new_event_loop  # noqa: PLC0415 - only `serve` needs it

            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                return runner.run(work())
        return asyncio.run(work())
    except DataFolderInUse as error:
        _fail(str(error), _FAILED)
    except StartFailed as error:
        _fail(str(error), _FAILED)


def _settings(config: Path) -> Settings:
    try:
        return load_settings(config)
    except OSError as error:
        _fail(
            f"{config} cannot be read: {error.strerror}; make one with: tmtp-gateway sample-config > {config}", _USAGE
        )
    except SettingsInvalid as invalid:
        print_problems(err, config, invalid.problems)
        raise typer.Exit(_USAGE) from None


def _expiry_ms(expires: str | None) -> int | None:
    if expires is None:
        return None
    match = _DURATION.fullmatch(expires)
    if match is None:
        _fail(f"--expires {expires} is no time; for example 12h, 7d or 4w", _USAGE)
    return int((time.time() + int(match[1]) * _SECONDS[match[2]]) * 1000)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _fail(text: str, code: int) -> NoReturn:
    err.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(code)
