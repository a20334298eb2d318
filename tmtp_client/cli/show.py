# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages and lists on a terminal: verbatim, nothing rendered, nothing that a sender could steer (D2)."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tmtp_client.api import models as m
from tmtp_client.cli.common import ending
from tmtp_core.text import visible

_UNITS: Final = ("B", "KiB", "MiB", "GiB")
_KINDS: Final = {
    "ping": "ping",
    "invitation": "group invitation",
    "message": "message",
    "note": "note",
    "return": "not delivered",
    "notice": "notice",
}
_STATES: Final[dict[m.MessageState, str]] = {
    "sealed": "sealed; this device has no key for it, and has asked",
    "partial": "a large file of it is still coming",
    "unreadable": "it makes no sense, and is kept as it came",
    "unconfirmed": "forwarded by another; its author has not confirmed it",
}
_BEGINS, _ENDS = "\ue000", "\ue001"  # around what a search matched


def print_message(
    console: Console, message: m.Message, *, whole: bool, account: str = "", text: Text | None = None
) -> None:
    """One message: who, when, what; the text whole or its first line. `text`: what is shown instead of it."""
    arrow = "to" if message.outgoing or message.kind == "return" else "from"
    head = Text.assemble(
        (message.posted[:16].replace("T", " "), "dim"),
        f"  {_KINDS[message.kind]} {arrow} ",
        (visible(", ".join(message.to) or message.alias), "bold"),
        "" if message.verified else " (unverified)",
        (f"  #{ending(message.id)}", "dim"),
    )
    if account:
        head.append(f"  {account}", "cyan")
    if message.suite:
        head.append("  sealed", "green")
    if not message.seen and not message.outgoing:
        head.append("  new", "green")
    if message.mentions:
        head.append("  names you", "yellow")
    console.print(head, soft_wrap=True)
    if message.subject:
        console.print(Text(f"  {visible(message.subject)}", "bold"), soft_wrap=True)
    if text is not None:
        console.print(Text("  ").append_text(text), soft_wrap=True)
    else:
        _print_text(console, message, whole=whole or message.kind != "message")
    for file in message.attachments:
        console.print(Text(f"  attached: {_file_text(file)}", "cyan"), soft_wrap=True)
    if message.state in _STATES:
        console.print(Text(f"  {_STATES[message.state]}", "yellow"), soft_wrap=True)
    for doubt in message.doubts:
        console.print(Text(f"  mind: {visible(doubt)}", "red"), soft_wrap=True)


def _print_text(console: Console, message: m.Message, *, whole: bool) -> None:
    lines = visible(message.text).split("\n") if message.text else []
    shown = lines if whole else lines[:1]
    for line in shown:
        console.print(Text(f"  {line}"), soft_wrap=True)
    if len(shown) < len(lines):
        console.print(Text(f"  … {len(lines) - len(shown)} more lines: tmtp read {ending(message.id)}", "dim"))


def _file_text(file: m.Attachment) -> str:
    here = "" if file.have == file.size else f", {size_text(file.have)} here"
    kind = {"file": "", "form": "form ", "filled": "answers to form "}[file.kind]
    return f"{kind}{visible(file.name)} ({size_text(file.size)}{here})"


def snippet_text(snippet: str) -> Text:
    """What a search found, with what matched in it in bold."""
    shown = Text()
    for piece in snippet.split(_ENDS):
        before, _, matched = piece.partition(_BEGINS)
        shown.append(visible(before).replace("\n", " "))
        shown.append(visible(matched).replace("\n", " "), "bold")
    return shown


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A list; nothing in a cell steers the terminal. The first column is never cut."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.print(table)


def size_text(size: int) -> str:
    """A size for people."""
    amount = float(size)
    for unit in _UNITS[:-1]:
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} {_UNITS[-1]}"
