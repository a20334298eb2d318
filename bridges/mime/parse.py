# SPDX-License-Identifier: AGPL-3.0-or-later
"""One mail's octets to a `Letter`. Runs in a worker process only: it may be slow, or never end.

The standard library finds the parts (`policy.compat32`, because the newer policies raise on hostile headers); what they
say is decoded here.
"""

import email.policy
import io
import re
from email.feedparser import BytesFeedParser
from email.generator import BytesGenerator
from typing import Final, NamedTuple

from bridges import limits
from bridges.mime.active import UNREADABLE, active_reason, suffix_of
from bridges.mime.calendar import calendar_as_text
from bridges.mime.charsets import decoded
from bridges.mime.headers import field, one_sender, parameters, references, unfolded, words
from bridges.mime.html import html_as_text
from bridges.mime.letter import Attachment, Letter, Reason, Unparsable
from bridges.mime.names import UniqueNames, safe_name
from bridges.mime.readable import one_line, quoted, quotes_marked, readable, true_hosts, unflowed, unforged
from bridges.mime.tnef import unwrapped
from bridges.mime.transfer import Part, octets_of, uuencoded

_FEED_BYTES: Final = 64 << 10
_END_OF_HEADER: Final = re.compile(rb"\r?\n\r?\n")
_DATE_MAX_CHARACTERS: Final = 200
_TNEF: Final = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_MAILS: Final = frozenset({"message/rfc822", "message/global", "message/news"})
_CODED: Final = ("base64", "quoted-printable", "x-uuencode", "uuencode")
_REPORTS: Final = frozenset(
    {"message/delivery-status", "message/disposition-notification", "message/global-delivery-status"}
)
_FOR_OTHER_PROGRAMS: Final = frozenset({"text/x-amp-html", "text/watch-html"})  # nothing that HTML does not have
_TOLD: Final = {
    "multipart/signed": "this mail is signed; the signature was not checked, and is attached",
    "multipart/encrypted": "this mail is encrypted; what is attached can be opened by whoever has the key",
    "application/pkcs7-mime": "this mail is encrypted or sealed (S/MIME); its content is in the attachment",
    "message/partial": "this is one of several pieces of a mail, which are not put together here",
    "message/external-body": "a part of this mail is kept on another machine, and was not fetched",
}
_META_CHARSET: Final = re.compile(rb"<meta\b[^>]{0,200}charset=[\"']?([\w-]{1,40})", re.IGNORECASE)
_ENRICHED_TAG: Final = re.compile(r"<(?!<)[^<>]{0,60}>")


class Parsed(NamedTuple):
    """A letter, and the octets of its attachments in their order."""

    letter: Letter
    contents: list[bytes]


class _Kind(NamedTuple):
    """What a part says that it is: content type and its parameters, its name, whether it is to be kept as a file."""

    type: str
    options: dict[str, str]
    name: str
    attached: bool


def parse_mail(raw: bytes) -> Parsed:
    """Parse a mail. Raises `Unparsable` with a reason and a text for the sender."""
    end = _END_OF_HEADER.search(raw)
    if (end.start() if end is not None else len(raw)) > limits.MIME_HEADER_MAX_BYTES:
        raise Unparsable(Reason.HEADER, f"the header is longer than {limits.MIME_HEADER_MAX_BYTES} bytes")
    try:
        message = _structure(raw)
        reader = _Reader(max(limits.UNPACKED_SHARE_MAX * len(raw), limits.UNPACKED_MIN_BYTES))
        text = _fitting("\n\n".join(block for block in reader.read(message, 0) if block.strip()), reader)
    except RecursionError:
        raise Unparsable(Reason.DEPTH, f"its parts are nested deeper than {limits.MIME_DEPTH_MAX}") from None
    sender, wrong = one_sender(message)
    letter = Letter(
        sender=sender,
        sender_wrong=wrong,
        subject=unforged(words(field(message, "Subject")))[: limits.SUBJECT_MAX_CHARACTERS],
        message_id=one_line(field(message, "Message-ID"))[: limits.MESSAGE_ID_MAX_CHARACTERS],
        references=references(message),
        date=one_line(field(message, "Date"))[:_DATE_MAX_CHARACTERS],
        text=unforged(text),
        attachments=tuple(reader.attachments),
        notes=tuple(dict.fromkeys(reader.notes))[: limits.NOTES_MAX],
    )
    return Parsed(letter, reader.contents)


def _structure(raw: bytes) -> Part:
    """The tree of parts. Counts them as they come, because 100,000 of them would take seconds."""
    count = -1  # the library makes one to see whether it can

    def part(*arguments: object, **options: object) -> Part:
        nonlocal count
        count += 1
        if count > limits.MIME_PARTS_MAX:
            raise Unparsable(Reason.PARTS, f"it has more than {limits.MIME_PARTS_MAX} parts")
        return Part(email.policy.compat32)

    parser = BytesFeedParser(part, policy=email.policy.compat32)
    for start in range(0, len(raw), _FEED_BYTES):
        parser.feed(raw[start : start + _FEED_BYTES])
    root = parser.close()
    assert isinstance(root, Part)
    return root


def _fitting(text: str, reader: "_Reader") -> str:
    """The text, or its beginning where it is too long to be read; then all of it is an attachment as well."""
    if len(text) <= limits.TEXT_MAX_CHARACTERS:
        return text
    reader.keep_whole("text.txt", "text/plain", text.encode())
    return text[: limits.TEXT_MAX_CHARACTERS]


class _Octets(BytesGenerator):
    """A mail as it came; what the parser has replaced already, as in a multipart without a boundary, in UTF-8."""

    def write(self, s: str) -> None:
        """See its base, which refuses the replacement."""
        self._fp: io.BytesIO
        self._fp.write(s.encode("utf-8", "surrogateescape"))


class _Reader:
    """Walks the parts of one mail: texts to read, everything else to keep as files."""

    def __init__(self, octets_max: int) -> None:
        self.attachments: list[Attachment] = []
        self.contents: list[bytes] = []
        self.notes: list[str] = []
        self._names = UniqueNames()
        self._octets_left = octets_max

    def read(self, part: Part, depth: int) -> list[str]:
        """The texts of a part, in order; what is not text is kept."""
        if depth > limits.MIME_DEPTH_MAX:
            raise Unparsable(Reason.DEPTH, f"its parts are nested deeper than {limits.MIME_DEPTH_MAX}")
        if sum(len(name) + len(value) for name, value in part.raw_items()) > limits.MIME_HEADER_MAX_BYTES:
            raise Unparsable(Reason.HEADER, f"a part's header is longer than {limits.MIME_HEADER_MAX_BYTES} bytes")
        kind = _kind(part)
        children = [child for child in part.get_payload() if isinstance(child, Part)] if part.is_multipart() else []
        if kind.type in _REPORTS:
            return [self._fields(children)]
        if kind.type in _MAILS and children:
            if kind.attached:
                coded = field(part, "Content-Transfer-Encoding").strip().lower() in _CODED
                return self._keep_mail(children[0], kind, depth, coded=coded)
            return [self._inner_mail(children[0], depth)]
        if children:
            return self._several(kind, children, depth)
        return self._leaf(part, kind, depth)

    def keep(self, name: str, kind: str, content: bytes, active: str | None = None) -> None:
        """Keep a file; `name` need not be safe. `active`: what is known of it already, where it was looked into."""
        if len(self.attachments) >= limits.MIME_PARTS_MAX:
            raise Unparsable(Reason.PARTS, f"it has more than {limits.MIME_PARTS_MAX} attachments")
        self._octets_left -= len(content)
        if self._octets_left < 0:
            raise Unparsable(Reason.SIZE, "it unpacks to more than a mail may")
        safe = self._names.take(safe_name(name, kind))
        active = active_reason(safe, kind, content) if active is None else active
        self.attachments.append(Attachment(safe, len(content), active))
        self.contents.append(content)

    def keep_whole(self, name: str, kind: str, content: bytes) -> None:
        """Keep a text of which only the beginning is shown."""
        self.keep(name, kind, content)
        self.notes.append(
            f"this is only the beginning of the text; all of it is in the attachment {self.attachments[-1].name}"
        )

    def _several(self, kind: _Kind, children: list[Part], depth: int) -> list[str]:
        if kind.type == "multipart/alternative":
            return self._alternative(children, depth)
        self._note(_TOLD.get(kind.type, ""))
        return [text for child in children for text in self.read(child, depth + 1)]

    def _alternative(self, children: list[Part], depth: int) -> list[str]:
        """One text in several forms (RFC 2046 §5.1.4): the plain one if there is any; of the others what is no text."""
        read: list[tuple[str, list[str]]] = []
        for child in children:
            before = len(self.notes)
            kind = _kind(child).type
            if kind in _FOR_OTHER_PROGRAMS:
                continue
            read.append((kind, self.read(child, depth + 1)))
            if kind != "text/plain" and any(one == "text/plain" and "".join(texts).strip() for one, texts in read):
                del self.notes[before:]  # about words that are not shown
        events = [text for kind, texts in read if kind == "text/calendar" for text in texts]
        wordy = [(kind, texts) for kind, texts in read if kind != "text/calendar" and "".join(texts).strip()]
        plain = [texts for kind, texts in wordy if kind == "text/plain"]
        chosen = plain[0] if plain else wordy[-1][1] if wordy else []
        return [*chosen, *events]

    def _leaf(self, part: Part, kind: _Kind, depth: int) -> list[str]:
        content, note = octets_of(part)
        self._note(note)
        if kind.type in _TNEF or kind.name.lower() == "winmail.dat":
            return self._tnef(content, kind)
        if kind.type == "text/calendar":
            event = true_hosts(self._safe(calendar_as_text(self._text(content, kind))))
            if event or content.strip():
                self.keep(kind.name or "invitation.ics", kind.type, content)
            return [event]
        if suffix_of(safe_name(kind.name, kind.type)) == "eml":
            self.keep(kind.name, kind.type, content, self._held(_structure(content), depth))
            return []
        if kind.attached or kind.type not in ("text/plain", "text/html", "text/enriched", "text/rfc822-headers"):
            if content or kind.name:
                self.keep(kind.name, kind.type, content)
            self._note(_TOLD.get(kind.type.replace("/x-", "/"), ""))
            return []
        return [self._words(content, kind)]

    def _words(self, content: bytes, kind: _Kind) -> str:
        """The text of a part that is one."""
        bound = limits.HTML_MAX_BYTES if kind.type == "text/html" else limits.TEXT_MAX_CHARACTERS
        if len(content) > bound:
            self.keep_whole("text.html" if kind.type == "text/html" else "text.txt", kind.type, content)
            content = content[:bound]
        if kind.type == "text/html":
            if "charset" not in kind.options and (said := _META_CHARSET.search(content[:2048])):
                kind = kind._replace(options={"charset": said[1].decode()})
            text, notes = html_as_text(self._text(content, kind))
            for note in notes:
                self._note(note)
            return quotes_marked(true_hosts(self._safe(text)))
        if kind.type == "text/plain" and b"\nbegin " in b"\n" + content:
            files, content = uuencoded(content)
            for name, file in files:
                self.keep(name, "application/octet-stream", file)
        text = self._safe(self._text(content, kind))
        if kind.type == "text/rfc822-headers":
            return quoted(true_hosts(text.strip("\n")))
        if kind.type == "text/enriched":
            text = _ENRICHED_TAG.sub("", text).replace("<<", "<")
        if kind.options.get("format", "").lower() == "flowed":
            text = unflowed(text, delete_space=kind.options.get("delsp", "").lower() == "yes")
        return quotes_marked(true_hosts(text.strip("\n")))

    def _text(self, content: bytes, kind: _Kind) -> str:
        text, note = decoded(content, kind.options.get("charset", ""))
        self._note(note)
        return text

    def _safe(self, text: str) -> str:
        return readable(text)

    def _note(self, note: str) -> None:
        if note:
            self.notes.append(note)

    def _fields(self, groups: list[Part]) -> str:
        """A report for machines (RFC 3464): its fields, which people can read as well."""
        lines = [f"{name}: {unfolded(value)}" for group in groups for name, value in group.raw_items()]
        return self._safe("\n".join(lines))[: limits.MIME_HEADER_MAX_BYTES]

    def _inner_mail(self, message: Part, depth: int) -> str:
        """A mail inside this mail, as a quote: who, when, about what, its text. Its files are kept with the others."""
        head = [
            f"{name}: {words(field(message, name))}"
            for name in ("From", "To", "Date", "Subject")
            if field(message, name)
        ]
        texts = [text for text in self.read(message, depth + 1) if text.strip()]
        return "A mail inside this mail:\n" + quoted("\n\n".join(["\n".join(head), *texts]))

    def _keep_mail(self, message: Part, kind: _Kind, depth: int, *, coded: bool) -> list[str]:
        """A mail that was attached as a file stays one. It is looked into: it is as active as what it holds.

        `coded`: in a way that RFC 2046 §5.2.1 forbids and some programs undo: what it holds was not seen here.
        """
        name = kind.name or words(field(message, "Subject")) or "message"
        name = name if name.lower().endswith(".eml") else f"{name}.eml"
        out = io.BytesIO()
        _Octets(out, mangle_from_=False, maxheaderlen=0).flatten(message, linesep="\r\n")  # it may be signed
        content = out.getvalue()
        self.keep(name, "message/rfc822", content, None if coded else self._held(message, depth))
        return []

    def _held(self, message: Part, depth: int) -> str:
        """What a mail holds that is active, or ""."""
        inner = _Reader(self._octets_left)
        inner.read(message, depth + 1)
        held = next(((one.name, one.active) for one in inner.attachments if one.active), None)
        return f"a mail; in it {held[0]!r}, {held[1]}" if held else ""

    def _tnef(self, content: bytes, kind: _Kind) -> list[str]:
        inside = unwrapped(content)
        if inside is None or not any(inside):
            self.notes.append("winmail.dat, in which Outlook wraps attachments, holds nothing that can be read here")
            self.keep(kind.name or "winmail.dat", kind.type, content, UNREADABLE if inside is None else None)
            return []
        for name, file in inside.files:
            self.keep(name, "application/octet-stream", file)
        if inside.plain.strip():
            return [quotes_marked(true_hosts(self._safe(inside.plain)))]
        return (
            [self._words(inside.html.encode(), _Kind("text/html", {"charset": "utf-8"}, "", False))]
            if inside.html
            else []
        )


def _kind(part: Part) -> _Kind:
    given, options = parameters(field(part, "Content-Type"))
    if "/" not in given:
        given = part.get_default_type() if not given else "text/plain"  # RFC 2045 §5.2
    elif given.startswith("multipart/") and not part.is_multipart():
        given = "text/plain"  # it says so, and has no parts that could be found
    disposition, more = parameters(field(part, "Content-Disposition"))
    name = words(more.get("filename") or options.get("name") or "")
    return _Kind(given, options, name, disposition == "attachment" or bool(name))
