# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a link becomes a device's link: registration, log-in, and two links that want one node (wire.md §3.4 to §3.7).

A node is one link's at a time. When a second one logs in, the first is sent a probe that a live client answers;
the second waits until the first is heard of, or has been silent for `limits.CONTEST_S` (docs/decisions/0003).

Several processes may serve the instance. Which of them has a device's link stands in the database; when a second link
comes to another one, that asks the first, which settles the matter as if both were its own (docs/scaling.md).
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tmtp_core import limits
from tmtp_core.domain.outcome import NO_DEVICE, Asker, Moment, Outcome
from tmtp_core.domain.rules import Rules
from tmtp_core.domain.sign_in import SignedIn
from tmtp_core.errors import UNAVAILABLE, ProtocolError
from tmtp_core.session import Session
from tmtp_core.siblings import Siblings
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.store.writer import Job, PageRead, Result
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2


class Door(Protocol):
    """What the entrance needs of its service."""

    rules: Rules
    siblings: Siblings

    def has_claimed(self, device: int) -> None:
        """A claim of the device's link is durable."""
        ...

    def release(self, device: int) -> None:
        """A link that the database knows as this process's is none any more."""
        ...

    def disown(self, device: int, then: Callable[[], None]) -> None:
        """`then`, once the database does not say that this process has the device, unless it has."""
        ...

    def moment(self) -> Moment:
        """Now, for a decision."""
        ...

    def monotonic_s(self) -> float:
        """Now, for waiting."""
        ...

    def submit(self, job: Job) -> None:
        """Hand a decision to the writer."""
        ...

    def admit(self, session: Session, outcome: Outcome) -> None:
        """A log-in is durable."""
        ...

    def released(self, session: Session, outcome: Outcome) -> None:
        """A decision is durable."""
        ...

    def stays_out(self, session: Session) -> None:
        """A log-in on this link was not granted."""
        ...

    def first_page(self, session: Session) -> Callable[[Result], PageRead | None]:
        """What waits for a device that enters, to be read in the transaction that lets it in."""
        ...


@dataclass(slots=True, eq=False)
class _Contest:
    """Two links want one node: the old one has until `until_s` to show life.

    `new`: the link that waits, or None where it is another process's, which hears by `settled`, and `asked` by whom
    (slot, claim). `settled` is called with whether the node is free, once.
    """

    old: Session
    new: Session | None
    until_s: float
    settled: Callable[[bool], None]
    asked: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Another process has the node's link."""

    asker: Asker
    slot: int


@dataclass(frozen=True, slots=True)
class _Claim:
    """A link waits for what the process that has its node says, until `until_s`."""

    session: Session
    asker: Asker
    slot: int
    until_s: float


class Entrance:
    """Lets links in. `links` is the service's: which link each device is logged in by."""

    def __init__(self, door: Door, links: Mapping[int, Session]) -> None:
        self._door = door
        self._links = links
        self._entering: set[int] = set()  # devices whose log-in is being committed
        self._contests: list[_Contest] = []
        self._claims: dict[int, _Claim] = {}
        self._claim_numbers = itertools.count(1)

    def enter(
        self,
        session: Session,
        request: m.Login | m.Register | m2.LoginByKey | m2.RegisterKeys,
        signed_in: SignedIn | None = None,
    ) -> None:
        """Op 1 or 2 came on a link, from somebody for whom a provider vouches or not."""
        rules, moment, channels = self._door.rules, self._door.moment(), session.channels
        done, reads = partial(self._decided, session), self._door.first_page(session)
        if isinstance(request, m.Register):
            register = request
            self._door.submit(
                Job(
                    lambda ledger: _new(ledger, rules.accounts.register(ledger, register, moment, signed_in)),
                    done,
                    reads=reads,
                )
            )
        elif isinstance(request, m2.RegisterKeys):
            keys = request
            self._door.submit(
                Job(
                    lambda ledger: _new(ledger, rules.devices.register(keys, channels, ledger, moment, signed_in)),
                    done,
                    reads=reads,
                )
            )
        elif isinstance(request, m2.LoginByKey):
            by_key = request
            self._recognise(session, lambda ledger: rules.devices.recognise(by_key, channels, ledger, moment), moment)
        else:
            login = request
            self._recognise(session, lambda ledger: rules.accounts.recognise(ledger, login), moment)

    def shows_life(self, session: Session) -> None:
        """A contested link was heard of: the other one is refused."""
        session.contested = False
        for contest in self._contests_of(session):
            self._contests.remove(contest)
            contest.settled(False)

    def settle_contests(self, now_s: float) -> None:
        """Once a second: links that were silent for too long lose their node; `made_room` lets the others in."""
        for contest in list(self._contests):
            if now_s >= contest.until_s:
                contest.old.cut()
        for number, claim in list(self._claims.items()):
            alive = self._door.siblings.lives(claim.slot)
            if not alive or now_s >= claim.until_s:
                self.settled_elsewhere(number, free=not alive)
            else:  # the question or its answer may have been lost
                self._door.siblings.want(claim.asker.device, number, claim.slot)

    def wanted_elsewhere(self, device: int, claim: int, slot: int) -> None:
        """Another process has a link that wants a node of this one's."""
        old = self._links.get(device)
        if any(contest.asked == (slot, claim) for contest in self._contests):
            return

        def settled(free: bool) -> None:
            if free:  # not before the database says so too
                self._door.disown(device, lambda: self._door.siblings.settle(claim, slot, free=True))
            else:
                self._door.siblings.settle(claim, slot, free=False)

        if old is None:
            settled(device not in self._entering)
        elif old.open and not self._contests_of(old) and old.asker is not None:
            self._contest(old, None, old.asker, settled, (slot, claim))
        else:
            settled(False)

    def settled_elsewhere(self, number: int, *, free: bool) -> None:
        """The process that has a node has answered, or is dead: then it is free."""
        claim = self._claims.pop(number, None)
        if claim is None or not claim.session.open:
            return
        if free and claim.asker.device not in self._links and claim.asker.device not in self._entering:
            self._log_in(claim.session, claim.asker)
        else:
            claim.session.end("node already connected")

    def left(self, session: Session) -> None:
        """A link that may have waited for a node has ended."""
        self._contests = [contest for contest in self._contests if contest.new is not session]
        self._claims = {number: claim for number, claim in self._claims.items() if claim.session is not session}

    def made_room(self, session: Session) -> None:
        """A link that had a node has ended: who waits for the node gets it."""
        for contest in self._contests_of(session):
            self._contests.remove(contest)
            contest.settled(True)

    def _contests_of(self, old: Session) -> list[_Contest]:
        return [contest for contest in self._contests if contest.old is old]

    def _recognise(self, session: Session, recognise: Callable[[SqlLedger], Asker], moment: Moment) -> None:
        """Find out whose device it is, and let it in with the same commit when nobody else has it.

        That is looked up from the writer's thread, and again when the commit is done: who came first meanwhile has it.
        """
        accounts = self._door.rules.accounts

        def decide(ledger: SqlLedger) -> Asker | _Elsewhere | Outcome:
            asker = recognise(ledger)
            taken = asker.device in self._links or asker.device in self._entering
            return asker if taken else _claimed(ledger, asker) or accounts.log_in(ledger, asker, moment)

        self._door.submit(Job(decide, partial(self._recognised, session), reads=self._door.first_page(session)))

    def _recognised(self, session: Session, result: Result) -> None:
        """The node is known; let it in, unless an older link of it may be alive."""
        if isinstance(result, _Elsewhere):
            self._claim(session, result)
            return
        asker = result.enters if isinstance(result, Outcome) else result
        if not isinstance(asker, Asker):
            self._refuse(session, result)
            return
        old = self._links.get(asker.device) if asker.device != NO_DEVICE else None
        if old is None and asker.device not in self._entering and isinstance(result, Outcome):
            self._decided(session, result)
            return
        if isinstance(result, Outcome):  # somebody was faster; what it tells its own devices is true all the same
            self._door.released(session, Outcome(copies=result.copies))
            self._door.has_claimed(asker.device)
            self._door.release(asker.device)
        if not session.open:
            return
        if old is not None and old.open and not self._contests_of(old):
            self._contest(old, session, asker, partial(self._settled, session, asker))
        elif old is not None or asker.device in self._entering:
            session.end("node already connected")
        else:
            self._log_in(session, asker)

    def _settled(self, session: Session, asker: Asker, free: bool) -> None:
        if free:
            self._log_in(session, asker)
        else:
            session.end("node already connected")

    def _claim(self, session: Session, found: _Elsewhere) -> None:
        """Ask the process that has the node; one link at a time."""
        self._door.stays_out(session)
        if not session.open:
            return
        if any(claim.asker.device == found.asker.device for claim in self._claims.values()):
            session.end("node already connected")
            return
        number = next(self._claim_numbers)
        until_s = self._door.monotonic_s() + limits.CLAIM_S
        self._claims[number] = _Claim(session, found.asker, found.slot, until_s)
        self._door.siblings.want(found.asker.device, number, found.slot)

    def _contest(
        self,
        old: Session,
        new: Session | None,
        asker: Asker,
        settled: Callable[[bool], None],
        asked: tuple[int, int] | None = None,
    ) -> None:
        until_s = self._door.monotonic_s() + limits.CONTEST_S
        self._contests.append(_Contest(old, new, until_s, settled, asked))
        old.contested = True
        accounts, moment = self._door.rules.accounts, self._door.moment()

        def probe(result: Result) -> None:
            if isinstance(result, bytes) and old.open:
                old.outlet.send(result)

        self._door.submit(Job(lambda ledger: accounts.probe(ledger, asker, moment), probe))

    def _log_in(self, session: Session, asker: Asker) -> None:
        self._entering.add(asker.device)
        accounts, moment = self._door.rules.accounts, self._door.moment()

        def done(result: Result) -> None:
            self._entering.discard(asker.device)
            if isinstance(result, _Elsewhere):  # it has moved on meanwhile
                self._claim(session, result)
            else:
                self._decided(session, result)

        def decide(ledger: SqlLedger) -> _Elsewhere | Outcome:
            return _claimed(ledger, asker) or accounts.log_in(ledger, asker, moment)

        self._door.submit(Job(decide, done, reads=self._door.first_page(session)))

    def _decided(self, session: Session, result: Result) -> None:
        if not isinstance(result, Outcome):
            self._refuse(session, result)
        elif result.enters is None:  # a registration that was answered before: the device has what it needs
            for answer in result.answers:
                session.send(answer)
            session.end(m2.REGISTERED_BEFORE)
        else:
            self._door.admit(session, result)

    def _refuse(self, session: Session, result: Result) -> None:
        """Tell a link why it is not let in (wire.md §3.4), or that the trouble is ours."""
        self._door.stays_out(session)
        session.end(result.quit_text if isinstance(result, ProtocolError) else UNAVAILABLE)


def _claimed(ledger: SqlLedger, asker: Asker) -> _Elsewhere | None:
    """Take the device's link for this process, unless another one has it."""
    slot = ledger.claim(asker.device) if asker.device != NO_DEVICE else None
    return _Elsewhere(asker, slot) if slot is not None else None


def _new(ledger: SqlLedger, outcome: Outcome) -> Outcome:
    """A registration: nobody else can have the device's link."""
    if outcome.enters is not None:
        _claimed(ledger, outcome.enters)
    return outcome
