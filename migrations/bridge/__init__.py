# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of an intake's own database (`bridges.smtp.store.tables`)."""
