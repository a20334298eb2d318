# SPDX-License-Identifier: AGPL-3.0-or-later
"""Provers over tables of DNS records, in this process."""

import time
from typing import Any

import msgspec

from bridges.smtp.proof import worker
from bridges.smtp.proof.author import read_header
from bridges.smtp.proof.exchange import Order
from bridges.smtp.proof.prover import Origin, Prover, Trust
from bridges.smtp.proof.verdict import Claim, Verdict
from tests.support.signing import Records, ed25519_record, mail_of, rsa_key, rsa_record, sealed, signed

DKIM, SPF = Claim("dkim", "partner.example"), Claim("spf")
ORIGIN = Origin("192.0.2.1", "mx.partner.example", "bounces@partner.example")
KEY = "rsa._domainkey.partner.example"
ED25519 = "ed._domainkey.partner.example"
DMARC = "_dmarc.partner.example"


def keys(**more: Any) -> dict[Any, Any]:
    return {KEY: rsa_record(rsa_key()), ED25519: ed25519_record(), **more}


class InThisProcess:
    """What the processes that look at mails do, without a second for the start of each."""

    async def ask(self, order: bytes, octets: bytes, wall_s: float, answer_max_bytes: int) -> bytes:
        return msgspec.json.encode(worker.answer(msgspec.json.decode(order, type=Order), octets))


class Bench:
    """Provers over tables of records."""

    def __init__(self) -> None:
        self.records = Records({})

    async def verdict(
        self,
        mail: bytes,
        table: dict[Any, Any],
        claims: tuple[Claim, ...] = (DKIM,),
        origin: Origin = ORIGIN,
        trust: Trust = Trust(),  # noqa: B008 - it does not change
        ahead_s: int = 0,
    ) -> Verdict:
        self.records = Records(table)
        prover = Prover(self.records, lambda: int(time.time()) + ahead_s, trust)
        prover._workers = InThisProcess()  # type: ignore[assignment]
        return await prover.prove(mail, read_header(mail), origin, claims)


LISTS = Trust(arc_sealers=frozenset({"lists.example"}))
SAW = "dkim=pass header.d=partner.example; spf=pass smtp.mailfrom=bounces@partner.example"
ARC_KEYS = keys(
    **{"rsa._domainkey.lists.example": rsa_record(rsa_key()), "rsa._domainkey.evil.example": rsa_record(rsa_key())}
)


def forwarded(results: str = SAW) -> bytes:
    """A mail that a mailing list changed after it had looked at it."""
    return sealed(signed(mail_of()) + b"-- \r\nThe list\r\n", "lists.example", results)
