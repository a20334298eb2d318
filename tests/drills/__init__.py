# SPDX-License-Identifier: AGPL-3.0-or-later
"""One drill for each disaster of SMTP (requirements D1 to D5): the attack is played, and fails."""
