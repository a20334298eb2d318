# SPDX-License-Identifier: AGPL-3.0-or-later
"""Header fields of hostile mail, read in linear time: RFC 2047 words, RFC 2231 parameters, addresses, message ids.

The standard library's readers of these raise on some fields and need time that grows with the square of others.
"""

import binascii
import re
from collections.abc import Iterator
from email.message import Message
from typing import Final
from urllib.parse import unquote_to_bytes

from bridges import limits
from bridges.mime.charsets import decoded
from bridges.mime.readable import one_line

_WORD: Final = r"[^\s<>(),:;@\"\\\[\]]++"
_PHRASE: Final = r'(?:"(?:[^"\\]|\\.)*+"|[^"<>(),:;@\\])*+'
_ONE_ADDRESS: Final = re.compile(
    rf"\s*+(?:{_PHRASE}<\s*+({_WORD}@{_WORD})\s*+>|({_WORD}@{_WORD}))\s*+(?:\([^()]*+\)\s*+)?"
)
_ENCODED_WORD: Final = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?((?:[^?]|\?(?!=)){0,2000})\?=")
_PARAMETER: Final = re.compile(r';\s*([^\s=;"]{1,80})\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)')
_MAIN_VALUE: Final = re.compile(r"\s*([^\s;/]+/[^\s;/]+|[^\s;/]+)")
_SECTION: Final = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")
_MESSAGE_ID: Final = re.compile(rf"<\s*([^<>\s]{{1,{limits.MESSAGE_ID_MAX_CHARACTERS}}})\s*>")
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/]")


def field(part: "Message[str, str]", name: str) -> str:
    """A field's value, unfolded; the first where it comes more than once; "" where it does not come."""
    return next(fields(part, name), "")


def fields(part: "Message[str, str]", name: str) -> Iterator[str]:
    """The values of all fields of that name, unfolded."""
    for field_name, value in part.raw_items():
        if field_name.lower() == name.lower():
            yield unfolded(value)


def unfolded(value: object) -> str:
    """One line of text; octets that are not ASCII are UTF-8, else what Western programs send."""
    octets = str(value).encode("utf-8", "surrogateescape")
    return re.sub(r"[\r\n]+[ \t]?", " ", decoded(octets, "")[0]).strip()


def words(value: str) -> str:
    """RFC 2047 words decoded, also where they must not stand or are cut within a character; one readable line."""
    value = value[: limits.FIELD_MAX_CHARACTERS]
    pieces: list[tuple[str, bytes] | str] = []
    end = 0
    for match in _ENCODED_WORD.finditer(value):
        between = value[end : match.start()]
        end = match.end()
        charset = match[1].partition("*")[0].lower()  # RFC 2231 §5: a language may follow
        octets = _word_octets(match[2], match[3])
        last = pieces[-1] if pieces else ""
        if between.strip() or (between and isinstance(last, str)):
            pieces.append(between)
        if not between.strip() and isinstance(last, tuple) and last[0] == charset:
            pieces[-1] = (charset, last[1] + octets)  # a character may be split between two words, against RFC 2047 §5
        else:
            pieces.append((charset, octets))
    pieces.append(value[end:])
    return one_line("".join(one if isinstance(one, str) else decoded(one[1], one[0])[0] for one in pieces))


def _word_octets(encoding: str, text: str) -> bytes:
    if encoding in "qQ":
        return binascii.a2b_qp(text.encode("utf-8", "surrogatepass"), header=True)
    letters = _NOT_BASE64.sub("", text)
    return binascii.a2b_base64(letters[: len(letters) - (len(letters) % 4 == 1)] + "==")


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """A structured field's main value in lower case, and its parameters (RFC 2045 §5.1, RFC 2231), names in lower case.

    Of parameters that come twice the first counts; of a plain and an extended one, the extended.
    """
    main = _MAIN_VALUE.match(value)
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    plain: dict[str, str] = {}
    position = value.find(";")
    for _ in range(limits.MIME_PARAMETERS_MAX):
        if position < 0:
            break
        match = _PARAMETER.match(value, position)
        if match is None:
            position = value.find(";", position + 1)
            continue
        position = value.find(";", match.end())
        name = _SECTION.fullmatch(match[1].lower())
        if name is None:
            continue
        content = _unquoted(match[2])
        if name[2] is None and name[3] is None:
            plain.setdefault(name[1], content)
        else:
            sections.setdefault(name[1], {}).setdefault(int(name[2] or 0), (content, name[3] is not None))
    return (main[1].lower() if main else ""), plain | {name: _joined(parts) for name, parts in sections.items()}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value.strip()
    closed = len(value) > 1 and value.endswith('"')
    return re.sub(r'\\(["\\])', r"\1", value[1 : -1 if closed else None])


def _joined(parts: dict[int, tuple[str, bool]]) -> str:
    """RFC 2231 §3 and §4: numbered pieces, some of them with a charset and percent signs."""
    charset, octets = "", b""
    for place, number in enumerate(sorted(parts)):
        content, extended = parts[number]
        if extended and place == 0 and content.count("'") >= 2:
            charset, _, content = content.split("'", 2)
        octets += unquote_to_bytes(content) if extended else content.encode("utf-8", "replace")
    return decoded(octets, charset)[0]


def one_sender(part: "Message[str, str]") -> tuple[str, str]:
    """The one address of the one From field, and what is wrong where anything can be read in two ways (D1)."""
    values = list(fields(part, "From"))
    if len(values) != 1:
        return "", f"it has {len(values)} From headers; exactly one is right"
    match = _ONE_ADDRESS.fullmatch(values[0]) if len(values[0]) <= limits.FROM_MAX_CHARACTERS else None
    if match is None:
        return "", "its From header must name exactly one address: Name <name@domain>"
    return match[1] or match[2], ""


def references(part: "Message[str, str]") -> tuple[str, ...]:
    """The ids of the mails before this one, oldest first (RFC 5322 §3.6.4): the first, and the last of a long list."""
    found = [one for name in ("References", "In-Reply-To") for one in _MESSAGE_ID.findall(field(part, name))]
    unique = list(dict.fromkeys(found))
    return tuple(unique[:1] + unique[1:][-(limits.REFERENCES_MAX - 1) :])
