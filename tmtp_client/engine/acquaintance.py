# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person does about others (A3, D2): find, accept, ignore, block. Pinging: `composing`."""

from typing import Literal

import msgspec
from sqlalchemy import Connection as Rows

from tmtp_client.api import models, problems
from tmtp_client.connection import Disconnected, Refused
from tmtp_client.engine import meeting
from tmtp_client.engine.context import Context
from tmtp_client.store import outbox, people
from tmtp_client.store.outbox import Content
from tmtp_client.sync import state
from tmtp_core.wire import revision2 as m2

Act = Literal["accept", "ignore", "block", "unblock"]

_FIND_MIN_CHARACTERS = 3
_ALIASES = msgspec.json.Decoder(tuple[str, ...])


async def find(context: Context, text: str) -> list[models.Person]:
    """Whom one could write to: of those known here, and of the service's directory, where it has one (op 17)."""
    known = await context.database.read(lambda c: people.find(c, text))
    connection = context.connection
    if context.revision < 2 or connection is None or not connection.is_connected or len(text) < _FIND_MIN_CHARACTERS:
        return known
    try:
        _, data = await (await connection.current()).inquire(m2.Find(context.request_id(), text))
        aliases = _ALIASES.decode(data)
    except (Refused, Disconnected, TimeoutError, msgspec.MsgspecError, UnicodeDecodeError):
        return known
    here = {alias for one in known for alias in (one.alias, *one.aliases)} | set(context.aliases)
    return known + [models.Person("", alias, (alias,), "stranger", "") for alias in aliases if alias not in here]


async def answer(context: Context, uid: str, act: Act, text: str = "") -> models.Person:
    """What becomes of somebody who asks, or of whom one wants to hear no more; on all of one's devices.

    Raises `ProblemError`, and for a block `Refused`, `Disconnected`, TimeoutError: the service has to hear of it.
    """
    of = await person(context, uid)
    if act in {"block", "unblock"}:
        if context.revision < 2:
            raise problems.usage("the service does not know blocks: this account is of revision 1", "act")
        await (await context.soon()).ask(m2.BlockEdit(context.request_id(), act, uid))
        await context.database.write(lambda c: meeting.set_blocked(c, context, uid, act == "block"))
    else:
        stands = "contact" if act == "accept" else "ignored"
        await context.database.write(lambda c: _decide(c, context, of, stands, text))
        context.to_sync.set()
        context.to_send.set()
    return await person(context, uid)


async def introductions(context: Context, wanted: bool) -> None:
    """Whether others may introduce people to this account (A3). Raises `ProblemError`, `Refused`, `Disconnected`."""
    if context.revision < 2:
        raise problems.usage("the service knows no introductions: this account is of revision 1", "account")
    act = "introductions_on" if wanted else "introductions_off"
    await (await context.soon()).ask(m2.BlockEdit(context.request_id(), act))
    await context.database.write(lambda c: meeting.set_introductions(c, context, wanted))


def _decide(c: Rows, context: Context, person: models.Person, stands: str, text: str) -> None:
    """Accepting somebody who pinged is a ping back: without it the service lets him post nothing (A3)."""
    if stands == "contact" and not person.via and person.stands in {"asks", "ignored", "stranger"}:
        now_ms = context.clock()
        content = Content(to=((person.alias, 0),), names=(person.alias,), text=text)
        outbox.enqueue(c, "ping", content, now_ms, now_ms, context.random_bytes)
    state.set(c, context.at(), "person", person.uid, {"stands": stands})


async def person(context: Context, uid: str) -> models.Person:
    """Somebody who is known here, and not oneself. Raises `ProblemError`."""
    found = await context.database.read(lambda c: people.view(c, uid))
    if found is None:
        raise problems.not_found("nobody of this uid is known here", "uid")
    if found.stands == "self":
        raise problems.usage("this is you", "uid")
    return found
