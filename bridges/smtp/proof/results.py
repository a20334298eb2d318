# SPDX-License-Identifier: AGPL-3.0-or-later
"""Authentication-Results (RFC 8601), as a mail server in front of the bridge, or a listed ARC sealer, writes them."""

import re
from dataclasses import dataclass
from typing import Final

from bridges.smtp.proof.author import Header

_METHOD: Final = re.compile(r"([a-z][a-z0-9-]*)(?:\s*/\s*1)?\s*=\s*([a-z]+)\b")
_PROPERTY: Final = re.compile(r"\b(smtp|header|body|policy)\s*\.\s*([a-z0-9-]+)\s*=\s*(\"[^\"]*\"|[^\s\";]+)")
_LENGTH_MAX: Final = 16_384
_DEPTH_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Result:
    """One method's result. `properties`: `header.d` and the like, values in lower case without their quotes."""

    method: str
    result: str
    properties: dict[str, str]


@dataclass(frozen=True, slots=True)
class Results:
    """One field: who wrote it, and what he saw."""

    authserv_id: str
    results: tuple[Result, ...]


def parse_results(value: str) -> Results | None:
    """One field's value, comments left out; None for what cannot be read one way only."""
    text = _without_comments(value) if len(value) <= _LENGTH_MAX else None
    if text is None:
        return None
    first, *rest = _split(text)
    names = first.split()
    if not names or (len(names) > 1 and names[1] != "1"):
        return None
    found: list[Result] = []
    for part in rest:
        match = _METHOD.match(part.strip().lower())
        if match is None:
            continue
        properties: dict[str, str] = {}
        for one in _PROPERTY.finditer(part.lower(), match.end()):
            properties.setdefault(f"{one[1]}.{one[2]}", one[3].strip('"'))
        found.append(Result(match[1], match[2], properties))
    return Results(names[0].strip('"').lower(), tuple(found))


def trusted_results(header: Header, authserv_id: str) -> list[Result]:
    """What the server in front says, which the caller knows to be it.

    RFC 8601 §5 has it take out what others wrote in its name. Should it forget to: its own fields stand above theirs,
    so of each method the topmost field counts, and none below the second Received, which it did not write.
    """
    found: list[Result] = []
    seen: set[str] = set()
    received = 0
    for name, value in header.fields:
        received += name == "received"
        if received > 1:
            break
        if name != "authentication-results":
            continue
        results = parse_results(value)
        if results is None or results.authserv_id != authserv_id.lower():
            continue
        found += [one for one in results.results if one.method not in seen]
        seen |= {one.method for one in results.results}
    return found


def _without_comments(value: str) -> str | None:
    """The text without RFC 5322 comments; None where they do not end, or nest too deep."""
    text: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in value:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"' and not depth:
            quoted = not quoted
        elif character == "(" and not quoted:
            depth += 1
        elif character == ")" and depth:
            depth -= 1
            continue
        if depth > _DEPTH_MAX:
            return None
        if not depth:
            text.append(character)
    return None if depth or quoted or escaped else "".join(text)


def _split(text: str) -> list[str]:
    """The parts between semicolons that are not quoted."""
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == ";" and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts
