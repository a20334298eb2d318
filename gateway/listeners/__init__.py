# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where bytes come in: back-pressure, deadlines, limits."""
