# SPDX-License-Identifier: AGPL-3.0-or-later
"""A parsed mail as a TMTP post: marked as what it is, attachments kept, nothing whole in memory (D1, C2)."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path

from bridges import limits
from bridges.mime import Letter
from tmtp_core.wire.payload import Attached, PostHead, Subscriber, encode_post_head


class MailPost:
    """The data of one post: `head` (its length is `datahead`), then text, then attachments; `size` octets in all."""

    def __init__(self, letter: Letter, sender: str, bridge_uid: str) -> None:
        self._text = letter.text.encode()
        self._files = [Path(attachment.path) for attachment in letter.attachments]
        subject = letter.subject or "(no subject)"
        alias = f"{sender} (by SMTP)"
        self.head = encode_post_head(
            PostHead(
                threadid="",
                alias=alias,
                subject=f"[SMTP: {sender}] {subject}",
                # A thread begins with its subscribers: existing clients count on at least its author.
                cc=(Subscriber(who=alias, whouid=bridge_uid, by=alias, byuid=bridge_uid),),
                attach=tuple(Attached(f"u:{one.name}", one.size) for one in letter.attachments),
            )
        )
        self.size = len(self.head) + len(self._text) + sum(one.size for one in letter.attachments)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The octets, in order."""
        yield self.head + self._text
        for path in self._files:
            with await asyncio.to_thread(path.open, "rb") as file:
                while piece := await asyncio.to_thread(file.read, limits.STREAM_CHUNK_BYTES):
                    yield piece


def post_id(sender: str, recipient: str, letter: Letter, content: bytes) -> str:
    """The id of a mail's post to one recipient: the same for every try, so the service stores it once.

    A sender that got no answer sends its mail again; a mail for other recipients is another one. Where it has no
    Message-ID, everything counts that its header says.
    """
    digest = blake2b(digest_size=20)
    mail = _body(content) if letter.message_id else content
    for part in (sender.encode(), recipient.encode(), letter.message_id.encode(), mail):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return f"smtp-{digest.hexdigest()}"


def _body(content: bytes) -> bytes:
    """A mail without its header, which relays on the way may add to."""
    _, _, body = content.partition(b"\r\n\r\n")
    return body
