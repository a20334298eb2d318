# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is said between a bridge and the processes that look at a mail for it: plain data, in JSON.

A process there has no network. It either answers or says which DNS records it needs, and is asked again with them: the
same order with the same records has the same answer.
"""

from msgspec import Struct

from bridges.smtp.proof.resolver import Answered, Question


class SpfOrder(Struct, frozen=True, tag="spf"):
    """Evaluate SPF for MAIL FROM (RFC 7208). `sender` "" is the null sender, for whom `helo` is looked at."""

    peer: str
    sender: str
    helo: str
    known: tuple[Answered, ...] = ()


class SignaturesOrder(Struct, frozen=True, tag="signatures"):
    """Look at all DKIM signatures of the mail that comes with this, and, with `arc`, at its ARC chain. `now_s`: Unix
    time.
    """

    now_s: int
    arc: bool
    known: tuple[Answered, ...] = ()


class Needs(Struct, frozen=True, tag="needs"):
    """An order cannot be answered before these are known."""

    questions: tuple[Question, ...]


class SpfAnswer(Struct, frozen=True, tag="spf"):
    """`result`: pass, fail, softfail, neutral, none, temperror or permerror. `reason`: for people."""

    result: str
    reason: str


class Signature(Struct, frozen=True):
    """One DKIM signature: `state` is pass, fail or temporary. `reason`: why it is no pass. `covered`: h= of a pass."""

    domain: str
    selector: str
    algorithm: str
    state: str
    reason: str = ""
    covered: tuple[str, ...] = ()


class ArcSet(Struct, frozen=True):
    """One set of a chain that holds: who sealed it, and the results that he saw (RFC 8617 §4.1.1)."""

    instance: int
    sealer: str
    results: str


class SignaturesAnswer(Struct, frozen=True, tag="signatures"):
    """`chain`: pass, fail, none or temporary; `sets` of a chain that holds, the newest first.

    `body`: a hash of the body as the loosest canonicalisation has it, where any signature passed.
    """

    signatures: tuple[Signature, ...] = ()
    too_many: int = 0
    chain: str = "none"
    chain_reason: str = ""
    sets: tuple[ArcSet, ...] = ()
    body: str = ""


class Overtaxed(Struct, frozen=True, tag="overtaxed"):
    """This mail takes more to look at than a mail may, or makes the libraries fall."""

    reason: str


Order = SpfOrder | SignaturesOrder
Answer = Needs | SpfAnswer | SignaturesAnswer | Overtaxed
