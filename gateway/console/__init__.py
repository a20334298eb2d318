# SPDX-License-Identifier: AGPL-3.0-or-later
"""The administrators' console: pages that the server makes, which work without a script and with a keyboard alone (C1).

It does nothing itself: every figure and every change is an operation of `gateway.administration`, asked for in the
name of who is signed in. Its own are only the ways in (links, passkeys) and the sessions.
"""

from gateway.console.application import Console
from gateway.console.guards import site_of

__all__ = ["Console", "site_of"]
