# SPDX-License-Identifier: AGPL-3.0-or-later
"""Strangers' text made safe to read (D2), format=flowed undone (RFC 3676), quotes marked and never deleted."""

import re
import unicodedata
from typing import Final
from urllib.parse import urlsplit

from bridges import limits
from tmtp_core.names import skeletons
from tmtp_core.text import visible

NOTE_MARK: Final = "[gateway]"
"""What the gateway's own lines begin with; no line of a mail does."""

# Soft hyphens, zero-width spaces, joiners of words, tags: nobody sees them, and they hide what a text says.
_UNSEEN: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
# Controls and direction overrides. (Joiners and plain direction marks stay: scripts and emoji need them.)
_STEERING: Final = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ue000-\uf8ff]"
)
_STEERING_ASCII: Final = bytes(one for one in range(128) if _STEERING.match(chr(one)))
_LINE_END: Final = re.compile("\r\n|[\r\x0c\x85\u2028\u2029]")
_MARKS: Final = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_PILED_MARKS: Final = re.compile(f"({_MARKS}{{{limits.COMBINING_MARKS_MAX}}}){_MARKS}+")
_OPENING: Final = r"\[\uff3b\u2045\u27e6\u301a\u3010\u298b\u298d\u298f\u23a1\u2308\u230a\u3014\u2772\ufe5d\ufe47"
_CLOSING: Final = r"\]\uff3d\u2046\u27e7\u301b\u3011\u298c\u298e\u2990\u23a4\u2309\u230b\u3015\u2773\ufe5e\ufe48"
_IN_BRACKETS: Final = re.compile(f"[{_OPENING}]([^{_OPENING}{_CLOSING}\n]{{7,}})[{_CLOSING}]")
_NOTE_SEEN_MAX: Final = 80  # characters of what could look like it: beyond them it does not, and to look costs more
_NOTE_SKELETONS: Final = skeletons(NOTE_MARK.strip("[]"))
_URL: Final = re.compile(r"https?:[/\\]{2}([^\s<>\"'/\\?#]+)[^\s<>\"']*", re.IGNORECASE)
_NOT_IN_HOST: Final = re.compile(r"[^a-z0-9.:_-]")
_HOST_MAX_CHARACTERS: Final = 253
_NOT_SEEN: Final = frozenset({"Cc", "Cf", "Mn", "Me"})
# "-----Original Message-----" and its translations; or a header of From, Sent, To, Subject as mail programs write it.
_SEPARATOR: Final = re.compile(r"[ \t]*[-_]{2,}[ \t]*[^-_\n]{3,60}?[ \t]*[-_]{2,}[ \t]*")
_HEADER_LINE: Final = re.compile(r"[ \t]*\*?([A-Z\u00c0-\u024f][\w' -]{1,24}):\*?[ \t]+\S")
_FROM_WORDS: Final = ("from", "von", "de", "da", "van", "od", "från", "fra", "lähettäjä", "kimden", "от", "від")
_HEADER_LINES_MIN: Final = 3


def readable(text: str) -> str:
    """Text as it may be shown anywhere: LF line ends, what nobody sees left out, what steers spelled out."""
    plain = text.isascii()  # then there is nothing else to look for than what is in ASCII
    text = text.replace("\r\n", "\n")
    if not plain or "\r" in text or "\f" in text:
        text = _LINE_END.sub("\n", text)
    if not plain:
        text = _UNSEEN.sub("", text)
    if not plain or text.encode().translate(None, _STEERING_ASCII) != text.encode():  # quicker than to search
        text = _STEERING.sub(lambda match: "\ufffd" if "\ud800" <= match[0] <= "\udfff" else visible(match[0]), text)
    if not plain:
        text = _PILED_MARKS.sub(r"\1", text)
    return text.expandtabs(8) if "\t" in text else text


def one_line(text: str) -> str:
    """The same for what stands in one line: a subject, a name. What would have to be spelled out is left out."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    text = _STEERING.sub("", _UNSEEN.sub("", _LINE_END.sub(" ", text)))
    return re.sub(r"\s+", " ", _PILED_MARKS.sub(r"\1", text)).strip()


def unforged(text: str) -> str:
    """Text in which nothing looks like one of the gateway's notes, in other letters, and with what nobody sees in it.

    To be done last: what a text format or a quote does to a text may join what stood apart.
    """

    if text.isascii() and "[" not in text:
        return text

    def told(match: re.Match[str]) -> str:
        seen = "".join(one for one in match[1] if unicodedata.category(one) not in _NOT_SEEN and not one.isspace())
        seen = _UNSEEN.sub("", seen)
        forged = len(seen) <= _NOTE_SEEN_MAX and skeletons(seen) & _NOTE_SKELETONS
        return f"({match[1]})" if forged else match[0]

    return _IN_BRACKETS.sub(told, text)


def true_hosts(text: str) -> str:
    """Text whose addresses with a name before the host, or a host outside ASCII, are followed by where they lead.

    Browsers read `\\` as `/`, so what stands behind it is no host: `https://other.example\\@bank.example`.
    """

    if ":/" not in text and ":\\" not in text:
        return text

    def told(match: re.Match[str]) -> str:
        authority = match[1]
        aside = match[0][match.start(1) - match.start() + len(authority) :].startswith("\\")
        if authority.isascii() and "@" not in authority and not aside:
            return match[0]
        try:
            host = urlsplit(f"https://{authority}/").hostname
        except ValueError:
            host = None
        return f"{match[0]} (leads to {ascii_host(host) if host else 'nowhere'})"

    return _URL.sub(told, text)


def ascii_host(host: str) -> str:
    """A host as it goes over the wire: letters that look like others cannot hide in that form."""
    try:
        name = host.lower() if host.isascii() else host.lower().encode("idna").decode()
    except UnicodeError:
        name = host.encode("ascii", "replace").decode().lower()
    return _NOT_IN_HOST.sub("?", name)[:_HOST_MAX_CHARACTERS]


def unflowed(text: str, *, delete_space: bool) -> str:
    """RFC 3676: lines that end in a space go on in the next one of the same quote depth."""
    out: list[str] = []
    paragraph: list[str] = []
    depth_before = 0
    for raw in text.split("\n"):
        depth = len(raw) - len(raw.lstrip(">"))
        line = raw[depth:].removeprefix(" ")  # §4.4: stuffed
        flows = line.endswith(" ") and line != "-- "  # §4.3: the signature's line is fixed
        if paragraph and (depth != depth_before or line == "-- "):
            out.append(_quoted("".join(paragraph), depth_before))
            paragraph = []
        depth_before = depth
        paragraph.append(line[:-1] if flows and delete_space else line)
        if not flows:
            out.append(_quoted("".join(paragraph), depth))
            paragraph = []
    if paragraph:
        out.append(_quoted("".join(paragraph), depth_before))
    return "\n".join(out)


def _quoted(line: str, depth: int) -> str:
    return "> " * depth + line if line or not depth else ("> " * depth).rstrip()


def quoted(text: str) -> str:
    """Every line one level further down a quote."""
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def quotes_marked(text: str) -> str:
    """The mail before this one, where a mail program put it below without marks, marked as the quote that it is.

    Clients fold what begins with `>`. Only a header of a mail marks what follows it, so that nothing is taken for a
    quote because it stands below a line.
    """
    lines = text.split("\n")
    for index, line in enumerate(lines):
        start = _header_at(lines, index) if ":" in line else None
        if start is not None:
            return "\n".join([*lines[:start], quoted("\n".join(lines[start:]))])
    return text


def _header_at(lines: list[str], index: int) -> int | None:
    """Where a quote begins whose header of at least three fields, From first, begins at `index`; None if none does."""
    first = _HEADER_LINE.match(lines[index])
    if first is None or first[1].casefold() not in _FROM_WORDS:
        return None
    count = 0
    for line in lines[index : index + 8]:
        if not _HEADER_LINE.match(line):
            if line.strip():
                break
            continue
        count += 1
    if count < _HEADER_LINES_MIN:
        return None
    above = index - 1
    while above >= 0 and not lines[above].strip():
        above -= 1
    if above >= 0 and _SEPARATOR.fullmatch(lines[above]):
        return above
    return index if above < index - 1 or index == 0 else None  # in the midst of a paragraph it is no beginning
