# SPDX-License-Identifier: AGPL-3.0-or-later
"""Safety numbers: what two people compare, face to face or by voice (B9; `tmtp_core.crypto.safety_number`)."""

from typing import Final

import segno
from sqlalchemy import Connection as Rows

from tmtp_client.api.models import SafetyNumber
from tmtp_client.trust import logs as kept
from tmtp_client.trust.following import Following
from tmtp_client.trust.logs import KeptLog, Logs
from tmtp_client.trust.ports import Own
from tmtp_core.crypto import safety_number
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.safety_number import SafetyCode, Side

_TOLD: Final = {
    "service": "That device is at another service.",
    "account": "That is the code of somebody else, or for somebody else.",
    "own": "The service shows them another list of your devices than this device has.",
    "other": "The service shows this device another list of their devices than they have.",
}

_AGAIN: Final = "connect both, and compare again; if it stays so, the service keeps it back"


def qr(text: str) -> str:
    """A QR code as SVG, on white whatever the page's colours are: cameras expect it so."""
    made = segno.make_qr(text, error="m")
    return str(made.svg_inline(border=4, omitsize=True, svgclass=None, lineclass=None, light="white"))


def number(c: Rows, own: Own, logs: Logs, following: Following, uid: str) -> SafetyNumber | None:
    """The number to compare with somebody; None where either log is not known here."""
    code = _code(c, own, logs, uid)
    if code is None:
        return None
    digits = safety_number.safety_number(code.service_key, code.own, code.other)
    compared = kept.standing(c, uid).compared_head == code.other.head
    carried = safety_number.encode_code(code)
    return SafetyNumber(uid, digits, qr(carried), compared, following.shown(c, uid), carried)


def compare(c: Rows, own: Own, logs: Logs, uid: str, text: str) -> tuple[str, ...]:
    """What is wrong with the code that the other's device showed to the camera, in plain words; empty: nothing.

    Raises `EnvelopeRefused` for what is no such code, ValueError where either log is not known here.
    """
    seen = _code(c, own, logs, uid)
    if seen is None:
        raise ValueError("there is nothing to compare yet: no keys of theirs are known here")
    shown = safety_number.decode_code(text)
    mine, theirs = logs.kept(c, own.uid), logs.kept(c, uid)
    assert mine is not None
    assert theirs is not None
    told = []
    for wrong in safety_number.compare(shown, seen):
        behind = ""
        if wrong == "own":
            behind = _behind(shown.other, mine, "your")
        elif wrong == "other":
            behind = _behind(shown.own, theirs, "their")
        told.append(behind or _TOLD[wrong])
    return tuple(told)


def _behind(shown: Side, kept_here: KeptLog, whose: str) -> str:
    """Whether one of the two devices only knows less of a log than the other, and which; empty: they know two logs."""
    if shown.head in kept_here.heads:
        return f"The other device has not heard yet of the latest change of {whose} devices: {_AGAIN}"
    if shown.count > len(kept_here.heads):
        return f"This device has not heard yet of the latest change of {whose} devices: {_AGAIN}"
    return ""


def _code(c: Rows, own: Own, logs: Logs, uid: str) -> SafetyCode | None:
    mine, theirs = logs.kept(c, own.uid), logs.kept(c, uid)
    if mine is None or theirs is None:
        return None
    return SafetyCode(from_text(own.service_key), _side(mine), _side(theirs))


def _side(log: KeptLog) -> Side:
    return Side(log.uid, log.head, len(log.heads))
