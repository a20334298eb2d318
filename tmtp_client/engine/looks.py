# SPDX-License-Identifier: AGPL-3.0-or-later
"""The look of an account's service (B2): asked for, verified, and kept for when the service is away."""

import contextlib
from typing import Any, Final

import msgspec
from sqlalchemy import Connection as Rows

from tmtp_client.connection import Disconnected, LogInRefused, Refused
from tmtp_client.engine.context import Context
from tmtp_client.sync import registers
from tmtp_core.crypto.signing import signed_by
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.look import Look, LookInvalid, parse_look

_LOOK: Final = "look"


async def look(context: Context) -> dict[str, Any]:
    """The look as JSON has it; {}: the service has none, or it was never seen."""
    kept: dict[str, Any] | None = await context.database.read(_kept)
    with contextlib.suppress(Refused, Disconnected, LogInRefused, TimeoutError):
        shown = await _shown(context)
        if shown is not None:
            value = msgspec.to_builtins(shown)
            if value != kept:
                at = context.at()
                await context.database.write(lambda c: registers.set(c, at, registers.HERE, _LOOK, {_LOOK: value}))
            return dict(value)
    return kept or {}


async def _shown(context: Context) -> Look | None:
    """What the service shows now; None where it shows nothing that holds. Raises as a connection does."""
    if context.connection is None or not context.connection.is_connected or not context.identity.service_key:
        return None
    connection = await context.soon()
    answer, data = await connection.inquire(m2.ServiceInfo(context.request_id()))
    if not isinstance(answer, m2.Skin) or not data:
        return None
    if not signed_by(context.identity.service_key, answer.sig, m2.SKIN, data):
        return None
    try:
        return parse_look(data)
    except LookInvalid:
        return None


def _kept(c: Rows) -> dict[str, Any] | None:
    value = registers.get(c, registers.HERE, _LOOK, _LOOK)
    return value if isinstance(value, dict) else None
