# SPDX-License-Identifier: AGPL-3.0-or-later
"""The form of a vetting record: what it says, what is wrong with it and where, and the record that it makes (C2)."""

import re
from typing import Any, Final

import msgspec

from bridges.smtp.control import models as s
from bridges.smtp.control.checks import sender_checks
from gateway.console.pages.invitations import expiry_ms
from gateway.console.rendering import sentence
from gateway.console.visits import Form, Visit
from tmtp_core.errors import RequestRefused

ENDS: Final = (("90", "90 days"), ("365", "1 year"), ("730", "2 years"), ("", "Without an end"))
NOTHING_WRONG: Final = dict.fromkeys(
    (
        *("whom", "proof", "dkim", "network", "client_certificate", "owner", "reason", "expires", "quota", "routes"),
        "form",
    ),
    "",
)
"""What is wrong with each field of the form."""

_ENDS_FIRST: Final = "365"
_QUOTA_MAX: Final = 10_000_000


def name_of(proof: s.Proof) -> str:
    """A proof as a form carries it: what it is and, after a blank, its value."""
    return next(f"{kind} {value}" for kind, value in msgspec.structs.asdict(proof).items() if value is not None)


def given_of(form: Form) -> dict[str, Any]:
    """What a form says, to show it again."""
    texts = ("whom", "owner", "reason", "expires", "quota", "routes")
    more = ("address", "domain", "dkim", "network", "client_certificate", "spf")
    return {name: form.text(name) for name in (*texts, *more)} | {"proof": form.texts("proof")}


def empty(visit: Visit) -> dict[str, Any]:
    """What the form of a new record says at first."""
    texts = ("address", "domain", "dkim", "network", "client_certificate", "spf", "reason", "quota", "routes")
    first = {"whom": "address", "owner": visit.session.person, "expires": _ENDS_FIRST, "proof": []}
    return dict.fromkeys(texts, "") | first


def suggested(visit: Visit, detail: s.HeldDetail) -> dict[str, Any]:
    """The same for the sender of a held mail: the strongest of the proofs that the mail passes."""
    strongest = [name_of(one) for one in detail.suggested[:1]]
    return empty(visit) | {"proof": strongest}


def read(visit: Visit, form: Form, whom: tuple[str, str]) -> tuple[s.VetSender | None, dict[str, str]]:
    """The record that a form asks for, or what is wrong, by the name of the field.

    `whom`: address and domain, one of them empty.
    """
    wrong: dict[str, str] = {}
    proofs = _proofs(form, wrong)
    if not proofs and not wrong:
        wrong["proof"] = "Say how the sender's mail is proved: at least one way."
    expires_ms = None
    try:
        expires_ms = expiry_ms(visit, form)
    except RequestRefused as refusal:
        wrong["expires"] = sentence(refusal.text)
    quota = form.number("quota")
    if form.text("quota") and not 0 < quota <= _QUOTA_MAX:
        wrong["quota"] = f"A whole number from 1 to {_QUOTA_MAX}, or nothing for no bound."
    address, domain = whom
    if not address and not domain:
        wrong["whom"] = "Whose mail is it? An address, as name@domain, or a domain."
    record = s.VetSender(
        proof=proofs,
        address=address or None,
        domain=domain or None,
        owner=form.text("owner"),
        reason=form.text("reason"),
        expires_ms=expires_ms,
        routes=form.text("routes").split() or None,
        quota_per_day=quota or None,
    )
    if not wrong:
        # Of routes and of servers in front the intake knows more.
        for path, what, right in sender_checks(record, (), record.routes or ()):
            wrong.setdefault(_field(path), f"{sentence(what)} Right would be: {right}.")
    if wrong:
        return None, wrong
    try:
        return msgspec.convert(msgspec.to_builtins(record), s.VetSender), {}
    except msgspec.ValidationError as error:
        return None, {"form": sentence(str(error))}


def refused(text: str) -> dict[str, str]:
    """What the intake says against a record, at the field that it names first."""
    place, colon, rest = text.partition(": ")
    field = {"routes": "routes", "expires_ms": "expires", "proof": "proof", "address": "whom", "domain": "whom"}.get(
        re.split(r"[.\[]", place)[0], ""
    )
    return {field: sentence(rest)} if colon and field else {"form": sentence(text)}


def _field(path: tuple[str | int, ...]) -> str:
    """The field of the form in which a part of a record is said."""
    name = path[-1] if path and isinstance(path[-1], str) else path[0] if path else "whom"
    return {"address": "whom", "domain": "whom"}.get(str(name), str(name))


def _proofs(form: Form, wrong: dict[str, str]) -> list[s.Proof]:
    """All that the form asks for, whichever way it asks."""
    asked = [one.partition(" ") for one in form.texts("proof")]
    pairs = [(kind, value) for kind, _, value in asked]
    pairs += [(kind, form.text(kind)) for kind in ("dkim", "network", "client_certificate") if form.text(kind)]
    if form.text("spf"):
        pairs.append(("spf", "aligned"))
    proofs = []
    for kind, value in pairs:
        try:
            proofs.append(msgspec.convert({kind: value}, s.Proof))
        except msgspec.ValidationError:
            wrong[kind if kind in s.Proof.__struct_fields__ else "proof"] = "That is no proof that can be asked for."
    return proofs
