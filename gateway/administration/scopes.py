# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an administrator may be allowed to do, and the roles in which people do it (C1)."""

from typing import Final, Literal, get_args

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
    "reports:read",
    "reports:write",
    "queues:read",
    "bridges:read",
    "smtp:read",
    "smtp:write",
    "smtp:hold",
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
    "auditor": frozenset({"overview:read", "settings:read", "queues:read", "bridges:read", "smtp:read", "audit:read"}),
}
"""What each role may do. The owner is who can open the control socket: he has the data and the keys anyway.

`smtp:read` is who writes to whom by SMTP, and how that was decided: an auditor's matter, not the helpdesk's, which
looks after accounts. `smtp:hold` is to look into mail that is held, and to decide on it. `reports:read` is what members
say of one another, in their words: for who may also bar somebody, and for nobody else.
"""
