# SPDX-License-Identifier: AGPL-3.0-or-later
"""ARC (C2, D1): what listed sealers saw of a forwarded mail, and nobody else."""

import dkim
import pytest

from bridges.smtp.proof.prover import Trust
from bridges.smtp.proof.resolver import LookupFailed
from bridges.smtp.proof.verdict import Standing
from tests.support.proving import ARC_KEYS, DKIM, LISTS, SAW, SPF, Bench, forwarded
from tests.support.signing import mail_of, pem, rsa_key, sealed


@pytest.fixture
def bench() -> Bench:
    return Bench()


def forwarded_bare() -> bytes:
    """The list's signature does not cover the subject."""
    mail = f"Authentication-Results: lists.example; {SAW}\r\n".encode() + mail_of()
    names = [b"from", b"to"]
    made = dkim.arc_sign(mail, b"rsa", b"lists.example", pem(rsa_key()), b"lists.example", include_headers=names)
    return b"".join(made) + mail


async def test_a_listed_sealer_is_believed(bench: Bench) -> None:
    verdict = await bench.verdict(forwarded(), ARC_KEYS, (DKIM, SPF), trust=LISTS)
    assert verdict.standing(DKIM) is Standing.HOLDS, verdict.trace
    assert verdict.standing(SPF) is Standing.HOLDS
    assert any("the sealer lists.example" in line for line in verdict.trace)


@pytest.mark.parametrize(
    ("mail", "trust"),
    [
        (forwarded(), Trust()),
        (forwarded(), Trust(arc_sealers=frozenset({"other.example"}))),
        (forwarded("dkim=fail header.d=partner.example"), LISTS),
        (forwarded("dkim=pass header.d=other.example"), LISTS),
        (forwarded() + b"More.\r\n", LISTS),
        (forwarded(SAW.replace("pass", "fail")).replace(b"dkim=fail", b"dkim=pass", 1), LISTS),
        (forwarded_bare(), LISTS),
        # who is not listed changed it after the list had sealed it
        (sealed(forwarded() + b"More.\r\n", "evil.example", SAW), LISTS),
        # who is not listed says that he saw it, and the list sealed that
        (sealed(sealed(mail_of(), "evil.example", SAW), "lists.example", "arc=pass"), LISTS),
    ],
)
async def test_seals_that_prove_nothing(bench: Bench, mail: bytes, trust: Trust) -> None:
    verdict = await bench.verdict(mail, ARC_KEYS, (DKIM,), trust=trust)
    assert verdict.standing(DKIM) is Standing.FAILS, verdict.trace


async def test_a_seal_whose_key_cannot_be_looked_up_is_tried_again(bench: Bench) -> None:
    table = {**ARC_KEYS, "rsa._domainkey.lists.example": LookupFailed}
    assert (await bench.verdict(forwarded(), table, (DKIM,), trust=LISTS)).standing(DKIM) is Standing.UNSURE
