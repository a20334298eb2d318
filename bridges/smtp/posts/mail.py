# SPDX-License-Identifier: AGPL-3.0-or-later
"""A parsed mail as a TMTP post: marked as what it is, attachments kept (D1, D2, C2)."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path

from bridges import limits
from bridges.mime import Attachment, Letter
from bridges.mime.names import UniqueNames
from bridges.mime.readable import NOTE_MARK
from bridges.smtp.settings import Route
from bridges.smtp.store.delivered import Place
from tmtp_core.wire.payload import Attached, PostHead, Subscriber, encode_post_head


class MailPost:
    """The data of one post to one route: `head` (its length is `datahead`), text, attachments; `size` octets in all.

    Attachments that could do something stay out unless the route allows them; a note names each, and why. `mail`:
    as it came, an attachment where the route wants it.
    """

    def __init__(self, letter: Letter, sender: str, bridge_uid: str, route: Route, place: Place, mail: bytes) -> None:
        passed, withheld = _sorted_out(letter, route)
        names = UniqueNames()
        files = [(names.take(one.name), one.size) for one in passed]
        self._files = [Path(one.path) for one in passed]
        self._original = b""
        if route.original:
            files.append((names.take("original.eml"), len(mail)))
            self._original = mail
        notes = [*withheld, *letter.notes]
        self._text = "\n\n".join(
            filter(None, (letter.text, "\n".join(f"{NOTE_MARK} {note}" for note in notes)))
        ).encode()
        subject = letter.subject or "(no subject)"
        alias = f"{sender} (by SMTP)"
        # A thread begins with its subscribers: existing clients count on at least its author.
        author = Subscriber(who=alias, whouid=bridge_uid, by=alias, byuid=bridge_uid)
        self.head = encode_post_head(
            PostHead(
                threadid=place.thread,
                alias=alias,
                subject=f"[SMTP: {sender}] {subject}",
                cc=(author,) if place.new else (),
                attach=tuple(Attached(f"u:{name}", size) for name, size in files),
            )
        )
        self.size = len(self.head) + len(self._text) + sum(size for _, size in files)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The octets, in order."""
        yield self.head + self._text
        for path in self._files:
            with await asyncio.to_thread(path.open, "rb") as file:
                while piece := await asyncio.to_thread(file.read, limits.STREAM_CHUNK_BYTES):
                    yield piece
        for at in range(0, len(self._original), limits.STREAM_CHUNK_BYTES):
            yield self._original[at : at + limits.STREAM_CHUNK_BYTES]


def _sorted_out(letter: Letter, route: Route) -> tuple[list[Attachment], list[str]]:
    """The attachments that pass to a route, and a note for each that does not."""
    passed = [one for one in letter.attachments if route.active_attachments or not one.active]
    withheld = [one for one in letter.attachments if one not in passed]
    notes = [
        f"the attachment {one.name!r} ({one.size} bytes) was not passed on: it is {one.active}" for one in withheld
    ]
    if len(notes) > limits.NOTES_MAX:
        notes = [*notes[: limits.NOTES_MAX], f"{len(notes) - limits.NOTES_MAX} more attachments were not passed on"]
    return passed, notes


def post_id(sender: str, recipient: str, letter: Letter, content: bytes, signed_body: str = "") -> str:
    """The id of a mail's post to one recipient: the same for every try, so the service stores it once.

    A sender that got no answer sends its mail again; a mail for other recipients is another one. Where it has no
    Message-ID, everything counts that its header says.

    `signed_body`: what a signature covers of the body, where only signatures prove the mail. Then nothing counts that
    somebody else who has the mail could change, or he could send it as often as he likes.
    """
    digest = blake2b(digest_size=20)
    signed = (letter.subject, "" if letter.message_id else letter.date, signed_body) if signed_body else ()
    mail = b"".join(one.encode() + b"\0" for one in signed) or (_body(content) if letter.message_id else content)
    for part in (sender.encode(), recipient.encode(), letter.message_id.encode(), mail):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return f"smtp-{digest.hexdigest()}"


def _body(content: bytes) -> bytes:
    """A mail without its header, which relays on the way may add to."""
    _, _, body = content.partition(b"\r\n\r\n")
    return body
