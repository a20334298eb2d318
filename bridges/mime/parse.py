# SPDX-License-Identifier: AGPL-3.0-or-later
"""One mail's bytes to a `Letter`. Runs in a worker process only: it may be slow, or never end.

`policy.compat32` and decoding of our own, because the newer policies raise on hostile headers.
"""

import email
import email.policy
import mimetypes
import re
import unicodedata
from collections.abc import Iterator
from email.header import decode_header
from email.message import Message
from pathlib import Path
from typing import Final

import inscriptis
import nh3

from bridges import limits
from bridges.mime.letter import Attachment, Letter, Unparsable

_WORD: Final = r"[^\s<>(),:;@\"\\\[\]]+"
_PHRASE: Final = r'(?:"(?:[^"\\]|\\.)*"|[^"<>(),:;@\\])*'
_ONE_ADDRESS: Final = re.compile(rf"\s*(?:{_PHRASE}<\s*({_WORD}@{_WORD})\s*>|({_WORD}@{_WORD}))\s*(?:\([^()]*\)\s*)?")
_END_OF_HEADER: Final = re.compile(rb"\r?\n\r?\n")
_HTML_TAGS: Final = {
    "p",
    "br",
    "div",
    "ul",
    "ol",
    "li",
    "pre",
    "blockquote",
    "table",
    "tr",
    "td",
    "th",
    "h1",
    "h2",
    "h3",
}


def parse_mail(raw: bytes, folder: Path) -> Letter:
    """Parse a mail; attachments become files in `folder`. Raises `Unparsable` with a text for the sender."""
    end = _END_OF_HEADER.search(raw)
    if (end.start() if end is not None else len(raw)) > limits.MIME_HEADER_MAX_BYTES:
        raise Unparsable(f"the header is longer than {limits.MIME_HEADER_MAX_BYTES} bytes")
    try:
        message = email.message_from_bytes(raw, policy=email.policy.compat32)
        return _read(message, folder)
    except RecursionError:
        raise Unparsable(f"its parts are nested deeper than {limits.MIME_DEPTH_MAX}") from None


def _read(message: "Message[str, str]", folder: Path) -> Letter:
    sender = _one_sender(message)
    text, attachments = _Parts(folder).read(message)
    return Letter(
        sender=sender,
        subject=_decoded(_header(message, "Subject"))[: limits.SUBJECT_MAX_CHARACTERS],
        message_id=_header(message, "Message-ID").strip(),
        date=_header(message, "Date").strip(),
        text=text,
        attachments=tuple(attachments),
    )


def _one_sender(message: "Message[str, str]") -> str:
    """The one address of the one From header (D1): anything that could be read in two ways is refused."""
    headers = [value for name, value in message.raw_items() if name.lower() == "from"]
    if len(headers) != 1:
        raise Unparsable(f"it has {len(headers)} From headers; exactly one is right")
    match = _ONE_ADDRESS.fullmatch(_unfolded(headers[0]))
    if match is None:
        raise Unparsable("its From header must name exactly one address: Name <name@domain>")
    return match[1] or match[2]


class _Parts:
    """Walks the parts of one mail: texts to read, everything else to keep as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._attachments: list[Attachment] = []
        self._names: set[str] = set()

    def read(self, message: "Message[str, str]") -> tuple[str, list[Attachment]]:
        plain: list[str] = []
        rich: list[str] = []
        for part, in_alternative in _leaves(message):
            kind = part.get_content_type()
            if not _is_attached(part) and kind == "text/plain":
                plain.append(_text_of(part))
            elif not _is_attached(part) and kind == "text/html":
                rich.append(_text_of(part)) if not in_alternative or not plain else None
            else:
                self._keep(part)
        texts = plain or [_html_as_text(html) for html in rich]
        if plain:
            texts += [_html_as_text(html) for html in rich]
        return "\n\n".join(text.strip("\n") for text in texts if text.strip()), self._attachments

    def _keep(self, part: "Message[str, str]") -> None:
        content = _octets_of(part)
        path = self._folder / f"attachment-{len(self._attachments)}"
        path.write_bytes(content)
        self._attachments.append(Attachment(self._unique(_file_name(part)), str(path), len(content)))

    def _unique(self, name: str) -> str:
        stem, dot, suffix = name.rpartition(".")
        candidate, count = name, 1
        while candidate.casefold() in self._names:
            count += 1
            candidate = f"{stem}-{count}.{suffix}" if dot and stem else f"{name}-{count}"
        self._names.add(candidate.casefold())
        return candidate


def _leaves(message: "Message[str, str]") -> Iterator[tuple["Message[str, str]", bool]]:
    """All parts without parts of their own, in order, each with whether it is one of several alternatives."""
    count = 0
    stack: list[tuple[Message[str, str], int, bool]] = [(message, 0, False)]
    while stack:
        part, depth, in_alternative = stack.pop()
        count += 1
        if count > limits.MIME_PARTS_MAX:
            raise Unparsable(f"it has more than {limits.MIME_PARTS_MAX} parts")
        if depth > limits.MIME_DEPTH_MAX:
            raise Unparsable(f"its parts are nested deeper than {limits.MIME_DEPTH_MAX}")
        children = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(children, list):
            alternative = part.get_content_subtype() == "alternative"
            stack.extend((child, depth + 1, alternative) for child in reversed(children) if isinstance(child, Message))
        else:
            yield part, in_alternative


def _is_attached(part: "Message[str, str]") -> bool:
    return _header(part, "Content-Disposition").strip().lower().startswith("attachment") or bool(_raw_name(part))


def _octets_of(part: "Message[str, str]") -> bytes:
    """A part's content, decoded from its transfer encoding; a mail inside a mail as it stands."""
    content = part.get_payload(decode=True)
    if isinstance(content, bytes):
        return content
    inner = part.get_payload()
    if isinstance(inner, list) and inner and isinstance(inner[0], Message):
        return inner[0].as_bytes(policy=email.policy.compat32)
    return b""


def _text_of(part: "Message[str, str]") -> str:
    """A text part's text, LF line ends; what its charset cannot say becomes U+FFFD."""
    octets = _octets_of(part)
    try:
        charset = part.get_content_charset() or "utf-8"
        text = octets.decode(charset, errors="strict" if charset in {"utf-8", "us-ascii"} else "replace")
    except (LookupError, UnicodeError, ValueError, AttributeError):
        text = _utf8_or_latin(octets)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd")


def _html_as_text(html: str) -> str:
    """What a person would read. No link target, no image, no style survives (D2, B6)."""
    clean = nh3.clean(html, tags=_HTML_TAGS, clean_content_tags={"script", "style", "head", "title"}, attributes={})
    return inscriptis.get_text(clean).strip() if clean.strip() else ""


def _header(part: "Message[str, str]", name: str) -> str:
    """A header's raw value, unfolded; the first where it comes more than once."""
    for field, value in part.raw_items():
        if field.lower() == name.lower():
            return _unfolded(value)
    return ""


def _unfolded(value: object) -> str:
    """One line of text; octets that are not ASCII are UTF-8, else Latin-1."""
    octets = str(value).encode("utf-8", "surrogateescape")
    return re.sub(r"[\r\n]+[ \t]?", " ", _utf8_or_latin(octets)).strip()


def _decoded(value: str) -> str:
    """RFC 2047 words decoded, control characters and direction overrides taken out."""
    try:
        pieces = decode_header(value)
    except (ValueError, LookupError, email.errors.HeaderParseError):
        pieces = [(value, None)]
    text = ""
    for piece, charset in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        try:
            text += piece.decode(charset or "utf-8")
        except (LookupError, UnicodeError):
            text += _utf8_or_latin(piece)
    return "".join(character for character in text if unicodedata.category(character) not in {"Cc", "Cf", "Cs"})


def _utf8_or_latin(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _raw_name(part: "Message[str, str]") -> str:
    """The name that a part gives itself. Headers with octets that are not ASCII are decoded first."""
    for field in ("Content-Disposition", "Content-Type"):
        value = _header(part, field)
        if not value.isascii():
            part.replace_header(field, value)
    try:
        return part.get_filename() or ""
    except (ValueError, LookupError, TypeError, AttributeError, IndexError):
        return ""


def _file_name(part: "Message[str, str]") -> str:
    """A name that is only a name: no folders, no control characters, not too long, never empty."""
    name = re.split(r"[/\\]", _decoded(_raw_name(part)))[-1].strip(" .")
    name = re.sub(r'[<>:"|?*]', "_", name)
    while len(name.encode()) > limits.FILE_NAME_MAX_BYTES:
        stem, dot, suffix = name.rpartition(".")
        name = stem[:-1] + dot + suffix if dot and stem and len(suffix) <= 10 else name[:-1]
    if name:
        return name
    if part.get_content_type() == "message/rfc822":
        return "message.eml"
    return "attachment" + (mimetypes.guess_extension(part.get_content_type()) or ".bin")
