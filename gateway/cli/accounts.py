# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway account …` and `tmtp-gateway device …` (C1, B4)."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.administration import Performs
from gateway.administration import models as m
from gateway.cli.common import (
    FAILED,
    ConfigOption,
    InstanceOption,
    JsonOption,
    NameArgument,
    WhoArgument,
    YesOption,
    administer,
    ask,
    fail,
    named,
    print_json,
    say,
    show_table,
    to_its_end,
)
from tmtp_core.ids import posted_text

account = typer.Typer(no_args_is_help=True, help="List, show, name, bar, unbar, reset and remove accounts.")
device = typer.Typer(no_args_is_help=True, help="List the devices of an account, and bar one.")


@account.command("list")
def list_accounts(
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    search: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only those with this in an alias, or at the beginning of the uid."),
    ] = None,
    barred: Annotated[bool, typer.Option("--barred", help="Only those that are barred.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the accounts of an instance, and how many deliveries wait for each.

    Example: tmtp-gateway account list -c gateway.yaml --instance members

    Example: tmtp-gateway account list -c gateway.yaml --instance members --search love --json
    """

    async def all_pages(performs: Performs) -> list[m.Account]:
        wanted = {"instance": instance, "search": search or None, "status": "barred" if barred else None}
        found: list[m.Account] = []
        after = None
        while True:
            page = await performs.perform("accounts.list", {**wanted, "after": after})
            assert isinstance(page, m.AccountPage)
            found += page.accounts
            after = page.next
            if after is None:
                return found

    accounts = administer(config, all_pages)
    if as_json:
        print_json(accounts)
        return
    if not accounts and (search or barred):
        say(f"No account on {instance} is like that.")
        return
    if not accounts:
        say(f"No accounts on {instance} yet. Invite somebody: tmtp-gateway invite --instance {instance}")
        return
    by_sign_in = any(one.identity for one in accounts)  # most instances have no provider
    show_table(
        f"Accounts on {instance}",
        (
            "aliases",
            "uid",
            *(("signs in as",) if by_sign_in else ()),
            "devices",
            "connected",
            "waiting",
            "role",
            "status",
        ),
        (
            (
                "\n".join(one.aliases) or one.address or "(none)",
                one.uid,
                *((one.identity.subject if one.identity else "-",) if by_sign_in else ()),
                str(one.devices),
                str(one.connected),
                str(one.queued),
                one.role,
                one.status,
            )
            for one in accounts
        ),
    )


@account.command("show")
def show_account(
    who: WhoArgument, instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Show one account with its devices and groups.

    Example: tmtp-gateway account show -c gateway.yaml --instance members "Ada Lovelace"
    """
    found = ask(config, m.AccountDetail, "accounts.show", instance=instance, who=who)
    if as_json:
        print_json(found)
        return
    one = found.account
    say(f"{named(one)}: {one.role}, {one.status}, since {posted_text(one.created_ms)}")
    say(f"aliases: {', '.join(one.aliases) or 'none'}")
    if one.address:
        say(f"stands for: {one.address}, who writes by a bridge")
    say(f"groups: {', '.join(found.groups) or 'none'}")
    if one.identity is not None:
        say(f"signs in as: {one.identity.subject} at {one.identity.issuer}")
    say(f"waiting: {one.queued} deliveries; connected: {one.connected} of {one.devices} devices")
    _show_devices(who, instance, found.devices)


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
    done = ask(config, m.Account, "accounts.alias", m.GiveAlias(alias=name), instance=instance, who=who)
    if as_json:
        print_json(done)
    else:
        say(f"{named(done)} is also {name} now.")


@account.command()
def bar(
    who: WhoArgument, instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Bar an account: its connections end and it cannot log in, until unbarred.

    Example: tmtp-gateway account bar -c gateway.yaml --instance members "Ada Lovelace"
    """
    _act(config, "accounts.bar", instance, who, as_json)


@account.command()
def unbar(
    who: WhoArgument, instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Let a barred account in again.

    Example: tmtp-gateway account unbar -c gateway.yaml --instance members "Ada Lovelace"
    """
    _act(config, "accounts.unbar", instance, who, as_json)


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
    _act(config, "accounts.remove", instance, who, as_json)


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
    with to_its_end():
        made = ask(config, m.NewInvitation, "accounts.reset", instance=instance, who=who)
        if as_json:
            print_json(made)
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
    found = ask(config, m.AccountDetail, "accounts.show", instance=instance, who=who).devices
    if as_json:
        print_json(found)
        return
    _show_devices(who, instance, found)


@device.command("bar")
def bar_device(
    who: WhoArgument,
    number: Annotated[int, typer.Argument(metavar="DEVICE", help="As `device list` shows it.")],
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bar one device of a revision 1 account for good: its password and what waits for it are deleted (B4).

    A device with a key is suspended or revoked by its owner, from another device or with the recovery key.

    Example: tmtp-gateway device bar -c gateway.yaml --instance public "Ada Lovelace" 3
    """
    if not yes and not typer.confirm(f"Bar device {number} of {who} on {instance} for good?"):
        fail("Nothing was barred.", FAILED)
    done = ask(config, m.Account, "devices.bar", instance=instance, who=who, device=number)
    if as_json:
        print_json(done)
    else:
        say(f"Device {number} of {named(done)} is barred; {done.devices} remain.")


def _show_devices(who: str, instance: str, devices: list[m.Device]) -> None:
    show_table(
        f"Devices of {who} on {instance}",
        ("device", "label", "standing", "since", "waiting", "connected"),
        (
            (
                str(one.device),
                one.label,
                one.standing,
                posted_text(one.created_ms),
                str(one.queued),
                "yes" if one.connected else "no",
            )
            for one in devices
        ),
    )


def _act(config: Path, operation: str, instance: str, who: str, as_json: bool) -> None:
    done = ask(config, m.Account, operation, instance=instance, who=who)
    if as_json:
        print_json(done)
    else:
        say(f"{named(done)} is {done.status}.")
