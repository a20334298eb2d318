# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts and their devices: who there is, and what an administrator can do to one (B4, D1)."""

from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.administration import models as m
from gateway.console.pages.invitations import reveal
from gateway.console.rendering import part
from gateway.console.visits import Visit
from tmtp_core.errors import RequestRefused

_ROWS: Final = 50
_REPORTS: Final = 20
_STATUSES: Final = ("active", "barred")


async def members(visit: Visit) -> web.Response:
    """A page of accounts, filtered."""
    search, after, status = visit.asked("search").strip(), visit.asked("after"), visit.asked("status")
    status = status if status in _STATUSES else ""
    page: m.AccountPage = await visit.ask_here("accounts.list", search=search, status=status, after=after, limit=_ROWS)
    filters = {name: value for name, value in (("search", search), ("status", status)) if value}
    here = f"{visit.base}/members"
    return visit.page(
        "members.html",
        title="Members",
        here="members",
        page=page,
        search=search,
        standing=status,
        after=after,
        first_href=f"{here}?{urlencode(filters)}" if filters else here,
        next_href=f"{here}?{urlencode(filters | {'after': page.next})}" if page.next else "",
        may_invite=visit.may("invitations:write"),
    )


async def member(visit: Visit) -> web.Response:
    """One account with its devices and groups, and what others report of it, for whoever may read that."""
    return await _member(visit)


async def _member(visit: Visit, alias: str = "", wrong: str = "", status: int = 200) -> web.Response:
    detail: m.AccountDetail = await visit.ask_here("accounts.show", who=visit.named("uid"))
    reports: list[m.Report] = []
    if visit.may("reports:read"):
        reports = await visit.ask_here("reports.list", state="open", about=detail.account.uid, limit=_REPORTS)
    return visit.page(
        "member.html",
        title=_called(detail.account),
        here="members",
        status=status,
        crumbs=(("Members", f"{visit.base}/members"),),
        base=_href(visit),
        account=detail.account,
        devices=detail.devices,
        groups=detail.groups,
        may_write=visit.may("accounts:write"),
        may_bar_devices=visit.may("devices:write"),
        may_groups=visit.may("groups:read"),
        reports=reports,
        may_close_reports=visit.may("reports:write"),
        given={"alias": alias},
        wrong={"alias": wrong},
    )


async def give_alias(visit: Visit) -> web.Response:
    """A further name."""
    alias = (await visit.form()).text("alias")
    try:
        await visit.ask_here("accounts.alias", m.GiveAlias(alias=alias), who=visit.named("uid"))
    except RequestRefused as refusal:
        return await _member(visit, alias, refusal.text, 409)
    return visit.go(_href(visit), f"{alias} is a name of this account now.")


async def unbar(visit: Visit) -> web.Response:
    """Let a barred account in again."""
    await visit.form()
    done: m.Account = await visit.ask_here("accounts.unbar", who=visit.named("uid"))
    return visit.go(_href(visit), f"{_called(done)} is let in again.")


async def ask_bar(visit: Visit) -> web.Response:
    """Before an account is barred."""
    name = await _name(visit)
    return _ask(
        visit,
        name,
        "bar",
        f"Bar {name}?",
        "Bar",
        "Its connections end at once, and it cannot log in until you let it in again.",
        "What waits for it goes on waiting.",
    )


async def bar(visit: Visit) -> web.Response:
    """Bar an account."""
    await visit.form()
    done: m.Account = await visit.ask_here("accounts.bar", who=visit.named("uid"))
    return visit.go(_href(visit), f"{_called(done)} is barred.")


async def ask_remove(visit: Visit) -> web.Response:
    """Before an account is removed."""
    name = await _name(visit)
    return _ask(
        visit,
        name,
        "remove",
        f"Remove {name} for good?",
        "Remove for good",
        "The account goes with all its devices. What waits for it goes back to its senders.",
        "Its names stay taken for ever, so that nobody can come back under them. This cannot be undone.",
    )


async def remove(visit: Visit) -> web.Response:
    """Remove an account."""
    await visit.form()
    done: m.Account = await visit.ask_here("accounts.remove", who=visit.named("uid"))
    return visit.go(f"{visit.base}/members", f"{_called(done)} is removed.")


async def ask_reset(visit: Visit) -> web.Response:
    """Before an account begins anew."""
    name = await _name(visit)
    return _ask(
        visit,
        name,
        "reset",
        f"Let {name} begin anew?",
        "Make the invitation",
        "Make sure who asks: whoever gets this invitation gets the account. It is good for one new device, for 7 days.",
        "Once it is used, every device that the account had is revoked; what waits for them goes back to its senders.",
    )


async def reset(visit: Visit) -> web.Response:
    """An invitation with which an account begins anew."""
    await visit.form()
    made: m.NewInvitation = await visit.ask_here("accounts.reset", who=visit.named("uid"))
    return reveal(visit, [made], "A new beginning of your account on", _href(visit))


async def ask_bar_device(visit: Visit) -> web.Response:
    """Before a device is barred."""
    name = await _name(visit)
    number = visit.named("device")
    return _ask(
        visit,
        name,
        f"devices/{number}/bar",
        f"Bar device {number} of {name}?",
        "Bar this device",
        "Its password and what waits for it are deleted. It cannot come back.",
    )


async def bar_device(visit: Visit) -> web.Response:
    """Bar a device of a revision 1 account."""
    await visit.form()
    number = int(visit.named("device"))
    await visit.ask_here("devices.bar", who=visit.named("uid"), device=number)
    return visit.go(_href(visit), f"Device {number} is barred.")


def _ask(visit: Visit, name: str, path: str, question: str, act: str, *consequences: str) -> web.Response:
    return visit.page(
        "confirm.html",
        title="Are you sure?",
        here="members",
        crumbs=(("Members", f"{visit.base}/members"), (name, _href(visit))),
        question=question,
        consequences=consequences,
        act=act,
        action=f"{_href(visit)}/{path}",
        back=_href(visit),
    )


async def _name(visit: Visit) -> str:
    detail: m.AccountDetail = await visit.ask_here("accounts.show", who=visit.named("uid"))
    return _called(detail.account)


def _called(account: m.Account) -> str:
    return account.aliases[0] if account.aliases else account.address or account.uid


def _href(visit: Visit) -> str:
    return f"{visit.base}/members/{part(visit.named('uid'))}"
