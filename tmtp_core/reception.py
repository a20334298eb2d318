# SPDX-License-Identifier: AGPL-3.0-or-later
"""What happens to who wants to register before the database hears of it (A1, A2): pace, work, sign-in.

A sign-in is checked beside the loop, and may wait for the provider's keys: then its link waits, and nobody else.
What the check finds is committed with the registration, or not at all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from tmtp_core import limits
from tmtp_core.crypto.work import work_holds
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.registering import TOO_MANY, WORK_REQUIRED, RegistrationPace
from tmtp_core.domain.rules import Rules
from tmtp_core.domain.sign_in import SignedIn, SignInRule
from tmtp_core.errors import UNAVAILABLE, ProtocolError, ServiceUnavailable
from tmtp_core.session import Session
from tmtp_core.store.writer import Job, Result
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

Entering = m.Login | m.Register | m2.LoginByKey | m2.RegisterKeys


class Desk(Protocol):
    """What the reception needs of its service."""

    rules: Rules

    def moment(self) -> Moment:
        """Now, for a decision."""
        ...

    def monotonic_s(self) -> float:
        """Now, for waiting."""
        ...

    def submit(self, job: Job) -> None:
        """Hand a decision to the writer."""
        ...


class Reception:
    """Stands before the entrance: `enter` is the entrance's, for who is through here."""

    def __init__(
        self,
        desk: Desk,
        enter: Callable[[Session, Entering, SignedIn | None], None],
        pace: RegistrationPace,
        service_key: bytes,
    ) -> None:
        self._desk = desk
        self._enter = enter
        self._pace = pace
        self._service_key = service_key
        self._working: OrderedDict[Session, int] = OrderedDict()  # links that were asked for work, and for how much
        self._checks: set[asyncio.Task[None]] = set()

    def announce(self, session: Session) -> m.Work | None:
        """What a registration on a link costs that is being greeted, and time for it; None for nothing."""
        if not self._asks_for_work:
            return None
        bits = self._pace.bits(self._desk.monotonic_s())
        if not bits:
            return None
        if len(self._working) >= limits.WORKING_LINKS_MAX:
            longest, _ = self._working.popitem(last=False)
            longest.end(TOO_MANY)
        self._working[session] = bits
        session.grant(limits.WORK_S)
        return m.Work(bits, int(limits.WORK_S))

    def receive(self, session: Session, request: Entering) -> None:
        """Op 1 or 2 came on a link, which has the time of work no longer."""
        bits = self._working.pop(session, 0)
        if isinstance(request, m.Register | m2.RegisterKeys):
            refusal = self._refusal(session, request, bits)
            if refusal is not None:
                session.end(refusal)
                return
        rule = self._desk.rules.admissions.sign_in
        if rule is None or isinstance(request, m.Login) or request.oidc is None:
            self._enter(session, request, None)
        elif len(self._checks) >= limits.SIGN_INS_CHECKED_MAX:
            session.end(UNAVAILABLE)
        else:
            check = asyncio.get_running_loop().create_task(self._check(session, request, request.oidc, rule))
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)

    def opened(self) -> None:
        """An account was opened."""
        if self._asks_for_work:
            self._pace.opened(self._desk.monotonic_s())

    def left(self, session: Session) -> None:
        """A link has ended."""
        self._working.pop(session, None)

    async def stop(self) -> None:
        """Check nothing more."""
        checks = list(self._checks)
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    @property
    def _asks_for_work(self) -> bool:
        """Where a provider knows the people, it is the provider whom they cost something."""
        admissions = self._desk.rules.admissions
        return admissions.takes_strangers and (admissions.sign_in is None or not admissions.sign_in.required)

    def _refusal(self, session: Session, request: m.Register | m2.RegisterKeys, bits: int) -> str | None:
        """Why this registration is not looked at, if it is not. `bits`: for how much work the link was asked."""
        if not self._desk.rules.admissions.takes_strangers:
            return None
        refusal = self._pace.refusal(session.outlet.peer_address, self._desk.monotonic_s())
        if refusal is not None:
            return refusal
        if isinstance(request, m.Register):  # it cannot be asked for work, so it waits until none is
            busy = self._asks_for_work and self._pace.bits(self._desk.monotonic_s())
            return TOO_MANY if busy else None
        nonce = session.channels[0].nonce
        if bits and not work_holds(bits, nonce, self._service_key, request.device, request.work):
            return WORK_REQUIRED
        return None

    async def _check(
        self,
        session: Session,
        request: m.Register | m2.RegisterKeys | m2.LoginByKey,
        oidc: dict[str, Any],
        rule: SignInRule,
    ) -> None:
        admissions = self._desk.rules.admissions
        try:
            signed_in = await rule.verify(oidc, admissions.nonce_of(request, self._service_key, self._desk.moment()))
        except (ProtocolError, ServiceUnavailable) as refusal:
            session.end(str(refusal))
            return
        except Exception:  # ours: a link that waits for its log-in has no deadline
            session.end(UNAVAILABLE)
            raise
        if session.open and isinstance(request, m2.LoginByKey):
            self._come_back(session, request, signed_in)
        elif session.open:
            self._enter(session, request, signed_in)

    def _come_back(self, session: Session, request: m2.LoginByKey, signed_in: SignedIn) -> None:
        """Lift the bar of who was signed out; then it is a log-in like any other."""
        come_back = partial(self._desk.rules.devices.come_back, request, session.channels, signed_in)

        def done(result: Result) -> None:
            if isinstance(result, ProtocolError):
                session.end(result.quit_text)
            elif isinstance(result, Exception):
                session.end(UNAVAILABLE)
            elif session.open:
                self._enter(session, request, None)

        self._desk.submit(Job(come_back, done))
