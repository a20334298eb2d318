# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console in Debian's Chromium, on a real gateway (C1)."""
