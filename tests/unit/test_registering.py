# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast strangers are taken, and what work is (A2, D3): no socket, no clock, no database."""

import ipaddress
from base64 import urlsafe_b64decode
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmtp_core import limits
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.work import work_done, work_holds
from tmtp_core.domain.registering import TOO_MANY_HERE, RegistrationLimits, RegistrationPace

NONCE, SERVICE, DEVICE = bytes(range(32)), bytes(range(32, 64)), to_text(bytes(range(64, 96)))


def pace(per_address: int = 3, per_minute: int = 4, uncounted: tuple[str, ...] = ()) -> RegistrationPace:
    networks = tuple(ipaddress.ip_network(one) for one in uncounted)
    return RegistrationPace(RegistrationLimits(per_address, per_minute, networks))


def test_an_address_has_its_share_and_gets_it_back_in_an_hour() -> None:
    one = pace()
    assert [one.refusal("192.0.2.1", 0.0) for _ in range(5)] == [None] * 3 + [TOO_MANY_HERE] * 2
    assert one.refusal("192.0.2.2", 0.0) is None
    assert one.refusal("192.0.2.1", 1_199.0) == TOO_MANY_HERE
    assert one.refusal("192.0.2.1", 1_201.0) is None
    assert one.refusal("192.0.2.1", 1_201.0) == TOO_MANY_HERE
    assert [one.refusal("192.0.2.1", 100_000.0) for _ in range(4)] == [None] * 3 + [TOO_MANY_HERE]


def test_who_is_refused_is_not_kept_out_longer_by_trying() -> None:
    one = pace()
    for second in range(1_200):
        one.refusal("192.0.2.1", float(second))
    assert one.refusal("192.0.2.1", 1_201.0) is None


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("2001:db8:1:2:ffff::9", True),  # one customer's network
        ("2001:db8:1:3::1", False),
        ("2001:db8:1:2::1%eth0", True),
        ("::ffff:192.0.2.1", False),
    ],
)
def test_ipv6_counts_by_its_network(other: str, same: bool) -> None:
    one = pace(1)
    assert one.refusal("2001:db8:1:2::1", 0.0) is None
    assert (one.refusal(other, 0.0) is not None) is same


def test_ipv4_in_ipv6_is_ipv4() -> None:
    one = pace(1)
    assert one.refusal("::ffff:192.0.2.1", 0.0) is None
    assert one.refusal("192.0.2.1", 0.0) is not None
    assert one.refusal("::ffff:192.0.2.2", 0.0) is None


@pytest.mark.parametrize("address", ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7", "", "a name"])
def test_networks_that_are_not_counted_are_not(address: str) -> None:
    one = pace(1, uncounted=("192.0.2.0/24", "2001:db8::/32"))
    assert [one.refusal(address, 0.0) for _ in range(9)] == [None] * 9


def test_of_very_many_addresses_the_longest_away_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REGISTRATION_ADDRESSES_MAX", 10)
    one = pace(1)
    for place in range(20):
        assert one.refusal(f"192.0.2.{place}", 0.0) is None
    assert one.refusal("192.0.2.19", 0.0) is not None
    assert one.refusal("192.0.2.0", 0.0) is None
    assert len(one._of) == 10


def test_work_grows_with_the_pace_and_goes_away_with_it() -> None:
    one = pace(per_minute=4)
    seen = []
    for _ in range(64):
        seen.append(one.bits(0.0))
        one.opened(0.0)
    assert seen[:4] == [0] * 4
    assert (seen[4], seen[7], seen[8], seen[16], seen[32]) == tuple(
        limits.WORK_BITS_MIN + more for more in (0, 0, 1, 2, 3)
    )
    assert seen == sorted(seen)
    assert one.bits(300.0) == 0
    for _ in range(100_000):
        one.opened(300.0)
    assert one.bits(300.0) == limits.WORK_BITS_MAX


def test_no_work_is_asked_for_where_none_is_wanted() -> None:
    one = pace(per_minute=0)
    for _ in range(100):
        one.opened(0.0)
    assert one.bits(0.0) == 0


def test_the_puzzle_is_what_the_protocol_says_to_the_byte() -> None:
    """docs/protocol.md, *Registering*."""
    answer = work_done(10, NONCE, SERVICE, DEVICE)
    assert answer is not None
    tried = urlsafe_b64decode(answer + "=")
    digest = blake2b(NONCE + SERVICE + bytes(range(64, 96)) + tried, digest_size=32, person=b"tmtp-work").digest()
    assert digest[0] == 0
    assert digest[1] < 64
    assert (answer, int.from_bytes(tried)) == ("AAAAAAAAAUY", 326)


@given(st.integers(0, 12))
def test_what_is_found_holds_and_holds_for_nothing_else(bits: int) -> None:
    answer = work_done(bits, NONCE, SERVICE, DEVICE)
    assert answer is not None
    assert work_holds(bits, NONCE, SERVICE, DEVICE, answer)
    if bits == 12:
        assert not work_holds(bits, bytes(32), SERVICE, DEVICE, answer)
        assert not work_holds(bits, NONCE, bytes(32), DEVICE, answer)
        assert not work_holds(bits, NONCE, SERVICE, to_text(bytes(32)), answer)
        assert not work_holds(bits + 12, NONCE, SERVICE, DEVICE, answer)


@pytest.mark.parametrize("answer", ["", "x", "AAAA", "AAAAAAAAAAAA", "AAAAAAAAAA=", "AAAAAAAAAA!", "ÄAAAAAAAAAA"])
def test_what_is_no_answer_is_none(answer: str) -> None:
    assert not work_holds(0, NONCE, SERVICE, DEVICE, answer)


def test_work_ends_when_nobody_waits_for_it_any_more() -> None:
    asked: list[int] = []

    def go_on(tried: int) -> bool:
        asked.append(tried)
        return len(asked) < 3

    assert work_done(256, NONCE, SERVICE, DEVICE, go_on) is None
    assert len(asked) == 3
