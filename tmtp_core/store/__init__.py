# SPDX-License-Identifier: AGPL-3.0-or-later
"""Durable state of one instance: tables, the group-commit writer, payloads (storage.md)."""
