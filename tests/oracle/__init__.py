# SPDX-License-Identifier: AGPL-3.0-or-later
"""Slow, literal models of rules, to hold the product against."""
