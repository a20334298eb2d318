# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every operation of an administrator: the only list. API, its document, command line, console and the tests'
matrix of who may do what are made from it (C1).
"""

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from bridges.smtp.control import models as smtp
from gateway.administration import models as m
from gateway.administration.scopes import ROLES, Scope

__all__ = ["BY_NAME", "OPERATIONS", "ROLES", "Actor", "Operation", "Scope", "local_peer", "local_user"]

_NUMBERED: Final = {"device", "invitation", "number", "report"}
"""Names in paths that are numbers; all others are texts."""

_TYPES: Final[dict[str, Any]] = {"address": smtp.Address}
"""Of texts that are no names."""


@dataclass(frozen=True)
class Operation:
    """`path` is below `/api/1`; its `{names}` are arguments, and so are those of `query`, with their types.

    Arguments of the path are always given, those of the query may be left out.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    scope: Scope
    answer: type[msgspec.Struct]
    body: type[msgspec.Struct] | None = None
    query: tuple[tuple[str, Any], ...] = ()
    many: bool = False
    """The answer is a list of `answer`."""
    destructive: bool = False
    """A person confirms it first; it cannot be taken back, or takes something from somebody."""

    whole: bool = False
    """It is about the service as a whole: who may act on some instances only may not do it."""

    looks: bool = False
    """It changes nothing, whatever its method is: what is asked takes a body."""

    @property
    def changes(self) -> bool:
        """Whether it is written to the audit log."""
        return self.method != "GET" and not self.looks

    @property
    def of_instance(self) -> bool:
        """Whether it is about one instance."""
        return "instance" in self.in_path

    @property
    def of_bridge(self) -> bool:
        """Whether it is about one bridge, and so about the instance that this brings mail to."""
        return "bridge" in self.in_path

    @cached_property
    def in_path(self) -> tuple[str, ...]:
        """Names of the arguments in the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    @cached_property
    def numbered(self) -> frozenset[str]:
        """Names of the arguments that are numbers."""
        in_query = (name for name, type_ in self.query if type_ in (m.Number, m.PageSize))
        return frozenset({*_NUMBERED.intersection(self.in_path), *in_query})

    @cached_property
    def arguments(self) -> type[msgspec.Struct]:
        """The arguments as a struct of its own, which says of each what may be given."""
        in_path = [(name, m.Number if name in _NUMBERED else _TYPES.get(name, m.Name)) for name in self.in_path]
        in_query = [(name, type_ | None, None) for name, type_ in self.query]
        return msgspec.defstruct(
            f"{self.name.replace('.', '_')}_arguments",
            [*in_path, *in_query],
            kw_only=True,
            frozen=True,
            forbid_unknown_fields=True,
        )

    def url(self, arguments: Mapping[str, object]) -> tuple[str, dict[str, str]]:
        """Path below `/api/1` and query for these arguments, as an HTTP client needs them."""
        path = self.path
        for name in self.in_path:
            path = path.replace(f"{{{name}}}", quote(str(arguments[name]), safe=""))
        query = {name: str(arguments[name]) for name, _ in self.query if arguments.get(name) is not None}
        return path, query


_I: Final = "/instances/{instance}"
_WHO: Final = _I + "/accounts/{who}"
_B: Final = "/bridges/{bridge}"
_SENDER: Final = _B + "/senders/{number}"
_CORRESPONDENT: Final = _B + "/correspondents/{address}"

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation("overview", "GET", "/overview", "overview:read", m.Overview),
    Operation("history", "GET", _I + "/history", "overview:read", m.History),
    Operation("settings", "GET", "/settings", "settings:read", m.SettingsShown, whole=True),
    Operation(
        "accounts.list",
        "GET",
        _I + "/accounts",
        "accounts:read",
        m.AccountPage,
        query=(("search", m.Name), ("status", m.AccountStatus), ("after", m.Name), ("limit", m.PageSize)),
    ),
    Operation("accounts.show", "GET", _WHO, "accounts:read", m.AccountDetail),
    Operation("accounts.bar", "POST", _WHO + "/bar", "accounts:write", m.Account, destructive=True),
    Operation("accounts.unbar", "POST", _WHO + "/unbar", "accounts:write", m.Account),
    Operation("accounts.remove", "DELETE", _WHO, "accounts:write", m.Account, destructive=True),
    Operation("accounts.reset", "POST", _WHO + "/reset", "accounts:write", m.NewInvitation, destructive=True),
    Operation("accounts.alias", "POST", _WHO + "/aliases", "accounts:write", m.Account, m.GiveAlias),
    Operation("devices.bar", "DELETE", _WHO + "/devices/{device}", "devices:write", m.Account, destructive=True),
    Operation(
        "groups.list",
        "GET",
        _I + "/groups",
        "groups:read",
        m.Group,
        many=True,
        query=(("after", m.Name), ("limit", m.PageSize)),
    ),
    Operation("groups.show", "GET", _I + "/groups/{gid}", "groups:read", m.GroupDetail),
    Operation("groups.found", "POST", _I + "/groups", "groups:write", m.GroupDetail, m.FoundGroup),
    Operation(
        "invitations.list",
        "GET",
        _I + "/invitations",
        "invitations:read",
        m.Invitation,
        many=True,
        query=(("after", m.Number), ("limit", m.PageSize)),
    ),
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
    Operation(
        "reports.list",
        "GET",
        _I + "/reports",
        "reports:read",
        m.Report,
        many=True,
        query=(("state", m.ReportState), ("about", m.Name), ("after", m.Number), ("limit", m.PageSize)),
    ),
    Operation("reports.close", "POST", _I + "/reports/{report}/close", "reports:write", m.Done, m.CloseReport),
    Operation("queues.list", "GET", _I + "/queues", "queues:read", m.Queue, many=True, query=(("limit", m.PageSize),)),
    Operation("bridges.list", "GET", "/bridges", "bridges:read", m.Bridge, many=True),
    Operation("smtp.status", "GET", _B + "/status", "smtp:read", smtp.Status),
    Operation(
        "smtp.senders.list",
        "GET",
        _B + "/senders",
        "smtp:read",
        smtp.Sender,
        many=True,
        query=(("state", smtp.SenderState), ("search", m.Name), ("after", m.Number), ("limit", m.PageSize)),
    ),
    Operation("smtp.senders.show", "GET", _SENDER, "smtp:read", smtp.Sender),
    Operation("smtp.senders.vet", "POST", _B + "/senders", "smtp:write", smtp.Sender, smtp.VetSender),
    Operation("smtp.senders.suspend", "POST", _SENDER + "/suspend", "smtp:write", smtp.Sender, smtp.Because),
    Operation("smtp.senders.resume", "POST", _SENDER + "/resume", "smtp:write", smtp.Sender, smtp.Because),
    Operation(
        "smtp.senders.withdraw",
        "POST",
        _SENDER + "/withdraw",
        "smtp:write",
        smtp.Sender,
        smtp.Because,
        destructive=True,
    ),
    Operation(
        "smtp.held.list",
        "GET",
        _B + "/held",
        "smtp:hold",
        smtp.HeldMail,
        many=True,
        query=(("state", smtp.HeldState), ("before", m.Number), ("limit", m.PageSize)),
    ),
    Operation("smtp.held.show", "GET", _B + "/held/{number}", "smtp:hold", smtp.HeldDetail),
    Operation(
        "smtp.held.decide",
        "POST",
        _B + "/held/{number}/decide",
        "smtp:hold",
        smtp.HeldDecided,
        smtp.DecideHeld,
        destructive=True,
    ),
    Operation(
        "smtp.correspondents.list",
        "GET",
        _B + "/correspondents",
        "smtp:read",
        smtp.CorrespondentPage,
        query=(("state", smtp.LifeState), ("search", m.Name), ("after", smtp.Words), ("limit", m.PageSize)),
    ),
    Operation("smtp.correspondents.show", "GET", _CORRESPONDENT, "smtp:read", smtp.Correspondent),
    Operation(
        "smtp.correspondents.move",
        "POST",
        _CORRESPONDENT + "/move",
        "smtp:write",
        smtp.Correspondent,
        smtp.MoveCorrespondent,
    ),
    Operation("smtp.correspondents.invite", "POST", _CORRESPONDENT + "/invite", "smtp:write", smtp.Correspondent),
    Operation("smtp.report", "GET", _B + "/report", "smtp:read", smtp.Report),
    Operation("smtp.replay", "POST", _B + "/replay", "smtp:read", smtp.ReplayAnswer, smtp.Replay, looks=True),
    Operation(
        "smtp.decisions.list",
        "GET",
        _B + "/decisions",
        "smtp:read",
        smtp.DecisionPage,
        query=(("before", m.Number), ("limit", m.PageSize), ("search", m.Name)),
    ),
    Operation("smtp.decisions.verify", "GET", _B + "/decisions/verify", "smtp:read", smtp.DecisionVerdict),
    Operation(
        "audit.list",
        "GET",
        "/audit",
        "audit:read",
        m.AuditPage,
        query=(("before", m.Number), ("limit", m.PageSize)),
        whole=True,
    ),
    Operation("audit.verify", "GET", "/audit/verify", "audit:read", m.AuditVerdict, whole=True),
    Operation("tokens.list", "GET", "/tokens", "tokens:write", m.Token, many=True, whole=True),
    Operation("tokens.create", "POST", "/tokens", "tokens:write", m.NewToken, m.CreateToken, whole=True),
    Operation("tokens.revoke", "DELETE", "/tokens/{number}", "tokens:write", m.Done, destructive=True, whole=True),
    Operation("console.link", "POST", "/console/links", "console:write", m.SignInLink, m.CreateSignInLink, whole=True),
    Operation("console.people", "GET", "/console/people", "console:write", m.ConsolePerson, many=True, whole=True),
    Operation(
        "console.remove", "DELETE", "/console/people/{person}", "console:write", m.Done, destructive=True, whole=True
    ),
)

BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: `name` as the audit log has it, what he may do, on which instances (None: all), and until when."""

    name: str
    scopes: frozenset[Scope]
    instances: frozenset[str] | None = None
    until_ms: int | None = None

    def may_see(self, instance: str) -> bool:
        """Whether he may look at an instance at all."""
        return self.instances is None or instance in self.instances


def local_user() -> Actor:
    """Who runs commands on the data itself, or over the control socket: the owner."""
    return Actor(f"local user {_user_name(os.getuid())}", ROLES["owner"])


def local_peer(uid: int) -> Actor:
    """The same, as the system says who is at the other end of the control socket."""
    return Actor(f"local user {_user_name(uid)}", ROLES["owner"])


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
