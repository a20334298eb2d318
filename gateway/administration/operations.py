# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every operation of an administrator: the only list. API, its document, command line, console and the tests'
matrix of who may do what are made from it (C1).
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import msgspec

from gateway.administration import models as m

Scope = Literal[
    "overview:read",
    "settings:read",
    "accounts:read",
    "accounts:write",
    "devices:write",
    "groups:read",
    "groups:write",
    "invitations:read",
    "invitations:write",
    "queues:read",
    "bridges:read",
    "audit:read",
    "tokens:write",
    "console:write",
]

_ALL: Final[frozenset[Scope]] = frozenset(get_args(Scope))

ROLES: Final[dict[str, frozenset[Scope]]] = {
    "owner": _ALL,
    "administrator": _ALL - {"tokens:write", "console:write"},
    "helpdesk": frozenset(
        {
            "overview:read",
            "accounts:read",
            "devices:write",
            "groups:read",
            "invitations:read",
            "invitations:write",
            "queues:read",
        }
    ),
    "auditor": frozenset({"overview:read", "settings:read", "queues:read", "bridges:read", "audit:read"}),
}
"""What each role may do. The owner is who can open the control socket: he has the data and the keys anyway."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` is below `/api/1`; its `{names}` are arguments, and so are those of `query`, with their types."""

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    scope: Scope
    answer: type[msgspec.Struct]
    body: type[msgspec.Struct] | None = None
    query: tuple[tuple[str, type], ...] = ()
    many: bool = False
    """The answer is a list of `answer`."""
    destructive: bool = False
    """A person confirms it first; it cannot be taken back, or takes something from somebody."""

    @property
    def changes(self) -> bool:
        """Whether it is written to the audit log."""
        return self.method != "GET"


_I: Final = "/instances/{instance}"
_WHO: Final = _I + "/accounts/{who}"

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation("overview", "GET", "/overview", "overview:read", m.Overview),
    Operation("history", "GET", _I + "/history", "overview:read", m.History),
    Operation("settings", "GET", "/settings", "settings:read", m.SettingsShown),
    Operation(
        "accounts.list",
        "GET",
        _I + "/accounts",
        "accounts:read",
        m.AccountPage,
        query=(("search", str), ("status", str), ("after", str), ("limit", int)),
    ),
    Operation("accounts.show", "GET", _WHO, "accounts:read", m.AccountDetail),
    Operation("accounts.bar", "POST", _WHO + "/bar", "accounts:write", m.Account, destructive=True),
    Operation("accounts.unbar", "POST", _WHO + "/unbar", "accounts:write", m.Account),
    Operation("accounts.remove", "DELETE", _WHO, "accounts:write", m.Account, destructive=True),
    Operation("accounts.reset", "POST", _WHO + "/reset", "accounts:write", m.NewInvitation, destructive=True),
    Operation("accounts.alias", "POST", _WHO + "/aliases", "accounts:write", m.Account, m.GiveAlias),
    Operation("devices.bar", "DELETE", _WHO + "/devices/{device}", "devices:write", m.Account, destructive=True),
    Operation("groups.list", "GET", _I + "/groups", "groups:read", m.Group, many=True),
    Operation("groups.show", "GET", _I + "/groups/{gid}", "groups:read", m.GroupDetail),
    Operation("groups.found", "POST", _I + "/groups", "groups:write", m.GroupDetail, m.FoundGroup),
    Operation("invitations.list", "GET", _I + "/invitations", "invitations:read", m.Invitation, many=True),
    Operation(
        "invitations.create", "POST", _I + "/invitations", "invitations:write", m.NewInvitation, m.CreateInvitation
    ),
    Operation(
        "invitations.create_many",
        "POST",
        _I + "/invitations/many",
        "invitations:write",
        m.NewInvitation,
        m.CreateInvitations,
        many=True,
    ),
    Operation(
        "invitations.revoke", "DELETE", _I + "/invitations/{invitation}", "invitations:write", m.Done, destructive=True
    ),
    Operation("queues.list", "GET", _I + "/queues", "queues:read", m.Queue, many=True, query=(("limit", int),)),
    Operation("bridges.list", "GET", "/bridges", "bridges:read", m.Bridge, many=True),
    Operation("audit.list", "GET", "/audit", "audit:read", m.AuditPage, query=(("before", int), ("limit", int))),
    Operation("audit.verify", "GET", "/audit/verify", "audit:read", m.AuditVerdict),
    Operation("tokens.list", "GET", "/tokens", "tokens:write", m.Token, many=True),
    Operation("tokens.create", "POST", "/tokens", "tokens:write", m.NewToken, m.CreateToken),
    Operation("tokens.revoke", "DELETE", "/tokens/{number}", "tokens:write", m.Done, destructive=True),
    Operation("console.link", "POST", "/console/links", "console:write", m.SignInLink, m.CreateSignInLink),
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: `name` as the audit log has it, what he may do, on which instances (None: all)."""

    name: str
    scopes: frozenset[Scope]
    instances: frozenset[str] | None = None
