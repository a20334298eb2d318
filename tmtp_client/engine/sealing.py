# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether an entry of the outbox leaves sealed, and in what (B9): trust's judgement, as the sender needs it."""
