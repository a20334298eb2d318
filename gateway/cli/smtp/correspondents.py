# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway smtp correspondents …`: who writes by SMTP, and how far each is on the way out of it (C5)."""

from pathlib import Path
from typing import Annotated

import typer

from bridges.smtp.control import models as s
from gateway.cli.common import USAGE, ConfigOption, JsonOption, fail, print_json, say, show_table
from gateway.cli.smtp.asking import LimitOption, NameOption, ReasonOption, ask, moment

correspondents = typer.Typer(
    no_args_is_help=True, help="Who writes by SMTP, and how far each is: seen, vetted, invited, joined, refused."
)

AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS")]
StateOption = Annotated[s.LifeState | None, typer.Option(help="Only those at this step.")]


@correspondents.command("list")
def list_correspondents(
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    state: StateOption = None,
    search: Annotated[str | None, typer.Option(help="A part of the address.")] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """Show them, those last heard of first.

    Example: tmtp-gateway smtp correspondents list -c gateway.yaml --state vetted
    """
    page = ask(config, name, s.CorrespondentPage, "correspondents.list", state=state, search=search, limit=limit)
    found = page.correspondents
    if as_json:
        print_json(page)
        return
    if not found:
        say("There are none." if state is None and search is None else "None is like that.")
        return
    show_table(
        "Correspondents",
        ("address", "step", "is", "proof", "mails in 30 days", "last heard of"),
        ((one.address, one.state, _kind(one), one.proof, str(one.mails), moment(one.last_seen_ms)) for one in found),
    )
    if page.next is not None:
        say(f"There are more than {len(found)}: --limit {s.PAGE_MAX}, or --search")


@correspondents.command("show")
def show(
    address: AddressArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one of them.

    Example: tmtp-gateway smtp correspondents show -c gateway.yaml jo@partner.example
    """
    _tell(ask(config, name, s.Correspondent, "correspondents.show", address=address), as_json)


@correspondents.command("move")
def move(
    address: AddressArgument,
    state: Annotated[str, typer.Argument(metavar="STEP", help="seen, vetted, invited, joined or refused.")],
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put somebody at another step by hand. At `refused` mail from there is refused from then on.

    Example: tmtp-gateway smtp correspondents move -c gateway.yaml jo@partner.example joined
    """
    step = next((one for one in _STEPS if one == state), None)
    if step is None:
        fail(f"{state} is no step; one of {', '.join(_STEPS)}", USAGE)
    body = s.MoveCorrespondent(state=step, reason=reason)
    _tell(ask(config, name, s.Correspondent, "correspondents.move", body, address=address), as_json)


@correspondents.command("invite")
def invite(
    address: AddressArgument,
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a personal invitation for somebody, once: it is told to him alone, and whoever asks again gets the same.

    Example: tmtp-gateway smtp correspondents invite -c gateway.yaml jo@partner.example
    """
    _tell(ask(config, name, s.Correspondent, "correspondents.invite", address=address), as_json)


_STEPS: tuple[s.LifeState, ...] = ("seen", "vetted", "invited", "joined", "refused")


def _tell(one: s.Correspondent, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    rows = [
        ("step", f"{one.state} since {moment(one.changed_ms)}, by {one.changed_by}"),
        ("is", _kind(one)),
        ("proof", one.proof),
        ("mails in 30 days", str(one.mails)),
        ("heard of", _heard(one)),
        ("invited", moment(one.invited_ms, "")),
        ("invitation", one.link),
        ("joined", f"{moment(one.joined_ms)} as {one.joined_as}" if one.joined_ms is not None else ""),
        ("refused since", moment(one.refused_ms, "")),
    ]
    show_table(one.address, ("what", "value"), [row for row in rows if row[1]])


def _heard(one: s.Correspondent) -> str:
    if one.last_seen_ms is None:
        return "never: no mail of this address was proved"
    return f"first {moment(one.first_seen_ms)}, last {moment(one.last_seen_ms)}"


def _kind(one: s.Correspondent) -> str:
    if one.last_seen_ms is None:
        return "not known"
    return f"a machine ({one.machine})" if one.machine else "a person"
