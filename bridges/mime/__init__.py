# SPDX-License-Identifier: AGPL-3.0-or-later
"""Untrusted MIME, parsed in bounded worker processes (`pool`, which they do not load)."""

from bridges.mime.letter import Attachment, Letter, Reason, Unparsable

__all__ = ["Attachment", "Letter", "Reason", "Unparsable"]
