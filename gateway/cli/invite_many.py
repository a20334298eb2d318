# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway invite-many`: a list of people in, an invitation for each out, as a sheet to print (C1, A7)."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.administration import models as m
from gateway.cli.common import (
    FAILED,
    USAGE,
    ConfigOption,
    InstanceOption,
    JsonOption,
    ask_many,
    err,
    expiry_ms,
    fail,
    print_json,
    say,
    settings_of,
    to_its_end,
)
from gateway.cli.invitations import warn_of_own_name
from gateway.files import write_private
from gateway.invitations.people import PeopleInvalid, read_people
from tmtp_core.ids import posted_text
from tmtp_core.text import visible

_TWO_WEEKS: Final = "14d"


def invite_many(
    people: Annotated[Path, typer.Argument(metavar="PEOPLE.CSV", help="One name a line, or a column called name.")],
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    expires: Annotated[str, typer.Option(metavar="TIME", help="For example 12h, 7d or 4w.")] = _TWO_WEEKS,
    to: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE.HTML", help="A new file, to be printed: a card for each.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an invitation for each person of a list: for one use each, all of them or none.

    They are told once, in the sheet that you print or as JSON. Delete both when all have joined.

    Example: tmtp-gateway invite-many people.csv -c gateway.yaml -i members --expires 14d --sheet sheet.html
    """
    if to is None and not as_json:
        fail("say where the invitations go: --sheet sheet.html, or --json", USAGE)
    names = _people(people)
    until_ms = expiry_ms(expires)
    wanted = m.CreateInvitations(notes=names, expires_ms=until_ms)
    title = next((one.announced_title for one in settings_of(config).instances if one.name == instance), instance)
    with to_its_end():
        if to is not None:
            _reserve(to)
        try:
            made = ask_many(config, m.NewInvitation, "invitations.create_many", wanted, instance=instance)
        except BaseException:  # also the second Ctrl-C
            if to is not None:
                to.unlink()
            raise
        _tell(names, made, until_ms, to, title=title, instance=instance, as_json=as_json)


def _tell(
    names: list[str],
    made: list[m.NewInvitation],
    until_ms: int | None,
    to: Path | None,
    *,
    title: str,
    instance: str,
    as_json: bool,
) -> None:
    """The one time that they are told: in the sheet, as JSON, or both."""
    if to is not None:
        from gateway.invitations.sheet import Card, sheet  # noqa: PLC0415 - the QR codes take memory, in `serve` too

        cards = [Card(name, one.link) for name, one in zip(names, made, strict=True)]
        _write(to, sheet(title, cards, _day(until_ms)))
    if as_json:
        ends = posted_text(until_ms) if until_ms is not None else None
        print_json(
            [
                {"name": name, "token": one.token, "link": one.link, "expires": ends}
                for name, one in zip(names, made, strict=True)
            ]
        )
    elif to is not None:
        say(f"{len(made)} invitations to {instance} are in {to}: print it, cut it, hand the cards out, delete it.")
        warn_of_own_name(made[0].link)


def _people(file: Path) -> list[str]:
    """The names in the list, or every mistake of it on the screen."""
    try:
        return read_people(file.read_bytes())
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", USAGE)
    except PeopleInvalid as invalid:
        for mistake in invalid.mistakes:
            for text in (f"{file}:{mistake.line}", f"  wrong: {mistake.wrong}", f"  right: {mistake.right}"):
                err.print(visible(text), markup=False, highlight=False, soft_wrap=True)
        count = len(invalid.mistakes)
        fail(f"{count} mistake{'' if count == 1 else 's'}; nobody was invited.", USAGE)


def _reserve(file: Path) -> None:
    """Take the sheet's place before anything is made: what is told once must not be lost for want of a place."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        fail(f"{file} is there already, and may hold invitations; choose another name, or delete it", USAGE)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}", USAGE)


def _write(file: Path, page: str) -> None:
    try:
        write_private(file, page.encode())
    except OSError as error:
        file.unlink(missing_ok=True)
        mend = "the invitations were made and are lost: see tmtp-gateway invitation list, and revoke them"
        fail(f"{file} cannot be written: {error.strerror}; {mend}", FAILED)


def _day(time_ms: int | None) -> str | None:
    """A moment as a day that people read, in UTC: the last one on which it is surely good."""
    if time_ms is None:
        return None
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
