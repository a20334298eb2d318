# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys at rest: the home's key in its slots, an account's key under it, files as streams under that (B8)."""
