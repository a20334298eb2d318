# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many instructions the hot paths take: a measure that a busy machine does not disturb."""
