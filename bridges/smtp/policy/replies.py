# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is said to senders: a reply code, an enhanced status code (RFC 3463, 7372) and plain words."""

from collections.abc import Mapping
from typing import Final

from bridges import limits
from bridges.smtp.proof.verdict import Claim

DELIVERED: Final = "250 2.0.0 Delivered to the service"
SPOOLED: Final = "250 2.0.0 Accepted, and delivered when the service is back"
HELD: Final = "250 2.0.0 Accepted, and shown to an administrator before it is delivered"
TAKEN: Final = "250 2.0.0 Accepted"  # where of several recipients not all fare alike
NO_ROOM_TO_HOLD: Final = "452 4.3.1 No room to hold this mail for an administrator, try again later"
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


def expired(author: str) -> str:
    """After the data: he was vetted until a day that is over."""
    return f"550 5.7.1 {author}, in the From header, is no longer an approved sender of this service"


def not_this_route(author: str, recipient: str) -> str:
    """After the data: he is vetted for others only."""
    return f"550 5.7.1 Mail from {author} is not taken for {recipient}"


def suspended(author: str) -> str:
    """After the data: it may well be the sender's, and waits with him."""
    return f"451 4.7.1 Mail from {author} is suspended, an administrator looks at it: try again later"


def over_quota(author: str, quota_per_day: int) -> str:
    """After the data: more than this day may bring."""
    return f"452 4.7.1 {author} has sent {quota_per_day} messages today, which is all: try again tomorrow (UTC)"


def joined(author: str) -> str:
    """After the data: he is reached, and writes, another way now (C5)."""
    return f"550 5.7.1 Mail from {author} is no longer taken by SMTP, but by TMTP only"


def inviting(reply: str, where: str) -> str:
    """A refusal that also says how he can write after all; the address stands first, so that nothing cuts it off."""
    code, enhanced, text = reply.split(" ", 2)
    told = f"{code} {enhanced} You can write without SMTP, by {where} ."
    return f"{told} {text}" if len(told) <= limits.REPLY_TEXT_MAX else reply


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
    if not refused:
        return TAKEN
    reply = next(iter(refused.values()))
    if not reached:
        return reply
    code, enhanced, text = reply.split(" ", 2)
    return plain(f"{code} {enhanced} Not for {', '.join(refused)} ({text}). Accepted for {', '.join(reached)}")
