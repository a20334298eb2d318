# SPDX-License-Identifier: AGPL-3.0-or-later
"""Controlled ways in (C2). Each talks to a service as a TMTP client, never to its database."""
