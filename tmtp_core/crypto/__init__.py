# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys and hashes. Primitives come from libsodium and the standard library, never from here."""
