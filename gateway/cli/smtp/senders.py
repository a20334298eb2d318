# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway smtp senders …`: vetting records (C2)."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from bridges.smtp.control import models as s
from gateway.cli.common import (
    FAILED,
    USAGE,
    ConfigOption,
    JsonOption,
    YesOption,
    expiry_ms,
    fail,
    print_json,
    say,
    show_table,
)
from gateway.cli.smtp.asking import LimitOption, NameOption, ReasonOption, ask, ask_pages, moment, proofs_text

senders = typer.Typer(no_args_is_help=True, help="Vetting records: who may write by SMTP, and how that is proved.")

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_NONE: Final[list[str]] = []

NumberArgument = Annotated[int, typer.Argument(min=1, metavar="NUMBER", help="As `smtp senders list` shows it.")]


@senders.command("list")
def list_senders(
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    state: Annotated[Literal["active", "suspended", "expired", "withdrawn"] | None, typer.Option()] = None,
    search: Annotated[str | None, typer.Option(help="A part of the address or domain.")] = None,
    limit: LimitOption = 500,
    as_json: JsonOption = False,
) -> None:
    """Show the records: those of the settings file, and those that administrators have made.

    Example: tmtp-gateway smtp senders list -c gateway.yaml --state suspended
    """
    found: list[s.Sender] = ask_pages(
        config, name, "senders.list", limit, "after", "number", state=state, search=search
    )
    if as_json:
        print_json(found)
        return
    if not found:
        say("No record is like that." if state or search else "Nobody is vetted: see tmtp-gateway smtp senders vet")
        return
    show_table(
        "Vetting records",
        ("number", "sender", "proof", "state", "owner", "until", "today", "last passed"),
        (
            (
                str(one.number),
                _whom(one),
                proofs_text(one.proof),
                one.state,
                one.owner,
                moment(one.expires_ms, "no end"),
                _today(one),
                moment(one.passed_ms),
            )
            for one in found
        ),
    )


@senders.command("show")
def show(
    number: NumberArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all of one record.

    Example: tmtp-gateway smtp senders show -c gateway.yaml 3
    """
    _tell(ask(config, name, s.Sender, "senders.show", number=number), as_json)


@senders.command("vet")
def vet(
    sender: Annotated[str, typer.Argument(metavar="ADDRESS-OR-DOMAIN", help="Of the From header.")],
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    dkim: Annotated[str | None, typer.Option(metavar="DOMAIN", help="A signature with this d=, aligned.")] = None,
    spf: Annotated[bool, typer.Option("--spf", help="SPF passes, aligned.")] = False,
    network: Annotated[list[str] | None, typer.Option(metavar="NETWORK", help="It comes from there.")] = None,
    certificate: Annotated[str | None, typer.Option(metavar="PIN", help="In TLS, with this certificate's key.")] = None,
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    reason: ReasonOption = "",
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="For example 90d, or a day: 2027-03-31; default: never.")
    ] = None,
    route: Annotated[list[str] | None, typer.Option(metavar="RECIPIENT", help="Only to this one; repeat.")] = None,
    quota: Annotated[int | None, typer.Option(min=1, metavar="N", help="Messages a day.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let an address, or all of a domain, write by SMTP. Every proof that is given must hold.

    Example: tmtp-gateway smtp senders vet -c gateway.yaml supplier.example --dkim supplier.example --owner Purchasing

    Example: tmtp-gateway smtp senders vet -c gateway.yaml robot@shop.example --network 192.0.2.0/28 --expires 90d
    """
    proofs = [s.Proof(dkim=dkim)] if dkim is not None else []
    proofs += [s.Proof(spf="aligned")] if spf else []
    proofs += [s.Proof(network=one) for one in network or _NONE]
    proofs += [s.Proof(client_certificate=certificate)] if certificate is not None else []
    if not proofs:
        fail("say how it is proved: --dkim DOMAIN, --spf, --network NETWORK or --certificate PIN", USAGE)
    is_address = "@" in sender
    body = s.VetSender(
        address=sender if is_address else None,
        domain=None if is_address else sender,
        proof=proofs,
        owner=owner,
        reason=reason,
        expires_ms=_until_ms(expires),
        routes=route or None,
        quota_per_day=quota,
    )
    _tell(ask(config, name, s.Sender, "senders.vet", body), as_json)


@senders.command("suspend")
def suspend(
    number: NumberArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put mail of a record off, with 451, until it is resumed.

    Example: tmtp-gateway smtp senders suspend -c gateway.yaml 3 --reason "they are being forged"
    """
    _tell(ask(config, name, s.Sender, "senders.suspend", s.Because(reason=reason), number=number), as_json)


@senders.command("resume")
def resume(
    number: NumberArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take mail of a suspended record again.

    Example: tmtp-gateway smtp senders resume -c gateway.yaml 3 --reason "they sign again"
    """
    _tell(ask(config, name, s.Sender, "senders.resume", s.Because(reason=reason), number=number), as_json)


@senders.command("withdraw")
def withdraw(
    number: NumberArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a record back for good: mail of this sender is mail of a stranger from then on.

    Example: tmtp-gateway smtp senders withdraw -c gateway.yaml 3 --reason "has joined"
    """
    if not yes and not typer.confirm(f"Withdraw record {number}? Its sender's mail will be treated as a stranger's."):
        fail("Nothing was withdrawn.", FAILED)
    _tell(ask(config, name, s.Sender, "senders.withdraw", s.Because(reason=reason), number=number), as_json)


def _tell(one: s.Sender, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    rows: Sequence[tuple[str, str]] = (
        ("sender", _whom(one)),
        ("proof", proofs_text(one.proof)),
        ("state", f"{one.state}: {one.why}" if one.why else one.state),
        ("owner", one.owner),
        ("reason", one.reason),
        ("made", f"{moment(one.created_ms)} by {one.created_by}"),
        ("from", "the settings file: change it there" if one.source == "settings" else "an administrator"),
        ("until", moment(one.expires_ms, "no end")),
        ("routes", "\n".join(one.routes) if one.routes is not None else "all"),
        ("today", _today(one)),
        ("last passed", moment(one.passed_ms)),
        ("last failed", moment(one.failed_ms)),
        ("failures that count", str(one.failures)),
    )
    show_table(f"Record {one.number}", ("what", "value"), rows)


def _whom(one: s.Sender) -> str:
    return one.address or f"all of {one.domain}"


def _today(one: s.Sender) -> str:
    return f"{one.today} of {one.quota_per_day}" if one.quota_per_day is not None else str(one.today)


def _until_ms(expires: str | None) -> int | None:
    """`90d` and the like, or a day, which begins at midnight UTC."""
    if expires is None or not _DAY.fullmatch(expires):
        return expiry_ms(expires, "12h, 90d or 2027-03-31")
    try:
        return int(datetime.strptime(expires, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000
    except ValueError:
        fail(f"--expires {expires} is no day; for example 2027-03-31", USAGE)
