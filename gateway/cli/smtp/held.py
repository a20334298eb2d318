# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway smtp held …`: mail that waits for a person's decision (C2)."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bridges.smtp.control import models as s
from gateway.cli.common import FAILED, USAGE, ConfigOption, JsonOption, YesOption, fail, print_json, say, show_table
from gateway.cli.smtp.asking import LimitOption, NameOption, ReasonOption, ask, ask_pages, moment, proofs_text

held = typer.Typer(no_args_is_help=True, help="Mail that waits for a person's decision.")

NumberArgument = Annotated[int, typer.Argument(min=1, metavar="NUMBER", help="As `smtp held list` shows it.")]


@held.command("list")
def list_held(
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    state: Annotated[
        Literal["held", "deciding", "released", "rejected", "expired", "all"],
        typer.Option(help="Those that wait, unless you say another one."),
    ] = "held",
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """Show the mail that waits, or what became of others; the newest first.

    Example: tmtp-gateway smtp held list -c gateway.yaml
    """
    wanted = None if state == "all" else state
    found: list[s.HeldMail] = ask_pages(config, name, "held.list", limit, "before", "number", state=wanted)
    if as_json:
        print_json(found)
        return
    if not found:
        say("No mail waits for a decision." if state == "held" else "There is none.")
        return
    show_table(
        "Held mail",
        ("number", "came", "from", "subject", "to", "why", "state", "until"),
        (
            (
                str(one.number),
                moment(one.received_ms),
                one.author,
                one.subject,
                "\n".join(one.recipients),
                one.why,
                _state(one),
                moment(one.expires_ms),
            )
            for one in found
        ),
    )


@held.command("show")
def show(
    number: NumberArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one held mail as safe text, why it is held, and how its sender could be proved.

    Example: tmtp-gateway smtp held show -c gateway.yaml 7
    """
    found = ask(config, name, s.HeldDetail, "held.show", number=number)
    if as_json:
        print_json(found)
        return
    mail = found.mail
    rows = [
        ("came", moment(mail.received_ms)),
        ("from", mail.author),
        ("to", "\n".join(mail.recipients)),
        ("subject", mail.subject),
        ("why", mail.why),
        ("state", _state(mail)),
        ("until", moment(mail.expires_ms)),
        ("steps", "\n".join(found.trace)),
        ("would prove it", proofs_text(found.suggested) or "nothing: it shows nobody's"),
        ("attachments", "\n".join(_attachment(one) for one in found.attachments)),
        ("notes", "\n".join(found.notes)),
    ]
    show_table(f"Held mail {mail.number}", ("what", "value"), [row for row in rows if row[1]])
    say("")
    if found.unreadable:
        say(f"It cannot be shown: {found.unreadable}")
    for line in found.text.splitlines():
        say(f"| {line}")


@held.command("release")
def release(
    number: NumberArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    vet: Annotated[
        bool, typer.Option("--vet", help="And let its sender write from now on, proved as suggested.")
    ] = False,
    invite: Annotated[bool, typer.Option("--invite", help="And invite its sender, too; with --vet.")] = False,
    owner: Annotated[str, typer.Option(help="Who answers for the sender; with --vet.")] = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Pass a held mail on to whom it is for.

    With --vet its sender is vetted, too, by the strongest proof that this mail has: what `smtp held show` suggests.

    Example: tmtp-gateway smtp held release -c gateway.yaml 7 --vet --invite --owner Purchasing
    """
    if invite and not vet:
        fail("--invite is for senders that are vetted: say --vet, too", USAGE)
    if owner and not vet:
        fail("--owner belongs to a vetting record: say --vet, too", USAGE)
    action: s.HeldAction = "vet_release_and_invite" if invite else "vet_and_release" if vet else "release"
    record = _suggested(config, name, number, owner, reason) if owner else None
    decided = _decide(config, name, number, s.DecideHeld(action=action, reason=reason, vet=record))
    if as_json:
        print_json(decided)
        return
    for recipient, outcome in decided.outcomes.items():
        say(f"{recipient}: {outcome}")
    if decided.record is not None:
        made = ask(config, name, s.Sender, "senders.show", number=decided.record)
        proofs = ", ".join(proofs_text(made.proof).splitlines())
        say(f"{decided.mail.author} is vetted: record {decided.record}, by {proofs}.")
    if decided.invite:
        found = ask(config, name, s.Correspondent, "correspondents.show", address=decided.invite)
        say(f"{decided.invite} is invited: {found.link}")


@held.command("reject")
def reject(
    number: NumberArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Throw a held mail away. Its sender, whom nobody has proved, hears nothing.

    Example: tmtp-gateway smtp held reject -c gateway.yaml 7 --reason "an advertisement"
    """
    if not yes and not typer.confirm(f"Throw held mail {number} away?"):
        fail("Nothing was rejected.", FAILED)
    decided = _decide(config, name, number, s.DecideHeld(action="reject", reason=reason))
    if as_json:
        print_json(decided)
    else:
        say(f"Held mail {number} is gone.")


def _decide(config: Path, name: str | None, number: int, body: s.DecideHeld) -> s.HeldDecided:
    return ask(config, name, s.HeldDecided, "held.decide", body, number=number)


def _suggested(config: Path, name: str | None, number: int, owner: str, reason: str) -> s.VetSender:
    """The record that is suggested for a mail, with its owner."""
    found = ask(config, name, s.HeldDetail, "held.show", number=number)
    if not found.suggested:
        fail(f"nothing in held mail {number} shows whose it is, so its sender cannot be vetted by it", FAILED)
    return s.VetSender(address=found.mail.author, proof=found.suggested[:1], owner=owner, reason=reason)


def _state(mail: s.HeldMail) -> str:
    return f"{mail.state} by {mail.decided_by}" if mail.decided_by else mail.state


def _attachment(one: s.HeldAttachment) -> str:
    danger = f": {one.active}" if one.active else ""
    return f"{one.name} ({one.size} bytes){danger}"
