# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is known of a mail before it is decided on, and what finding that out may cost (C2)."""

import time
from typing import Any

import pytest

from bridges import limits
from bridges.smtp.policy.rules import Rules, SenderRule
from bridges.smtp.proof.prover import Prover, Trust
from bridges.smtp.transaction.gathering import Gathered, Gathering, Transaction
from tests.support.proving import DKIM, ORIGIN, InThisProcess, keys
from tests.support.signing import Records, mail_of, signed

RULES = Rules([SenderRule(address="orders@partner.example", claims=(DKIM,), number=1)], ())


async def gathered(mail: bytes, records: Records) -> Gathered:
    """The evidence of a mail of which it matters whose it is, whatever its record says."""
    prover = Prover(records, lambda: int(time.time()), Trust())
    prover._workers = InThisProcess()  # type: ignore[assignment]
    gathering = Gathering("intake", prover, lambda *_: b"name")
    transaction = Transaction(ORIGIN, b"", ("support@example.org",), mail)
    return await gathering.gather(transaction, RULES, int(time.time() * 1000), lambda author: True)


async def test_who_is_looked_at_twice_has_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """First as his record wants it, and then, as that fails, for what else shows whose mail it is."""
    forged = signed(mail_of()).replace(b"Subject: ", b"Subject: Re: ")
    spf = {"partner.example": b"v=spf1 a:a.example a:b.example -all"}
    plenty = Records(keys(**spf))
    once = await gathered(forged, plenty)
    assert once.evidence.looked
    assert [one.state for one in once.evidence.found] == ["fail", "fail"]
    assert len(plenty.asked) == len(set(plenty.asked))

    monkeypatch.setattr(limits, "DNS_LOOKUPS_MAX", len(plenty.asked) - 1)
    scarce: Any = Records(keys(**spf))
    await gathered(forged, scarce)
    assert len(scarce.asked) == limits.DNS_LOOKUPS_MAX
