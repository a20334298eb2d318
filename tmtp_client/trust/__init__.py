# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom to trust with what: account logs, prekeys, sealing and opening, acts on devices (B4, B9)."""
