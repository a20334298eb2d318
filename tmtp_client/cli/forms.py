# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp form`: ask several people the same questions, answer, and see the answers as a table (docs/client.md)."""

import contextlib
import re
import sys
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final

import msgspec
import typer

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.api.problems import ProblemError
from tmtp_client.cli.asking import line
from tmtp_client.cli.common import (
    USAGE,
    AccountOption,
    JsonOption,
    bare,
    ending,
    err,
    fail,
    out,
    print_json,
    print_octets,
    say,
    text_of,
    warn,
)
from tmtp_client.cli.sending import at_once, send_and_tell
from tmtp_client.cli.session import account_of, fetched, run
from tmtp_client.cli.show import print_table

_ASK: Final = re.compile(
    r"(?P<name>[^\s!]+)(?P<required>!?)\s+(?P<type>\w+)(?:\((?P<within>.*?)\))?(?:\s+(?P<title>.+))?"
)
_BOUNDS: Final = re.compile(r"(-?[0-9.]*?)\.\.(-?[0-9.]*)")
_EXAMPLES: Final = "'day! date Which day?', 'dish one(soup|bread) What?', 'guests integer(0..10)', 'notes text'"
_HINTS: Final[dict[str, str]] = {
    "long": "a text",
    "number": "a number",
    "integer": "a whole number",
    "yes": "yes or no",
    "date": "a date such as 2026-11-24",
}
_YES: Final = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}

FormArgument = Annotated[str, typer.Argument(metavar="ID", help="Of the message that has the form, or its end.")]
PlaceOption = Annotated[int | None, typer.Option("--place", min=0, help="Which, where a message has several forms.")]

form = typer.Typer(no_args_is_help=True, help="Forms: ask questions, answer them, and see the answers as a table.")


# -- asking ----------------------------------------------------------------------------------------------------------
@form.command("write")
def write(
    to: Annotated[str, typer.Argument(help="Whom: an alias or a group you know, or a uid.")],
    text: Annotated[str, typer.Argument(help="What you say to it; - reads it from standard input.")] = "",
    ask: Annotated[
        list[str] | None, typer.Option("--ask", "-q", metavar="QUESTION", help="A question; comes again for each.")
    ] = None,
    title: Annotated[str, typer.Option("--title", "-t", help="What the form is called.")] = "",
    also: Annotated[list[str] | None, typer.Option("--also", metavar="NAME", help="To these, too.")] = None,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a form. A question is a name, its type and the words that are shown; ! behind the name: it must be answered.

    Types: text, long, number, integer, yes, date; one(a|b) and many(a|b) of these choices; text(80), integer(1..9)
    say how long or how much an answer may be.

    Example: tmtp form write 'Bob Builder' --title Dinner -q 'day! date Which day?' -q 'dish one(soup|bread) What?'
    """
    fields = tuple(_question(one) for one in ask or ())
    if not fields:
        fail(f"say what you ask: --ask {_EXAMPLES}", USAGE)
    blank = m.Form("", title or "Form", fields)
    typed = text_of(text) if text else ""

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        asked = o.Send(of.name, (to, *(also or ())), title, typed, form=blank, delay_s=0)
        waiting: m.Waiting = await client.call("messages.send", asked)
        return waiting

    send_and_tell(compose, account, as_json=as_json)


def _question(text: str) -> m.FormField:
    """Ends the command for what is none; what only the engine knows to be wrong it says."""
    found = _ASK.fullmatch(text.strip())
    type_, within = (found["type"].lower(), found["within"] or "") if found else ("", "")
    made: dict[str, Any] = {}
    if type_ in {"one", "many"}:
        made["choices"] = [one.strip() for one in within.split("|") if one.strip()]
    elif type_ in {"number", "integer"} and (bounds := _BOUNDS.fullmatch(within)):
        made |= {name: _number(value) for name, value in zip(("minimum", "maximum"), bounds.groups(), strict=True)}
    elif type_ in {"text", "long"} and within.isdecimal():
        made["longest"] = int(within)
    elif within:
        found = None
    if found is None:
        fail(f"--ask takes {_EXAMPLES}; not {text}", USAGE)
    named = {"name": found["name"], "type": type_, "title": found["title"] or found["name"]}
    try:
        return msgspec.convert({**named, "required": bool(found["required"]), **made}, m.FormField)
    except msgspec.ValidationError:
        fail(f"--ask takes {_EXAMPLES}; not {text}", USAGE)


def _number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text  # which is refused as what it is


# -- answering -------------------------------------------------------------------------------------------------------
@form.command("show")
def show(
    message_id: FormArgument, place: PlaceOption = None, account: AccountOption = "", as_json: JsonOption = False
) -> None:
    """What a form asks.

    Example: tmtp form show 1f2e3d4c
    """

    async def work(client: Client) -> m.Form:
        of = await account_of(client, account)
        return (await _blank(client, of.name, message_id, place))[2]

    asked = run(work)
    if as_json:
        print_json(asked)
        return
    say(asked.title, style="bold")
    rows = [(one.name, one.title, _hint(one), "must be answered" if one.required else "") for one in asked.fields]
    print_table(out, ("name", "question", "answer", ""), rows)


@form.command("fill")
def fill(
    message_id: FormArgument,
    answers: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=ANSWER]…", help="Without any you are asked; a|b: several.")
    ] = None,
    text: Annotated[str, typer.Option("--text", help="What you say to it.")] = "",
    place: PlaceOption = None,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Answer a form. The answer goes to who asked; of your own form to its conversation.

    Example: tmtp form fill 1f2e3d4c day=2026-12-24 dish=soup
    """
    given = [one.partition("=") for one in answers or ()]
    if wrong := next((name for name, equals, _ in given if not equals), ""):
        fail(f"an answer is NAME=ANSWER; not {wrong}", USAGE)
    typed = text_of(text) if text else ""

    filled: list[o.FillForm] = []

    async def ask(client: Client, of: m.Account) -> None:
        id, at, asked = await _blank(client, of.name, message_id, place)
        by_name = {one.name: one for one in asked.fields}
        if not given and not sys.stdin.isatty():
            questions = ", ".join(f"{one.name}{'!' if one.required else ''} ({_hint(one)})" for one in asked.fields)
            fail(f"say what you answer, NAME=ANSWER: {questions}", USAGE)
        values = {name: _value(by_name[name], value) if name in by_name else value for name, _, value in given}
        for one in asked.fields if not given else ():
            values[one.name] = await _asked(one)
        filled.append(o.FillForm(of.name, id, at, values, typed))

    async def compose(client: Client, of: m.Account) -> m.Waiting:
        return await at_once(client, of, await client.call("messages.fill", filled[0]))

    send_and_tell(compose, account, as_json=as_json, first=ask)


async def _blank(client: Client, account: str, message_id: str, place: int | None) -> tuple[str, int, m.Form]:
    """The message, the place in it, and the form that is there. Ends the command where there is none."""
    message: m.Message = await client.call("messages.show", o.OfMessage(account, bare(message_id)))
    one = _chosen([one for one in message.attachments if one.kind == "form"], place)
    asked = o.OfForm(account, one.form, message.id, one.place)
    table: m.FormAnswers = await client.call("forms.answers", asked)
    return message.id, one.place, table.form


async def _asked(one: m.FormField) -> Any:
    """On a terminal, until it is an answer. What only the engine judges, length and bounds, it says afterwards."""
    if one.help:
        say(one.help, to=err, style="dim")
    while True:
        typed = await line(f"{one.title or one.name}{'' if one.required else ' (or nothing)'} [{_hint(one)}]")
        value = _value(one, typed.strip())
        if _fits(one, value):
            return value
        warn(f"It must be {_hint(one)}.")


def _fits(one: m.FormField, value: Any) -> bool:
    if value in ("", []):
        return not one.required
    if one.choices:
        return all(choice in one.choices for choice in (value if isinstance(value, list) else [value]))
    if one.type == "date":
        with contextlib.suppress(ValueError):
            return bool(date.fromisoformat(value))
        return False
    return one.type in {"text", "long"} or not isinstance(value, str)


def _value(one: m.FormField, typed: str) -> Any:
    """As the form wants it; what is no such thing is handed on, and refused in the engine's words."""
    match one.type:
        case "yes":
            return _YES.get(typed.strip().lower(), typed)
        case "many":
            return [choice.strip() for choice in typed.split("|") if choice.strip()]
        case "number" | "integer":
            try:
                return float(typed) if one.type == "number" else int(typed)
            except ValueError:
                return typed
    return typed


def _hint(one: m.FormField) -> str:
    if one.choices:
        return f"{'some' if one.type == 'many' else 'one'} of {' | '.join(one.choices)}"
    bounds = [f"{one.minimum:g} or more" if one.minimum is not None else ""]
    bounds += [f"{one.maximum:g} or less" if one.maximum is not None else ""]
    bounds += [f"{one.longest} characters at most" if one.longest else ""]
    return ", ".join(bound for bound in (_HINTS.get(one.type, "a line of text"), *bounds) if bound)


# -- what was answered -----------------------------------------------------------------------------------------------
@form.command("answers")
def answers(
    id: Annotated[str, typer.Argument(metavar="ID", help="Of the message that has the form, or the form's own.")],
    place: PlaceOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, for a spreadsheet.")] = False,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """What was answered to a form, as a table.

    Example: tmtp form answers 1f2e3d4c --csv > answers.csv
    """

    if csv and as_json:
        fail("either --csv or --json", USAGE)

    async def work(client: Client) -> tuple[m.FormAnswers | m.Text, int]:
        of = await account_of(client, account)
        asked = await _of_form(client, of.name, bare(id), place)
        code = await fetched(client, [of.name])
        table: m.FormAnswers | m.Text = await client.call("forms.csv" if csv else "forms.answers", asked)
        return table, code

    found, code = run(work)
    if isinstance(found, m.Text):
        print_octets(found.text.encode())
    elif as_json:
        print_json(found)
    else:
        say(found.form.title, style="bold")
        titles = [one.title or one.name for one in found.form.fields]
        rows = [
            (f"#{ending(message)}", posted[:16].replace("T", " "), alias, *map(_cell, values))
            for message, _, alias, posted, *values in found.rows
        ]
        print_table(out, ("message", "when", "who", *titles), rows)
        if found.more:
            warn("There are more answers than a table holds: earlier ones of the same people are left out.")
    if code:
        raise typer.Exit(code)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value))
    return str(value)


async def _of_form(client: Client, account: str, id: str, place: int | None) -> o.OfForm:
    """The form that a message has, or answers; what names no message is taken for a form's own name."""
    try:
        message: m.Message = await client.call("messages.show", o.OfMessage(account, id))
    except ProblemError as error:
        if error.problem.code != "not_found":
            raise
        return o.OfForm(account, id)
    one = _chosen([one for one in message.attachments if one.kind in {"form", "filled"}], place)
    return o.OfForm(account, one.form, message.id, one.place)


def _chosen(forms: Sequence[m.Attachment], place: int | None) -> m.Attachment:
    """The form that is meant of those of a message. Ends the command where it is none, or one of several."""
    found = [one for one in forms if place in {one.place, None}]
    if len(found) != 1:
        places = ", ".join(str(one.place) for one in found)
        fail(f"the message has several forms; say which: --place {places}" if found else "no form is there", USAGE)
    return found[0]
