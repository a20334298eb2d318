# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pages on an SMTP intake: who may write, what waits for a person, and how far the way out of SMTP is (C2, C5)."""
