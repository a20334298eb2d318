# SPDX-License-Identifier: AGPL-3.0-or-later
"""The desk of an intake: where each operation is checked and handed to the room that does it (C2, C5)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from bridges.smtp.control import models as m
from bridges.smtp.control.door import BRIDGE_OPERATIONS, BridgeRefused

if TYPE_CHECKING:  # whoever only asks needs none of them
    from bridges.smtp.correspondents import Correspondents
    from bridges.smtp.holding import Holding
    from bridges.smtp.store.decisions import Decisions
    from bridges.smtp.vetting import Vetting

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

    vetting: "Vetting"
    holding: "Holding"
    correspondents: "Correspondents"
    decisions: "Decisions"
    status: Callable[[], Awaitable[m.Status]]
    report: Callable[[], Awaitable[m.Report]]
    replay: Callable[[m.Replay], Awaitable[m.ReplayAnswer]]


class Desk:
    """Implements `BridgeDoor` in the intake's own process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

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
            return await self._performed(operation, asked, body, by[:_BY_MAX])
        except OSError as error:
            what = error.strerror or type(error).__name__
            raise BridgeRefused("away", f"the bridge's disk failed, and this may not have been done: {what}") from None

    async def _performed(self, operation: str, asked: Any, body: Any, by: str) -> Any:
        rooms = self._rooms
        room, _, act = operation.partition(".")
        if room == "senders":
            return await self._on_senders(act, asked, body, by)
        if room == "held":
            return await self._on_held(act, asked, body, by)
        if room == "correspondents":
            return await self._on_correspondents(act, asked, body, by)
        if operation == "decisions.list":
            return await rooms.decisions.page(asked.before, asked.limit, asked.search or "")
        if operation == "decisions.verify":
            return await rooms.decisions.verify()
        if operation == "status":
            return await rooms.status()
        return await (rooms.report() if operation == "report" else rooms.replay(body))

    async def _on_senders(self, act: str, asked: Any, body: Any, by: str) -> Any:
        vetting = self._rooms.vetting
        if act == "list":
            return await vetting.list(asked.state, asked.search or "", asked.after or 0, asked.limit)
        if act == "show":
            return await vetting.show(asked.number)
        if act == "vet":
            return await vetting.vet(body, by)
        move = {"suspend": vetting.suspend, "resume": vetting.resume, "withdraw": vetting.withdraw}[act]
        return await move(asked.number, by, body.reason)

    async def _on_held(self, act: str, asked: Any, body: Any, by: str) -> Any:
        holding = self._rooms.holding
        if act == "list":
            return await holding.list(asked.state, asked.before, asked.limit)
        if act == "show":
            return await holding.show(asked.number)
        return await holding.decide(asked.number, body, by)

    async def _on_correspondents(self, act: str, asked: Any, body: Any, by: str) -> Any:
        correspondents = self._rooms.correspondents
        if act == "list":
            return await correspondents.list(asked.state, asked.search or "", asked.after, asked.limit)
        if act == "wanting":
            return await correspondents.wanting_invitation()
        if act == "show":
            return await correspondents.show(asked.address)
        if act == "move":
            return await correspondents.move(asked.address, body.state, by, body.reason)
        if act == "invited":
            return await correspondents.invited(asked.address, body, by)
        return await correspondents.joined(asked.address, body)


def _in_words(error: msgspec.ValidationError) -> str:
    """What does not fit, and where."""
    what, _, where = str(error).partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    return f"{field}: {what}" if field else what
