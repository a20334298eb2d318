# SPDX-License-Identifier: AGPL-3.0-or-later
"""D1 by SMTP: somebody with a domain of his own, well signed and allowed to send, writes as a partner of the house.

Nothing that he tries arrives. What the partner writes does, and is marked as what it is.
"""

from pathlib import Path

from tests.integration.test_bridges_smtp import content
from tests.support.gateway import member
from tests.support.intake import proving_gateway, records, talk
from tests.support.signing import mail_of, rsa_key, rsa_record, sealed, signed

PARTNER, EVIL = "orders@partner.example", "me@evil.example"
SENDERS = "[{address: orders@partner.example, proof: [dkim: partner.example]}, {domain: third.example, proof: [spf: aligned]}]"


def by_evil(mail: bytes) -> bytes:
    """With a signature of the attacker's, which is right."""
    return signed(mail, "evil.example")


def attempts() -> dict[str, bytes]:
    """What he sends."""
    bought = signed(mail_of())  # a mail that the partner once wrote to him
    said = b"Authentication-Results: mx.example.org; dkim=pass header.d=partner.example; spf=pass smtp.mailfrom=partner.example\r\n"
    return {
        "the partner's address": by_evil(mail_of(PARTNER)),
        "the partner's address as his name": by_evil(mail_of(f'"{PARTNER}" <{EVIL}>')),
        "an encoded name that looks like an end": by_evil(mail_of(f"=?utf-8?q?orders=40partner=2Eexample=3E?= <{EVIL}>")),
        "two in one header": by_evil(mail_of(f"{EVIL}, {PARTNER}")),
        "two headers": b"From: " + PARTNER.encode() + b"\r\n" + by_evil(mail_of(EVIL)),
        "two headers, the other way round": by_evil(mail_of(PARTNER, **{"Sender": EVIL})) .replace(b"From:", b"From: me@evil.example\r\nFrom:", 1),
        "a group": by_evil(mail_of(f"Partners: {PARTNER};")),
        "a comment": by_evil(mail_of(f"{EVIL} ({PARTNER})")),
        "a look-alike domain": by_evil(mail_of("orders@p\u0430rtner.example")),
        "a domain below": by_evil(mail_of("orders@partner.example.evil.example")),
        "a name of his below the partner's": signed(mail_of("orders@x.partner.example"), "evil.example"),
        "what the house's server would say": said + by_evil(mail_of(PARTNER)),
        "a chain that he sealed himself": sealed(by_evil(mail_of(PARTNER)), "evil.example", "dkim=pass header.d=partner.example"),
        "the partner's mail with another text": bought.replace(b"Good morning", b"Pay me now"),
        "the partner's mail with another subject": b"Subject: Pay me now\r\n" + bought,
        "the partner's mail with more below it": bought + b"Pay me now.\r\n",
        "a name on a line of its own": by_evil(mail_of(PARTNER)).replace(b"From: ", b"From : ", 1),
        "a domain that anybody may send for": mail_of("ceo@third.example"),
    }  # fmt: skip


async def test_nobody_writes_as_a_partner(tmp_path: Path) -> None:
    zone = records()
    zone.texts |= {
        "rsa._domainkey.evil.example": rsa_record(rsa_key()),
        "evil.example": b"v=spf1 +all",
        "_dmarc.evil.example": b"v=DMARC1; p=reject",
        "_dmarc.partner.example": b"v=DMARC1; p=reject",
        "third.example": b"v=spf1 ip4:192.0.2.1 -all",
    }
    async with (
        proving_gateway(tmp_path, zone, senders=SENDERS) as gateway,
        member(gateway, "public", "Support Desk") as desk,
    ):
        for greeting in ("EHLO evil.example", "EHLO partner.example"):
            async with talk(gateway.bridges["intake"].address, greeting) as one:
                for name, mail in attempts().items():
                    for sender in (EVIL, PARTNER, ""):
                        reply = (await one.mail(mail, sender=sender))[-1]
                        assert reply[:3] in ("550", "554"), (name, sender, reply)
                        await one.say("RSET")
        async with talk(gateway.bridges["intake"].address) as one:
            assert (await one.mail(signed(mail_of(PARTNER))))[0].startswith("250")
        head, text, _ = content((await desk.until(1))[0])
        assert len(desk.got) == 1
        assert text.strip() == "Good morning."
        assert head.alias == f"{PARTNER} (by SMTP)"
        assert head.subject.startswith(f"[SMTP: {PARTNER}]")
