# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests share: a real instance with a clock of their own."""
