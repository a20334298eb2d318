# SPDX-License-Identifier: AGPL-3.0-or-later
"""A mail that was accepted, posted to a route once (C2): at its session, out of the spool, or when it is released."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from bridges import limits
from bridges.mime import Letter
from bridges.smtp.control.evidence import Outcome
from bridges.smtp.policy import replies
from bridges.smtp.policy.rules import folded
from bridges.smtp.posts.mail import MailPost, post_id
from bridges.smtp.settings import Route
from bridges.smtp.store.conversations import Conversations
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.delivered import Correspondence, Delivered, Names
from tmtp_client.connection import Disconnected, PersistentConnection, Refused
from tmtp_core.wire.messages import TO_UID, Outsider, Recipient

log = structlog.get_logger()

_FOR_NOW: Final = re.compile(r"^quota: | yet$")  # what the service refuses only for now (docs/protocol.md)


class Accepted(Struct, frozen=True):
    """What is known of an accepted mail beside its octets; kept with it where it waits.

    `words`: how it is proved, in short, for whoever reads it. Where signatures alone prove it: the header fields that
    they leave out, and a hash of the body that they cover. `mail`: as in `Evidence`, whatever it is proved by; "" where
    that is not known.
    """

    author: str
    words: str
    uncovered: tuple[str, ...] = ()
    signed_body: str = ""
    mail: str = ""


class Posted(NamedTuple):
    """What became of a post. `away`: the service did not answer. `remember`: to be done in the change that ends it.

    Until then the same post may be made again: the service knows its id, and stores it once. `message`: the id that the
    service gave it.
    """

    outcome: Outcome
    reply: str
    away: bool = False
    message: str = ""
    remember: Callable[[Connection], None] | None = None


class Poster:
    """Posts to one service. `bridge`: its name, `uid`: its account."""

    def __init__(
        self,
        bridge: str,
        uid: str,
        service: PersistentConnection,
        database: BridgeDatabase,
        delivered: Delivered,
        conversations: Conversations,
    ) -> None:
        self._bridge = bridge
        self._uid = uid
        self._service = service
        self._database = database
        self._delivered = delivered
        self._conversations = conversations
        self._under_way: set[str] = set()  # names of posts

    async def is_there(self, wait_s: float) -> bool:
        """Whether the service is there, or comes within this time."""
        try:
            await self._service.current(wait_s)
        except (Disconnected, TimeoutError):
            return False
        return True

    async def post(self, mail: bytes, letter: Letter, accepted: Accepted, route: Route) -> Posted:
        """One mail to one route: what was delivered within a week is not delivered again. Raises `OSError`.

        `mail`: its octets as they came. `letter`: the same as it was parsed, its attachments still on the disk.
        The same mail at the same time is put off: the service takes one request of an id, and the first may still fail.
        """
        letter = without(letter, frozenset(accepted.uncovered))
        sender = accepted.author
        post = post_id(sender, route.recipient, letter, mail, accepted.signed_body)
        which = Correspondence(folded(sender), folded(route.recipient))
        # The id depends on what the mail is proved by, which may change before it comes again: so it has another name.
        names = (post, self._delivered.hashed("delivered", *which, accepted.mail).hex() if accepted.mail else post)
        if not self._under_way.isdisjoint(names):
            return Posted("deferred", replies.temporary("the same mail is being delivered already"))
        self._under_way.update(names)
        try:
            return await self._post_new(names, which, letter, route, mail, accepted)
        finally:
            self._under_way.difference_update(names)

    async def _post_new(
        self, names: Names, which: Correspondence, letter: Letter, route: Route, mail: bytes, accepted: Accepted
    ) -> Posted:
        sender = accepted.author
        known = await self._delivered.known(names, which, letter)
        if known.delivered:
            log.info("smtp_mail_known", bridge=self._bridge, sender=sender)
            return Posted("duplicate", replies.DELIVERED)
        thread, may_be_answered = known.place.thread, route.reply == "smarthost"

        def note_conversation(connection: Connection, thread: str) -> None:
            self._conversations.note(connection, thread, route.recipient, sender, letter)

        if may_be_answered and thread:  # first: whoever has the mail may answer at once
            await self._database.write(lambda connection: note_conversation(connection, thread))
        made = MailPost(letter, sender, self._uid, route, known.place, mail)
        posted = await self._post(names[0], route.recipient, made, Outsider(sender, accepted.words))
        if posted.outcome != "delivered":
            return posted

        def remember(connection: Connection) -> None:
            self._delivered.note(connection, names, which, letter, thread)
            if may_be_answered and not thread:  # the service's id of the first message is its thread
                note_conversation(connection, posted.message)

        return posted._replace(remember=remember)

    async def _post(self, post: str, recipient: str, made: MailPost, outsider: Outsider) -> Posted:
        try:
            # A service that was away a moment ago is not waited for: the mail is spooled, and tried soon.
            connection = await self._service.at_once(limits.SERVICE_WAIT_S)
            acked = await connection.post(
                post, [Recipient(recipient, TO_UID)], made.pieces(), made.size, len(made.head), as_=outsider
            )
        except (Disconnected, TimeoutError) as error:
            log.warning("smtp_service_away", bridge=self._bridge, error=str(error) or "no answer")
            return AWAY
        except Refused as refused:
            log.warning("smtp_post_refused", bridge=self._bridge, error=str(refused))
            if refused_for_now(refused):
                return Posted("deferred", replies.temporary("the recipient cannot be reached just now"))
            return Posted("refused", replies.NOT_TAKEN)
        return Posted("delivered", replies.DELIVERED, message=acked.msgid)


AWAY: Final = Posted("deferred", replies.temporary("the service is away"), away=True)


def refused_for_now(refused: Refused) -> bool:
    """Whether the service refuses this only for now (docs/protocol.md, *Bridges*)."""
    return _FOR_NOW.search(str(refused)) is not None


def without(letter: Letter, unproved: frozenset[str]) -> Letter:
    """The letter without what says which mail it is and what it answers, where nobody signed that.

    Else whoever has a signed mail could put it into any conversation of its author (D1).
    """
    if "message-id" in unproved:
        letter = replace(letter, message_id="")
    if "date" in unproved:
        letter = replace(letter, date="")
    if unproved & {"references", "in-reply-to"}:
        letter = replace(letter, references=())
    return letter
