# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one account has on this device: an encrypted database, and what is asked of it (B2, B8)."""
