# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vetting records: who may write by SMTP, by which proof, for whom, until when (C2)."""

from typing import Any, Final

from aiohttp import web

from bridges.smtp.control import models as s
from gateway.console.pages.smtp import records
from gateway.console.pages.smtp.decisions import entries_about
from gateway.console.pages.smtp.intake import ask, href, of_intake, page
from gateway.console.pages.smtp.words import OUTCOMES, SENDER_STATES, in_words, short, whom
from gateway.console.paging import rows_of
from gateway.console.rendering import sentence
from gateway.console.visits import Visit
from tmtp_core.errors import RequestRefused

_ROWS: Final = 50


@of_intake
async def senders(visit: Visit) -> web.Response:
    """All of them, filtered."""
    search, after, state = visit.asked("search").strip(), visit.asked_number("after"), visit.asked("state")
    state = state if state in SENDER_STATES else ""
    asked = {"search": search, "state": state, "after": after, "limit": _ROWS + 1}
    found: list[s.Sender] = await ask(visit, "senders.list", **asked)
    filters = {"search": search, "state": state}
    rows = rows_of(found, _ROWS, href(visit, "senders"), lambda one: one.number, filters)
    return await page(
        visit,
        "smtp_senders.html",
        tab="senders",
        title="Senders",
        senders=[
            (one, whom(one), [short(proof) for proof in one.proof], SENDER_STATES[one.state]) for one in rows.shown
        ],
        search=search,
        state=state,
        states=[(name, title) for name, (title, _) in SENDER_STATES.items()],
        after=after,
        rows=rows,
        may_write=visit.may("smtp:write"),
    )


@of_intake
async def sender(visit: Visit) -> web.Response:
    """One record with its history."""
    one = await _sender(visit)
    return await page(
        visit,
        "smtp_sender.html",
        tab="senders",
        title=whom(one),
        crumbs=(("Senders", href(visit, "senders")),),
        sender=one,
        badge=SENDER_STATES[one.state],
        proofs=[in_words(proof) for proof in one.proof],
        outcomes=OUTCOMES,
        entries=await entries_about(visit, one.address or one.domain),
        here_href=_href(visit),
        may_write=visit.may("smtp:write"),
    )


@of_intake
async def new(visit: Visit) -> web.Response:
    """The form to vet a sender."""
    return await _form(visit, records.empty(visit), {})


@of_intake
async def vet(visit: Visit) -> web.Response:
    """Vet a sender."""
    form = await visit.form()
    given = records.given_of(form)
    named = form.text("sender")
    given["sender"] = named
    record, wrong = records.read(visit, form, whom=(named, "") if "@" in named.lstrip("@") else ("", named.lstrip("@")))
    if record is None:
        return await _form(visit, given, wrong, 409)
    try:
        made: s.Sender = await ask(visit, "senders.vet", record)
    except RequestRefused as refusal:
        return await _form(visit, given, records.refused(refusal.text), 409)
    return visit.go(href(visit, "senders", made.number), f"{whom(made)} may write now, as far as this record goes.")


@of_intake
async def ask_suspend(visit: Visit) -> web.Response:
    """Before a record is suspended."""
    return await _ask(
        visit,
        "suspend",
        "Suspend",
        "Whoever sends mail under it is told to try again later, until you let it in again.",
    )


@of_intake
async def suspend(visit: Visit) -> web.Response:
    """Nothing more comes in by it, for now."""
    return await _do(visit, "suspend", "is suspended")


@of_intake
async def ask_resume(visit: Visit) -> web.Response:
    """Before a record is good again."""
    return await _ask(
        visit,
        "resume",
        "Let in again",
        "Its mail comes in again where its proof passes. If its proof had failed: find out first why, "
        "or somebody else may be writing in its name.",
    )


@of_intake
async def resume(visit: Visit) -> web.Response:
    """Its mail comes in again."""
    return await _do(visit, "resume", "is let in again")


@of_intake
async def ask_withdraw(visit: Visit) -> web.Response:
    """Before a record ends."""
    return await _ask(
        visit,
        "withdraw",
        "Withdraw",
        "Its sender is a stranger from now on. The record stays to be read, and does not come back; "
        "whoever is to write again is vetted anew.",
    )


@of_intake
async def withdraw(visit: Visit) -> web.Response:
    """The record is over."""
    return await _do(visit, "withdraw", "is withdrawn")


async def _ask(visit: Visit, path: str, act: str, *consequences: str) -> web.Response:
    one = await _sender(visit)
    return await page(
        visit,
        "smtp_because.html",
        tab="senders",
        title="Are you sure?",
        crumbs=(("Senders", href(visit, "senders")), (whom(one), _href(visit))),
        question=f"{act}: {whom(one)}?",
        consequences=consequences,
        act=act,
        action=f"{_href(visit)}/{path}",
        hidden={},
        back=_href(visit),
        mild=path == "resume",
    )


async def _do(visit: Visit, act: str, became: str) -> web.Response:
    form = await visit.form()
    number = int(visit.named("number"))
    try:
        one: s.Sender = await ask(visit, f"senders.{act}", s.Because(reason=form.text("reason")), number=number)
    except RequestRefused as refusal:
        return visit.go(_href(visit), sentence(refusal.text), "bad")
    return visit.go(_href(visit), f"{whom(one)} {became}.")


async def _sender(visit: Visit) -> s.Sender:
    one: s.Sender = await ask(visit, "senders.show", number=int(visit.named("number")))
    return one


async def _form(visit: Visit, given: dict[str, Any], wrong: dict[str, str], status: int = 200) -> web.Response:
    return await page(
        visit,
        "smtp_vet.html",
        tab="senders",
        title="Vet a sender",
        status=status,
        crumbs=(("Senders", href(visit, "senders")),),
        given={"sender": visit.asked("sender"), **given},
        wrong=records.NOTHING_WRONG | wrong,
        ends=records.ENDS,
    )


def _href(visit: Visit) -> str:
    return href(visit, "senders", visit.named("number"))
