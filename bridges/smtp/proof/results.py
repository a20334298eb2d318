# SPDX-License-Identifier: AGPL-3.0-or-later
"""Authentication-Results (RFC 8601), as a mail server in front of the bridge, or a listed ARC sealer, writes them."""

import re
from dataclasses import dataclass
from typing import Final

from bridges.smtp.proof.author import Header

# White space is what RFC 5322 calls so: a local part outside ASCII may hold what Unicode calls so.
_BLANK: Final = r"[ \t\r\n]"
_METHOD: Final = re.compile(rf"([a-z][a-z0-9-]*)(?:{_BLANK}*/{_BLANK}*1)?{_BLANK}*={_BLANK}*([a-z]+)(?={_BLANK}|$)")
_PAIR: Final = re.compile(
    rf"{_BLANK}++([a-z][a-z0-9_-]*)(?:{_BLANK}*+\.{_BLANK}*+([a-z0-9_-]+))?{_BLANK}*+={_BLANK}*+"
    rf'("[^"]*+"|[^ \t\r\n";]++)(?={_BLANK}|$)'
)
_TYPES: Final = frozenset({"smtp", "header", "body", "policy"})
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
    """One field's value, comments left out; None for what cannot be read one way only.

    What a stranger may choose stands in it, above all the local part of MAIL FROM, and not every server quotes that as
    RFC 8601 §2.2 wants it. So a value is a whole token or a whole quoted string and a blank follows it, and a field
    with a backslash, or with anything that is no such pair, is unreadable as a whole.
    """
    text = _without_comments(value) if len(value) <= _LENGTH_MAX and "\\" not in value else None
    if text is None:
        return None
    first, *rest = _split(text)
    names = first.split()
    if not names or (len(names) > 1 and names[1:] != ["1"]):
        return None
    found: list[Result] = []
    for part in (one.strip(" \t\r\n").lower() for one in rest):
        if part in ("", "none"):
            continue
        result = _result(part)
        if result is None:
            return None
        found.append(result)
    return Results(names[0].strip('"').lower(), tuple(found))


def _result(part: str) -> Result | None:
    """One method's result with its properties; `reason` and other words that are no property are dropped."""
    match = _METHOD.match(part)
    if match is None:
        return None
    properties: dict[str, str] = {}
    position = match.end()
    while position < len(part):
        pair = _PAIR.match(part, position)
        if pair is None:
            return None
        position = pair.end()
        if pair[2] is None or pair[1] not in _TYPES:
            continue
        if properties.setdefault(f"{pair[1]}.{pair[2]}", pair[3].strip('"')) != pair[3].strip('"'):
            return None
    return Result(match[1], match[2], properties)


def trusted_results(header: Header, authserv_id: str) -> list[Result]:
    """What the server in front says, which the caller knows to be it.

    RFC 8601 §5 has it take out what others wrote in its name. Should it forget to: its own fields stand above theirs,
    so of each method the topmost field counts, and none below the second Received, which it did not write. Below a
    field that cannot be read nothing is believed: it may be its own, made so by a stranger's words in it.
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
        if results is None:
            break
        if results.authserv_id != authserv_id.lower():
            continue
        found += [one for one in results.results if one.method not in seen]
        seen |= {one.method for one in results.results}
    return found


def _without_comments(value: str) -> str | None:
    """The text with a blank for each RFC 5322 comment; None where comments or quotes do not end, or are one in the
    other, or nest too deep."""
    text: list[str] = []
    depth, quoted = 0, False
    for character in value:
        if character == '"':
            if depth:
                return None  # a stranger's local part in a comment
            quoted = not quoted
        elif character == "(" and not quoted:
            depth += 1
        elif character == ")" and depth:
            depth -= 1
            text.append(" " * (not depth))
            continue
        if depth > _DEPTH_MAX:
            return None
        if not depth:
            text.append(character)
    return None if depth or quoted else "".join(text)


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
