# SPDX-License-Identifier: AGPL-3.0-or-later
"""Authentication-Results of a server in front (C2, D1): its own are believed, and no others."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.smtp.proof.author import read_header
from bridges.smtp.proof.prover import Trust
from bridges.smtp.proof.results import parse_results, trusted_results
from bridges.smtp.proof.verdict import Standing
from tests.support.proving import ARC_KEYS, DKIM, LISTS, ORIGIN, SPF, Bench, forwarded
from tests.support.signing import mail_of


@pytest.fixture
def bench() -> Bench:
    return Bench()


IN_FRONT = Trust(authserv_id="mx.example.org")


def from_upstream(*headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in headers).encode() + mail_of()


@pytest.mark.parametrize(
    ("mail", "upstream", "standing"),
    [
        (from_upstream("Authentication-Results: mx.example.org; dkim=pass (ok) header.d=partner.example"), True, Standing.HOLDS),
        (from_upstream("Authentication-Results: MX.example.org 1;\r\n dkim=pass header.i=@partner.example"), True, Standing.HOLDS),
        (from_upstream("Received: by mx", "Authentication-Results: mx.example.org; dkim=pass header.d=partner.example"), True, Standing.HOLDS),
        # not from the server in front; in another's name; below what it wrote; overruled by what it wrote
        (from_upstream("Authentication-Results: mx.example.org; dkim=pass header.d=partner.example"), False, Standing.FAILS),
        (from_upstream("Authentication-Results: evil.example; dkim=pass header.d=partner.example"), True, Standing.FAILS),
        (from_upstream("Authentication-Results: evil.example (; mx.example.org; dkim=pass header.d=partner.example)"), True, Standing.FAILS),
        (from_upstream("Received: by mx", "Received: by x", "Authentication-Results: mx.example.org; dkim=pass header.d=partner.example"), True, Standing.FAILS),
        (from_upstream("Authentication-Results: mx.example.org; dkim=none", "Authentication-Results: mx.example.org; dkim=pass header.d=partner.example"), True, Standing.FAILS),
        (from_upstream("Authentication-Results: mx.example.org; dkim=pass header.d=other.example"), True, Standing.FAILS),
        (from_upstream('Authentication-Results: mx.example.org; x=y reason="; dkim=pass header.d=partner.example"'), True, Standing.FAILS),
        (from_upstream("Authentication-Results: mx.example.org; dkim=temperror header.d=partner.example"), True, Standing.UNSURE),
    ],
)  # fmt: skip
async def test_results_of_a_server_in_front(bench: Bench, mail: bytes, upstream: bool, standing: Standing) -> None:
    """RFC 8601."""
    origin = dataclasses.replace(ORIGIN, upstream=upstream)
    verdict = await bench.verdict(mail, {}, (DKIM,), origin, IN_FRONT)
    assert verdict.standing(DKIM) is standing, verdict.trace


FORGED = {
    "a quoted local part": 'spf=pass smtp.mailfrom="x@partner.example"@evil.example',
    "one that goes on as a method": 'spf=pass smtp.mailfrom="a; spf=pass smtp.mailfrom=x@partner.example; y="@evil.example',
    "one with a quotation mark in it": r'spf=pass smtp.mailfrom="a\"; spf=pass smtp.mailfrom=x@partner.example; y=\""@evil.example',
    "one with a blank of Unicode": "spf=pass smtp.mailfrom=x@partner.example\u00a0y=z@evil.example",
    "one in a comment": 'spf=pass (domain of "a) smtp.mailfrom=x@partner.example ("@evil.example) smtp.mailfrom=y@evil.example',
    "a reason": 'spf=pass reason="smtp.mailfrom=x@partner.example" smtp.mailfrom=y@evil.example',
    "a value twice": "spf=pass smtp.mailfrom=x@partner.example smtp.mailfrom=y@evil.example",
}


@pytest.mark.parametrize("which", list(FORGED))
async def test_what_a_stranger_writes_into_results_is_no_pass(bench: Bench, which: str) -> None:
    """RFC 8601 §2.2: MAIL FROM is a stranger's text, in a field of the server in front and in one that was sealed."""
    origin = dataclasses.replace(ORIGIN, upstream=True)
    mail = from_upstream(f"Authentication-Results: mx.example.org; {FORGED[which]}")
    verdict = await bench.verdict(mail, {}, (SPF,), origin, IN_FRONT)
    assert verdict.standing(SPF) is Standing.FAILS, verdict.trace
    if FORGED[which].isascii():
        verdict = await bench.verdict(forwarded(FORGED[which]), ARC_KEYS, (SPF,), trust=LISTS)
        assert verdict.standing(SPF) is Standing.FAILS, verdict.trace


async def test_below_results_that_cannot_be_read_nothing_is_believed(bench: Bench) -> None:
    origin = dataclasses.replace(ORIGIN, upstream=True)
    good = "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=x@partner.example"
    assert (await bench.verdict(from_upstream(good), {}, (SPF,), origin, IN_FRONT)).standing(SPF) is Standing.HOLDS
    mail = from_upstream(f"Authentication-Results: mx.example.org; {FORGED['a quoted local part']}", good)
    assert (await bench.verdict(mail, {}, (SPF,), origin, IN_FRONT)).standing(SPF) is Standing.FAILS


@given(st.text(alphabet='mx;=() "\\dkimpass.header', max_size=60))
def test_whatever_stands_in_results_is_read_or_not(text: str) -> None:
    header = read_header(b"Authentication-Results: " + text.encode() + b"\r\n\r\n")
    trusted_results(header, "mx")
    parse_results(text)
