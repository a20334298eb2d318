# SPDX-License-Identifier: AGPL-3.0-or-later
"""Untrusted MIME, parsed in bounded worker processes; used by both bridges."""

from bridges.mime.letter import Attachment, Letter, Reason, Unparsable
from bridges.mime.pool import ParserFailed, ParserPool

__all__ = ["Attachment", "Letter", "ParserFailed", "ParserPool", "Reason", "Unparsable"]
