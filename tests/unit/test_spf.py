# SPDX-License-Identifier: AGPL-3.0-or-later
"""SPF (RFC 7208) through our own look-ups (C2): the whole suite of the SPF council, as pyspf carries it."""

import asyncio
from typing import Any

import pytest
import yaml

from bridges import limits
from bridges.smtp.proof import spf
from bridges.smtp.proof.exchange import Needs, SpfAnswer, SpfOrder
from bridges.smtp.proof.resolver import LookupFailed, Lookups, Question
from tests.support.downloads import sdist

CASES_IN_THE_SUITE = 203


class Zone:
    """A resolver over the records of one scenario, with the rules that the suite has for them."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._names = {name.lower(): self._records(records) for name, records in data.items()}

    @staticmethod
    def _records(records: list[Any]) -> list[tuple[str, Any]]:
        """TXT records are made of SPF records where there are none of their own."""
        pairs = [("TIMEOUT", None) if one == "TIMEOUT" else next(iter(one.items())) for one in records]
        if not any(kind == "TXT" for kind, _ in pairs):
            pairs += [("TXT", value) for kind, value in pairs if kind == "SPF"]
        return [(kind, value) for kind, value in pairs if value != "NONE"]

    async def resolve(self, question: Question, timeout_s: float) -> tuple[bytes, ...]:
        name = question.name
        for _ in range(8):
            records = self._names.get(name)
            if records is None and name.startswith("error."):
                raise LookupFailed("error")
            kinds = [kind for kind, _ in records or ()]
            wanted = [value for kind, value in records or () if kind == question.kind]
            if "TIMEOUT" in wanted or ("TIMEOUT" in kinds and not wanted):
                raise LookupFailed("timeout")
            aliases = [value for kind, value in records or () if kind == "CNAME"]
            if wanted or not aliases:
                return tuple(self._value(question.kind, value) for value in wanted)
            name = aliases[0].lower().rstrip(".")
        return ()

    @staticmethod
    def _value(kind: str, value: Any) -> bytes:
        if kind == "MX":
            return f"{value[0]} {value[1]}".encode()
        return "".join([value] if isinstance(value, str) else value).encode()


def cases() -> list[Any]:
    """Every test of the suite, with its zone."""
    text = (sdist("pyspf", "2.0.14") / "test" / "rfc7208-tests.yml").read_bytes()
    return [
        (name, test, scenario["zonedata"])
        for scenario in yaml.safe_load_all(text)
        for name, test in scenario["tests"].items()
    ]


async def evaluated(order: SpfOrder, zone: Any, explanation: str = "") -> SpfAnswer:
    """Evaluate with as many rounds as it takes; no round asks for nothing."""
    lookups = Lookups(zone)
    for _ in range(limits.PROOF_ROUNDS_MAX):
        known = {one.question for one in lookups.known}
        answer = spf.evaluate(SpfOrder(order.peer, order.sender, order.helo, lookups.known), explanation)
        if not isinstance(answer, Needs):
            return answer
        assert set(answer.questions) - known, "it asks again for what it was told"
        await lookups.ask_all(answer.questions)
    raise AssertionError("it never comes to an end")


async def test_the_whole_suite_of_rfc_7208(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_LOOKUPS_MAX", 1_000)  # the suite tests RFC 7208's own limits, not ours
    all_of_them = await asyncio.to_thread(cases)
    assert len(all_of_them) == CASES_IN_THE_SUITE
    wrong = []
    for name, test, zonedata in all_of_them:
        order = SpfOrder(test["host"], test["mailfrom"], test["helo"])
        answer = await evaluated(order, Zone(zonedata), "DEFAULT")
        right = test["result"] if isinstance(test["result"], list) else [test["result"]]
        if answer.result not in right or answer.reason != test.get("explanation", answer.reason):
            wrong.append((name, answer, right))
    assert wrong == []


class Broken:
    """A resolver that answers nothing."""

    async def resolve(self, question: Question, timeout_s: float) -> tuple[bytes, ...]:
        raise LookupFailed("down")


async def test_dns_that_is_down_is_temporary_and_no_pass() -> None:
    answer = await evaluated(SpfOrder("192.0.2.1", "a@partner.example", "mx"), Broken())
    assert answer.result == "temperror"


async def test_the_budget_of_a_message_ends_it_for_good() -> None:
    """`mx` may cost 100 look-ups under RFC 7208; here it costs what a message may, and is an error, not a pass."""
    zone = Zone(
        {
            "partner.example": [{"TXT": "v=spf1 mx:a.partner.example mx:b.partner.example mx:c.partner.example +all"}],
            **{
                f"{one}.partner.example": [{"MX": [n, f"{one}{n}.partner.example"]} for n in range(10)] for one in "abc"
            },
            **{f"{one}{n}.partner.example": [{"A": "198.51.100.1"}] for one in "abc" for n in range(10)},
        }
    )
    answer = await evaluated(SpfOrder("192.0.2.1", "a@partner.example", "mx"), zone)
    assert answer.result == "permerror"
    assert "look-ups" in answer.reason


async def test_a_record_longer_than_any_honest_one_is_not_looked_at() -> None:
    long = "v=spf1 " + "ip4:198.51.100.1 " * 1_000 + "+all"
    answer = await evaluated(
        SpfOrder("192.0.2.1", "a@partner.example", "mx"), Zone({"partner.example": [{"TXT": long}]})
    )
    assert answer.result == "none"
