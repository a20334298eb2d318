# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an administrator can do to a running instance, and see of it (C1).

Each act is a decision of the writer's like all others; who only looks reads beside the writer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection

from tmtp_core.domain import administration as admin
from tmtp_core.domain.device_log import Signed
from tmtp_core.domain.outcome import NO_DEVICE, Copy, Moment, Outcome
from tmtp_core.domain.reports import Closing, ReportSummary
from tmtp_core.domain.reports import close as close_report
from tmtp_core.domain.rules import Rules
from tmtp_core.domain.sign_in import SignedOut, sign_out
from tmtp_core.errors import NotFound
from tmtp_core.ids import RandomBytes
from tmtp_core.store import inventory, reports
from tmtp_core.store.ledger import SqlLedger

T = TypeVar("T")

_MS_PER_DAY: Final = 86_400_000

PAGE = 500
"""Rows that are shown where nobody says how many."""


class Administering(ABC):
    """Mixed into `tmtp_core.service.Service`. Where `RequestRefused` is raised, `NotFound` is one of its kinds."""

    rules: Rules
    _random_bytes: RandomBytes

    @abstractmethod
    def moment(self) -> Moment:
        """Now and under these rules."""

    @abstractmethod
    async def decide(
        self,
        decide: Callable[[SqlLedger], T],
        released: Callable[[T], None] = lambda result: None,
        cuts: Callable[[T], Mapping[int, str]] = lambda result: {},
    ) -> T:
        """Have the writer run a decision."""

    @abstractmethod
    async def look(self, work: Callable[[Connection], T]) -> T:
        """Read beside the writer."""

    @abstractmethod
    def linked_devices(self) -> frozenset[int]:
        """Devices whose links this process has."""

    @abstractmethod
    def _cut(self, outcome: Outcome) -> None: ...

    @abstractmethod
    def deliver(self, copies: Iterable[Copy], by: int = NO_DEVICE) -> None:
        """Offer committed messages to the devices that are connected."""

    # -- looking -----------------------------------------------------------------------------------------------------
    async def list_accounts(self, wanted: inventory.AccountsWanted | None = None) -> list[admin.AccountSummary]:
        """A page of accounts, oldest first; the first one where nothing is said.

        Raises `NotFound` where nobody has the uid after which it begins.
        """
        wanted = wanted or inventory.AccountsWanted()
        linked = self.linked_devices()
        found = await self.look(lambda connection: inventory.accounts(connection, wanted, linked))
        if found is None:
            raise NotFound(f"no account has the uid {wanted.after!r}, after which to go on")
        return found

    async def show_account(self, who: str) -> tuple[admin.AccountSummary, list[admin.DeviceSummary], list[str]]:
        """The account of a uid or alias, its devices, and the groups that it has joined. Raises `RequestRefused`."""
        moment = self.moment()
        shown, devices = await self.decide(lambda ledger: admin.shown(who, ledger, moment))
        account = self._with_links(shown)
        linked = self.linked_devices() | shown.elsewhere
        groups = await self.look(lambda connection: inventory.groups_of(connection, account.uid))
        return account, [replace(device, connected=device.device in linked) for device in devices], groups

    async def list_devices(self, who: str) -> list[admin.DeviceSummary]:
        """The devices of an account, oldest first. Raises `RequestRefused`."""
        return (await self.show_account(who))[1]

    async def list_groups(self, after: str = "", limit: int = PAGE) -> list[inventory.GroupSummary]:
        """Groups in the order of their names, those behind `after`."""
        return await self.look(lambda connection: inventory.groups(connection, after, limit))

    async def show_group(self, gid: str) -> tuple[inventory.GroupSummary, list[inventory.MemberSummary]]:
        """One group and whom it knows. Raises `NotFound`."""
        found = await self.look(lambda connection: inventory.group(connection, gid))
        if found is None:
            raise NotFound(f"there is no group {gid!r}")
        return found

    async def list_invitations(self, after: int = 0, limit: int = PAGE) -> list[admin.InvitationSummary]:
        """Invitations that can still be used, administrators' and members', oldest first, behind number `after`."""
        now_ms = self.moment().ms
        return await self.look(lambda connection: inventory.invitations(connection, now_ms, after, limit))

    async def invitations_noted(self, note: str) -> list[int]:
        """The numbers of the administrators' invitations with exactly this note that can still be used."""
        now_ms = self.moment().ms
        return await self.look(lambda connection: inventory.invitations_noted(connection, now_ms, note))

    async def joiners(self, invitations: Sequence[int]) -> list[admin.Joiner]:
        """Who has joined by these of the administrators' invitations; a thousand of them at most."""
        return await self.look(lambda connection: inventory.joiners(connection, invitations))

    async def list_queues(self, limit: int = PAGE) -> list[inventory.QueueSummary]:
        """What waits for whom, those first whose eldest delivery waits longest."""
        return await self.look(lambda connection: inventory.queues(connection, limit))

    async def census(self) -> inventory.Census:
        """How many accounts, open invitations and open reports there are, and since when the eldest message waits."""
        now_ms = self.moment().ms
        return await self.look(lambda connection: inventory.census(connection, now_ms))

    async def shares(self, days: int) -> list[inventory.Share]:
        """What members received in the last days (UTC, with today), where there is a bridge (C5); all but the last
        minute of it.
        """
        since_day = self.moment().ms // _MS_PER_DAY - days + 1
        return await self.look(lambda connection: inventory.shares(connection, since_day))

    async def list_reports(self, wanted: reports.ReportsWanted) -> list[ReportSummary]:
        """A page of what members have reported, oldest first."""
        return await self.look(lambda connection: reports.listed(connection, wanted))

    async def oldest_queued_ms(self) -> int | None:
        """When the message was posted that waits longest."""
        return await self.look(inventory.oldest_ms)

    async def octets_queued(self) -> int:
        """Octets of all messages that wait. It reads the rows of all of them, some at a time."""
        total, after = 0, 0
        while True:
            octets, last = await self.look(partial(inventory.octets_queued, after=after))
            total += octets
            if last is None:
                return total
            after = last

    # -- acting ------------------------------------------------------------------------------------------------------
    async def create_invitation(
        self, uses: int = 1, expires_ms: int | None = None, note: str = "", *, vouches: bool = False
    ) -> str:
        """A token that lets `uses` people register until `expires_ms` (since 1970); told once, stored as a hash.

        `vouches`: they may take names that mail is routed to (C2).
        """
        (token,) = await self.create_invitations([note], expires_ms, uses, vouches=vouches)
        return token

    async def create_invitations(
        self, notes: list[str], expires_ms: int | None = None, uses: int = 1, *, vouches: bool = False
    ) -> list[str]:
        """A token for each note, all made in one decision."""
        moment = self.moment()
        create = partial(self.rules.admissions.create_invitation, vouches=vouches)
        return await self.decide(
            lambda ledger: [create(ledger, self._random_bytes, uses, expires_ms, note, moment)[1] for note in notes]
        )

    async def invite_in_person(self, note: str) -> tuple[int, str]:
        """The number of a new invitation for one, and its token, told once. It has no end, and vouches for no name."""
        moment = self.moment()
        create = partial(self.rules.admissions.create_invitation, vouches=False)
        return await self.decide(lambda ledger: create(ledger, self._random_bytes, 1, None, note, moment))

    async def revoke_invitation(self, key: int) -> None:
        """Nobody can use it any more. Raises `RequestRefused`."""
        await self.decide(partial(admin.revoke_invitation, key))

    async def reset_account(self, who: str) -> str:
        """A token with which one new device begins the account's log anew (B4), within `limits.RESET_VALID_MS`.

        Raises `RequestRefused`.
        """
        moment = self.moment()
        return await self.decide(
            lambda ledger: admin.reset(who, self.rules.admissions, self._random_bytes, ledger, moment)
        )

    async def give_alias(self, who: str, alias: str) -> admin.AccountSummary:
        """A further alias for a member: also one that mail is routed to (C2). Raises `RequestRefused`."""
        moment = self.moment()
        return await self._administer(lambda ledger: admin.give_alias(who, alias, ledger, moment))

    async def found_group(self, gid: str, who: str) -> admin.AccountSummary:
        """A new group with a member as its owner: also under a name that mail is routed to (C2); its owner.

        Raises `RequestRefused`.
        """
        moment = self.moment()
        return await self._administer(lambda ledger: admin.found_group(gid, who, ledger, moment))

    async def bar_device(self, who: str, device: int) -> admin.AccountSummary:
        """Delete one device of a revision 1 account, and what waits for it (B4). Raises `RequestRefused`."""
        return await self._administer(partial(admin.bar_device, who, device), "device barred")

    async def bar_account(self, who: str) -> admin.AccountSummary:
        """Bar the account of a uid or alias: its links end, nobody logs in to it. Raises `RequestRefused`."""
        return await self._administer(partial(admin.bar, who))

    async def lift_bar(self, who: str) -> admin.AccountSummary:
        """Let a barred account in again. Raises `RequestRefused`."""
        return await self._administer(partial(admin.lift_bar, who))

    async def remove_account(self, who: str) -> admin.AccountSummary:
        """Delete an account, its devices and what waits for them; its names stay taken. Raises `RequestRefused`."""
        return await self._administer(partial(admin.remove, who))

    async def close_report(self, number: int, outcome: Closing, note: str) -> None:
        """A report is dealt with; nobody hears of it. Raises `RequestRefused`."""
        now_ms = self.moment().ms
        await self.decide(lambda ledger: close_report(number, outcome, note, ledger, now_ms))

    async def sign_out(self, notice: SignedOut) -> bool:
        """A provider ends a session: whoever has an account by it is barred until he signs in again (A1).

        False where the same notice came before.
        """

        def cuts(outcome: Outcome | None) -> Mapping[int, str]:
            return outcome.cuts if outcome is not None else {}

        outcome = await self.decide(
            partial(sign_out, notice), lambda outcome: self._cut(outcome) if outcome is not None else None, cuts
        )
        return outcome is not None

    async def ensure_bridge(self, name: str, routes: dict[str, str], genesis: Signed, *, replies: bool = False) -> str:
        """The uid of the bridge account `name`, made when missing, with exactly these routes and this key (C2).

        A genesis of another device than the account has begins its log anew. `replies`: what members write to its
        ghosts is handed to it. Raises `RequestRefused`, always in a members instance.
        """
        moment = self.moment()
        uid, _ = await self.decide(
            lambda ledger: admin.ensure_bridge(name, routes, genesis, replies, self.rules.devices, ledger, moment),
            lambda result: self._cut(result[1]),
            lambda result: result[1].cuts,
        )
        return uid

    async def _administer(
        self, act: "Callable[[SqlLedger], admin.Administered]", told: str = "account barred"
    ) -> admin.AccountSummary:
        def cuts(administered: admin.Administered) -> Mapping[int, str]:
            return dict.fromkeys(administered.cuts, told)

        def released(administered: admin.Administered) -> None:
            self._cut(Outcome(cuts=cuts(administered)))
            self.deliver(administered.copies)

        return self._with_links(await self.decide(act, released, cuts))

    def _with_links(self, administered: admin.Administered) -> admin.AccountSummary:
        linked = self.linked_devices() | administered.elsewhere
        return replace(administered.account, connected=len(linked.intersection(administered.devices)))
