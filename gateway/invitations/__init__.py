# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invitations for many people at once: the list of them in, a sheet to print out (C1, A7)."""

from gateway.invitations.people import Mistake, PeopleInvalid, read_people
from gateway.invitations.sheet import Card, sheet

__all__ = ["Card", "Mistake", "PeopleInvalid", "read_people", "sheet"]
