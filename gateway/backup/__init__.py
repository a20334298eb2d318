# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backups that outlive the machine (C1, A7): taken while the gateway runs, for a key that no server holds (D5).

docs/backup.md says what is promised, and has the formats to the byte.
"""
