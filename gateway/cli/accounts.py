# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway account …`, `tmtp-gateway device …` and `tmtp-gateway group …` (C1, B4)."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway.administration import Act
from gateway.cli.common import (
    FAILED,
    ConfigOption,
    InstanceOption,
    JsonOption,
    NameArgument,
    WhoArgument,
    YesOption,
    administer,
    fail,
    named,
    print_json,
    say,
    show_table,
)
from tmtp_core.ids import posted_text

account = typer.Typer(no_args_is_help=True, help="List, name, bar, unbar, reset and remove accounts.")
device = typer.Typer(no_args_is_help=True, help="List the devices of an account, and bar one.")
group = typer.Typer(no_args_is_help=True, help="Make groups.")


@account.command("list")
def list_accounts(
    instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Show all accounts of an instance, and how many deliveries wait for each.

    Example: tmtp-gateway account list -c gateway.yaml --instance members
    """
    accounts = administer(config, lambda admin: admin.list_accounts(instance))
    if as_json:
        print_json([asdict(one) for one in accounts])
        return
    if not accounts:
        say(f"No accounts on {instance} yet. Invite somebody: tmtp-gateway invite --instance {instance}")
        return
    show_table(
        f"Accounts on {instance}",
        ("aliases", "uid", "devices", "waiting", "role", "status"),
        (
            ("\n".join(one.aliases) or "(none)", one.uid, str(one.devices), str(one.queued), one.role, one.status)
            for one in accounts
        ),
    )


@account.command()
def alias(
    who: WhoArgument,
    name: NameArgument,
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Give a member a further alias. A name that mail from outside is routed to is given so, and only so (C2).

    Example: tmtp-gateway account alias -c gateway.yaml --instance public "Ada Lovelace" "Support Desk"
    """
    done = administer(config, lambda admin: admin.give_alias(instance, who, name))
    if as_json:
        print_json(asdict(done))
    else:
        say(f"{named(done)} is also {name} now.")


@group.command("create")
def create_group(
    name: NameArgument,
    who: WhoArgument,
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Make a group for a member, who invites the others.

    A name that mail from outside is routed to is given so, and only so (C2).

    Example: tmtp-gateway group create -c gateway.yaml --instance public "Sales Team" "Ada Lovelace"
    """
    done = administer(config, lambda admin: admin.found_group(instance, name, who))
    if as_json:
        print_json(asdict(done))
    else:
        say(f"The group {name} is there; {named(done)} owns it and may invite others.")


@account.command()
def bar(
    who: WhoArgument, instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Bar an account: its connections end and it cannot log in, until unbarred.

    Example: tmtp-gateway account bar -c gateway.yaml --instance members "Ada Lovelace"
    """
    _act(config, instance, "bar", who, as_json)


@account.command()
def unbar(
    who: WhoArgument, instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Let a barred account in again.

    Example: tmtp-gateway account unbar -c gateway.yaml --instance members "Ada Lovelace"
    """
    _act(config, instance, "unbar", who, as_json)


@account.command()
def remove(
    who: WhoArgument,
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove an account for good, with its devices and what waits for them. Its aliases stay taken for ever (D1).

    Example: tmtp-gateway account remove -c gateway.yaml --instance members "Ada Lovelace"
    """
    if not yes and not typer.confirm(f"Remove {who} from {instance}? What waits for it goes back to its senders."):
        fail("Nothing was removed.", FAILED)
    _act(config, instance, "remove", who, as_json)


@account.command()
def reset(
    who: WhoArgument,
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a person whose devices and recovery key are all lost begin anew, with one new device (B4).

    Every device the account had is revoked once the new one registers, and what waits for them goes back to
    its senders. The account's log says that it began anew. The invitation holds for 7 days.

    Example: tmtp-gateway account reset -c gateway.yaml --instance members "Ada Lovelace"
    """
    if not yes and not typer.confirm(f"Let {who} begin anew on {instance}? Make sure who asks for it."):
        fail("Nothing was reset.", FAILED)
    made = administer(config, lambda admin: admin.reset_account(instance, who))
    if as_json:
        print_json(asdict(made))
        return
    say("Give this to the person, and to nobody else; it is shown only now:")
    say(f"  tmtp join '{made.link}' --alias 'Their Name'")


@device.command("list")
def list_devices(
    who: WhoArgument, instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Show the devices of an account, and how many deliveries wait for each.

    Example: tmtp-gateway device list -c gateway.yaml --instance public "Ada Lovelace"
    """
    found = administer(config, lambda admin: admin.list_devices(instance, who))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    show_table(
        f"Devices of {who} on {instance}",
        ("device", "label", "standing", "since", "waiting"),
        ((str(one.device), one.label, one.standing, posted_text(one.created_ms), str(one.queued)) for one in found),
    )


@device.command("bar")
def bar_device(
    who: WhoArgument,
    number: Annotated[int, typer.Argument(metavar="DEVICE", help="As `device list` shows it.")],
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Bar one device of a revision 1 account for good: its password and what waits for it are deleted (B4).

    A device with a key is suspended or revoked by its owner, from another device or with the recovery key.

    Example: tmtp-gateway device bar -c gateway.yaml --instance public "Ada Lovelace" 3
    """
    done = administer(config, lambda admin: admin.bar_device(instance, who, number))
    if as_json:
        print_json(asdict(done))
    else:
        say(f"Device {number} of {named(done)} is barred; {done.devices} remain.")


def _act(config: Path, instance: str, act: Act, who: str, as_json: bool) -> None:
    done = administer(config, lambda admin: admin.administer(instance, act, who))
    if as_json:
        print_json(asdict(done))
    else:
        say(f"{named(done)} is {done.status}.")
