# SPDX-License-Identifier: AGPL-3.0-or-later
"""A mail that lies on the disk, read again and posted: out of the spool, or when it is released (C2)."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import structlog

from bridges.mime import Letter, Unparsable
from bridges.mime.letter import Reason
from bridges.mime.pool import ParserPool
from bridges.smtp.policy import replies
from bridges.smtp.posts.posting import AWAY, Accepted, Posted, Poster
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.settings import Route

log = structlog.get_logger()


class ReadMail(NamedTuple):
    """A mail as it was parsed, its attachments on the disk; and as it came."""

    letter: Letter
    content: bytes


class KeptPoster:
    """Reads and posts mails that lie on the disk. `scratch`: where attachments are while a mail is read.

    `route`: the route of a recipient, as the rules are now.
    """

    def __init__(self, scratch: Path, parser: ParserPool, poster: Poster, route: Callable[[str], Route | None]) -> None:
        self._scratch = scratch
        self._parser = parser
        self._poster = poster
        self._route = route

    async def is_there(self, wait_s: float) -> bool:
        """Whether the service is there, or comes within this time."""
        return await self._poster.is_there(wait_s)

    @asynccontextmanager
    async def read(self, path: Path) -> AsyncIterator[ReadMail]:
        """Parse the mail at `path`, for the length of the block. Raises `Unparsable`, `WorkerFailed`, `OSError`."""
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._scratch))
        try:
            content = await asyncio.to_thread(path.read_bytes)
            yield ReadMail(await self._parser.parse(content, folder), content)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def post(self, mail: ReadMail, accepted: Accepted, recipients: Sequence[str]) -> dict[str, Posted]:
        """One post a route; what became of it for each recipient. Raises `Unparsable`, `OSError`.

        Recipients of one route are served by one post; after the first that is not answered, no other is tried.
        """
        must_be_of(mail.letter, accepted.author)
        by_route: dict[str, Posted] = {}
        got: dict[str, Posted] = {}
        for recipient in recipients:
            route = self._route(recipient)
            if route is None:
                got[recipient] = Posted("refused", replies.no_route(recipient))
                continue
            name = route.recipient
            if name not in by_route:
                away = any(posted.away for posted in by_route.values())
                by_route[name] = AWAY if away else await self._poster.post(mail.content, mail.letter, accepted, route)
                if by_route[name].message:
                    log.info("smtp_mail_delivered", sender=accepted.author, message=by_route[name].message)
            got[recipient] = by_route[name]
        return got


def must_be_of(letter: Letter, author: str) -> None:
    """Two readers of one header must not read two authors. Raises `Unparsable`."""
    if not author or canonical_address(letter.sender) != author:
        raise Unparsable(Reason.MALFORMED, letter.sender_wrong or "its From header can be read in two ways")
