# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proven senders, and how far each is on the way out of SMTP (C5)."""

from typing import Final

from aiohttp import web

from bridges.smtp.control import models as s
from gateway.console.codes import qr
from gateway.console.pages.smtp.decisions import entries_about
from gateway.console.pages.smtp.intake import ask, href, of_intake, page
from gateway.console.pages.smtp.words import MACHINES, OUTCOMES, STEP_NAMES, STEPS, STRENGTHS
from gateway.console.paging import address
from gateway.console.rendering import sentence
from gateway.console.visits import Visit
from tmtp_core.errors import RequestRefused

_ROWS: Final = 50
_MAY_BE_INVITED: Final = ("seen", "vetted", "invited")


@of_intake
async def correspondents(visit: Visit) -> web.Response:
    """All of them, or those at one step."""
    search, after, state = visit.asked("search").strip(), visit.request.query.get("after", ""), visit.asked("state")
    state = state if state in STEP_NAMES else ""
    found: s.CorrespondentPage = await ask(
        visit, "correspondents.list", search=search, state=state, after=after, limit=_ROWS
    )
    filters = {"search": search, "state": state}
    here = href(visit, "correspondents")
    return await page(
        visit,
        "smtp_correspondents.html",
        tab="correspondents",
        title="Correspondents",
        found=found.correspondents,
        steps=STEPS,
        names=STEP_NAMES,
        machines=MACHINES,
        strengths=STRENGTHS,
        search=search,
        state=state,
        after=after,
        first_href=address(here, filters),
        next_href=address(here, {**filters, "after": found.next}) if found.next else "",
    )


@of_intake
async def correspondent(visit: Visit) -> web.Response:
    """One of them: the steps, and the invitation while it can be used."""
    one: s.Correspondent = await ask(visit, "correspondents.show", address=visit.named("address"))
    order = [name for name, _, _ in STEPS]
    at = order.index(one.state)
    moments = {
        "seen": one.first_seen_ms,
        "vetted": one.changed_ms if one.state == "vetted" else None,
        "invited": one.invited_ms,
        "joined": one.joined_ms,
        "refused": one.refused_ms,
    }
    done = {name for name, at_ms in moments.items() if at_ms is not None} | (
        {"vetted"} if await _vetted(visit, one) else set()
    )
    return await page(
        visit,
        "smtp_correspondent.html",
        tab="correspondents",
        title=one.address,
        crumbs=(("Correspondents", href(visit, "correspondents")),),
        one=one,
        steps=[
            (name, title, says, place < at and name in done, name == one.state, moments.get(name))
            for place, (name, title, says) in enumerate(STEPS)
        ],
        machines=MACHINES,
        strengths=STRENGTHS,
        code=qr(one.link, "QR code of the invitation's link") if one.link else "",
        outcomes=OUTCOMES,
        entries=await entries_about(visit, one.address),
        here_href=_href(visit),
        may_invite=one.state in _MAY_BE_INVITED and visit.may("smtp:write") and visit.may("invitations:write"),
        may_write=visit.may("smtp:write"),
    )


@of_intake
async def move(visit: Visit) -> web.Response:
    """Put somebody at another step, by hand."""
    form = await visit.form()
    state = form.text("state")
    if state not in STEP_NAMES:
        return visit.go(_href(visit), "Choose a step.", "bad")
    body = s.MoveCorrespondent(state=state, reason=form.text("reason"))
    try:
        one: s.Correspondent = await ask(visit, "correspondents.move", body, address=visit.named("address"))
    except RequestRefused as refusal:
        return visit.go(_href(visit), sentence(refusal.text), "bad")
    return visit.go(_href(visit), f"{one.address} is at the step “{STEP_NAMES[one.state]}” now.")


@of_intake
async def invite(visit: Visit) -> web.Response:
    """Make an invitation to the service for somebody who writes by SMTP."""
    await visit.form()
    try:
        one: s.Correspondent = await ask(visit, "correspondents.invite", address=visit.named("address"))
    except RequestRefused as refusal:
        return visit.go(_href(visit), sentence(refusal.text), "bad")
    return visit.go(_href(visit), f"There is an invitation for {one.address}. Give it by a way you trust.")


def _href(visit: Visit) -> str:
    return href(visit, "correspondents", visit.named("address"))


async def _vetted(visit: Visit, one: s.Correspondent) -> bool:
    """Whether a record covers them now: who was invited need not have been vetted."""
    domain = one.address.rpartition("@")[2]
    records: list[s.Sender] = await ask(visit, "senders.list", state="active", search=domain)
    return any(one.address == record.address or domain == record.domain for record in records)
