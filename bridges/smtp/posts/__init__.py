# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is posted to the service: accepted mail, once, and what the bridge itself tells administrators (C2, D1)."""
