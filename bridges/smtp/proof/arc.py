# SPDX-License-Identifier: AGPL-3.0-or-later
"""ARC (RFC 8617): what forwarders say that they saw, when the chain of their seals holds.

dkimpy checks seals and message signatures; which sealers are believed is decided by the caller.
"""

import re
from typing import Final

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

from bridges import limits
from bridges.smtp.proof.dkim import key_question, signed_fields
from bridges.smtp.proof.exchange import ArcSet
from bridges.smtp.proof.layout import Layout
from bridges.smtp.proof.resolver import Answered, Question

_SEALED: Final = (b"arc-message-signature", b"arc-seal")
_NAME: Final = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")


class _Unknown(Exception):
    """A key is not known, for now."""


class Chain:
    """The ARC chain of one mail."""

    def __init__(self, mail: bytes) -> None:
        self._arc = dkim.ARC(mail, minkey=limits.DKIM_KEY_MIN_BITS)
        self._layout = Layout(self._arc.headers, self._arc.body)
        self.wrong = ""
        self._questions: list[Question] = []
        for name, value in self._arc.headers:
            if name.lower() in _SEALED and not self.wrong:
                self._look(name.lower(), value)
        if len(self._questions) > 2 * limits.ARC_SETS_MAX:
            self.wrong = f"it has more than {limits.ARC_SETS_MAX} sets"
        self.sealed = bool(self._questions) or bool(self.wrong)

    def _look(self, name: bytes, value: bytes) -> None:
        """Note the key of a seal or signature, or what is wrong with it."""
        if len(value) > limits.SIGNATURE_FIELD_MAX_BYTES:
            self.wrong = f"a set has a field longer than {limits.SIGNATURE_FIELD_MAX_BYTES} bytes"
            return
        try:
            tags = parse_tag_value(value)
        except InvalidTagValueList:
            self.wrong = "a set is malformed"
            return
        if not all(_NAME.fullmatch(tags.get(tag, b"")) for tag in (b"d", b"s")) or b"l" in tags:
            self.wrong = "a set has no proper domain and selector, or an l="
        elif name == _SEALED[0] and (why := self._uncovered(signed_fields({b"h": b"", **tags}))):
            self.wrong = f"a set: {why}"
        else:
            self._questions.append(key_question(tags))

    def _uncovered(self, covered: list[bytes]) -> str:
        """What a sealer left out of its signature that is shown, as for DKIM; ""."""
        for name, _ in self._arc.headers:
            if name.lower() in (b"from", b"subject") and name.lower() not in covered:
                return f"it does not cover the {name.decode().title()} header"
        return self._layout.wrong(covered)

    def questions(self) -> list[Question]:
        """The keys that it needs."""
        return [] if self.wrong else self._questions

    def verified(self, known: dict[Question, Answered]) -> tuple[str, str, tuple[ArcSet, ...]]:
        """pass, fail, none or temporary; why; and the sets of a chain that holds, the newest first."""
        if not self.sealed:
            return "none", "", ()
        if self.wrong:
            return "fail", self.wrong, ()

        def key(name: bytes, timeout: float = 0) -> bytes | None:
            answered = known[Question(name.decode().rstrip(".").lower(), "TXT")]
            if answered.failed:
                raise _Unknown
            return answered.values[0] if len(answered.values) == 1 else None

        try:
            state, sets, _ = self._arc.verify(key)
        except _Unknown:
            return "temporary", "a key cannot be looked up just now", ()
        except Exception as error:  # whatever a hostile chain makes of the library, it does not hold
            return "fail", f"malformed ({type(error).__name__})", ()
        if state != dkim.CV_Pass:
            return "fail", "a seal, or the last signature, does not hold", ()
        return (
            "pass",
            "",
            tuple(
                ArcSet(one["instance"], one["as-domain"].decode().lower(), one["aar-value"].decode("utf-8", "replace"))
                for one in sets
            ),
        )
