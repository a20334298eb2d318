# SPDX-License-Identifier: AGPL-3.0-or-later
"""The SMTP intake: vetted mail from approved senders into a public instance (C2)."""

from bridges.smtp.intake import SmtpIntake
from bridges.smtp.proof import Claim, Trust
from bridges.smtp.rules import Door, IntakeLimits, IntakeSettings, Networks, Route, SenderRule

__all__ = ["Claim", "Door", "IntakeLimits", "IntakeSettings", "Networks", "Route", "SenderRule", "SmtpIntake", "Trust"]
