# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alembic: the service's schema, step by step. `tmtp_core.store.database` runs it at start."""
