# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of a mail for each recipient (C2, C5): a table of cases, and what no mail whatsoever can do."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridges import limits
from bridges.smtp.control.evidence import Evidence, Found
from bridges.smtp.policy import policy, replies
from bridges.smtp.policy.policy import Known, Ruling
from bridges.smtp.policy.rules import Rules, SenderRule
from bridges.smtp.proof.author import Header
from bridges.smtp.proof.verdict import Claim, Standing
from bridges.smtp.settings import Route
from bridges.smtp.transaction.machines import machine_of
from bridges.smtp.transaction.refusals import Refusals

NOW_MS = 1_800_000_000_000
AUTHOR, DESK, SALES = "orders@partner.example", "support@example.org", "sales@example.org"
URL, LINK = "https://example.org/write-to-us", "https://example.org/join#abc"
DKIM, SPF = Claim("dkim", "partner.example"), Claim("spf")
SIGNED = Found("dkim", "partner.example", "pass", True)
SPF_PASS = Found("spf", "partner.example", "pass", True)
HERE = ipaddress.ip_network("192.0.2.0/24")
EVIDENCE = Evidence(
    peer="192.0.2.7",
    mail_from="bounces@partner.example",
    author=AUTHOR,
    domain="partner.example",
    mail="aa",
    size=100,
)
BY_DKIM = SenderRule(address=AUTHOR, claims=(DKIM,), number=7)
BY_NETWORK = SenderRule(domain="partner.example", networks=(HERE,), number=8)


UNKNOWN = Known()


def ruled(
    *records: SenderRule, known: Known = UNKNOWN, hold: bool = False, now_ms: int = NOW_MS, **changed: Any
) -> Ruling:
    """The ruling on one mail to the desk."""
    rules = Rules(records, [Route(DESK, hold_unknown=hold), Route(SALES)])
    return policy.rule(replace(EVIDENCE, **changed), [DESK], rules, known, now_ms)[DESK]


TOLD = Known(invitation=URL)
REFUSED = Known(state="refused", invitation=URL)
HIS = Known(state="invited", link=LINK)
HIS_ENVELOPE = {"mail_from": "Orders@Partner.example"}


@pytest.mark.parametrize(
    ("ruling", "do", "reply", "last"),
    [
        # nobody has vetted him
        (ruled(), "refuse", "550 5.7.1 This service takes mail only", "has no vetting record"),
        (ruled(known=TOLD), "refuse", "550 5.7.1 This service takes mail only", "has no vetting record"),
        (ruled(known=TOLD, found=(SIGNED,)), "refuse", f"550 5.7.1 You can write without SMTP, by {URL} .", "told where"),
        (ruled(known=TOLD, found=(SPF_PASS,)), "refuse", f"550 5.7.1 You can write without SMTP, by {URL} .", "told where"),
        (ruled(known=TOLD, found=(replace(SIGNED, aligned=False),)), "refuse", "550 5.7.1 This service", "no vetting record"),
        (ruled(known=TOLD, found=(replace(SIGNED, aligned=None),)), "refuse", "550 5.7.1 This service", "no vetting record"),
        (ruled(known=TOLD, found=(replace(SIGNED, state="fail"),)), "refuse", "550 5.7.1 This service", "no vetting record"),
        (ruled(hold=True), "hold", "", "route support@example.org: unknown: hold"),
        (ruled(hold=True, found=(SIGNED,)), "hold", "", "route support@example.org: unknown: hold"),
        (ruled(hold=True, known=REFUSED), "refuse", "550 5.7.1 This service takes mail only", "SMTP is refused"),
        (ruled(known=REFUSED, found=(SIGNED,)), "refuse", f"550 5.7.1 You can write without SMTP, by {URL} . Mail from", "told where"),
        (ruled(known=REFUSED), "refuse", "550 5.7.1 This service takes mail only", "SMTP is refused"),
        (ruled(known=Known(state="refused"), found=(SIGNED,)), "refuse", f"550 5.7.1 Mail from {AUTHOR} is no longer taken by SMTP", "SMTP is refused"),
        # his own link: a signed mail can be sent once more by whoever has it
        (ruled(known=HIS, found=(SPF_PASS,), **HIS_ENVELOPE), "refuse", f"550 5.7.1 You can write without SMTP, by {LINK} .", "told where"),
        (ruled(known=HIS, found=(replace(SPF_PASS, by="mx.example.org"),), **HIS_ENVELOPE), "refuse", f"550 5.7.1 You can write without SMTP, by {LINK} .", "told where"),
        (ruled(known=HIS, found=(SIGNED,), **HIS_ENVELOPE), "refuse", "550 5.7.1 This service", "no vetting record"),
        (ruled(known=HIS, found=(SIGNED, SPF_PASS)), "refuse", "550 5.7.1 This service", "no vetting record"),
        (ruled(known=HIS, found=(replace(SPF_PASS, by="the sealer lists.example"),), **HIS_ENVELOPE), "refuse", "550 5.7.1 This service", "no vetting record"),
        (ruled(known=HIS._replace(invitation=URL), found=(SIGNED,)), "refuse", f"550 5.7.1 You can write without SMTP, by {URL} .", "told where"),
        (ruled(SenderRule(domain="partner.example", networks=(HERE,), routes=frozenset({SALES})), known=HIS, **HIS_ENVELOPE), "refuse", f"550 5.7.1 You can write without SMTP, by {LINK} .", "told where"),
        (ruled(SenderRule(domain="partner.example", networks=(HERE,), routes=frozenset({SALES})), known=HIS), "refuse", "550 5.7.1 Mail from", "not for"),
        # his record's proof
        (ruled(BY_DKIM, found=(SIGNED,)), "take", "", "route support@example.org"),
        (ruled(BY_DKIM, found=(replace(SIGNED, by="mx.example.org"),)), "take", "", "route support@example.org"),
        (ruled(BY_DKIM), "refuse", "550 5.7.22 Not proved to be from", "DKIM by partner.example: fails"),
        (ruled(BY_DKIM, hold=True), "refuse", "550 5.7.22 Not proved to be from", "DKIM by partner.example: fails"),
        (ruled(BY_DKIM, known=TOLD, found=(SPF_PASS,)), "refuse", f"550 5.7.22 You can write without SMTP, by {URL}", "told where"),
        (ruled(BY_DKIM, found=(replace(SIGNED, state="temporary"),)), "defer", "451 4.4.3 DKIM by partner.example", "unsure"),
        (ruled(BY_DKIM, found=(replace(SIGNED, aligned=None),)), "defer", "451 4.4.3", "unsure"),
        (ruled(BY_DKIM, unsure=("dkim",)), "defer", "451 4.4.3", "unsure"),
        (ruled(BY_DKIM, unsure=("spf",)), "refuse", "550 5.7.22", "fails"),
        (ruled(BY_DKIM, found=(replace(SIGNED, domain="other.example"),)), "refuse", "550 5.7.22", "fails"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM, SPF)), found=(SIGNED,)), "refuse", "550 5.7.23", "SPF of the From domain: fails"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM, SPF)), found=(SIGNED, SPF_PASS)), "take", "", "route"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM, SPF)), unsure=("dkim",)), "refuse", "550 5.7.23", "fails"),
        (ruled(BY_NETWORK), "take", "", "route"),
        (ruled(BY_NETWORK, peer="198.51.100.1"), "refuse", f"550 5.7.1 Mail from {AUTHOR} is not taken from this", "another network"),
        (ruled(BY_NETWORK, mail_from="x@other.example"), "refuse", "550 5.7.1", "another network, certificate or envelope"),
        (ruled(BY_NETWORK, upstream=True), "refuse", "550 5.7.1", "another network"),
        (ruled(SenderRule(address=AUTHOR, keys=(b"k" * 32,)), mail_from=AUTHOR, key=(b"k" * 32).hex()), "take", "", "route"),
        (ruled(SenderRule(address=AUTHOR, keys=(b"k" * 32,)), mail_from=AUTHOR), "refuse", "550 5.7.1", "another network"),
        # an address goes before its domain
        (ruled(BY_DKIM, BY_NETWORK), "refuse", "550 5.7.22", "fails"),
        (ruled(BY_DKIM, SenderRule(domain="partner.example", claims=(SPF,)), found=(SPF_PASS,)), "refuse", "550 5.7.22", "fails"),
        # state, expiry, routes, quota
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), suspended="it failed"), found=(SIGNED,)), "defer", "451 4.7.1", "the record is suspended: it failed"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), suspended="it failed")), "refuse", "550 5.7.22", "fails"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), expires_ms=NOW_MS), found=(SIGNED,)), "refuse", f"550 5.7.1 {AUTHOR}, in the From header, is no longer", "it has expired"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), expires_ms=NOW_MS), known=TOLD, found=(SIGNED,)), "refuse", f"550 5.7.1 You can write without SMTP, by {URL}", "told where"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), expires_ms=NOW_MS), hold=True, found=(SIGNED,)), "hold", "", "unknown: hold"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), expires_ms=NOW_MS + 1), found=(SIGNED,)), "take", "", "route"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), expires_ms=NOW_MS), SenderRule(domain="partner.example", claims=(DKIM,)), found=(SIGNED,)), "refuse", "550 5.7.1", "it has expired"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), routes=frozenset({SALES})), found=(SIGNED,)), "refuse", f"550 5.7.1 Mail from {AUTHOR} is not taken for {DESK}", f"not for {DESK}"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), routes=frozenset({SALES})), hold=True, found=(SIGNED,)), "hold", "", "unknown: hold"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), routes=frozenset({DESK})), found=(SIGNED,)), "take", "", "route"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), quota_per_day=3), found=(SIGNED,), known=Known(2)), "take", "", "route"),
        (ruled(SenderRule(address=AUTHOR, claims=(DKIM,), quota_per_day=3), found=(SIGNED,), known=Known(3)), "defer", "452 4.7.1", "3 of 3 messages today"),
        (ruled(BY_DKIM, known=REFUSED, found=(SIGNED,)), "refuse", f"550 5.7.1 You can write without SMTP, by {URL}", "told where"),
        (ruled(BY_DKIM, known=REFUSED), "refuse", "550 5.7.22 Not proved", "fails"),
        (ruled(BY_NETWORK, known=REFUSED), "refuse", f"550 5.7.1 You can write without SMTP, by {URL}", "told where"),
        # what cannot be read
        (ruled(BY_DKIM, found=(SIGNED,), unreadable="it has more than 1000 parts"), "hold", "", "it cannot be read: it has more than 1000 parts"),
        (ruled(BY_DKIM, unreadable="it has more than 1000 parts"), "refuse", "550 5.7.22", "fails"),
        (ruled(unreadable="it has more than 1000 parts", known=TOLD), "refuse", "550 5.7.1", "no vetting record"),
        (ruled(hold=True, unreadable="it has more than 1000 parts"), "hold", "", "unknown: hold"),
        (ruled(BY_DKIM, found=(SIGNED,), author="", unreadable="it has 2 From headers"), "refuse", "554 5.6.0", "it has 2 From headers"),
    ],
)  # fmt: skip
def test_a_table_of_cases(ruling: Ruling, do: str, reply: str, last: str) -> None:
    assert ruling.do == do, ruling
    assert ruling.reply.startswith(reply)
    assert bool(ruling.reply) == (do in ("refuse", "defer"))
    assert bool(ruling.why) == (do == "hold")
    assert last in ruling.trace[-1]


def test_each_recipient_has_its_own() -> None:
    record = SenderRule(address=AUTHOR, claims=(DKIM,), routes=frozenset({SALES}))
    rules = Rules([record], [Route(DESK, hold_unknown=True), Route(SALES)])
    evidence = replace(EVIDENCE, found=(SIGNED,))
    got = policy.rule(evidence, [DESK, "SALES@example.org", "ceo@example.org"], rules, Known(), NOW_MS)
    assert [ruling.do for ruling in got.values()] == ["hold", "take", "refuse"]
    assert got["ceo@example.org"].reply.startswith("550 5.1.1")


# -- whatever comes ------------------------------------------------------------------------------------------------------
DOMAINS = st.sampled_from(["partner.example", "mail.partner.example", "evil.example", ""])
FOUND = st.builds(
    Found,
    method=st.sampled_from(["dkim", "spf"]),
    domain=DOMAINS,
    state=st.sampled_from(["pass", "fail", "temporary"]),
    aligned=st.sampled_from([True, False, None]),
    by=st.sampled_from(["", "mx.example.org"]),
)
ADDRESSES = st.sampled_from([AUTHOR, "x@partner.example", "x@evil.example", ""])
EVIDENCES = st.builds(
    Evidence,
    peer=st.sampled_from(["192.0.2.7", "203.0.113.1", "2001:db8::1", ""]),
    mail_from=ADDRESSES,
    author=ADDRESSES,
    domain=DOMAINS,
    mail=st.just("aa"),
    size=st.just(1),
    upstream=st.booleans(),
    key=st.sampled_from(["", (b"k" * 32).hex()]),
    looked=st.booleans(),
    found=st.lists(FOUND, max_size=5).map(tuple),
    unsure=st.lists(st.sampled_from(["dkim", "spf"]), unique=True).map(tuple),
    unreadable=st.sampled_from(["", "it has more than 1000 parts"]),
)
PROOF = {
    "networks": st.sampled_from([(), (HERE,)]),
    "keys": st.sampled_from([(), (b"k" * 32,)]),
    "claims": st.lists(st.sampled_from([DKIM, SPF, Claim("dkim", "mail.partner.example")]), unique=True).map(tuple),
    "routes": st.sampled_from([None, frozenset({DESK}), frozenset({SALES})]),
    "expires_ms": st.sampled_from([None, NOW_MS, NOW_MS + 1]),
    "quota_per_day": st.sampled_from([None, 3]),
    "suspended": st.sampled_from(["", "it failed"]),
}
RECORDS = st.lists(
    st.one_of(
        st.builds(SenderRule, address=st.just(AUTHOR), **PROOF),
        st.builds(SenderRule, domain=st.just("partner.example"), **PROOF),
    ).filter(lambda one: one.networks or one.keys or one.claims),
    max_size=2,
    unique_by=lambda one: one.address,
)
KNOWN = st.builds(
    Known,
    today=st.integers(0, 4),
    state=st.sampled_from([None, "seen", "vetted", "invited", "joined", "refused"]),
    invitation=st.sampled_from(["", URL]),
)


@given(EVIDENCES, RECORDS, KNOWN, st.booleans())
def test_nothing_is_taken_without_a_proof_that_passes(
    evidence: Evidence, records: list[SenderRule], known: Known, hold: bool
) -> None:
    """Each proof of the record, said here another way than the policy does; and all that is asked of it besides."""
    rules = Rules(records, [Route(DESK, hold_unknown=hold)])
    ruling = policy.rule(evidence, [DESK], rules, known, NOW_MS)[DESK]
    passes = [one for one in evidence.found if one.state == "pass" and one.aligned]
    if ruling.do == "take":
        record = next(
            (one for one in records if one.address == evidence.author),
            next((one for one in records if one.domain == evidence.author.partition("@")[2]), None),
        )
        assert record is not None
        if record.networks:
            assert evidence.peer == "192.0.2.7"
        if record.keys:
            assert evidence.key == (b"k" * 32).hex()
        if record.networks or record.keys:
            assert not evidence.upstream
        if not record.claims:
            assert evidence.mail_from == evidence.author or (
                record.domain and evidence.mail_from.endswith("@partner.example")
            )
        for claim in record.claims:
            assert any(
                one.method == claim.method and (claim.method == "spf" or one.domain == claim.domain) for one in passes
            )
        assert record.expires_ms is None or record.expires_ms > NOW_MS
        assert record.routes is None or DESK in record.routes
        assert record.quota_per_day is None or known.today < record.quota_per_day
        assert not record.suspended
        assert not evidence.unreadable
        assert known.state != "refused"
    if URL in ruling.reply:  # nobody learns where a correspondent is invited by forging him
        assert ruling.do == "refuse"
        assert passes or any(policy.claimed(one, evidence).standing is Standing.HOLDS for one in records)
    assert ruling.do != "hold" or hold or evidence.unreadable
    assert ruling.trace
    assert len(replies.plain(ruling.reply)) <= limits.REPLY_TEXT_MAX


@given(EVIDENCES, RECORDS)
def test_whatever_is_taken_could_have_been_said_to_pass_at_mail(evidence: Evidence, records: list[SenderRule]) -> None:
    rules = Rules(records, [Route(DESK)])
    if policy.rule(evidence, [DESK], rules, Known(), NOW_MS)[DESK].do == "take":
        key = bytes.fromhex(evidence.key)
        assert rules.could_pass(evidence.mail_from, evidence.peer, key, upstream=evidence.upstream)


def test_how_well_it_is_shown() -> None:
    def strength(*found: Found, by_record: bool = False) -> str:
        return policy.strength(replace(EVIDENCE, found=found), by_record=by_record)

    assert strength(SIGNED) == strength(SPF_PASS, SIGNED) == "strong"
    assert strength(SPF_PASS) == strength(replace(SIGNED, by="mx.example.org")) == strength(by_record=True) == "weak"
    assert strength() == strength(replace(SIGNED, aligned=None)) == strength(replace(SPF_PASS, state="fail")) == "none"


def test_a_record_can_be_held_against_what_was_looked_at() -> None:
    def knowable(record: SenderRule | None, **changed: Any) -> bool:
        return policy.knowable(record, replace(EVIDENCE, **changed), NOW_MS)

    assert knowable(None)
    assert knowable(BY_NETWORK)
    assert not knowable(BY_DKIM)
    assert knowable(BY_DKIM, looked=True)
    assert knowable(BY_DKIM, found=(SIGNED,))
    assert knowable(SenderRule(address=AUTHOR, networks=(ipaddress.ip_network("198.51.100.0/24"),), claims=(DKIM,)))


# -- what is said --------------------------------------------------------------------------------------------------------
def test_the_address_stands_first_and_is_never_cut() -> None:
    long = replies.unproved(AUTHOR, (DKIM,), ("x" * 600,))
    told = replies.plain(replies.inviting(long, URL))
    assert told.startswith(f"550 5.7.22 You can write without SMTP, by {URL} . Not proved")
    assert len(told) == limits.REPLY_TEXT_MAX
    assert replies.inviting(long, "https://x.example/" + "y" * 400) == long


def test_one_reply_is_true_for_all() -> None:
    taken, held, later, refused = (
        replies.DELIVERED,
        replies.HELD,
        replies.unsure((DKIM,)),
        replies.unproved("a@b", (DKIM,), ()),
    )
    assert replies.one_for_all({"a": taken, "b": taken}) == taken
    assert replies.one_for_all({"a": taken, "b": held}) == "250 2.0.0 Accepted"
    assert replies.one_for_all({"a": taken, "b": later, "c": refused}) == later
    assert replies.one_for_all({"a": held, "b": refused}).startswith("550 5.7.22 Not for b (Not proved to be")
    assert replies.one_for_all({"a": held, "b": refused}).endswith("Accepted for a")


@pytest.mark.parametrize(
    ("fields", "author", "mail_from", "machine"),
    [
        ((), "ann@x.example", "ann@x.example", ""),
        ((("auto-submitted", "no"),), "ann@x.example", "ann@x.example", ""),
        ((("auto-submitted", "auto-replied; owner-email=x"),), "ann@x.example", "ann@x.example", "auto-submitted"),
        ((("auto-submitted", "Auto-Generated (by cron)"),), "ann@x.example", "ann@x.example", "auto-submitted"),
        ((("list-id", "<l.x.example>"),), "ann@x.example", "ann@x.example", "list"),
        ((("precedence", "list"),), "ann@x.example", "ann@x.example", "list"),
        ((("precedence", "Bulk"),), "ann@x.example", "ann@x.example", "bulk"),
        ((("precedence", "junk"),), "ann@x.example", "ann@x.example", "bulk"),
        ((("precedence", "first-class"),), "ann@x.example", "ann@x.example", ""),
        ((("feedback-id", "1:x:y"),), "ann@x.example", "ann@x.example", "feedback-id"),
        ((), "ann@x.example", "", "null-sender"),
        ((), "no-reply@x.example", "x@x.example", "no-reply"),
        ((), "noreply+7@x.example", "x@x.example", "no-reply"),
        ((), "do_not_reply@x.example", "x@x.example", "no-reply"),
        ((), "orders-noreply@x.example", "x@x.example", "no-reply"),
        ((), "mailer-daemon@x.example", "x@x.example", "no-reply"),
        ((), "noreen@x.example", "x@x.example", ""),
        ((), "norbert.plysson@x.example", "x@x.example", ""),
    ],
)  # fmt: skip
def test_the_signs_of_a_machine(fields: Any, author: str, mail_from: str, machine: str) -> None:
    """RFC 3834, RFC 2919."""
    assert machine_of(Header(tuple(fields)), author, mail_from) == machine


# -- what is written of refusals -----------------------------------------------------------------------------------------
def test_refusals_beyond_a_bound_are_counted_and_told_when_the_hour_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, bound in (("_OF_NETWORK", 3), ("", 5)):
        monkeypatch.setattr(limits, f"REFUSALS_WRITTEN{name}", bound)
    monkeypatch.setattr(limits, "REFUSALS_NETWORKS_MAX", 2)
    refusals = Refusals()
    assert [refusals.is_written("one", 1, NOW_MS) for _ in range(5)] == [True] * 3 + [False] * 2
    assert not refusals.is_written("two", 3, NOW_MS)  # one mail, three decisions
    assert [refusals.is_written("two", 1, NOW_MS) for _ in range(3)] == [True] * 2 + [False]
    assert not refusals.is_written("three", 1, NOW_MS)
    assert refusals.to_tell(NOW_MS) == []
    told = refusals.to_tell(NOW_MS + 3_600_000)
    assert [(act.target, act.detail) for act in told] == [
        ("one", "2 more mails within an hour"),
        ("two", "2 more mails within an hour"),
        ("elsewhere", "1 more mails within an hour"),
    ]
    assert refusals.to_tell(NOW_MS + 3_600_000) == []
    assert refusals.is_written("one", 1, NOW_MS + 3_600_000)
