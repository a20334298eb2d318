# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an operation is, and the parameters that many take."""

from dataclasses import dataclass

from msgspec import Struct


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class OfAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """Which account."""

    account: str


@dataclass(frozen=True)
class Operation:
    """One thing to ask for. `answer`: its result; a tuple of types: one of these. `many`: a list of it."""

    name: str
    params: type[Struct]
    answer: type[Struct] | tuple[type[Struct], ...]
    does: str
    many: bool = False
    locked: bool = False  # also answered while the home is locked
    keeps_open: bool = True  # a person did it: the idle lock begins anew
    only_waits: bool = False  # it ends when nobody hears its answer any more, and then has done nothing
