# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's pages: each a function from a visit to an answer. `gateway.console.routes` says where each is."""
