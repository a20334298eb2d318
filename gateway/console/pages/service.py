# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is about the service as a whole: audit log, settings, tokens for programs (C1)."""

from typing import Any, Final, get_args

from aiohttp import web

from gateway.administration import models as m
from gateway.administration.operations import Scope
from gateway.console.pages.invitations import expiry_ms
from gateway.console.visits import Visit
from tmtp_core import limits
from tmtp_core.errors import RequestRefused

_ROWS: Final = 50


async def audit(visit: Visit) -> web.Response:
    """What was changed, by whom, and whether the log is whole."""
    before = visit.asked_number("before")
    page: m.AuditPage = await visit.ask("audit.list", before=before, limit=_ROWS)
    few = before is None and (not page.entries or page.entries[0].number <= limits.CONSOLE_AUDIT_CHECKED_MAX)
    verdict: m.AuditVerdict | None = await visit.ask("audit.verify") if few or visit.asked("check") else None
    return visit.page("audit.html", title="Audit log", here="audit", page=page, verdict=verdict, before=before)


async def settings(visit: Visit) -> web.Response:
    """The file, as loaded."""
    shown: m.SettingsShown = await visit.ask("settings")
    return visit.page("settings.html", title="Settings", here="settings", shown=shown)


async def tokens(visit: Visit) -> web.Response:
    """Tokens that programs use."""
    found: list[m.Token] = await visit.ask("tokens.list")
    return visit.page("tokens.html", title="Tokens", here="tokens", tokens=found)


async def new_token(visit: Visit) -> web.Response:
    """The form for one."""
    return _form(visit, {"name": "", "scopes": [], "instances": [], "expires": "90"})


async def create_token(visit: Visit) -> web.Response:
    """Make one, and show it."""
    form = await visit.form()
    given = {
        "name": form.text("name"),
        "scopes": form.texts("scopes"),
        "instances": form.texts("instances"),
        "expires": form.text("expires"),
    }
    try:
        body = m.CreateToken(
            name=form.text("name"),
            scopes=[scope for scope in get_args(Scope) if scope in given["scopes"]],
            instances=form.texts("instances"),
            expires_ms=expiry_ms(visit, form),
        )
        made: m.NewToken = await visit.ask("tokens.create", body)
    except RequestRefused as refusal:
        return _form(visit, given, refusal.text, 409)
    name = visit.rooms.shown.keep(visit.session.number, made, visit.now_ms)
    return visit.go(f"/tokens/made/{name}")


async def token_made(visit: Visit) -> web.Response:
    """The token that was just made."""
    made: m.NewToken | None = visit.rooms.shown.look(visit.session.number, visit.named("name"), visit.now_ms)
    if made is None:
        return visit.go("/tokens", "That page is gone: a token is shown for some minutes only. Make a new one.", "bad")
    return visit.page(
        "token_made.html",
        title="Token made",
        here="tokens",
        crumbs=(("Tokens", "/tokens"),),
        token=made.token,
        minutes=limits.CONSOLE_SHOWN_MS // 60_000,
    )


async def ask_revoke_token(visit: Visit) -> web.Response:
    """Before a token is revoked."""
    number = visit.named("number")
    return visit.page(
        "confirm.html",
        title="Are you sure?",
        here="tokens",
        crumbs=(("Tokens", "/tokens"),),
        question=f"Revoke token {number}?",
        consequences=("The program that uses it is refused from now on.",),
        act="Revoke",
        action=f"/tokens/{number}/revoke",
        back="/tokens",
    )


async def revoke_token(visit: Visit) -> web.Response:
    """No program can use it any more."""
    await visit.form()
    number = int(visit.named("number"))
    await visit.ask("tokens.revoke", number=number)
    return visit.go("/tokens", f"Token {number} is revoked.")


def _form(visit: Visit, given: dict[str, Any], wrong: str = "", status: int = 200) -> web.Response:
    return visit.page(
        "token_new.html",
        title="New token",
        here="tokens",
        status=status,
        crumbs=(("Tokens", "/tokens"),),
        scopes=get_args(Scope),
        given=given,
        wrong={"form": wrong},
    )
