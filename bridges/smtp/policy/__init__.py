# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of a mail, and why: records and routes, rulings by them, and what is said to senders. Pure (C2, D1)."""
