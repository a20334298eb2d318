# SPDX-License-Identifier: AGPL-3.0-or-later
"""A member's answer as a mail (C5): every header is made here, and nothing that he or a correspondent wrote steers one.

Plain text and attachments, in seven bits, with CR LF line ends. The relay signs it (DKIM).
"""

import mimetypes
import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from typing import Final, NamedTuple

from msgspec import Struct

from bridges import limits
from bridges.mime.names import UniqueNames, safe_name
from bridges.mime.readable import one_line
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.store.conversations import Conversation
from tmtp_core.wire.payload import PostHead, decode_post_head, text_size

_PLAIN: Final = SMTP.clone(cte_type="7bit")  # RFC 2045: no relay needs 8BITMIME for it
_INTERNATIONAL: Final = SMTPUTF8.clone(cte_type="7bit")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ANSWERED: Final = re.compile(r"\s*(re|aw|sv|vs)\s*:", re.IGNORECASE)
_TYPES: Final = mimetypes.MimeTypes()  # of Python, and of no file of this machine
_SAFE_KINDS: Final = frozenset({"text", "image", "audio", "video", "application"})


class File(NamedTuple):
    """An attachment."""

    name: str
    content: bytes


class Answer(Struct, frozen=True):
    """What a member wrote."""

    thread: str
    subject: str
    text: str
    files: tuple[File, ...] = ()


def read_answer(data: bytes, datahead: int, datalen: int) -> Answer:
    """A post's data taken apart; where there is less of it than `datalen`, it has no text and no attachments.

    Raises ValueError where it does not add up.
    """
    if datahead > len(data):
        raise ValueError("the head of the post is longer than it may be")
    head = decode_post_head(data[:datahead]) if datahead else PostHead()
    end = datahead + text_size(head, datahead, datalen)
    if len(data) < datalen:
        return Answer(head.threadid or "", one_line(head.subject), "")
    text = data[datahead:end].decode(errors="replace")
    files = []
    for attached in head.attach[: limits.MIME_PARTS_MAX]:
        files.append(
            File(attached.name[2:] or "attachment", data[end : end + attached.size])
        )  # after `u:` and the like
        end += attached.size
    return Answer(head.threadid or "", one_line(head.subject), text, tuple(files))


def mail_of(answer: Answer, conversation: Conversation, alias: str, message_id: str, at_ms: int) -> bytes:
    """The mail that carries an answer to `conversation`'s correspondent, from its route; `alias` is who wrote it.

    `message_id` with its brackets. Raises ValueError for what cannot be a mail.
    """
    known = answer.thread == conversation.thread
    mail = EmailMessage(_PLAIN if (conversation.recipient + conversation.address).isascii() else _INTERNATIONAL)
    mail["From"] = _address(conversation.recipient, _shown(alias))
    mail["To"] = _address(conversation.address)
    mail["Subject"] = _subject(conversation.subject) if known else _shown(answer.subject) or "(no subject)"
    mail["Date"] = datetime.fromtimestamp(at_ms / 1000, UTC)
    mail.set_content(_CONTROLS.sub("", re.sub("\r\n?", "\n", _encodable(answer.text))), charset="utf-8")
    names = UniqueNames()
    for file in answer.files:
        kind = _kind(file.name)
        name = names.take(safe_name(_encodable(file.name), kind))
        maintype, _, subtype = kind.partition("/")
        mail.add_attachment(file.content, maintype, subtype, filename=name)
    return _ids(message_id, conversation if known else None) + mail.as_bytes()


def _ids(message_id: str, conversation: Conversation | None) -> bytes:
    """The fields that hold ids, one on each line: the library would fold long ones into encoded words."""
    lines = [f"Message-ID: {message_id}"]
    if conversation is not None and conversation.message_id:
        lines.append(f"In-Reply-To: {conversation.message_id}")
    if conversation is not None and conversation.references:
        lines.append("References: " + "\r\n ".join(conversation.references))
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _shown(words: str) -> str:
    """One line of what somebody wrote, for a header; the library encodes it."""
    return _encodable(one_line(words)[: limits.SUBJECT_MAX_CHARACTERS])


def _encodable(words: str) -> str:
    """The same without halves of characters, which JSON may hold and UTF-8 may not."""
    return words.encode(errors="replace").decode()


def _address(address: str, name: str = "") -> Address:
    """An address and who is shown as its owner. Raises ValueError for what is none."""
    if not canonical_address(address):
        raise ValueError(f"{address!r} is no address that a mail can have")
    local, _, domain = address.rpartition("@")
    return Address(name, local, domain)


def _subject(subject: str) -> str:
    shown = _shown(subject) or "(no subject)"
    return shown if _ANSWERED.match(shown) else f"Re: {shown}"


def _kind(name: str) -> str:
    """The content type of a file; what mail programs would open in place, or take apart, is only octets."""
    guessed, encoding = _TYPES.guess_type(name)
    kind = guessed if guessed is not None and encoding is None else "application/octet-stream"
    return kind if kind.partition("/")[0] in _SAFE_KINDS else "application/octet-stream"
