# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages that waited for their key, and are opened now (B9): what they hold is kept as if it had just come."""

import asyncio
from functools import partial

from sqlalchemy import Connection as Rows
from sqlalchemy import delete, select

from tmtp_client.engine import between, opening
from tmtp_client.engine.arrival import After, Arrival
from tmtp_client.engine.arriving import arrive
from tmtp_client.engine.context import Context
from tmtp_client.engine.reading import Landing, remove, to_its_end
from tmtp_client.store import messages
from tmtp_client.store.tables import heard, message
from tmtp_client.vault.files import FileDamaged
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire import messages as m


async def open_again(context: Context, message_id: str) -> After | None:
    """Open a message that is kept sealed, if its key is here now; None: it stays as it is. Raises `OSError`."""
    trust = context.trust
    file = await context.database.read(partial(between.waiting_file, message_id=message_id))
    if trust is None or file is None:
        return None
    event = await context.database.read(partial(_event, id=message_id))
    try:
        outer = await asyncio.to_thread(opening.outer_of, context.files, file.file)
        e2e = decode_outer(outer)
        key = await context.database.read(lambda c: trust.key_for(c, message_id, e2e))
        if key is None:
            return None
        async with Landing(context.files) as landing:
            inside = await opening.open_kept(context, landing, key, outer, file, event.from_)
            arrival = Arrival(
                event,
                context.clock(),
                inside.head,
                inside.text,
                files=inside.files,
                suite=e2e.suite,
                opened=inside.opened,
                waited=True,
            )
            after, gone = await to_its_end(_keep(context, arrival, landing))
    except (EnvelopeRefused, FileDamaged, ValueError):  # it stays what it is: sealed
        return None
    await remove(context.files, (*after.remove, *gone))
    return after


async def _keep(context: Context, arrival: Arrival, landing: Landing) -> tuple[After, list[str]]:
    """What is committed names its files, whoever stops the account meanwhile."""
    done = await context.database.write(partial(_replace, context=context, arrival=arrival))
    landing.keep()
    return done


def _event(c: Rows, id: str) -> m.Delivery:
    """As the service brought it."""
    row = c.execute(select(message).where(message.c.id == id)).one()
    return m.Delivery(
        id=row.id, from_=row.author, posted=row.posted, datalen=0, alias=row.alias if row.verified else ""
    )


def _replace(c: Rows, context: Context, arrival: Arrival) -> tuple[After, list[str]]:
    gone = messages.remove(c, [arrival.event.id])
    c.execute(delete(heard).where(heard.c.id == arrival.event.id))
    return arrive(c, context, arrival), gone
