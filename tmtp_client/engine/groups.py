# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person does with groups (A6), and who is in them as the service has it. Inviting: `composing`."""

from typing import Literal

import msgspec

from tmtp_client.api import models, problems
from tmtp_client.connection import Connection, Disconnected, Refused
from tmtp_client.engine import arriving, meeting
from tmtp_client.engine.context import Context
from tmtp_client.store import groups
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

Act = Literal["join", "leave", "drop", "alias"]

_MEMBERS = msgspec.json.Decoder(tuple[m2.MemberListed, ...])


async def show(context: Context, gid: str) -> models.Group:
    """One, with its members as the service has them, if it can be asked now. Raises `ProblemError`."""
    if await context.database.read(lambda c: meeting.group_stands(c, gid)) == "joined" and context.revision > 1:
        connection = context.connection
        if connection is not None and connection.is_connected:
            await refresh(context, await connection.current(), gid)
    return await _view(context, gid)


async def refresh(context: Context, connection: Connection, gid: str) -> bool:
    """Ask who has joined (op 20). What the service does not say stays as it is known. False: it did not answer."""
    if context.revision < 2:
        return True
    try:
        await ask_who_joined(context, connection, gid)
    except (Disconnected, TimeoutError):
        return False
    except Refused:
        return True
    return True


async def ask_who_joined(context: Context, connection: Connection, gid: str) -> None:
    """The same. Raises `Refused`, also for an answer that is none, `Disconnected`, TimeoutError."""
    _, data = await connection.inquire(m2.GroupInfo(context.request_id(), gid))
    try:
        listed = _MEMBERS.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Refused(f"the service does not say who is in {gid}") from None
    now_ms = context.clock()
    await context.database.write(lambda c: arriving.members(c, context, gid, listed, now_ms))


async def act(context: Context, gid: str, what: Act, alias: str = "") -> models.Group:
    """Join, leave, take another alias there, drop somebody. Raises `ProblemError`, `Refused`, `Disconnected`."""
    group = await _view(context, gid)
    if what == "drop" and not alias:
        raise problems.usage("say whom", "alias")
    if what == "alias" and not alias:
        raise problems.usage("say which alias", "alias")
    request = {
        "join": m.GroupEdit(context.request_id(), "join", gid, newalias=alias or None),
        "alias": m.GroupEdit(context.request_id(), "alias", gid, newalias=alias),
        "leave": m.GroupEdit(context.request_id(), "drop", gid, to=group.alias or context.identity.alias),
        "drop": m.GroupEdit(context.request_id(), "drop", gid, to=alias),
    }[what]
    await (await context.soon()).ask(request)
    return await show(context, gid)


async def _view(context: Context, gid: str) -> models.Group:
    found = await context.database.read(lambda c: groups.view(c, gid))
    if found is None:
        raise problems.not_found(f"there is no group {gid[:80]!r} here", "gid")
    return found
