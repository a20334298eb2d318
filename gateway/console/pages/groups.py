# SPDX-License-Identifier: AGPL-3.0-or-later
"""Groups, and what waits for whom (A6)."""

from typing import Final

from aiohttp import web

from gateway.administration import models as m
from gateway.console.paging import rows_of
from gateway.console.rendering import part
from gateway.console.visits import Visit
from tmtp_core.errors import RequestRefused

_ROWS: Final = 100
_QUEUES: Final = 100


async def groups(visit: Visit) -> web.Response:
    """All groups."""
    after = visit.asked("after")
    found: list[m.Group] = await visit.ask_here("groups.list", after=after, limit=_ROWS + 1)
    rows = rows_of(found, _ROWS, _href(visit), lambda one: one.gid)
    return visit.page(
        "groups.html",
        title="Groups",
        here="groups",
        base=_href(visit),
        rows=rows,
        after=after,
        may_write=visit.may("groups:write"),
    )


async def group(visit: Visit) -> web.Response:
    """One group with its members."""
    detail: m.GroupDetail = await visit.ask_here("groups.show", gid=visit.named("gid"))
    return visit.page(
        "group.html",
        title=detail.group.gid,
        here="groups",
        crumbs=(("Groups", _href(visit)),),
        group=detail.group,
        members=detail.members,
    )


async def new(visit: Visit) -> web.Response:
    """The form to found one."""
    return _form(visit, {"gid": "", "who": visit.asked("who")})


async def found(visit: Visit) -> web.Response:
    """Found a group."""
    form = await visit.form()
    given = {"gid": form.text("gid"), "who": form.text("who")}
    body = m.FoundGroup(gid=given["gid"], who=given["who"])
    try:
        made: m.GroupDetail = await visit.ask_here("groups.found", body)
    except RequestRefused as refusal:
        return _form(visit, given, refusal.text, 409)
    return visit.go(f"{_href(visit)}/{part(made.group.gid)}", f"The group {made.group.gid} is there.")


async def queues(visit: Visit) -> web.Response:
    """The accounts for which most waits."""
    found_queues: list[m.Queue] = await visit.ask_here("queues.list", limit=_QUEUES)
    return visit.page(
        "queues.html", title="Queues", here="queues", queues=found_queues, may_members=visit.may("accounts:read")
    )


def _form(visit: Visit, given: dict[str, str], wrong: str = "", status: int = 200) -> web.Response:
    return visit.page(
        "found.html",
        title="Found a group",
        here="groups",
        status=status,
        crumbs=(("Groups", _href(visit)),),
        base=_href(visit),
        given=given,
        wrong={"form": wrong},
    )


def _href(visit: Visit) -> str:
    return f"{visit.base}/groups"
