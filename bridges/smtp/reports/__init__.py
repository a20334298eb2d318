# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the log of decisions says in numbers, and what other rules would have done (C5)."""
