# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators see and do (C1), the same for the command line, the API and the console.

`operations` is the list of everything there is, each with its path, its scope, and the types of what goes in and out;
`models` has those types, `dispatcher` the one way in, which writes every change into the audit log.
"""

from gateway.administration.database import DATABASE_FILE, AdministrationDatabase
from gateway.administration.dispatcher import Administration, Answer, OnBehalf, Performs
from gateway.administration.errors import Denied, Invalid, NotFound
from gateway.administration.on_service import ConsoleAccess
from gateway.administration.operations import BY_NAME, OPERATIONS, Actor, Operation, local_peer, local_user
from gateway.administration.scopes import ROLES, Scope

__all__ = [
    "BY_NAME",
    "DATABASE_FILE",
    "OPERATIONS",
    "ROLES",
    "Actor",
    "Administration",
    "AdministrationDatabase",
    "Answer",
    "ConsoleAccess",
    "Denied",
    "Invalid",
    "NotFound",
    "OnBehalf",
    "Operation",
    "Performs",
    "Scope",
    "local_peer",
    "local_user",
]
