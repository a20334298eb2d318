# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process that looks: `python -m bridges.smtp.proof.worker`. Orders in, answers out.

It asks nobody anything: DNS records come with the order. Memory and CPU for each order are bounded by the kernel.
"""

from typing import Final

import msgspec

from bridges import limits
from bridges.confined import give_up_rights, leave_signals_to_parent, serve
from bridges.smtp.proof import arc, dkim, spf
from bridges.smtp.proof.exchange import Answer, Needs, Order, Overtaxed, SignaturesAnswer, SignaturesOrder, SpfOrder

_DECODER: Final[msgspec.json.Decoder[Order]] = msgspec.json.Decoder(Order)


def main() -> None:
    """Serve until the other end closes."""
    leave_signals_to_parent()
    give_up_rights(limits.PROOF_MEMORY_BYTES, limits.PROOF_DESCRIPTORS_MAX)
    serve(_serve, limits.PROOF_CPU_S)


def _serve(order: bytes, octets: bytes) -> tuple[bytes, list[bytes]]:
    return msgspec.json.encode(answer(_DECODER.decode(order), octets)), []


def answer(order: Order, mail: bytes) -> Answer:
    """What an order comes to."""
    try:
        return spf.evaluate(order) if isinstance(order, SpfOrder) else _signatures(order, mail)
    except MemoryError:
        return Overtaxed("it needs more memory than a mail may")
    except OSError:
        raise  # ours: something was not loaded; the parent says "try again"
    except Exception as error:  # whatever hostile octets make of the libraries, it is no proof
        return Overtaxed(f"it is malformed ({type(error).__name__})")


def _signatures(order: SignaturesOrder, mail: bytes) -> Needs | SignaturesAnswer:
    signatures = dkim.Signatures(mail, order.now_s)
    chain = arc.Chain(mail) if order.arc else None
    known = {one.question: one for one in order.known}
    wanted = [*signatures.questions(), *(chain.questions() if chain is not None else ())]
    needed = tuple(dict.fromkeys(question for question in wanted if question not in known))
    if needed:
        return Needs(needed)
    state, reason, sets = chain.verified(known) if chain is not None else ("none", "", ())
    verified = signatures.verified(known)
    body = signatures.body if any(one.state == "pass" for one in verified) else ""
    return SignaturesAnswer(verified, signatures.too_many, state, reason, sets, body)


if __name__ == "__main__":
    main()
