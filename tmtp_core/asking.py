# SPDX-License-Identifier: AGPL-3.0-or-later
"""What each request asks of the rules: the step that it becomes on its way to the writer (wire.md §6).

Which rule decides it, by what a repetition of it is known, how much its answer may hold, and who may ask for it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from tmtp_core import limits
from tmtp_core.crypto.possession import Channel
from tmtp_core.domain import acquaintance, device_log, directory, groups, posting, presence, reports
from tmtp_core.domain.outcome import Answer, Asker, Moment, Outcome
from tmtp_core.domain.port import Body
from tmtp_core.domain.rules import Rules
from tmtp_core.errors import UNAVAILABLE, LoginRefused, RequestRefused
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

Decide = Callable[[SqlLedger, Asker, Moment], Outcome]


class Asked(Protocol):
    """Who is asked: the service."""

    rules: Rules

    def announce(self, request: m2.ServiceInfo) -> Answer:
        """The answer to op 18."""
        ...


class Step(msgspec.Struct, eq=False):
    """A request on its way to the writer, in its place among the others of its link.

    `waits_for` counts payloads that are not durable yet; without `decide` then, one could not be written.
    `size` is what it holds in memory, `answer_bytes` about the most that its answer will.
    """

    decide: Decide | None
    request_id: str
    size: int = 0
    answer_bytes: int = 0
    key: str | None = None  # what a repetition is known by, where there can be one
    waits_for: int = 0
    narrow: bool = False  # a restricted link may ask for this
    looks: bool = False  # it changes nothing
    bodies: dict[int, Body] = msgspec.field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """Payloads that it brings."""
        return tuple(body.file for body in self.bodies.values() if body.file is not None)


def step_of(request: m2.Request, text: bytes, asked: Asked, channels: tuple[Channel, ...]) -> Step:
    """Of a request without streamed data: all but posts, acks and pulses. `text`: a ping's or an invitation's."""
    return _STEPS[type(request)](request, text, asked, channels)


def post_decision(request: m.Post | m.PostNotify, bodies: tuple[Body, ...], rules: Rules) -> Decide:
    """Of op 7 or 8, whose payloads are durable or small: of a note, the note's is the first."""
    if isinstance(request, m.Post):
        return partial(rules.posting.post, request, bodies[0])
    return partial(posting.post_notify, request, bodies[0], bodies[1])


def recipients_bytes(request: m.Post | m.PostNotify) -> int:
    """What those take whom a post names, in memory."""
    also = len(request.notefor) if type(request) is m.PostNotify else 0  # not isinstance: see `tmtp_core.wire.link`
    return (len(request.for_) + also) * limits.ENTRY_BYTES


def goodbye() -> Step:
    """Op 12: decided in its turn, so that everything which was asked or acknowledged before it is durable then."""
    return Step(lambda ledger, asker, moment: Outcome(), "", narrow=True, looks=True)


def refuse_restricted(ledger: SqlLedger, asker: Asker, moment: Moment) -> Outcome:
    """For what a restricted link may not ask."""
    raise LoginRefused("this device may only look at its account's log and add to it")


def refuse_for_now(ledger: SqlLedger, asker: Asker, moment: Moment) -> Outcome:
    """There were no descriptors for a payload's file: that passes, and costs nobody his link."""
    raise RequestRefused(UNAVAILABLE)


def _text_step(decide: Callable[..., Outcome], request: m.Ping | m.GroupInvite, text: bytes) -> Step:
    return Step(partial(decide, request, text), request.id, len(text), key=m.repetition_key(request))


def _list_or_edit(request: m2.InviteEdit, rules: Rules) -> Step:
    lists = limits.LISTING_MAX_BYTES if request.act == "list" else 0
    return Step(partial(rules.invitations.edit, request), request.id, answer_bytes=lists)


def _announcement(request: m2.ServiceInfo, asked: Asked) -> Step:
    skin = asked.announce(request)
    return Step(
        lambda ledger, asker, moment: Outcome(answers=[skin]), request.id, answer_bytes=len(skin.data), looks=True
    )


_STEPS: Final[dict[type, Callable[[Any, bytes, Asked, tuple[Channel, ...]], Step]]] = {
    m.UserEdit: lambda r, text, asked, channels: Step(partial(asked.rules.accounts.edit_user, r), r.id),
    m.OhiEdit: lambda r, text, asked, channels: Step(partial(presence.edit, r), r.id, len(r.for_) * limits.ENTRY_BYTES),
    m.GroupInvite: lambda r, text, asked, channels: _text_step(groups.invite, r, text),
    m.GroupEdit: lambda r, text, asked, channels: Step(partial(groups.edit, r), r.id),
    m.Ping: lambda r, text, asked, channels: _text_step(posting.ping, r, text),
    # Of revision 2 only:
    m2.LogAppend: lambda r, text, asked, channels: Step(
        partial(asked.rules.logs.append, r, channels), r.id, len(r.sigs) * limits.ENTRY_BYTES, narrow=True
    ),
    m2.LogFetch: lambda r, text, asked, channels: Step(
        partial(device_log.fetch_log, r), r.id, answer_bytes=limits.LOG_PAGE_MAX_BYTES, narrow=True, looks=True
    ),
    m2.InviteEdit: lambda r, text, asked, channels: _list_or_edit(r, asked.rules),
    m2.BlockEdit: lambda r, text, asked, channels: Step(partial(acquaintance.edit_block, r), r.id),
    m2.Find: lambda r, text, asked, channels: Step(partial(directory.find, r), r.id, looks=True),
    m2.ServiceInfo: lambda r, text, asked, channels: _announcement(r, asked),
    m2.KeyEdit: lambda r, text, asked, channels: Step(partial(asked.rules.devices.edit_key, r), r.id),
    m2.GroupInfo: lambda r, text, asked, channels: Step(
        partial(groups.info, r), r.id, answer_bytes=limits.LISTING_MAX_BYTES, looks=True
    ),
    m2.Report: lambda r, text, asked, channels: Step(partial(reports.report, r), r.id),
}
