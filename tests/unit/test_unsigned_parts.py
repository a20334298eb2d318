# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a signature leaves out (C2, D1): nobody changes what a mail says, or where it belongs, by what nobody signed."""

import base64
import binascii
import dataclasses
import ipaddress
import time
from email.utils import formatdate

import pytest

from bridges.mime.parse import parse_mail
from bridges.smtp.policy.rules import SenderRule, covered_fields
from bridges.smtp.posts.mail import post_id
from bridges.smtp.posts.posting import without
from bridges.smtp.proof.author import read_header
from bridges.smtp.proof.verdict import Standing
from tests.support.proving import DKIM, ORIGIN, SPF, Bench, keys
from tests.support.signing import mail_of, signed


@pytest.fixture
def bench() -> Bench:
    return Bench()


QUOTING = "You wrote:\r\n\r\n--x\r\n\r\nPay to me.\r\n--x--\r\n\r\nWe never do that.\r\n"
PARTS = "--x\r\nContent-Type: text/plain\r\n\r\nHello.\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("body", "kind", "standing"),
    [
        (QUOTING, "multipart/mixed; boundary=x", Standing.FAILS),
        (PARTS + "We never do that.\r\n", "multipart/mixed; boundary=x", Standing.FAILS),
        ("Hidden.\r\n" + PARTS, "multipart/mixed; boundary=x", Standing.FAILS),
        (PARTS, "multipart/mixed; boundary=y", Standing.FAILS),
        (PARTS, "multipart/mixed", Standing.FAILS),
        (QUOTING, "message/rfc822", Standing.FAILS),
        (QUOTING, "message/delivery-status", Standing.FAILS),
        (QUOTING, "text/enriched", Standing.FAILS),
        (QUOTING, "application/octet-stream", Standing.FAILS),
        (QUOTING, "text/plain; charset=utf-16", Standing.FAILS),
        (QUOTING, "text/plain; charset=utf-7", Standing.FAILS),
        (QUOTING, "text/plain; charset=iso-8859-2", Standing.HOLDS),
        (QUOTING, "text/html; charset=utf-8", Standing.HOLDS),
        (PARTS, 'multipart/mixed;\r\n boundary="x"', Standing.HOLDS),
        ("This is a multi-part message in MIME format.\r\n" + PARTS + "\r\n", "multipart/mixed; boundary=x", Standing.HOLDS),
    ],
)  # fmt: skip
async def test_a_content_type_that_nobody_signed(bench: Bench, body: str, kind: str, standing: Standing) -> None:
    """D1: it must not make another mail of a signed body. One that was signed may be anything."""
    mail = f"Content-Type: {kind}\r\n".encode() + signed(mail_of(body=body))
    verdict = await bench.verdict(mail, keys())
    assert verdict.standing(DKIM) is standing, verdict.trace
    names = [b"from", b"subject", b"date", b"content-type"]
    mail = signed(mail_of(body=body, **{"Content-Type": kind}), include_headers=names)
    assert (await bench.verdict(mail, keys())).standing(DKIM) is Standing.HOLDS


WORDS = base64.b64encode(b"\n\nPay invoice 77 to me.\n").decode()
PROSE = ("Grüße aus Köln, a = b & c.\r\n" * 9 + "An end: " + "ü" * 90 + "\r\n").encode()
QUOTED = binascii.b2a_qp(PROSE, istext=True).decode().replace("\r\n", "\n").replace("\n", "\r\n")
NET = QUOTED.rstrip("\r\n").replace("=\r\n", "").replace("\r\n", "=0D=0A=\r\n") + "\r\n"  # .NET writes it so
MARKUP = '<p style=3D"color:red">Gr=C3=BC=C3=9Fe=\r\n</p>=0A=\r\n<p>x</p>\r\n'


@pytest.mark.parametrize(
    ("body", "kind", "encoding", "standing"),
    [
        (f"You wrote:\r\n> ={WORDS}=\r\nWe never do that.\r\n", "text/plain", "base64", Standing.FAILS),
        (f"You wrote:\r\n> ={WORDS}=\r\nWe never do that.\r\n", "text/plain", "BASE64 ;x", Standing.FAILS),
        ("You wrote:\r\n> =0D=0APay to me.\r\nNever.\r\n", "text/plain", "quoted-printable", Standing.FAILS),
        ("You wrote:\r\n> =0aPay to me.\r\nNever.\r\n", "text/plain", '"Quoted-Printable"', Standing.FAILS),
        ("You wrote:\r\n> =E2=80=A8Pay to me.\r\nNever.\r\n", "text/plain", "quoted-printable", Standing.FAILS),
        ("You wrote:\r\n> =3Cb>Pay to me.\r\nNever.\r\n", "text/html", "quoted-printable", Standing.FAILS),
        ("You wrote:\r\nbegin 644 x\r\n!80  \r\nend\r\nNever.\r\n", "text/plain", "x-uuencode", Standing.FAILS),
        (base64.encodebytes(PROSE).decode().replace("\n", "\r\n"), "text/plain", "base64", Standing.HOLDS),
        (QUOTED, "text/plain; charset=utf-8", "quoted-printable", Standing.HOLDS),
        (NET, "text/plain; charset=utf-8", "quoted-printable", Standing.HOLDS),
        (MARKUP, "text/html; charset=utf-8", "quoted-printable", Standing.HOLDS),
        (PROSE.decode(), "text/plain; charset=utf-8", "8bit", Standing.HOLDS),
        (PARTS, "multipart/mixed; boundary=x", "base64", Standing.HOLDS),
    ],
)
async def test_an_encoding_that_nobody_signed(
    bench: Bench, body: str, kind: str, encoding: str, standing: Standing
) -> None:
    """D1: by another encoding, what is quoted in a signed body would be its author's own words."""
    field = f"Content-Transfer-Encoding: {encoding}\r\n".encode()
    for names in ([b"from", b"subject", b"date"], [b"from", b"subject", b"date", b"content-type"]):
        mail = field + signed(mail_of(body=body, **{"Content-Type": kind}), include_headers=names)
        verdict = await bench.verdict(mail, keys())
        assert verdict.standing(DKIM) is standing, verdict.trace
    made = mail_of(body=body, **{"Content-Type": kind, "Content-Transfer-Encoding": encoding})
    names = [b"from", b"subject", b"date", b"content-type", b"content-transfer-encoding"]
    assert (await bench.verdict(signed(made, include_headers=names), keys())).standing(DKIM) is Standing.HOLDS


async def test_a_mails_place_is_signed_or_it_has_none(bench: Bench) -> None:
    """D1: whoever has a signed mail must not put it into another conversation."""
    rule = SenderRule(address="orders@partner.example", claims=(DKIM,))
    covered = covered_fields(rule, await bench.verdict(signed(mail_of()), keys()))
    assert covered == {"from", "to", "subject", "date", "message-id"}
    letter = parse_mail(b"Message-ID: <2@x>\r\nReferences: <1@x>\r\n" + b"From: a@b.example\r\n\r\nx").letter
    assert without(letter, frozenset()) is letter
    bare = without(letter, frozenset({"references", "message-id", "received"}))
    assert (bare.message_id, bare.references, bare.text) == ("", (), letter.text)
    assert without(letter, frozenset({"in-reply-to"})).references == ()
    # what came in a session that is proved is his as it is
    origin = dataclasses.replace(ORIGIN, mail_from="b@partner.example")
    both = dataclasses.replace(rule, claims=(DKIM, SPF))
    verdict = await bench.verdict(
        signed(mail_of()), keys(**{"partner.example": "v=spf1 ip4:192.0.2.1"}), (DKIM, SPF), origin
    )
    assert covered_fields(both, verdict) is None
    network = dataclasses.replace(rule, networks=(ipaddress.ip_network("192.0.2.0/24"),))
    assert covered_fields(network, await bench.verdict(signed(mail_of()), keys())) is None


@pytest.mark.parametrize("canonicalize", [(b"simple", b"simple"), (b"relaxed", b"relaxed")])
async def test_a_signed_mail_that_comes_again_is_the_same_post(bench: Bench, canonicalize: tuple[bytes, bytes]) -> None:
    """Whatever its signature lets others change (A4, D1): blank lines at the end, fields that it leaves out."""

    async def post(mail: bytes) -> str:
        verdict = await bench.verdict(mail, keys())
        assert verdict.standing(DKIM) is Standing.HOLDS, verdict.trace
        rule = SenderRule(address="orders@partner.example", claims=(DKIM,))
        covered = covered_fields(rule, verdict)
        assert covered is not None
        names = frozenset(name for name, _ in read_header(mail).fields)
        letter = without(parse_mail(mail).letter, names - covered)
        return post_id("orders@partner.example", "support@example.org", letter, mail, verdict.body)

    names = [b"from", b"subject", b"date"]
    mail = signed(mail_of(), canonicalize=canonicalize, include_headers=names)
    again = [
        mail + b"\r\n\r\n",
        mail.replace(b"<1@partner", b"<2@partner"),
        b"References: <x@y>\r\n" + mail,
        b"Content-Type: text/plain; charset=utf-8\r\n" + mail,
    ]
    assert {await post(one) for one in (mail, *again)} == {await post(mail)}
    others = [mail_of(body="Good evening.\r\n"), mail_of(Subject="Another"), mail_of(Date=formatdate(time.time() - 60))]
    assert (
        len(
            {await post(signed(one, canonicalize=canonicalize, include_headers=names)) for one in others}
            | {await post(mail)}
        )
        == 4
    )
