# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operations on an intake, and whoever does them: here, or at the other end of a socket (C2)."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from bridges.smtp.control import models as m

Kind = Literal["not found", "invalid", "refused", "away"]


class BridgeRefused(Exception):
    """An operation that is not done; the text says why and what would be right. "away": try again later."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class BridgeOperation(NamedTuple):
    """`answer`: what comes out, a type that msgspec decodes. `body`: what goes in beside the arguments."""

    answer: Any
    body: type[msgspec.Struct] | None = None


BRIDGE_OPERATIONS: Final[dict[str, BridgeOperation]] = {
    "status": BridgeOperation(m.Status),
    "senders.list": BridgeOperation(list[m.Sender]),  # state?, search?, after?, limit?
    "senders.show": BridgeOperation(m.Sender),  # number
    "senders.vet": BridgeOperation(m.Sender, m.VetSender),
    "senders.suspend": BridgeOperation(m.Sender, m.Because),  # number
    "senders.resume": BridgeOperation(m.Sender, m.Because),  # number
    "senders.withdraw": BridgeOperation(m.Sender, m.Because),  # number
    "held.list": BridgeOperation(list[m.HeldMail]),  # state?, before?, limit?
    "held.show": BridgeOperation(m.HeldDetail),  # number
    "held.decide": BridgeOperation(m.HeldDecided, m.DecideHeld),  # number
    "correspondents.list": BridgeOperation(m.CorrespondentPage),  # state?, search?, after?, limit?
    "correspondents.show": BridgeOperation(m.Correspondent),  # address
    "correspondents.move": BridgeOperation(m.Correspondent, m.MoveCorrespondent),  # address
    "correspondents.wanting": BridgeOperation(list[str]),  # whom to invite by rule, some; only the gateway asks for it
    "correspondents.invited": BridgeOperation(m.Correspondent, m.Invited),  # address; only the gateway asks for it
    "correspondents.joined": BridgeOperation(m.Correspondent, m.Joined),  # address; only the gateway asks for it
    "report": BridgeOperation(m.Report),
    "replay": BridgeOperation(m.ReplayAnswer, m.Replay),
    "decisions.list": BridgeOperation(m.DecisionPage),  # before?, limit?, search?
    "decisions.verify": BridgeOperation(m.DecisionVerdict),
}
"""By name, with their arguments in the comment; those with ? may be left out."""


class BridgeDoor(Protocol):
    """Performs operations on one intake."""

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None, by: str
    ) -> Any:
        """The operation's answer, durable. `by`: who asks, for the log. Raises `BridgeRefused`."""
        ...
