# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the commands of `tmtp-gateway` share: options, output, and how they reach the gateway."""

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import aiohttp
import msgspec
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gateway.administration import Performs, local_user
from gateway.administration import models as m
from gateway.app import DataFolderInUse, Gateway
from gateway.cli.finding import VARIABLE, found_config
from gateway.cli.problems import print_problems
from gateway.clock import SystemClock
from gateway.control import SOCKET_NAME, control_client
from gateway.instance import StartFailed
from gateway.logs import configure_logs
from gateway.settings import Settings, SettingsInvalid, SmtpBridge, load_bridges, load_settings
from tmtp_core.errors import RequestRefused, ServiceUnavailable
from tmtp_core.limits import DATE_MAX_MS
from tmtp_core.text import visible

T = TypeVar("T")

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
_PATIENCE_S: Final = 10.0  # with who else is about the same data
_PAUSE_S: Final = 0.1
_FILE_COLUMNS: Final = 1_000  # a line in a file or a pipe is as long as it is
_DURATION: Final = re.compile(r"([1-9]\d{0,5})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_out = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _FILE_COLUMNS)
err = Console(stderr=True)

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", help="The settings file.", envvar=VARIABLE, callback=found_config),
]


def _named(value: str) -> str:
    """An argument that names something."""
    if not value:
        raise typer.BadParameter("it is empty")
    return value


InstanceOption = Annotated[
    str, typer.Option("--instance", "-i", metavar="NAME", help="Which instance.", callback=_named)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
WhoArgument = Annotated[str, typer.Argument(metavar="UID-OR-ALIAS", callback=_named)]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="One that nobody has.", callback=_named)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def named(one: m.Account) -> str:
    """How an account is called."""
    name = one.aliases[0] if one.aliases else one.address
    return f"{name} ({one.uid})" if name else one.uid


def ask(config: Path, answer: type[T], operation: str, body: msgspec.Struct | None = None, **arguments: object) -> T:
    """Perform an operation on the running gateway, or on its data when none runs; `answer` is what it answers."""

    async def act(performs: Performs) -> object:
        return await performs.perform(operation, arguments, body)

    answered = administer(config, act)
    assert isinstance(answered, answer)
    return answered


def ask_many(
    config: Path, answer: type[T], operation: str, body: msgspec.Struct | None = None, **arguments: object
) -> list[T]:
    """The same, where it answers a list."""
    return [one for one in ask(config, list, operation, body, **arguments) if isinstance(one, answer)]


def ask_pages(
    config: Path, answer: type[T], operation: str, next_of: Callable[[T], object], **arguments: object
) -> list[T]:
    """All of a list, a page at a time; `next_of`: of the last one that came, for the argument `after`."""

    async def all_pages(performs: Performs) -> list[T]:
        found: list[T] = []
        while True:
            after = next_of(found[-1]) if found else None
            page = await performs.perform(operation, {**arguments, "after": after})
            assert isinstance(page, list)
            found += [one for one in page if isinstance(one, answer)]
            if len(page) < m.PAGE_MAX:
                return found

    return administer(config, all_pages)


def administer(config: Path, act: Callable[[Performs], Awaitable[T]]) -> T:
    """Perform operations on the running gateway, or on its data when none runs."""
    settings = settings_of(config)

    async def asked() -> T:
        async with _performing(settings) as performs:
            return await act(performs)

    return performed(asked)


def performed(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it to its end; what is refused, or cannot be done now, is said plainly."""
    try:
        return run(work)
    except RequestRefused as refusal:
        fail(refusal.text, FAILED)
    except ServiceUnavailable as trouble:
        fail(str(trouble), FAILED)
    except (aiohttp.ClientError, TimeoutError):
        fail(
            "the running gateway did not answer; look at its log. A change may be done all the same: see "
            "tmtp-gateway audit list",
            FAILED,
        )


@contextmanager
def to_its_end() -> Iterator[None]:
    """What is told once must not be made and then lost: Ctrl-C ends the command after the block, a second one at once.

    Raises KeyboardInterrupt.
    """
    interrupted = False

    def wait_for_the_end(number: int, frame: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        complain("this is brought to its end first; Ctrl-C again ends it at once, and what was made is lost")

    before = signal.signal(signal.SIGINT, wait_for_the_end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt


@asynccontextmanager
async def _performing(settings: Settings) -> AsyncIterator[Performs]:
    """The gateway that runs; else one that starts for this and listens to nobody. Who is about to start or to stop, or
    does the same beside this, is waited for. Raises `StartFailed`, `DataFolderInUse`.
    """
    configure_logs("error", "console")  # what is logged is not what was asked for
    import os  # noqa: PLC0415 - the one source of randomness, where nothing else is handed in

    end = time.monotonic() + _PATIENCE_S
    while True:
        async with control_client(settings.data_dir / SOCKET_NAME) as client:
            if client is not None:
                yield client
                return
        gateway = Gateway(settings, SystemClock(), os.urandom)
        try:
            await gateway.start(listening=False)
            break
        except DataFolderInUse:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(_PAUSE_S)
    try:
        yield gateway.administration.on_behalf_of(local_user())
    finally:
        await gateway.stop()


def run(
    work: Callable[[], Coroutine[Any, Any, T]], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> T:
    """Run it to its end; what a person can mend is said plainly. `loop_factory` None: the loop of Python's own."""
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(work())
    except DataFolderInUse as error:
        fail(str(error), FAILED)
    except StartFailed as error:
        fail(str(error), FAILED)


def settings_of(config: Path) -> Settings:
    """The settings in a file, or every mistake of it on the screen."""
    return loaded(config, load_settings)


def loaded(config: Path, load: Callable[[Path], T]) -> T:
    """What a file says, or every mistake of it on the screen."""
    try:
        return load(config)
    except OSError as error:
        fail(f"{config} cannot be read: {error.strerror}; make one with: tmtp-gateway sample-config > {config}", USAGE)
    except SettingsInvalid as invalid:
        print_problems(err, config, invalid.problems)
        raise typer.Exit(USAGE) from None


def bridges_of(config: Path, name: str | None) -> tuple[Settings, SmtpBridge, bool]:
    """The settings, the one bridge of them that is meant, and whether they have instances, too."""
    settings, whole = loaded(config, load_bridges)
    known = {one.name: one for one in settings.bridges.smtp}
    if not known:
        fail(f"{config} has no bridge: see `bridges:` in tmtp-gateway sample-config", USAGE)
    if name is None and len(known) > 1:
        fail(f"{config} has several bridges: say which with --name: {', '.join(known)}", USAGE)
    if name is not None and name not in known:
        fail(f"there is no bridge {name}; the file has: {', '.join(known)}", USAGE)
    return settings, known[name] if name is not None else next(iter(known.values())), whole


def expiry_ms(expires: str | None, examples: str = "12h, 7d or 4w") -> int | None:
    """`7d` and the like as milliseconds since 1970. `examples`: what the command takes."""
    if expires is None:
        return None
    match = _DURATION.fullmatch(expires)
    if match is None:
        fail(f"--expires {expires} is no time; for example {examples}", USAGE)
    until_ms = int((time.time() + int(match[1]) * _SECONDS[match[2]]) * 1000)
    if until_ms > DATE_MAX_MS:
        fail(f"--expires {expires} is beyond the year 9999; leave it out for what never ends", USAGE)
    return until_ms


def say(text: str) -> None:
    """A line for the administrator, in which nothing that members chose steers the terminal (D2)."""
    _out.print(visible(text), soft_wrap=True)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table, as safe as `say`; where it is wider than the terminal, one line a cell, so that nothing is cut."""
    table = Table(*columns, title=Text(visible(title)))
    cells = [[visible(cell) for cell in row] for row in rows]
    for row in cells:
        table.add_row(*map(Text, row))
    if Measurement.get(_out, _out.options, table).maximum <= _out.width:
        _out.print(table)
        return
    say(f"{title}:")
    for row in cells:
        say("")
        for column, cell in zip(columns, row, strict=True):
            say(f"{column}: {cell.replace(chr(10), ', ')}")


def print_json(value: Any) -> None:
    """For scripts: what JSON can say, or structs of `gateway.administration.models`."""
    sys.stdout.write(json.dumps(json.loads(msgspec.json.encode(value)), indent=2, ensure_ascii=False) + "\n")


def complain(text: str) -> None:
    """Say it in red."""
    err.print(visible(text), style="red", highlight=False, markup=False, soft_wrap=True)


def fail(text: str, code: int) -> NoReturn:
    """Say it in red and end."""
    complain(text)
    raise typer.Exit(code)
