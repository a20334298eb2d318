# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a mail is from whom its From header names: SPF, DKIM, ARC and DMARC's alignment, one verdict (C2, D1)."""

from bridges.smtp.proof.author import Author, HeaderRefused, read_header
from bridges.smtp.proof.prover import Prover, Trust
from bridges.smtp.proof.resolver import DnsResolver
from bridges.smtp.proof.verdict import Claim, Finding, Standing, Verdict

__all__ = [
    "Author",
    "Claim",
    "DnsResolver",
    "Finding",
    "HeaderRefused",
    "Prover",
    "Standing",
    "Trust",
    "Verdict",
    "read_header",
]
