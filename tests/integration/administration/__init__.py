# SPDX-License-Identifier: AGPL-3.0-or-later
"""The administrators' API, tokens and audit log on a real gateway (C1)."""
