# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the engine and the service can say to a person, read out of their source: for whoever has it in another language.

A sentence is a string of two words and more that is no docstring, with `{}` for what is put in. What begins with the
name of a field, a rule or a step of the wire is taken without it, as the pages do.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_CLIENT: Final = ROOT / "tmtp_client"
_CORE: Final = ROOT / "tmtp_core"

SILENT: Final = {
    "cli": "prints English for whoever typed a command",
    "web": "has its own words",
    "look": "has no words",
    "program.py": "prints for whoever typed a command",
    "api/generate.py": "writes the document",
    "api/schema.py": "writes the document",
    "api/models": "says nothing",
    "api/operations": "is what the document says",
    "api/opening.py": "speaks to whoever typed `tmtp open`",
    "api/connecting.py": "speaks to whoever typed a command",
    "api/client.py": "speaks to programs",
    "api/guards.py": "speaks before a page is let in",
    "api/server.py": "speaks before a page is let in",
    "api/socket.py": "speaks to programs that make no sense",
    "api/pages.py": "speaks where there are no pages",
    "engine/takeover.py": "speaks to whoever typed `tmtp takeover`",
    "engine/rendering.py": "makes markup",
    "store/tables.py": "is the schema",
    "store/export.py": "writes files in their own formats",
    "vault/slots.py": "tells what is wrong with a damaged file, which is said in words by its vault",
}
"""What of the client is not read, by its path or its folder's, and why."""

SERVICE: Final = (
    "asking.py", "session.py", "domain/accounts.py", "domain/acquaintance.py", "domain/admission.py", "domain/device_log.py",
    "domain/devices.py", "domain/directory.py", "domain/groups.py", "domain/invitations.py", "domain/naming.py",
    "domain/posting.py", "domain/presence.py", "domain/quotas.py", "domain/registering.py", "domain/reports.py", "domain/retelling.py",
    "domain/returns.py", "domain/sign_in.py", "wire/revision2.py", "crypto/account_log.py", "crypto/content_key.py", "crypto/envelope.py",
    "crypto/safety_number.py", "names.py", "wire/address.py",
)  # fmt: skip
"""What of the core has words that a person's client shows: the service's refusals, and rules that both sides know."""

_SENTENCE: Final = re.compile(r"[a-z]{2,}\W? \W?[a-z{]|[a-z}]\W? [a-z]{2,}")
_NAMED: Final = re.compile(r"\{\w+\}")  # of str.format
_OTHER: Final = re.compile(r"^<!|^HTTP/|\b(SELECT|INSERT|UPDATE|DELETE|PRAGMA|CREATE|FROM|JOIN|AND|NOT) ")
_STEP: Final = re.compile(r"^(?:[A-Za-z_]\w*|\d+|\{\}): ")
_ERRORS: Final = re.compile(r"^## Errors$(.*?)^## ", re.MULTILINE | re.DOTALL)
_LOGS: Final = frozenset({"debug", "info", "warning", "error", "exception", "report()"})


def of_client() -> dict[str, str]:
    """Each sentence of the engine and its rooms, and where it stands."""
    found: dict[str, str] = {}
    for path in sorted(_CLIENT.rglob("*.py")):
        name = path.relative_to(_CLIENT).as_posix()
        if not any(name == one or name.startswith(f"{one}/") for one in SILENT):
            found.update({text: f"tmtp_client/{name}:{line}" for line, text in said_in(path)})
    return found


def of_service() -> dict[str, str]:
    """Each sentence of the core with which it refuses something, and where it stands."""
    found: dict[str, str] = {}
    for name in SERVICE:
        for line, text in said_in(_CORE / name):
            found.update({text: f"tmtp_core/{name}:{line}"})
    return found


def of_protocol() -> set[str]:
    """The words with which a service ends a link or refuses a log-in, as docs/protocol.md lists them."""
    table = _ERRORS.search((ROOT / "docs" / "protocol.md").read_text("utf-8"))
    assert table is not None
    rows = (row.split("|")[1] for row in table[1].splitlines() if row.startswith("| `"))
    return {text for row in rows for text in re.findall(r"`([^`]+)`", row)}


def said_in(path: Path) -> Iterator[tuple[int, str]]:
    """The sentences of one module, with their lines."""
    tree = ast.parse(path.read_text("utf-8"))
    silent = {id(node) for one in ast.walk(tree) for node in _silent(one)}
    for node in ast.walk(tree):
        text = None if id(node) in silent else _text(node)
        text = text and _NAMED.sub("{}", text)
        if text and _SENTENCE.search(text.replace("{}", "x")) and not _OTHER.search(text):
            yield getattr(node, "lineno", 0), _STEP.sub("", text.strip())


def _silent(node: ast.AST) -> Iterator[ast.AST]:
    """What of a node is no sentence: docstrings, parts of an f-string, what a log gets."""
    if isinstance(node, ast.Expr):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield from node.values
    elif isinstance(node, ast.Call) and _name(node.func) in _LOGS:
        yield from (part for argument in node.args for part in ast.walk(argument))


def _name(called: ast.expr) -> str:
    """Of what is called: a method's, or, with a bracket behind it, a function's."""
    if isinstance(called, ast.Attribute):
        return called.attr
    return f"{called.id}()" if isinstance(called, ast.Name) else ""


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values)
        return "".join(parts)
    return None
