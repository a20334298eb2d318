# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where each page is, and what one must be allowed to do to open it. Pages of no scope are everybody's own."""

from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple

from aiohttp import web

from gateway.administration.operations import Scope
from gateway.console.pages import groups, invitations, members, overview, own, people, reports, service
from gateway.console.pages.smtp import correspondents, decisions, held, intake, report, senders
from gateway.console.visits import Visit


class Route(NamedTuple):
    """One page, or one form's target."""

    method: Literal["GET", "POST"]
    path: str
    scope: Scope | None
    page: Callable[[Visit], Awaitable[web.Response]]


_I: Final = "/i/{instance}"
_MEMBER: Final = _I + "/members/{uid}"
_DEVICE: Final = _MEMBER + r"/devices/{device:\d{1,15}}/bar"
_INVITATIONS: Final = _I + "/invitations"
_INVITATION: Final = _INVITATIONS + r"/{invitation:\d{1,15}}/revoke"
_REPORT: Final = _I + r"/reports/{report:\d{1,15}}/close"
_TOKEN: Final = r"/tokens/{number:\d{1,15}}/revoke"  # noqa: S105 - an address
_PASSKEY: Final = r"/me/passkeys/{number:\d{1,15}}"
_INTAKE: Final = "/smtp/{bridge}"
_HELD: Final = _INTAKE + r"/held/{number:\d{1,15}}"
_SENDER: Final = _INTAKE + r"/senders/{number:\d{1,15}}"
_CORRESPONDENT: Final = _INTAKE + "/correspondents/{address}"

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", _I, "overview:read", overview.overview),
    Route("GET", _I + "/live", "overview:read", overview.live),
    Route("GET", _I + "/members", "accounts:read", members.members),
    Route("GET", _MEMBER, "accounts:read", members.member),
    Route("POST", _MEMBER + "/aliases", "accounts:write", members.give_alias),
    Route("POST", _MEMBER + "/unbar", "accounts:write", members.unbar),
    Route("GET", _MEMBER + "/bar", "accounts:write", members.ask_bar),
    Route("POST", _MEMBER + "/bar", "accounts:write", members.bar),
    Route("GET", _MEMBER + "/remove", "accounts:write", members.ask_remove),
    Route("POST", _MEMBER + "/remove", "accounts:write", members.remove),
    Route("GET", _MEMBER + "/reset", "accounts:write", members.ask_reset),
    Route("POST", _MEMBER + "/reset", "accounts:write", members.reset),
    Route("GET", _DEVICE, "devices:write", members.ask_bar_device),
    Route("POST", _DEVICE, "devices:write", members.bar_device),
    Route("GET", _INVITATIONS, "invitations:read", invitations.invitations),
    Route("GET", _INVITATIONS + "/new", "invitations:write", invitations.new),
    Route("POST", _INVITATIONS + "/new", "invitations:write", invitations.create),
    Route("GET", _INVITATIONS + "/many", "invitations:write", invitations.new_many),
    Route("POST", _INVITATIONS + "/many", "invitations:write", invitations.create_many),
    Route("GET", _INVITATIONS + "/made/{name}", None, invitations.made),
    Route("GET", _INVITATION, "invitations:write", invitations.ask_revoke),
    Route("POST", _INVITATION, "invitations:write", invitations.revoke),
    Route("GET", _I + "/groups", "groups:read", groups.groups),
    Route("GET", _I + "/found", "groups:write", groups.new),
    Route("POST", _I + "/found", "groups:write", groups.found),
    Route("GET", _I + "/groups/{gid}", "groups:read", groups.group),
    Route("GET", _I + "/reports", "reports:read", reports.reports),
    Route("GET", _REPORT, "reports:write", reports.ask_close),
    Route("POST", _REPORT, "reports:write", reports.close),
    Route("GET", _I + "/queues", "queues:read", groups.queues),
    Route("GET", "/smtp", "bridges:read", intake.intakes),
    Route("GET", _INTAKE, "smtp:read", intake.overview),
    Route("GET", _INTAKE + "/held", "smtp:hold", held.held),
    Route("GET", _HELD, "smtp:hold", held.mail),
    Route("POST", _HELD, "smtp:hold", held.decide),
    Route("GET", _HELD + "/reject", "smtp:hold", held.ask_reject),
    Route("GET", _INTAKE + "/senders", "smtp:read", senders.senders),
    Route("GET", _INTAKE + "/senders/new", "smtp:write", senders.new),
    Route("POST", _INTAKE + "/senders/new", "smtp:write", senders.vet),
    Route("GET", _SENDER, "smtp:read", senders.sender),
    Route("GET", _SENDER + "/suspend", "smtp:write", senders.ask_suspend),
    Route("POST", _SENDER + "/suspend", "smtp:write", senders.suspend),
    Route("GET", _SENDER + "/resume", "smtp:write", senders.ask_resume),
    Route("POST", _SENDER + "/resume", "smtp:write", senders.resume),
    Route("GET", _SENDER + "/withdraw", "smtp:write", senders.ask_withdraw),
    Route("POST", _SENDER + "/withdraw", "smtp:write", senders.withdraw),
    Route("GET", _INTAKE + "/correspondents", "smtp:read", correspondents.correspondents),
    Route("GET", _CORRESPONDENT, "smtp:read", correspondents.correspondent),
    Route("POST", _CORRESPONDENT + "/move", "smtp:write", correspondents.move),
    Route("POST", _CORRESPONDENT + "/invite", "smtp:write", correspondents.invite),
    Route("GET", _INTAKE + "/report", "smtp:read", report.report),
    Route("GET", _INTAKE + "/report.json", "smtp:read", report.file_of_all),
    Route("GET", _INTAKE + "/report/{table}.csv", "smtp:read", report.file_of_table),
    Route("GET", _INTAKE + "/decisions", "smtp:read", decisions.decisions),
    Route("GET", "/audit", "audit:read", service.audit),
    Route("GET", "/settings", "settings:read", service.settings),
    Route("GET", "/tokens", "tokens:write", service.tokens),
    Route("GET", "/tokens/new", "tokens:write", service.new_token),
    Route("POST", "/tokens/new", "tokens:write", service.create_token),
    Route("GET", "/tokens/made/{name}", "tokens:write", service.token_made),
    Route("GET", _TOKEN, "tokens:write", service.ask_revoke_token),
    Route("POST", _TOKEN, "tokens:write", service.revoke_token),
    Route("GET", "/people", "console:write", people.people),
    Route("GET", "/people/{person}/remove", "console:write", people.ask_remove),
    Route("POST", "/people/{person}/remove", "console:write", people.remove),
    Route("GET", "/me", None, own.me),
    Route("POST", "/me/passkeys/begin", None, own.begin_passkey),
    Route("POST", "/me/passkeys/register", None, own.register_passkey),
    Route("POST", _PASSKEY + "/rename", None, own.rename_passkey),
    Route("GET", _PASSKEY + "/remove", None, own.ask_remove_passkey),
    Route("POST", _PASSKEY + "/remove", None, own.remove_passkey),
    Route("POST", r"/me/sessions/{number:\d{1,15}}/end", None, own.end_session),
    Route("POST", "/sign-out", None, own.sign_out),
)
