# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may write, by which proof, and how far each is on the way out of SMTP; changed by hand or by rule (C2, C5)."""
