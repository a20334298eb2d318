# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a service is named to a person: what a link says, and what is wrong with one that says nothing (B7, C4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmtp_core.wire.address import ServiceAddress, parse_address

PIN = "sha256:" + "A" * 43
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(st.sampled_from(["chat.example.org", "127.0.0.1", "::1"]), st.integers(1, 65535), st.none() | TEXTS)
def test_a_link_comes_back_as_it_was(host: str, port: int, invite: str | None) -> None:
    address = ServiceAddress(host, port, PIN, invite)
    assert parse_address(address.link()) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("chat.example.org", ServiceAddress("chat.example.org")),
        (" chat.example.org:443 ", ServiceAddress("chat.example.org", 443)),
        (f"tmtp://chat.example.org#pin={PIN}&", ServiceAddress("chat.example.org", pin=PIN)),  # cut in two by a mail
        ("tmtp://chat.example.org#", ServiceAddress("chat.example.org")),
    ],
)
def test_people_write_it_in_other_ways_too(text: str, address: ServiceAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://chat.example.org", "begins with tmtp://"),
        ("", "names no host"),
        ("tmtp://:4433", "names no host"),
        ("chat.example.org:99999", "no port"),
        ("chat.example.org:port", "no port"),
        ("chat.example.org/inbox", "more than host and port"),
        ("ada@chat.example.org", "more than host and port"),
        ("chat.example.org#pin=md5:1", "begins with sha256:"),
        ("chat.example.org#nonsense", "pin=… and invite=…"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_address(text)
