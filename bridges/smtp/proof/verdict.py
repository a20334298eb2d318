# SPDX-License-Identifier: AGPL-3.0-or-later
"""What came out, as a value that does not change, and in words."""

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

from bridges.smtp.proof.author import Author

SEALER: Final = "the sealer "
"""`Finding.by` of what an ARC chain says begins with it: seen when the mail came there, not when it came here."""


class Standing(enum.Enum):
    """Whether a claim holds."""

    HOLDS = "holds"
    FAILS = "fails"
    UNSURE = "unsure"  # something cannot be looked up just now: never a pass, and worth another try


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sender's rule wants proved: DKIM by `domain`, or SPF (then `domain` is ""); aligned with From always."""

    method: Literal["dkim", "spf"]
    domain: str = ""

    def __str__(self) -> str:
        return f"DKIM by {self.domain}" if self.method == "dkim" else "SPF of the From domain"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `aligned` None: not known just now. `by`: who says so, "" for this bridge.

    `covered`: the header fields that the proof covers, in lower case; None: the mail as it came, or nobody says.
    """

    method: Literal["dkim", "spf"]
    domain: str
    state: Literal["pass", "fail", "temporary"]
    aligned: bool | None
    detail: str = ""
    by: str = ""
    covered: frozenset[str] | None = None

    def __str__(self) -> str:
        name = f"d={self.domain}" if self.method == "dkim" else self.domain or "no domain"
        aligned = {True: "aligned", False: "not aligned", None: "alignment unknown"}[self.aligned]
        said = f" (says {self.by})" if self.by else ""
        return (
            f"{self.method.upper()}: {name}, {aligned}, {self.state}{f': {self.detail}' if self.detail else ''}{said}"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """All about one mail. `unsure`: methods of which something cannot be known just now. `notes`: ARC, DMARC.

    `body`: a hash of what was signed of it, whatever was not; "" where no signature passed.
    """

    author: Author
    findings: tuple[Finding, ...] = ()
    unsure: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    body: str = ""

    @property
    def trace(self) -> tuple[str, ...]:
        """For people, a line each."""
        return (*(str(finding) for finding in self.findings), *self.notes)

    def covered(self, claims: Iterable[Claim]) -> frozenset[str] | None:
        """The header fields that what holds for these claims covers; None for all of them.

        SPF is about the session, in which the whole mail came; of signatures, each that passed says which.
        """
        every: set[str] = set()
        for claim in claims:
            passed = [one for one in self._matching(claim) if one.state == "pass" and one.aligned]
            for one in passed:
                if one.covered is None:
                    return None
                every |= one.covered
        return frozenset(every)

    def _matching(self, claim: Claim) -> list[Finding]:
        return matching(claim, self.findings)

    def standing(self, claim: Claim) -> Standing:
        """Whether a claim holds."""
        return standing(claim, self.findings, self.unsure)


class Looked(Protocol):
    """What counts of a finding, also of one that was kept."""

    @property
    def method(self) -> Literal["dkim", "spf"]: ...
    @property
    def domain(self) -> str: ...
    @property
    def state(self) -> Literal["pass", "fail", "temporary"]: ...
    @property
    def aligned(self) -> bool | None: ...


One = TypeVar("One", bound=Looked)


def matching(claim: Claim, findings: Iterable[One]) -> list[One]:
    """The findings that a claim is about."""
    return [
        one for one in findings if one.method == claim.method and (claim.method == "spf" or one.domain == claim.domain)
    ]


def standing(claim: Claim, findings: Iterable[Looked], unsure: Collection[str]) -> Standing:
    """Whether a claim holds. A temporary failure never makes it hold. `unsure`: methods with something unknown."""
    found = matching(claim, findings)
    if any(one.state == "pass" and one.aligned for one in found):
        return Standing.HOLDS
    doubtful = any(one.state != "fail" and one.aligned is not False for one in found)
    return Standing.UNSURE if doubtful or claim.method in unsure else Standing.FAILS
