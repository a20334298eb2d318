# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages on a terminal: verbatim, nothing rendered, nothing that a sender could steer (D2)."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from tmtp_client.engine.history import Recorded, StoredFile
from tmtp_core.text import visible

_UNITS = ("B", "KiB", "MiB", "GiB")
_KINDS = {"ping": "ping", "invitation": "group invitation", "message": "message", "return": "not delivered"}


def print_message(console: Console, message: Recorded, files: Iterable[StoredFile], *, whole: bool) -> None:
    """One message: who, when, what; the text whole or its first line."""
    arrow = "to" if message.outgoing or message.kind == "return" else "from"
    head = Text.assemble(
        (message.posted[:16].replace("T", " "), "dim"),
        f"  {_KINDS[message.kind]} {arrow} ",
        (visible(message.alias), "bold"),
        (f"  #{message.id[-8:]}", "dim"),
    )
    if not message.seen and not message.outgoing:
        head.append("  new", "green")
    console.print(head, soft_wrap=True)
    if message.subject:
        console.print(Text(f"  {visible(message.subject)}", "bold"), soft_wrap=True)
    lines = visible(message.text).split("\n")
    shown = lines if whole or message.kind != "message" else lines[:1]
    for line in shown:
        console.print(Text(f"  {line}"), soft_wrap=True)
    if len(shown) < len(lines):
        console.print(Text(f"  … {len(lines) - len(shown)} more lines: tmtp read {message.id[-8:]}", "dim"))
    for file in files:
        console.print(Text(f"  attached: {visible(file.name)} ({size_text(file.size)})", "cyan"), soft_wrap=True)


def as_json(message: Recorded, files: Iterable[StoredFile]) -> dict[str, Any]:
    """One message for scripts."""
    values: dict[str, Any] = {name: getattr(message, name) for name in Recorded.__dataclass_fields__}
    values["attachments"] = [{"name": file.name, "size": file.size, "path": file.path} for file in files]
    return values


def size_text(size: int) -> str:
    """A size for people."""
    amount = float(size)
    for unit in _UNITS[:-1]:
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} {_UNITS[-1]}"
