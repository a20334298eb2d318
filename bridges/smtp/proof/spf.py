# SPDX-License-Identifier: AGPL-3.0-or-later
"""SPF (RFC 7208) by pyspf, without its blocking look-ups.

pyspf asks for one record after the other, in the middle of its work. Here it is started anew with every record that it
turned out to need: it is quick, has no memory between two starts, and so no thread waits for DNS.
"""

from collections.abc import Iterator
from typing import Any

import spf

from bridges.smtp.proof.exchange import Needs, SpfAnswer, SpfOrder
from bridges.smtp.proof.resolver import Answered, Question

_Row = tuple[tuple[str, str], Any]


class _Unknown(Exception):
    """A record is needed that nobody has looked up yet."""


class _Records:
    """pyspf's `DNSLookup`, out of what is known."""

    def __init__(self, known: tuple[Answered, ...]) -> None:
        self._known = {one.question: one for one in known}
        self.needed: list[Question] = []

    def __call__(self, name: str, kind: str, strict: object = True, timeout: object = None) -> Iterator[_Row]:
        question = Question(name.rstrip(".").lower(), kind)
        answered = self._known.get(question)
        if answered is None:
            self.needed.append(question)  # kept here too: pyspf swallows what is raised while it fetches an explanation
            raise _Unknown
        if answered.failed:
            raise spf.TempError(f"no answer from DNS about {name}")
        if answered.spent:
            raise spf.PermError(f"more DNS look-ups than a mail may cost, at {name}")
        return iter([((name, kind), _as_pyspf_has_it(value, kind)) for value in answered.values])


def _as_pyspf_has_it(value: bytes, kind: str) -> object:
    if kind == "TXT":
        return (value,)
    if kind == "MX":
        preference, _, exchange = value.decode().partition(" ")
        return int(preference), exchange
    return value.decode()


def evaluate(order: SpfOrder, default_explanation: str = "") -> SpfAnswer | Needs:
    """The result of SPF, or what must be known for it."""
    records = _Records(order.known)
    spf.DNSLookup = records
    result, reason = "temperror", ""
    try:
        query = spf.query(i=order.peer, s=order.sender, h=order.helo, strict=True)
        if default_explanation:
            query.set_default_explanation(default_explanation)
        result, _, reason = query.check()
    except _Unknown:
        pass
    except spf.PermError as error:  # an address of a peer that pyspf does not take
        result, reason = "permerror", str(error)
    if records.needed:
        return Needs(tuple(dict.fromkeys(records.needed)))
    return SpfAnswer(result, reason)
