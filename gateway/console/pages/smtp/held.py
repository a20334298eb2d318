# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail that waits for a person's decision, and the decision (C2, D2)."""

from typing import Any, Final, get_args

from aiohttp import web

from bridges.smtp.control import models as s
from gateway.administration import Denied
from gateway.console.pages.smtp import records
from gateway.console.pages.smtp.intake import ask, href, of_intake, page
from gateway.console.pages.smtp.words import HELD_STATES, OUTCOMES, in_words
from gateway.console.paging import rows_of
from gateway.console.visits import Form, Visit
from tmtp_core.errors import RequestRefused

_ROWS: Final = 50
_WAITING: Final = ("held", "deciding")
_SHOWN: Final = (("held", "Waiting"), ("released", "Released"), ("rejected", "Rejected"), ("expired", "Expired"))
_ACTIONS: Final[dict[str, s.HeldAction]] = {action: action for action in get_args(s.HeldAction)}
_VETS: Final = ("vet_and_release", "vet_release_and_invite")
_DONE: Final = {
    "deciding": "is being decided on",
    "released": "is released already",
    "rejected": "is rejected already",
    "expired": "has expired",
}


@of_intake
async def held(visit: Visit) -> web.Response:
    """Those that wait, or were decided on in one way."""
    state = visit.asked("state")
    state = state if state in dict(_SHOWN) else "held"
    before = visit.asked_number("before")
    found: list[s.HeldMail] = await ask(visit, "held.list", state=state, before=before, limit=_ROWS + 1)
    here = href(visit, "held")
    return await page(
        visit,
        "smtp_held.html",
        tab="held",
        title="Held mail",
        rows=rows_of(found, _ROWS, here, lambda one: one.number, {"state": state}, "before"),
        state=state,
        states=[(title, f"{here}?state={name}", name == state) for name, title in _SHOWN],
        names=HELD_STATES,
        before=before,
    )


@of_intake
async def mail(visit: Visit) -> web.Response:
    """One mail as safe text, what is known of who wrote it, and what can be done with it."""
    return await _mail(visit)


@of_intake
async def decide(visit: Visit) -> web.Response:
    """Release it, reject it, or vet its sender, too. Of two administrators the second reads who was first."""
    form = await visit.form()
    number = int(visit.named("number"))
    action = _ACTIONS.get(form.text("action"))
    if action is None:
        return visit.go(href(visit, "held", number), "Choose what is to be done with it.", "bad")
    given = records.given_of(form)
    vet: s.VetSender | None = None
    if action in _VETS:
        detail: s.HeldDetail = await ask(visit, "held.show", number=number)
        vet, wrong = records.read(visit, form, _whom(form, detail.mail.author))
        if vet is None and detail.mail.state in _WAITING:
            return await _mail(visit, given, wrong, 409)
    body = s.DecideHeld(action=action, reason=form.text("reason"), vet=vet)
    try:
        done: s.HeldDecided = await ask(visit, "held.decide", body, number=number)
    except Denied:
        raise
    except RequestRefused as refusal:
        now: s.HeldDetail = await ask(visit, "held.show", number=number)
        if now.mail.state != "held":
            return visit.go(href(visit, "held", number), _first(now.mail), "bad")
        return await _mail(visit, given, records.refused(refusal.text), 409)
    if action == "vet_release_and_invite":
        return visit.go(href(visit, "correspondents", done.invite or done.mail.author), _told(done))
    return visit.go(href(visit, "held"), _told(done))


@of_intake
async def ask_reject(visit: Visit) -> web.Response:
    """Before a mail is rejected."""
    number = int(visit.named("number"))
    detail: s.HeldDetail = await ask(visit, "held.show", number=number)
    here = href(visit, "held", number)
    return await page(
        visit,
        "smtp_because.html",
        tab="held",
        title="Are you sure?",
        crumbs=(("Held mail", href(visit, "held")), (detail.mail.subject or "Without a subject", here)),
        question="Reject this mail?",
        consequences=(
            f"It is from {detail.mail.author or 'nobody whom it names'}. Nobody gets it, and it is deleted here.",
            "Its sender is told nothing: an answer to a mail that may be forged would reach somebody else.",
        ),
        act="Reject",
        action=here,
        hidden={"action": "reject"},
        back=here,
        mild=False,
    )


async def _mail(
    visit: Visit, given: dict[str, Any] | None = None, wrong: dict[str, str] | None = None, status: int = 200
) -> web.Response:
    number = int(visit.named("number"))
    detail: s.HeldDetail = await ask(visit, "held.show", number=number)
    author = detail.mail.author
    return await page(
        visit,
        "smtp_mail.html",
        tab="held",
        title=detail.mail.subject or "Without a subject",
        status=status,
        crumbs=(("Held mail", href(visit, "held")),),
        mail=detail.mail,
        detail=detail,
        waits=detail.mail.state in _WAITING,
        badge=HELD_STATES[detail.mail.state],
        proofs=[(records.name_of(one), in_words(one)) for one in detail.suggested],
        domain=author.rpartition("@")[2],
        given=given or records.suggested(visit, detail),
        wrong=records.NOTHING_WRONG | (wrong or {}),
        may_vet=visit.may("smtp:write"),
        may_invite=visit.may("invitations:write"),
    )


def _whom(form: Form, author: str) -> tuple[str, str]:
    """Whom the record is to be about, as its form says: address and domain, one of them empty."""
    return ("", author.rpartition("@")[2]) if form.text("whom") == "domain" else (author, "")


def _first(mail: s.HeldMail) -> str:
    """What the second one reads, who wanted to decide on it."""
    by = mail.decided_by.removeprefix("console:")
    return f"Nothing was done: this mail {_DONE[mail.state]}{f', by {by}' if by else ''}."


def _told(done: s.HeldDecided) -> str:
    """What became of it, for each recipient."""
    if done.mail.state == "rejected":
        return f"The mail of {done.mail.author or 'nobody'} is rejected."
    became = ", ".join(f"{OUTCOMES[outcome][0].lower()} for {one}" for one, outcome in done.outcomes.items())
    record = f" Record {done.record} lets further mail in." if done.record is not None else ""
    return f"The mail of {done.mail.author or 'nobody'} is released: {became}.{record}"
