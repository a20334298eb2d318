# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of a mail, for each of its recipients, and why (C2, D1, C5): default deny.

Pure: it decides on a mail at hand, and on one that was decided on long ago, whose evidence was kept (`smtp replay`).
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from bridges.smtp.control.evidence import Evidence, Found, Strength
from bridges.smtp.control.models import LifeState
from bridges.smtp.policy import replies
from bridges.smtp.policy.rules import Rules, SenderRule, folded
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.proof.verdict import SEALER, Claim, Standing, standing
from bridges.smtp.settings import Route

SMTP_IS_REFUSED: Final = "his SMTP is refused"
SUSPENDED: Final = "the record is suspended"
"""Steps of a trace, by which it is seen what was decided by (`smtp replay`)."""

_ROUTE: Final = "route "
_HOLDS: Final = ": unknown: hold"


class Ruling(NamedTuple):
    """What is to be done for one recipient, and the steps that led there.

    `record`: the vetting record that it goes by. `reply`: of "refuse" and "defer". `why`: of "hold", for who decides.
    """

    do: Literal["take", "hold", "refuse", "defer"]
    trace: tuple[str, ...]
    record: int | None = None
    reply: str = ""
    why: str = ""


class Known(NamedTuple):
    """What is known of an author beside his record.

    `today`: messages that his record took this day. `state`: how far he is on the way out of SMTP; None: never seen.
    `invitation`: the address at which everybody can join, `link`: the one at which he can; "" for none.
    """

    today: int = 0
    state: LifeState | None = None
    invitation: str = ""
    link: str = ""


class Claimed(NamedTuple):
    """How a mail stands to the record that it claims.

    `session`: whether peer, certificate and envelope are as the record wants them; if not, the rest says nothing.
    """

    session: bool
    standing: Standing
    failing: tuple[Claim, ...] = ()


def rule(
    evidence: Evidence,
    recipients: Iterable[str],
    rules: Rules,
    known: Known,
    now_ms: int,
    seen: tuple[str, ...] = (),
) -> dict[str, Ruling]:
    """A ruling for each recipient. `seen`: what was found, as the sender is told it; (): as it is kept."""
    if not evidence.author:
        refused = Ruling("refuse", (f"it cannot be read: {evidence.unreadable}",), None, _unreadable(evidence))
        return dict.fromkeys(recipients, refused)
    case = _Case(evidence, rules, known, now_ms, seen)
    return {recipient: case.ruling(recipient) for recipient in recipients}


def claimed(record: SenderRule, evidence: Evidence) -> Claimed:
    """How a mail stands to a record: a failure counts before a doubt."""
    session = record.session_proves(evidence.peer, bytes.fromhex(evidence.key), upstream=evidence.upstream)
    if not session or not record.allows_envelope(evidence.mail_from):
        return Claimed(False, Standing.FAILS)
    standings = {claim: standing(claim, evidence.found, evidence.unsure) for claim in record.claims}
    for wanted in (Standing.FAILS, Standing.UNSURE):
        which = tuple(claim for claim, one in standings.items() if one is wanted)
        if which:
            return Claimed(True, wanted, which)
    return Claimed(True, Standing.HOLDS)


def proven(evidence: Evidence) -> bool:
    """Whether the mail itself shows whose it is: an aligned signature, or aligned SPF, passes."""
    return any(one.state == "pass" and one.aligned for one in evidence.found)


def reaches_author(evidence: Evidence) -> bool:
    """Whether who hears the reply, or is sent it as a notice, is the author.

    A signature says nothing of that: whoever has got a signed mail can send it once more, and so can a sealed chain.
    """
    return canonical_address(evidence.mail_from) == evidence.author and any(
        one.method == "spf" and one.state == "pass" and one.aligned and not one.by.startswith(SEALER)
        for one in evidence.found
    )


def strength(evidence: Evidence, *, by_record: bool) -> Strength:
    """How well it is shown whose mail it is. `by_record`: whether a record's proof holds, its session's included."""
    if any(one.method == "dkim" and one.state == "pass" and one.aligned and not one.by for one in evidence.found):
        return "strong"
    return "weak" if by_record or proven(evidence) else "none"


def knowable(record: SenderRule | None, evidence: Evidence, now_ms: int) -> bool:
    """Whether so much was looked at that a record, perhaps another than it was decided by, can be held against it."""
    if record is None or record.expired(now_ms) or evidence.looked:
        return True
    stands = claimed(record, evidence)
    return not stands.session or stands.standing is not Standing.FAILS


def took(trace: tuple[str, ...]) -> bool:
    """Whether this is the trace of a ruling "take", whatever the service made of it."""
    return bool(trace) and trace[-1].startswith(_ROUTE) and not held(trace)


def held(trace: tuple[str, ...]) -> bool:
    """Whether this is the trace of a ruling "hold" for a sender who is not vetted, whether there was room or not."""
    return bool(trace) and trace[-1].startswith(_ROUTE) and trace[-1].endswith(_HOLDS)


class _Case:
    """One mail, and what is the same for all its recipients."""

    def __init__(self, evidence: Evidence, rules: Rules, known: Known, now_ms: int, seen: tuple[str, ...]) -> None:
        self._evidence = evidence
        self._rules = rules
        self._known = known
        self._now_ms = now_ms
        self._seen = seen or (*(_words(one) for one in evidence.found), *evidence.notes)
        self._record = rules.sender(evidence.author)
        self._proven = proven(evidence)
        self._reaches_author = reaches_author(evidence)

    def ruling(self, recipient: str) -> Ruling:
        route = self._rules.route(recipient)
        if route is None:
            return self._refuse((f"there is no route for {recipient}",), replies.no_route(recipient))
        record, author = self._record, self._evidence.author
        if record is None:
            return self._unvetted(route, (f"{author} has no vetting record",), replies.not_approved(author))
        trace = (f"{author}: record {record.number}, {record.whom}",)
        if record.expired(self._now_ms):
            return self._unvetted(route, (*trace, "it has expired"), replies.expired(author))
        return self._shown(route, record, trace) or self._vetted(route, record, (*trace, "its proof holds"))

    def _shown(self, route: Route, record: SenderRule, trace: tuple[str, ...]) -> Ruling | None:
        """What there is to say of mail whose proof does not hold."""
        author = self._evidence.author
        stands = claimed(record, self._evidence)
        if not stands.session:
            trace = (*trace, "another network, certificate or envelope than it wants")
            return self._refuse(trace, replies.wrong_session(author), invite=True)
        steps = (*trace, *(f"{claim}: {stands.standing.value}" for claim in stands.failing))
        if stands.standing is Standing.FAILS:
            return self._refuse(steps, replies.unproved(author, stands.failing, self._seen), invite=True)
        if stands.standing is Standing.UNSURE:
            return Ruling("defer", steps, record.number, replies.unsure(stands.failing))
        return None

    def _vetted(self, route: Route, record: SenderRule, trace: tuple[str, ...]) -> Ruling:
        """The mail is shown to be of whom the record vets."""
        author, number = self._evidence.author, record.number
        self._proven = True  # be it by where it comes from
        if record.networks or record.keys:
            self._reaches_author = canonical_address(self._evidence.mail_from) == author
        if self._known.state == "refused":
            return self._joined(trace)
        if record.suspended:
            trace = (*trace, f"{SUSPENDED}: {record.suspended}")
            return Ruling("defer", trace, number, replies.suspended(author))
        if record.routes is not None and folded(route.recipient) not in record.routes:
            trace = (*trace, f"not for {route.recipient}")
            return self._unvetted(route, trace, replies.not_this_route(author, route.recipient))
        if record.quota_per_day is not None:
            trace = (*trace, f"{self._known.today} of {record.quota_per_day} messages today")
            if self._known.today >= record.quota_per_day:
                return Ruling("defer", trace, number, replies.over_quota(author, record.quota_per_day))
        if self._evidence.unreadable:
            trace = (*trace, f"it cannot be read: {self._evidence.unreadable}")
            return Ruling("hold", trace, number, why=f"it cannot be read: {self._evidence.unreadable}")
        return Ruling("take", (*trace, f"{_ROUTE}{route.recipient}"), number)

    def _unvetted(self, route: Route, trace: tuple[str, ...], reply: str) -> Ruling:
        """Nobody has vetted this sender, or not for this. That he has joined is no business of whoever names him."""
        if self._known.state == "refused":
            return self._joined(trace) if self._proven else self._refuse((*trace, SMTP_IS_REFUSED), reply)
        if not route.hold_unknown:
            return self._refuse(trace, reply, invite=True)
        unreadable = f"; it cannot be read: {self._evidence.unreadable}" if self._evidence.unreadable else ""
        why = f"{trace[-1]}{unreadable}"
        return Ruling("hold", (*trace, f"{_ROUTE}{route.recipient}{_HOLDS}"), self._number, why=why)

    def _joined(self, trace: tuple[str, ...]) -> Ruling:
        """He writes by TMTP now, and no more by SMTP (C5)."""
        return self._refuse((*trace, SMTP_IS_REFUSED), replies.joined(self._evidence.author), invite=True)

    def _refuse(self, trace: tuple[str, ...], reply: str, *, invite: bool = False) -> Ruling:
        """`invite`: to proven senders only, for whoever forges them must not be told where they are invited. His own
        link is an account: it is told where nobody but him hears it.
        """
        where = (self._reaches_author and self._known.link) or self._known.invitation
        if invite and self._proven and where:
            reply = replies.inviting(reply, where)
            trace = (*trace, "told where to join")
        return Ruling("refuse", trace, self._number, reply)

    @property
    def _number(self) -> int | None:
        return None if self._record is None else self._record.number


def _unreadable(evidence: Evidence) -> str:
    return replies.unreadable(evidence.unreadable)


def _words(found: Found) -> str:
    aligned = {True: "aligned", False: "not aligned", None: "alignment unknown"}[found.aligned]
    said = f" (says {found.by})" if found.by else ""
    name = f"d={found.domain}" if found.method == "dkim" else found.domain or "no domain"
    return f"{found.method.upper()}: {name}, {aligned}, {found.state}{said}"
