# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway invite` and `tmtp-gateway invitation …` (A1)."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway.administration import models as m
from gateway.cli.common import (
    ConfigOption,
    InstanceOption,
    JsonOption,
    ask,
    ask_pages,
    err,
    expiry_ms,
    print_json,
    say,
    show_table,
    to_its_end,
)
from gateway.settings import Address
from tmtp_core import limits
from tmtp_core.ids import posted_text
from tmtp_core.wire.address import parse_address

invitation = typer.Typer(no_args_is_help=True, help="List and revoke invitations.")


def invite(
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    uses: Annotated[
        int, typer.Option(min=1, max=limits.INVITATION_USES_MAX, help="How many people may register with it.")
    ] = 1,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="For example 12h, 7d or 4w; default: never.")
    ] = None,
    note: Annotated[str, typer.Option(help="For whom; kept with the invitation.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an invitation: a token, told once, that lets people register on an instance.

    Example: tmtp-gateway invite -c gateway.yaml --instance members --expires 7d --note "Ada, sales"
    """
    until_ms = expiry_ms(expires)
    wanted = m.CreateInvitation(uses=uses, expires_ms=until_ms, note=note)
    with to_its_end():
        made = ask(config, m.NewInvitation, "invitations.create", wanted, instance=instance)
        if as_json:
            expires = posted_text(until_ms) if until_ms is not None else None
            print_json({**msgspec.structs.asdict(made), "expires": expires})
            return
        say("Give this to the person; it is shown only now:")
        say(f"  tmtp join '{made.link}' --alias 'Their Name'")
        say(f"The token alone, for other clients: {made.token}")
        warn_of_own_name(made.link)


def warn_of_own_name(link: str) -> None:
    """Say so where a link names this machine as only it names itself: a machine may be called localhost, and a listener
    may be on loopback. Whoever has the link would look for the service on his own device.
    """
    host = parse_address(link).host
    if Address(host=host, port=0).loopback or host.startswith("localhost."):
        mend = "give host: and listen for others, or behind a proxy reached_at:; start again, and invite anew"
        err.print(f"Only this machine finds the service by this link, which names {host}: {mend}.", soft_wrap=True)


@invitation.command("list")
def list_invitations(
    instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Show the invitations that can still be used, administrators' and members'. Tokens are never shown again.

    Example: tmtp-gateway invitation list -c gateway.yaml --instance members
    """
    found = ask_pages(config, m.Invitation, "invitations.list", lambda one: one.invitation, instance=instance)
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"No invitation to {instance} is open. Make one: tmtp-gateway invite --instance {instance}")
        return
    show_table(
        f"Invitations to {instance}",
        ("invitation", "uses left", "until", "note", "by"),
        (
            (
                str(one.invitation),
                str(one.uses_left),
                posted_text(one.expires_ms) if one.expires_ms is not None else "no end",
                one.note,
                one.creator or "(administrator)",
            )
            for one in found
        ),
    )


@invitation.command()
def revoke(
    number: Annotated[int, typer.Argument(metavar="INVITATION", help="As `invitation list` shows it.")],
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Revoke an invitation: nobody can register with it any more.

    Example: tmtp-gateway invitation revoke -c gateway.yaml --instance members 7
    """
    done = ask(config, m.Done, "invitations.revoke", instance=instance, invitation=number)
    if as_json:
        print_json(done)
    else:
        say(f"Invitation {number} is revoked.")
