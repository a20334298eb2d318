# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway group …` (C1, A6)."""

from pathlib import Path

import typer

from gateway.administration import models as m
from gateway.cli.common import (
    ConfigOption,
    InstanceOption,
    JsonOption,
    NameArgument,
    WhoArgument,
    ask,
    ask_pages,
    print_json,
    say,
    show_table,
)

group = typer.Typer(no_args_is_help=True, help="List, show and make groups.")


@group.command("list")
def list_groups(
    instance: InstanceOption, config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False
) -> None:
    """Show the groups of an instance.

    Example: tmtp-gateway group list -c gateway.yaml --instance members
    """
    groups = ask_pages(config, m.Group, "groups.list", lambda one: one.gid, instance=instance)
    if as_json:
        print_json(groups)
        return
    if not groups:
        say(f"No groups on {instance} yet.")
        return
    show_table(
        f"Groups on {instance}",
        ("group", "owner", "joined", "invited", "barred"),
        ((one.gid, _owner(one), str(one.joined), str(one.invited), str(one.barred)) for one in groups),
    )


@group.command("show")
def show_group(
    name: NameArgument,
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Show the members of a group.

    Example: tmtp-gateway group show -c gateway.yaml --instance members "Sales Team"
    """
    found = ask(config, m.GroupDetail, "groups.show", instance=instance, gid=name)
    if as_json:
        print_json(found)
        return
    show_table(
        f"Members of {name} on {instance}",
        ("alias", "uid", "standing"),
        ((one.alias, one.uid, "owner" if one.uid == found.group.owner else one.standing) for one in found.members),
    )


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
    made = ask(config, m.GroupDetail, "groups.found", m.FoundGroup(gid=name, who=who), instance=instance)
    if as_json:
        print_json(made)
    else:
        say(f"The group {name} is there; {_owner(made.group)} owns it and may invite others.")


def _owner(one: m.Group) -> str:
    """How its owner is called."""
    return f"{one.owner_alias} ({one.owner})" if one.owner_alias else one.owner or "(nobody)"
