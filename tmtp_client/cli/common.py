# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the commands of `tmtp` share: options, output, the home, and how problems become plain words and exit codes."""

import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from tmtp_client import limits
from tmtp_client.api.frames import ErrorCode, Problem
from tmtp_core.text import visible

FAILED: Final = 1
USAGE: Final = 2
NOT_NOW: Final = 3
INTERRUPTED: Final = 130
_CODES: Final[dict[ErrorCode, int]] = {"usage": USAGE, "locked": NOT_NOW, "not_now": NOT_NOW, "unseen_keys": NOT_NOW}
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
# Fields of which the text says what is meant; nobody has typed their names on the command line.
_PLAIN_FIELDS: Final = frozenset(
    (
        "",
        "account",
        "address",
        "alias",
        "answer",
        "due_ms",
        "form",
        "gid",
        "name",
        "new",
        "note",
        "offer",
        "path",
        "place",
        "shown",
        "text",
        "value",
        "words",
    )
)
_ENDING: Final = 8  # characters of an id that are shown, and are enough to name it
_SHOWN: Final = 80  # characters of what was typed for a time and is none
LOCKED: Final = (
    "The history is locked. On a terminal you are asked for the passphrase; a script names a file that has it: "
    "TMTP_PASSPHRASE_FILE. With tmtp daemon running, tmtp unlock opens it for all"
)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AccountOption = Annotated[
    str,
    typer.Option(
        "--account",
        "-a",
        "--profile",
        "-p",
        metavar="NAME",
        help="Which of your accounts; --profile is its older name.",
        envvar=["TMTP_ACCOUNT", "TMTP_PROFILE"],
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether you mean it.")]


def default_home() -> Path:
    """`TMTP_HOME`, else the desktop's folder for data."""
    named = os.environ.get("TMTP_HOME")
    if named:
        return Path(named).absolute()
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tmtp"
    except RuntimeError:  # neither the environment nor the system knows one, as for a container's user
        fail("You have no home directory here; say which folder to use: TMTP_HOME", USAGE)


# -- saying ----------------------------------------------------------------------------------------------------------
def say(text: str, *, to: Console = out, style: str = "") -> None:
    """One line. Names and errors come from others: they steer no terminal."""
    to.print(Text(visible(text), style), soft_wrap=True)


def warn(text: str) -> None:
    """The same for what a person should know beside the answer."""
    say(text, to=err, style="yellow")


def fail(text: str, code: int) -> NoReturn:
    """Say it in red and end."""
    say(text, to=err, style="red")
    raise typer.Exit(code)


def fail_by(problem: Problem) -> NoReturn:
    """Say why something was not done, and end with the code for it."""
    if problem.code == "locked":
        fail(LOCKED, NOT_NOW)
    text = problem.text
    if problem.code == "usage" and problem.field not in _PLAIN_FIELDS and not text.startswith(problem.field):
        text = f"{problem.field}: {text}"
    if problem.code == "not_found" and problem.field == "message":
        text += ". tmtp inbox and tmtp thread show their ids"
    if problem.code == "not_found" and problem.field == "to":
        text += ". If they have answered that, look first: tmtp inbox"
    # A file's name stands as it is called.
    fail(text if problem.field == "path" else text[:1].upper() + text[1:], _CODES.get(problem.code, FAILED))


def print_json(value: Any) -> None:
    """For scripts: structs with all their fields, also those that are as they are by default."""
    print_octets(msgspec.json.format(msgspec.json.encode(plain(value)), indent=2) + b"\n")


def print_json_line(value: Any) -> None:
    """The same on one line: for what comes one by one."""
    print_octets(msgspec.json.encode(plain(value)) + b"\n")


def print_octets(octets: bytes) -> None:
    """What programs read, in its own encoding, whatever the terminal's is; it has left this process when this returns.

    A recovery sheet is told once: it must not wait in a buffer that may never be taken. Raises OSError.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(octets)
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """A struct, or some of them, as what JSON has."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(one) for name, one in msgspec.structs.asdict(value).items()}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def print_qr(text: str) -> None:
    """For a camera; a text that is not shown on a terminal is carried otherwise."""
    if out.is_terminal:
        import segno  # noqa: PLC0415 - of all commands two draw

        segno.make_qr(text, error="m").terminal(out=sys.stdout, compact=True, border=2)


# -- asking ----------------------------------------------------------------------------------------------------------
def text_of(argument: str) -> str:
    """What was typed, or with `-` what standard input has."""
    return utf8(sys.stdin.read(limits.TEXT_MAX_BYTES + 1)) if argument == "-" else argument


def utf8(text: str) -> str:
    """What standard input gave. Ends the command where it is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        fail("The text is no valid UTF-8; is the terminal set to another encoding?", USAGE)
    return text


# -- times, ids ------------------------------------------------------------------------------------------------------
def moment_ms(text: str, option: str) -> int:
    """`30m`, `3h`, `2d`, `1w` from now, or a date, or date and time of this device; milliseconds since 1970."""
    try:
        if text[-1:] in _UNITS and text[:-1].isdecimal():
            at_ms = time.time_ns() // 1_000_000 + 1000 * int(text[:-1]) * _UNITS[text[-1]]
        else:
            at_ms = int(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        at_ms = -1
    if not 0 <= at_ms <= limits.STAMP_MAX_MS:
        fail(f"{option} takes 30m, 3h, 2d, 1w, or a time such as {_example()}; not {text[:_SHOWN]}", USAGE)
    return at_ms


def _example() -> str:
    return f"'{(datetime.now().astimezone() + timedelta(days=1)).strftime('%Y-%m-%d')} 09:00'"


def time_text(at_ms: int) -> str:
    """For people, as this device has it; empty for no time."""
    try:
        return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M") if at_ms else ""
    except (ValueError, OverflowError, OSError):  # the last day that there is lies in the year 10000 somewhere
        return "the end of time"


def ending(id: str) -> str:
    """Enough of an id to name it."""
    return id[-_ENDING:]


def bare(id: str) -> str:
    """An id as it was typed, without the mark that stands before those that are shown. Ends the command for none: every
    id ends in nothing.
    """
    return id.removeprefix("#") or fail("say an ID: the end of one, as the lists show it", USAGE)
