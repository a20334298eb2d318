# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the commands of `tmtp` share: options, output, the account, and how errors become plain words."""

import asyncio
import json
import secrets
import ssl
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from tmtp_client.connection import Disconnected, LogInRefused, Refused, WrongService
from tmtp_client.engine.history import History, Identity
from tmtp_client.engine.profile import Profile, default_home
from tmtp_core.names import NameRefused, check_name
from tmtp_core.text import visible

FAILED: Final = 1
USAGE: Final = 2
NOT_NOW: Final = 3
INTERRUPTED: Final = 130
_MENDS: Final = {"authentication required": ". Your sign-in has ended; sign in again: tmtp sign-in"}

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", metavar="NAME", help="Which of your accounts.", envvar="TMTP_PROFILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@dataclass(frozen=True, slots=True)
class Account:
    """One of the person's accounts on this device."""

    profile: Profile
    history: History
    identity: Identity


def profile_of(name: str) -> Profile:
    """The profile of this name, whether it has an account or not."""
    try:
        return Profile(default_home(), name)
    except ValueError as error:
        fail(str(error), USAGE)


def account_of(name: str) -> Account:
    """The account of a profile that has joined."""
    profile = profile_of(name)
    history = profile.open()
    identity = history.identity()
    if identity is None:
        fail(f"the profile {name} has joined no service yet; see tmtp join --help", USAGE)
    return Account(profile, history, identity)


def check_alias(name: str) -> None:
    """Said here, before an invitation is spent on it."""
    try:
        check_name(name)
    except (NameRefused, UnicodeEncodeError) as refused:
        fail(f"That cannot be a name: {refused}", USAGE)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it to its end; what a person can mend is said plainly."""
    try:
        return asyncio.run(work)
    except WrongService as error:
        fail(str(error), FAILED)
    except Refused as refused:
        fail(f"The service refused it: {refused}", FAILED)
    except LogInRefused as refused:
        fail(f"The service says: {refused}{_MENDS.get(str(refused), '')}", FAILED)
    except Disconnected as error:
        fail(f"The service says: {error}", FAILED)
    except ssl.SSLCertVerificationError as error:
        fail(f"The certificate cannot be trusted ({error.verify_message}); a self-signed service needs --pin", FAILED)
    except (OSError, TimeoutError) as error:
        fail(f"The service cannot be reached: {error or 'no answer'}", NOT_NOW)


def new_request_id() -> str:
    """One that no other request has."""
    return secrets.token_hex(12)


def print_json(value: Any) -> None:
    """For scripts."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def reason_of(error: OSError | SQLAlchemyError) -> str:
    """Why a file or a database cannot be used."""
    return (error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]) or type(error).__name__


def say(text: str, *, to: Console = out, style: str = "") -> None:
    """One line. Names and errors come from others: they steer no terminal."""
    to.print(Text(visible(text), style), soft_wrap=True)


def fail(text: str, code: int) -> NoReturn:
    """Say it in red and end."""
    say(text, to=err, style="red")
    raise typer.Exit(code)
