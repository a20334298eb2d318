# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the commands of `tmtp-gateway` share: options, output, and how they reach the gateway."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console

from gateway.administration import Administration
from gateway.app import DataFolderInUse, Gateway
from gateway.cli.problems import print_problems
from gateway.clock import SystemClock
from gateway.control import SOCKET_NAME, control_client
from gateway.instance import StartFailed
from gateway.settings import Settings, SettingsInvalid, load_settings
from tmtp_core.domain.administration import AccountSummary
from tmtp_core.errors import RequestRefused

T = TypeVar("T")

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
_DURATION: Final = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The settings file.")]
InstanceOption = Annotated[str, typer.Option("--instance", "-i", metavar="NAME", help="Which instance.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
WhoArgument = Annotated[str, typer.Argument(metavar="UID-OR-ALIAS")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def named(one: AccountSummary) -> str:
    """How an account is called."""
    return f"{one.aliases[0]} ({one.uid})" if one.aliases else one.uid


def administer(config: Path, act: Callable[[Administration], Awaitable[T]]) -> T:
    """Ask the running gateway, or act on its data when none runs."""
    settings = settings_of(config)

    async def asked() -> T:
        async with _administration(settings) as administration:
            return await act(administration)

    try:
        return run(asked)
    except RequestRefused as refusal:
        fail(refusal.text, FAILED)


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


def run(work: Callable[[], Coroutine[Any, Any, T]], *, uvloop: bool = False) -> T:
    """Run it to its end; what a person can mend is said plainly."""
    try:
        if uvloop:
            from gateway.cli.serving import new_event_loop  # noqa: PLC0415 - only `serve` needs it

            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                return runner.run(work())
        return asyncio.run(work())
    except DataFolderInUse as error:
        fail(str(error), FAILED)
    except StartFailed as error:
        fail(str(error), FAILED)


def settings_of(config: Path) -> Settings:
    """The settings in a file, or every mistake of it on the screen."""
    try:
        return load_settings(config)
    except OSError as error:
        fail(f"{config} cannot be read: {error.strerror}; make one with: tmtp-gateway sample-config > {config}", USAGE)
    except SettingsInvalid as invalid:
        print_problems(err, config, invalid.problems)
        raise typer.Exit(USAGE) from None


def expiry_ms(expires: str | None) -> int | None:
    """`7d` and the like as milliseconds since 1970."""
    if expires is None:
        return None
    match = _DURATION.fullmatch(expires)
    if match is None:
        fail(f"--expires {expires} is no time; for example 12h, 7d or 4w", USAGE)
    return int((time.time() + int(match[1]) * _SECONDS[match[2]]) * 1000)


def print_json(value: Any) -> None:
    """For scripts."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def fail(text: str, code: int) -> NoReturn:
    """Say it in red and end."""
    err.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(code)
