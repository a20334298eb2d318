# SPDX-License-Identifier: AGPL-3.0-or-later
"""The header of a mail, read one way only, and the one author that it names (D1, RFC 5322 §3.6).

What two programs could read in two ways is refused: that is how a signature of one address is shown with another.
The work is linear, and at most `limits.MIME_HEADER_MAX_BYTES` long, so it needs no process of its own.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from bridges import limits

_FIELD: Final = re.compile(rb"([\x21-\x39\x3b-\x7e]+):(.*)", re.DOTALL)
# Nothing here is tried twice (`*+`, `++`): each octet of a stranger's text is looked at once.
_ATOM: Final = r"[^\s<>(),:;@\"\\\[\]\x00-\x1f\x7f]++"
_PHRASE: Final = r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*+"|[^"<>(),:;@\\\x00-\x08\x0a-\x1f\x7f])*+'
_ONE_ADDRESS: Final = re.compile(rf"\s*+(?:{_PHRASE}<\s*+({_ATOM})@({_ATOM})\s*+>|({_ATOM})@({_ATOM}))\s*+")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)+[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
_DOMAIN_MAX_CHARACTERS: Final = 253
_LOCAL_MAX_BYTES: Final = 64  # RFC 5321 §4.5.3.1.1
_LOCAL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+")  # RFC 5322 §3.2.3, what is ASCII of it
# What is shown as nothing and yet makes another address: Unicode's default ignorables, of letters, marks and digits.
_SHOWN_AS_NOTHING: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_ONCE: Final = (  # RFC 5322 §3.6, RFC 2045: of two, one reader takes the first and another the last
    "sender",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
)


class HeaderRefused(Exception):
    """This header can be read in two ways, or names no single author; the text says why, for the sender."""


@dataclass(frozen=True, slots=True)
class Author:
    """Whom the From header names: `address` in the one form of `canonical`, and its `domain`."""

    address: str
    domain: str


@dataclass(frozen=True, slots=True)
class Header:
    """All fields in order, names in lower case, values unfolded."""

    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """The values of one field."""
        return [value for field, value in self.fields if field == name]

    def author(self) -> Author:
        """The one address of the one From header. Raises `HeaderRefused`, also where other fields come twice."""
        values = self.all("from")
        twice = next((name for name in _ONCE if len(self.all(name)) > 1), None)
        if twice is not None:
            raise HeaderRefused(f"it has more than one {twice.title()} header")
        if len(values) != 1:
            raise HeaderRefused(f"it has {len(values)} From headers; exactly one is right")
        if len(values[0]) > limits.FROM_MAX_CHARACTERS:
            raise HeaderRefused(f"its From header is longer than {limits.FROM_MAX_CHARACTERS} characters")
        match = _ONE_ADDRESS.fullmatch(values[0])
        if match is None:
            raise HeaderRefused("its From header must name exactly one address: Name <name@domain>, without comments")
        local, domain = match[1] or match[3], match[2] or match[4]
        if len(local.encode()) > _LOCAL_MAX_BYTES or "=?" in local + domain:
            raise HeaderRefused("the address in its From header is no plain address")
        return Author(canonical(local, domain), dns_name(domain))


def read_header(mail: bytes) -> Header:
    """The header of a mail with CR LF line ends. Raises `HeaderRefused`."""
    block, _, _ = mail.partition(b"\r\n\r\n")
    if block.startswith(b"\r\n"):
        block = b""
    if len(block) > limits.MIME_HEADER_MAX_BYTES:
        raise HeaderRefused(f"its header is longer than {limits.MIME_HEADER_MAX_BYTES} bytes")
    fields: list[tuple[str, str]] = []
    for line in re.split(rb"\r\n(?![ \t])", block.removesuffix(b"\r\n")):
        if not line:
            continue
        match = _FIELD.fullmatch(line)
        if match is None:
            raise HeaderRefused("its header has a line that is no field: a name, a colon, a value")
        fields.append((match[1].decode().lower(), _unfolded(match[2])))
    return Header(tuple(fields))


def canonical(local: str, domain: str) -> str:
    """The one form of an address, in which it is looked up, and shown as who is outside: whoever is blocked or barred
    comes back by no other spelling (D1).

    In lower case, the domain as DNS has it; nothing that another form of Unicode would write otherwise, or that is
    shown as nothing. Raises `HeaderRefused`.
    """
    rest = "".join(character for character in local if not character.isascii())
    plain = _LOCAL.fullmatch("".join(character for character in local if character.isascii()) or "a")
    letters = all(unicodedata.category(character)[0] in "LMN" for character in rest)
    if not plain or not letters or unicodedata.normalize("NFKC", local) != local or _SHOWN_AS_NOTHING.search(local):
        raise HeaderRefused("the address in its From header has characters that can be taken for others")
    return f"{local.lower()}@{dns_name(domain)}"


def dns_name(domain: str) -> str:
    """A domain as DNS has it. Raises `HeaderRefused` for what is none."""
    name = domain.lower()
    if len(domain) > _DOMAIN_MAX_CHARACTERS:  # before tables are asked about each of them
        raise HeaderRefused("the domain in its From header is no domain")
    if not name.isascii():
        import idna  # noqa: PLC0415 - its tables are needed for few

        try:
            name = idna.encode(domain, uts46=True, std3_rules=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise HeaderRefused("the domain in its From header is no domain") from None
    if not _HOST_NAME.fullmatch(name):
        raise HeaderRefused("the domain in its From header is no domain")
    return name


@lru_cache(limits.ADDRESSES_REMEMBERED_MAX)
def canonical_address(address: str) -> str:
    """The same of an envelope's address; "" where that has none (the null sender, or nonsense).

    Rules ask for it several times a mail.
    """
    local, _, domain = address.strip().rpartition("@")
    try:
        return canonical(local, domain)
    except HeaderRefused:
        return ""


def domain_of(address: str) -> str:
    """The domain of an envelope's address as DNS has it; "" where it has none (the null sender, or nonsense)."""
    _, at, domain = address.rpartition("@")
    try:
        return dns_name(domain) if at else ""
    except HeaderRefused:
        return ""


def _unfolded(value: bytes) -> str:
    """One line of text; octets that are not UTF-8 are Latin-1 (RFC 6532 §3.2 allows UTF-8 only)."""
    line = re.sub(rb"\r\n(?=[ \t])", b"", value)
    try:
        return line.decode().strip(" \t")
    except UnicodeDecodeError:
        return line.decode("latin-1").strip(" \t")
