# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is said to senders: a reply code, an enhanced status code (RFC 3463, 7372) and plain words."""

from collections.abc import Mapping
from typing import Final

from bridges import limits
from bridges.smtp.proof.verdict import Claim

DELIVERED: Final = "250 2.0.0 Delivered to the service"
DISK_FULL: Final = "452 4.3.1 No room for this mail just now, try again later"
NOT_TAKEN: Final = "550 5.7.1 The service does not take this mail"  # why is its members' business: who barred whom (D3)
TOO_MANY_RECIPIENTS: Final = "452 4.5.3 Too many recipients"  # RFC 5321 §4.5.3.1.10: the sender splits its mail


def no_sender(address: str) -> str:
    """To MAIL: whatever the mail says, it would not be taken."""
    return (
        f"550 5.7.1 This service takes mail only from approved senders; {address or '<>'} is not one, or not from here"
    )


def not_approved(author: str) -> str:
    """After the data: the author has no rule."""
    return f"550 5.7.1 This service takes mail only from approved senders; {author}, in the From header, is not one"


def wrong_session(author: str) -> str:
    """After the data: the author's rule wants another network, certificate or envelope."""
    return f"550 5.7.1 Mail from {author} is not taken from this address, certificate or envelope sender"


def no_route(address: str) -> str:
    """To RCPT."""
    return f"550 5.1.1 {address} is not reached by SMTP here"


def unproved(author: str, failing: tuple[Claim, ...], trace: tuple[str, ...]) -> str:
    """The proofs that do not hold, and what was seen (RFC 7372)."""
    methods = {claim.method for claim in failing}
    code = "5.7.26" if len(methods) > 1 else "5.7.22" if methods == {"dkim"} else "5.7.23"
    wanted = " and ".join(str(claim) for claim in failing)
    return f"550 {code} Not proved to be from {author}: wanted {wanted}. Seen: {'; '.join(trace) or 'nothing'}"


def unsure(failing: tuple[Claim, ...]) -> str:
    """Something cannot be looked up just now."""
    wanted = " and ".join(str(claim) for claim in failing)
    return f"451 4.4.3 {wanted} cannot be looked up in DNS just now, try again later"


def unreadable(reason: object) -> str:
    """The mail itself is at fault."""
    return f"554 5.6.0 This mail cannot be read: {reason}"


def temporary(reason: str) -> str:
    """We are at fault, for now."""
    return f"451 4.3.0 Cannot be delivered just now, try again later: {reason}"


def plain(reply: str) -> str:
    """A reply that is one line of ASCII, whatever a sender made of its names."""
    text = "".join(character if " " <= character <= "~" else "?" for character in reply)
    return text if len(text) <= limits.REPLY_TEXT_MAX else text[: limits.REPLY_TEXT_MAX - 4] + " ..."


def one_for_all(replies: Mapping[str, str]) -> str:
    """SMTP has one reply for all recipients (RFC 5321 §4.2.5); it must be true for each.

    What is temporary for one is tried again for all: whom the mail has reached, it reaches once only. Where it is final
    for one and done for another, the refusal says whom it has reached, so that the notice to the author says so too.
    """
    distinct = set(replies.values())
    if len(distinct) == 1:
        return distinct.pop()
    later = [reply for reply in replies.values() if reply.startswith("4")]
    if later:
        return later[0]
    reached = [recipient for recipient, reply in replies.items() if reply.startswith("2")]
    refused = {recipient: reply for recipient, reply in replies.items() if reply.startswith("5")}
    reply = next(iter(refused.values()))
    if not reached:
        return reply
    return plain(f"{reply[:9]} Not for {', '.join(refused)} ({reply[10:]}). Delivered to {', '.join(reached)}")
