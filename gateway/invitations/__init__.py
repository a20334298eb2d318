# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invitations for many people at once: the list of them in, a sheet to print out (C1, A7)."""
