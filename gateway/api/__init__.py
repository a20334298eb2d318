# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operations of an administrator over HTTP and JSON (C1, docs/api.md): under `/api/1`, on the control socket and,
where the settings say so, on a listener of its own that the console shares.
"""

from gateway.api.access import BearerTokens, Gate, OwnersSocket
from gateway.api.listener import AdministrationListener
from gateway.api.problems import Problem
from gateway.api.routes import API, Api

__all__ = ["API", "AdministrationListener", "Api", "BearerTokens", "Gate", "OwnersSocket", "Problem"]
