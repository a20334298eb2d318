# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators see and do (C1), the same for the command line, the API and the console.

`operations` is the list of everything there is, each with its path, its scope, and the types of what goes in and out;
`models` has those types.
"""

from gateway.administration.local import Act, Administration, LocalAdministration, NewInvitation, reachable_host

__all__ = ["Act", "Administration", "LocalAdministration", "NewInvitation", "reachable_host"]
