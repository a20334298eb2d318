# SPDX-License-Identifier: AGPL-3.0-or-later
"""The SMTP intake: vetted mail from approved senders into a public instance (C2)."""

from bridges.smtp.intake import SmtpIntake
from bridges.smtp.rules import IntakeLimits, IntakeSettings, Route, SenderRule

__all__ = ["IntakeLimits", "IntakeSettings", "Route", "SenderRule", "SmtpIntake"]
