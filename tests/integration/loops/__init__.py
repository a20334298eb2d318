# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tests that run on both event loops: the one of the standard library, and uvloop, which people run."""
