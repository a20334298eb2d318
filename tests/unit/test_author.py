# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose a mail is (C2, D1): one From header with one address, in one form, or nobody's."""

import re

import pytest

from bridges import limits
from bridges.mime import headers
from bridges.smtp.proof import author
from bridges.smtp.proof.author import HeaderRefused, canonical_address, read_header
from bridges.smtp.proof.verdict import Finding


@pytest.mark.parametrize(
    ("value", "address", "domain"),
    [
        ("orders@partner.example", "orders@partner.example", "partner.example"),
        ("<orders@Partner.Example>", "orders@partner.example", "partner.example"),
        ('"Orders, GmbH" <orders@partner.example>', "orders@partner.example", "partner.example"),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?= <orders@partner.example>", "orders@partner.example", "partner.example"),
        ("Büro <büro@bücher.example>", "büro@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("\r\n\tOrders\r\n <orders@partner.example>", "orders@partner.example", "partner.example"),
    ],
)
def test_one_author(value: str, address: str, domain: str) -> None:
    author = read_header(f"From: {value}\r\n\r\n".encode()).author()
    assert (author.address, author.domain) == (address, domain)


@pytest.mark.parametrize("filling", ["\u00a0", " ", "\t", '"a"', '""', "a", "<", "(", "\\"])
def test_a_from_header_is_read_in_one_go(filling: str) -> None:
    """A stranger's header is read where everybody waits: it is short, and no part of a pattern is tried twice."""
    long = f"From: x {filling * limits.FROM_MAX_CHARACTERS}x <a@b.example>\r\n\r\n".encode()
    with pytest.raises(HeaderRefused, match=f"longer than {limits.FROM_MAX_CHARACTERS}|no field"):
        read_header(long).author()
    for pattern in (author._ONE_ADDRESS, headers._ONE_ADDRESS):
        assert pattern.fullmatch(filling * 20_000 + "x,") is None  # 200,000,000 steps if each were tried from each
        assert re.search(r"(?<!\\\\)[*+](?![+])", pattern.pattern.replace("*+", "").replace("++", "")) is None


@pytest.mark.parametrize(
    "written",
    ["CEO@Supplier.Example", "ceo@ｓupplier.example", "ceo@supplier。example", "Ceo@supplier\ufe00.example"],
)
def test_one_author_has_one_address_however_it_is_spelled(written: str) -> None:
    """Whoever is blocked or barred comes back by no other spelling (D1)."""
    assert read_header(f"From: <{written}>\r\n\r\n".encode()).author().address == "ceo@supplier.example"


@pytest.mark.parametrize(
    "local",
    [
        "ceo\ufe00",
        "ceo\u034f",
        "ceo\u3164",
        "ceo＠bank.example⠀⠀",
        "ｃeo",
        "ceo\u00ad",
        "ceo\u200b",
        "\u115fceo",
        "ceo\ufb01",
    ],
)
def test_an_address_that_can_be_taken_for_another_is_refused(local: str) -> None:
    with pytest.raises(HeaderRefused):
        read_header(f"From: <{local}@supplier.example>\r\n\r\n".encode()).author()


def test_letters_that_are_not_the_same_stay_apart() -> None:
    """`casefold` would make one of these two."""
    sharp = read_header("From: straße@supplier.example\r\n\r\n".encode()).author()
    assert sharp.address == "straße@supplier.example" != canonical_address("strasse@supplier.example")


def test_a_long_domain_is_none() -> None:
    with pytest.raises(HeaderRefused):
        read_header(b"From: a@" + "ü".encode() * 300 + b".example\r\n\r\n").author()


@pytest.mark.parametrize(
    "header",
    [
        "Subject: x",
        "From: a@b.example\r\nFrom: a@b.example",
        "From: a@b.example\r\nfROM: c@d.example",
        "From: a@b.example\r\nSubject: x\r\nSubject: y",
        "From: a@b.example\r\nContent-Type: text/plain\r\nContent-type: text/html",
        "From: a@b.example, c@d.example",
        "From: <a@b.example>, <c@d.example>",
        "From: <a@b.example> <c@d.example>",
        "From: Friends: a@b.example;",
        "From: Friends:;",
        "From: (c@d.example) a@b.example",
        "From: a@b.example (c@d.example)",
        "From: a(x)@b.example",
        "From: a@b.example(",
        'From: "a@b.example" ',
        'From: "a@b.example" <c@d.example',
        "From: a@b.example <c@d.example>",
        "From: <@x.example:a@b.example>",
        "From: =?utf-8?q?a=40b.example?=",
        "From: =?utf-8?q?a?=@b.example",
        "From: <=?utf-8?q?a=40b.example=3E=2C_=3Cc?=@d.example>",
        "From: a@b.example\x00@c.example",
        "From: a@[192.0.2.1]",
        "From: a@b",
        "From: a@-b.example",
        "From: a@b..example",
        "From: a@b.example.",
        "From: ",
        "From : a@b.example",
        "From a@b.example",
        "From: a@b.example\r\nnonsense",
        "From: a@b.example\r\n: x",
        " From: a@b.example",
        "From: " + "a" * 65 + "@b.example",
        "From: a@" + "b" * 64 + ".example",
    ],
)
def test_no_author(header: str) -> None:
    """D1: what two readers could read in two ways."""
    with pytest.raises(HeaderRefused):
        read_header(f"{header}\r\n\r\nFrom: a@b.example\r\n".encode()).author()


def test_a_finding_in_words() -> None:
    assert str(Finding("dkim", "example.org", "pass", True)) == "DKIM: d=example.org, aligned, pass"
