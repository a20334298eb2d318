# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proven senders, and how far each is on the way out of SMTP (C5): seen, vetted, invited, joined, refused.

A mail that is proved makes its author known. Steps are taken by hand, any of them, or by rule, and then only forward;
each is an entry of the log, in the same change.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Literal, Protocol

from sqlalchemy import Connection, Row, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import ActDone, Evidence, Strength
from bridges.smtp.control.models import LifeState
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions
from bridges.smtp.store.tables import correspondent, correspondent_mail
from tmtp_core.clock import Clock
from tmtp_core.prepared import Prepared

STEPS: Final[tuple[LifeState, ...]] = ("seen", "vetted", "invited", "joined", "refused")

_DAY_MS: Final = 86_400_000
_C: Final = correspondent.c
_MAIL: Final = correspondent_mail.c
_BY_VETTING: Final = "rule: vetted"
_NEVER_MS: Final = 0  # seen: of somebody who was invited, and of whom no mail was proved

_NEW: Final = upsert(correspondent)
_GIVEN: Final = (  # of who was not known
    *("address", "state", "first_seen_ms", "last_seen_ms", "machine", "proof", "changed_ms", "changed_by"),
    *("link", "joined_as"),
)
_NOTE: Final = Prepared(
    _NEW.on_conflict_do_update(
        index_elements=["address"],
        set_={
            "first_seen_ms": func.coalesce(func.nullif(_C.first_seen_ms, _NEVER_MS), _NEW.excluded.first_seen_ms),
            "last_seen_ms": func.max(_C.last_seen_ms, _NEW.excluded.last_seen_ms),
            "machine": _NEW.excluded.machine,
            "proof": _NEW.excluded.proof,
        },
    ).returning(_C.state),
    *_GIVEN,
)
_NOTE_MAIL: Final = Prepared(upsert(correspondent_mail).on_conflict_do_nothing(), "address", "mail", "at_s")
_ENOUGH_MAILS: Final = Prepared(
    select(_MAIL.mail).where(_MAIL.address == bindparam("of")).offset(limits.CORRESPONDENT_MAILS_REFUSED - 1).limit(1)
)


class LifeCycle(Protocol):
    """What the settings say of it: what is done by rule."""

    @property
    def invite(self) -> Literal["by_hand", "when_vetted"]:
        """When a correspondent is invited."""
        ...

    @property
    def refuse_after_joined_days(self) -> int | None:
        """How long after somebody has joined his SMTP is refused; None: not by itself."""
        ...


class Correspondents:
    """In the intake's file, and their states in memory. All coroutines raise `OSError`.

    `vetted`: whether a record that counts covers an address; it is asked on any thread.
    """

    def __init__(
        self,
        database: BridgeDatabase,
        decisions: Decisions,
        clock: Clock,
        life_cycle: LifeCycle,
        vetted: Callable[[str], bool],
    ) -> None:
        self._database = database
        self._decisions = decisions
        self._clock = clock
        self._life_cycle = life_cycle
        self._vetted = vetted
        self._states: dict[str, LifeState] = {}
        self._links: dict[str, str] = {}  # of those who have one
        self._forgotten_s = 0
        self._new = 0  # since it was looked whether there are too many

    async def open(self) -> None:
        """Read how far each of them is."""
        rows = await self._database.read(
            lambda connection: connection.execute(select(_C.address, _C.state, _C.link)).all()
        )
        self._states = {row.address: row.state for row in rows}
        self._links = {row.address: row.link for row in rows if row.link}

    # -- for the policy, in memory -----------------------------------------------------------------------------------
    def state(self, address: str) -> LifeState | None:
        """How far a canonical address is, as it is on the disk; None: no mail of it was ever proved."""
        return self._states.get(address)

    def link(self, address: str) -> str:
        """The link of an invitation that this correspondent has not used, "" for none: for nobody's eyes but his."""
        return self._links.get(address, "")

    @property
    def has_links(self) -> bool:
        """Whether anybody could be told his link."""
        return bool(self._links)

    # -- within changes of others ------------------------------------------------------------------------------------
    def note(
        self, connection: Connection, evidence: Evidence, strength: Strength, at_ms: int, *, taken: bool = True
    ) -> None:
        """A mail came; where it is proved, its author is known from now on. The same mail again is one mail.

        Whoever has a domain can prove mail of as many authors as he likes, which is not taken: of that little is kept.
        """
        address = evidence.author
        if strength == "none" or not address:
            return
        self._make_room(connection, address)
        vetted = self._vetted(address)
        row = _unknown(address, "vetted" if vetted else "seen", _BY_VETTING if vetted else "rule: seen", at_ms)
        (state,) = _NOTE(connection, {**row, "machine": evidence.machine, "proof": strength}).fetchone()
        if evidence.mail and (taken or _ENOUGH_MAILS(connection, {"of": address}).fetchone() is None):
            _NOTE_MAIL(connection, {"address": address, "mail": evidence.mail, "at_s": at_ms // 1000})
        self._forget_mails(connection, at_ms // 1000)
        if state == "seen" and vetted:
            self._put(connection, address, "vetted", at_ms, ActDone(_BY_VETTING, "correspondents.move", address))
        else:
            self._database.afterwards(partial(self._keep, address, state, None))

    def cover(self, connection: Connection, record: int, address: str, domain: str, at_ms: int) -> int:
        """A record vets an address, or (`address` "") all of a domain: whom it covers of those seen is vetted now.

        How many; together they are one entry of the log.
        """
        covered = _C.address == address if address else _C.address.endswith(f"@{domain}", autoescape=True)
        moved = list(
            connection.scalars(
                update(correspondent)
                .where(_C.state == "seen", covered)
                .values(state="vetted", changed_ms=at_ms, changed_by=_BY_VETTING)
                .returning(_C.address)
            )
        )
        if moved:
            detail = f"record {record}: {len(moved)} from seen to vetted"
            act = ActDone(_BY_VETTING, "correspondents.move", address or domain, detail)
            self._decisions.append(connection, act, at_ms)
            self._database.afterwards(lambda: self._states.update(dict.fromkeys(moved, "vetted")))
        return len(moved)

    # -- by hand, and for the gateway --------------------------------------------------------------------------------
    async def list(
        self, state: LifeState | None = None, search: str = "", after: str | None = None, limit: int = m.PAGE_MAX
    ) -> m.CorrespondentPage:
        """A page, those last heard of first; `search`: a part of the address. Raises `BridgeRefused`."""
        wanted = select(correspondent).order_by(_C.last_seen_ms.desc(), _C.address).limit(limit + 1)
        if state is not None:
            wanted = wanted.where(_C.state == state)
        if search:
            wanted = wanted.where(func.instr(_C.address, search.lower()) > 0)
        if after is not None:
            seen_ms, known = _place(after)
            wanted = wanted.where(or_(_C.last_seen_ms < seen_ms, (_C.last_seen_ms == seen_ms) & (_C.address > known)))
        since_s = self._now_ms() // 1000 - int(limits.CORRESPONDENT_MAILS_KEPT_S)

        def look(connection: Connection) -> m.CorrespondentPage:
            rows = connection.execute(wanted).all()
            some = rows[:limit]
            last = some[-1] if len(rows) > limit else None
            return m.CorrespondentPage(
                correspondents=_shown(connection, some, since_s),
                next=f"{last.last_seen_ms or _NEVER_MS}.{last.address}" if last is not None else None,
            )

        return await self._database.read(look)

    async def show(self, address: str) -> m.Correspondent:
        """One of them. Raises `BridgeRefused`."""
        return await self._database.read(lambda connection: self._show(connection, _canonical(address)))

    async def move(self, address: str, state: LifeState, by: str, reason: str) -> m.Correspondent:
        """Put a correspondent at another step, by hand; what belongs to later ones is forgotten.

        Raises `BridgeRefused`.
        """
        address, now_ms = _canonical(address), self._now_ms()

        def change(connection: Connection) -> m.Correspondent:
            before = _row(connection, address)
            if before.state != state:
                detail = f"from {before.state} to {state}" + (f": {reason}" if reason else "")
                act = ActDone(by, "correspondents.move", address, detail)
                self._put(connection, address, state, now_ms, act, **_reset(before, state, now_ms))
            return self._show(connection, address)

        return await self._database.write(change)

    async def invited(self, address: str, invited: m.Invited, by: str) -> m.Correspondent:
        """The service has made an invitation for a correspondent; one before it is forgotten.

        Also somebody of whom no mail was proved can be invited. Raises `BridgeRefused` for who has joined.
        """
        address, now_ms = _canonical(address), self._now_ms()

        def change(connection: Connection) -> m.Correspondent:
            known = connection.scalar(select(_C.state).where(_C.address == address))
            if known in {"joined", "refused"}:
                raise BridgeRefused("refused", f"{address} needs no invitation: its state is {known!r}")
            if known is None:
                row = _unknown(address, "seen", by, now_ms)
                unseen = {"first_seen_ms": _NEVER_MS, "last_seen_ms": _NEVER_MS, "proof": "none"}
                connection.execute(_NEW, {**row, **unseen})
            act = ActDone(by, "correspondents.invited", address, f"invitation {invited.invitation}")  # never its link
            one = {"invitation": invited.invitation, "link": invited.link, "invited_ms": now_ms}
            self._put(connection, address, "invited", now_ms, act, **one)
            return self._show(connection, address)

        return await self._database.write(change)

    async def joined(self, address: str, joined: m.Joined) -> m.Correspondent:
        """An invitation was used. Told again, it changes nothing. Raises `BridgeRefused`."""
        address, now_ms = _canonical(address), self._now_ms()

        def change(connection: Connection) -> m.Correspondent:
            before = _row(connection, address)
            if before.joined_ms is None:
                state: LifeState = "refused" if before.state == "refused" else "joined"
                detail = f"invitation {joined.invitation}, as {joined.joined_as}"
                act = ActDone("gateway", "correspondents.joined", address, detail)
                whom = {"joined_ms": joined.joined_ms, "joined_as": joined.joined_as, "link": ""}
                self._put(connection, address, state, now_ms, act, **whom)
            return self._show(connection, address)

        return await self._database.write(change)

    # -- by rule -----------------------------------------------------------------------------------------------------
    async def wanting_invitation(self) -> Sequence[str]:
        """Whom the gateway should invite by rule, some of them: those vetted, longest ago first, but no machines."""
        if self._life_cycle.invite == "by_hand":
            return []
        wanted = (
            select(_C.address)
            .where(_C.state == "vetted", _C.machine == "")
            .order_by(_C.changed_ms)
            .limit(limits.INVITED_AT_ONCE)
        )
        return await self._database.read(lambda connection: connection.scalars(wanted).all())

    async def apply_rules(self, now_ms: int) -> int:
        """Refuse whose time has come since he joined, and forget whom nobody knows; how many were refused."""
        days = self._life_cycle.refuse_after_joined_days
        total = 0
        while days is not None:
            count = await self._database.write(partial(self._refuse_some, now_ms - days * _DAY_MS, now_ms))
            total += count
            if count < limits.RULED_AT_ONCE:
                break
        while await self._database.write(self._forget_some) == limits.RULED_AT_ONCE:
            pass
        return total

    def _refuse_some(self, before_ms: int, now_ms: int, connection: Connection) -> int:
        # Since the step was taken: whom somebody has put back by hand has as much time again.
        due = select(_C.address).where(_C.state == "joined", _C.changed_ms <= before_ms).limit(limits.RULED_AT_ONCE)
        addresses = list(connection.scalars(due))
        for address in addresses:
            act = ActDone("rule: refuse_after_joined_days", "correspondents.move", address, "from joined to refused")
            self._put(connection, address, "refused", now_ms, act, refused_ms=now_ms)
        return len(addresses)

    def _make_room(self, connection: Connection, address: str) -> None:
        """Within a change that may make one more known: they are never many more than may be."""
        if address in self._states:
            return
        self._new += 1
        if self._new >= limits.RULED_AT_ONCE:
            self._new = 0
            self._forget_some(connection)

    def _forget_some(self, connection: Connection) -> int:
        count = connection.scalar(select(func.count()).select_from(correspondent).where(_C.state == "seen")) or 0
        surplus = min(count - limits.CORRESPONDENTS_SEEN_MAX, limits.RULED_AT_ONCE)
        if surplus <= 0:
            return 0
        oldest = select(_C.address).where(_C.state == "seen").order_by(_C.last_seen_ms).limit(surplus)
        addresses = list(connection.scalars(oldest))
        connection.execute(delete(correspondent).where(_C.address.in_(addresses)))
        connection.execute(delete(correspondent_mail).where(_MAIL.address.in_(addresses)))

        def forget() -> None:
            for address in addresses:
                self._states.pop(address, None)

        self._database.afterwards(forget)
        return len(addresses)

    def _forget_mails(self, connection: Connection, now_s: int) -> None:
        if now_s - self._forgotten_s >= limits.FORGET_EVERY_S:
            self._forgotten_s = now_s
            connection.execute(
                delete(correspondent_mail).where(_MAIL.at_s < now_s - int(limits.CORRESPONDENT_MAILS_KEPT_S))
            )

    # -- all of them -------------------------------------------------------------------------------------------------
    def _put(
        self, connection: Connection, address: str, state: LifeState, now_ms: int, act: ActDone, **more: Any
    ) -> None:
        """Change a row, its entry of the log, and what is in memory."""
        values = {"state": state, "changed_ms": now_ms, "changed_by": act.by, **more}
        connection.execute(update(correspondent).where(_C.address == address).values(values))
        self._decisions.append(connection, act, now_ms)
        self._database.afterwards(partial(self._keep, address, state, more.get("link")))

    def _keep(self, address: str, state: LifeState, link: str | None) -> None:
        """`link` None: as it was."""
        self._states[address] = state
        if link:
            self._links[address] = link
        elif link is not None:
            self._links.pop(address, None)

    def _show(self, connection: Connection, address: str) -> m.Correspondent:
        since_s = self._now_ms() // 1000 - int(limits.CORRESPONDENT_MAILS_KEPT_S)
        return _shown(connection, [_row(connection, address)], since_s)[0]

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def _unknown(address: str, state: LifeState, by: str, at_ms: int) -> dict[str, object]:
    """The row of somebody who was not known."""
    return {
        "address": address,
        "state": state,
        "first_seen_ms": at_ms,
        "last_seen_ms": at_ms,
        "machine": "",
        "proof": "weak",
        "changed_ms": at_ms,
        "changed_by": by,
        "link": "",
        "joined_as": "",
    }


def _reset(before: Row[Any], state: LifeState, now_ms: int) -> dict[str, object]:
    """What a step by hand sets: its own time where it has none, and of those behind it nothing."""
    step = STEPS.index(state)
    values: dict[str, object] = {"link": before.link if state == "invited" else ""}
    if step < STEPS.index("invited"):
        values |= {"invitation": None, "invited_ms": None}
    if step < STEPS.index("joined"):
        values |= {"joined_ms": None, "joined_as": ""}
    if step < STEPS.index("refused"):
        values |= {"refused_ms": None}
    own = {"invited": "invited_ms", "joined": "joined_ms", "refused": "refused_ms"}.get(state)
    if own is not None and getattr(before, own) is None:
        values[own] = now_ms
    return values


def _row(connection: Connection, address: str) -> Row[Any]:
    row = connection.execute(select(correspondent).where(_C.address == address)).one_or_none()
    if row is None:
        raise BridgeRefused("not found", f"no mail of {address!r} was proved here")
    return row


def _shown(connection: Connection, rows: Iterable[Row[Any]], since_s: int) -> list[m.Correspondent]:
    values = [dict(row._mapping) for row in rows]
    addresses = [row["address"] for row in values]
    counted = (
        select(_MAIL.address, func.count())
        .where(_MAIL.address.in_(addresses), _MAIL.at_s >= since_s)
        .group_by(_MAIL.address)
    )
    mails = {row[0]: row[1] for row in connection.execute(counted)}
    for row in values:
        for name in ("first_seen_ms", "last_seen_ms"):
            row[name] = row[name] if row[name] != _NEVER_MS else None
    return [m.Correspondent(**row, mails=mails.get(row["address"], 0)) for row in values]


def _canonical(address: str) -> str:
    return canonical_address(address) or address


def _place(after: str) -> tuple[int, str]:
    seen_ms, dot, address = after.partition(".")
    if not dot or not seen_ms.isascii() or not seen_ms.isdigit() or len(seen_ms) > 15:
        raise BridgeRefused("invalid", "after: it is the `next` of the page before")
    return int(seen_ms), address
