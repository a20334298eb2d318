# SPDX-License-Identifier: AGPL-3.0-or-later
"""Untrusted MIME, parsed in bounded worker processes; used by both bridges."""

from bridges.mime.letter import Attachment, Letter, Unparsable
from bridges.mime.pool import ParserPool

__all__ = ["Attachment", "Letter", "ParserPool", "Unparsable"]
