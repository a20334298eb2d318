# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose keys are whose, what may be sealed to whom, and what a signature is worth (B4, B9)."""

from tmtp_client.trust.account import Trust
from tmtp_client.trust.judging import Sealed
from tmtp_client.trust.planning import Held, Plan, Unsealable, Unseen
from tmtp_client.trust.sealing import ToSeal
from tmtp_client.trust.shared_keys import SharedKey

__all__ = ["Held", "Plan", "Sealed", "SharedKey", "ToSeal", "Trust", "Unsealable", "Unseen"]
