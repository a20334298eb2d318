# SPDX-License-Identifier: AGPL-3.0-or-later
"""Why an operation is not performed, each with a text for whoever asked. `NotFound` is the core's."""

from tmtp_core.errors import NotFound, RequestRefused

__all__ = ["Denied", "Invalid", "NotFound", "RequestRefused"]


class Denied(RequestRefused):
    """The actor may not do this."""


class Invalid(RequestRefused):
    """The arguments or the body make no sense: what, and where."""
