# SPDX-License-Identifier: AGPL-3.0-or-later
"""The desk of an intake: where each operation is checked and handed to the room that does it (C2, C5)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from bridges.smtp.control import models as m
from bridges.smtp.control.door import BRIDGE_OPERATIONS, BridgeRefused
from bridges.smtp.senders.correspondents import Correspondents
from bridges.smtp.senders.vetting import Vetting
from bridges.smtp.store.decisions import Decisions
from bridges.smtp.waiting.holding import Holding

_PAGE: Final = 100
_BY_MAX: Final = 200  # characters of who asks, as the log has it

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


class _None(m.Struct, frozen=True):
    """No arguments."""


class _Numbered(m.Struct, frozen=True):
    """One record, or one mail."""

    number: m.Number


class _Addressed(m.Struct, frozen=True):
    """One correspondent."""

    address: m.Address


class _Senders(m.Struct, frozen=True):
    """Some records."""

    state: m.SenderState | None = None
    search: _Name | None = None
    after: m.Number | None = None
    limit: m.PageSize = _PAGE


class _Held(m.Struct, frozen=True):
    """Some held mails."""

    state: m.HeldState | None = None
    before: m.Number | None = None
    limit: m.PageSize = _PAGE


class _Correspondents(m.Struct, frozen=True):
    """Some correspondents."""

    state: m.LifeState | None = None
    search: _Name | None = None
    after: _Name | None = None
    limit: m.PageSize = _PAGE


class _Decisions(m.Struct, frozen=True):
    """Some entries of the log."""

    before: m.Number | None = None
    limit: m.PageSize = _PAGE
    search: _Name | None = None


_ARGUMENTS: Final[dict[str, type[msgspec.Struct]]] = {
    "senders.list": _Senders,
    "senders.show": _Numbered,
    "senders.suspend": _Numbered,
    "senders.resume": _Numbered,
    "senders.withdraw": _Numbered,
    "held.list": _Held,
    "held.show": _Numbered,
    "held.decide": _Numbered,
    "correspondents.list": _Correspondents,
    "correspondents.show": _Addressed,
    "correspondents.move": _Addressed,
    "correspondents.invited": _Addressed,
    "correspondents.joined": _Addressed,
    "decisions.list": _Decisions,
}
"""Of those operations that take any."""


@dataclass(frozen=True)
class Rooms:
    """Who does what; the last three are asked as they are."""

    vetting: Vetting
    holding: Holding
    correspondents: Correspondents
    decisions: Decisions
    status: Callable[[], Awaitable[m.Status]]
    report: Callable[[], Awaitable[m.Report]]
    replay: Callable[[m.Replay], Awaitable[m.ReplayAnswer]]


_Handler = Callable[[Any, Any, str], Awaitable[Any]]
"""Of one operation: the arguments, the body, who asks."""


class Desk:
    """Implements `BridgeDoor` in the intake's own process."""

    def __init__(self, rooms: Rooms) -> None:
        self._handlers = _handlers(rooms)

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None, by: str
    ) -> Any:
        """See `BridgeDoor`. Whatever does not fit is refused with what would."""
        known = BRIDGE_OPERATIONS.get(operation)
        if known is None:
            raise BridgeRefused("invalid", f"there is no operation {operation}")
        if not isinstance(body, known.body or type(None)):
            takes = f"a body: {known.body.__name__}" if known.body is not None else "no body"
            raise BridgeRefused("invalid", f"{operation} takes {takes}")
        try:
            asked = msgspec.convert(dict(arguments), _ARGUMENTS.get(operation, _None))
        except msgspec.ValidationError as error:
            raise BridgeRefused("invalid", _in_words(error)) from None
        try:
            return await self._handlers[operation](asked, body, by[:_BY_MAX])
        except OSError as error:
            what = error.strerror or type(error).__name__
            raise BridgeRefused("away", f"the bridge's disk failed, and this may not have been done: {what}") from None


def _handlers(rooms: Rooms) -> dict[str, _Handler]:
    """By the names of the operations."""
    vetting, holding = rooms.vetting, rooms.holding
    correspondents, decisions = rooms.correspondents, rooms.decisions
    return {
        "status": lambda a, body, by: rooms.status(),
        "senders.list": lambda a, body, by: vetting.list(a.state, a.search or "", a.after or 0, a.limit),
        "senders.show": lambda a, body, by: vetting.show(a.number),
        "senders.vet": lambda a, body, by: vetting.vet(body, by),
        "senders.suspend": lambda a, body, by: vetting.suspend(a.number, by, body.reason),
        "senders.resume": lambda a, body, by: vetting.resume(a.number, by, body.reason),
        "senders.withdraw": lambda a, body, by: vetting.withdraw(a.number, by, body.reason),
        "held.list": lambda a, body, by: holding.list(a.state, a.before, a.limit),
        "held.show": lambda a, body, by: holding.show(a.number),
        "held.decide": lambda a, body, by: holding.decide(a.number, body, by),
        "correspondents.list": lambda a, body, by: correspondents.list(a.state, a.search or "", a.after, a.limit),
        "correspondents.show": lambda a, body, by: correspondents.show(a.address),
        "correspondents.move": lambda a, body, by: correspondents.move(a.address, body.state, by, body.reason),
        "correspondents.wanting": lambda a, body, by: correspondents.wanting_invitation(),
        "correspondents.invited": lambda a, body, by: correspondents.invited(a.address, body, by),
        "correspondents.joined": lambda a, body, by: correspondents.joined(a.address, body),
        "report": lambda a, body, by: rooms.report(),
        "replay": lambda a, body, by: rooms.replay(body),
        "decisions.list": lambda a, body, by: decisions.page(a.before, a.limit, a.search or ""),
        "decisions.verify": lambda a, body, by: decisions.verify(),
    }


def _in_words(error: msgspec.ValidationError) -> str:
    """What does not fit, and where."""
    what, _, where = str(error).partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    return f"{field}: {what}" if field else what
