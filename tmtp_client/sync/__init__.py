# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person's devices agree about: registers, the last writer of each field wins (B3)."""
