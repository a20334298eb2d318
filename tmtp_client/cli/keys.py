# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp keys`, `wishes`: others' devices and safety numbers, and who may read what was sent before (B9)."""

from typing import Annotated

import typer

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.api.problems import ProblemError
from tmtp_client.cli.asking import confirmed
from tmtp_client.cli.common import (
    FAILED,
    NOT_NOW,
    USAGE,
    AccountOption,
    JsonOption,
    YesOption,
    bare,
    ending,
    err,
    fail,
    out,
    print_json,
    print_qr,
    say,
    text_of,
    warn,
)
from tmtp_client.cli.people import NameArgument
from tmtp_client.cli.session import account_of, fetched, person_of, pushed, reach, run
from tmtp_client.cli.show import print_table

ShownOption = Annotated[
    str,
    typer.Option(
        "--shown",
        metavar="TEXT",
        help="What their device shows: its QR code as a camera read it, or the 60 digits; - reads standard input.",
    ),
]
WishArgument = Annotated[list[str], typer.Argument(metavar="ID…", help="Of the messages: tmtp wishes shows them.")]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="KEY", help="Only this device: the end of its key, as tmtp wishes shows it.")
]

wishes = typer.Typer()


def keys(
    name: NameArgument,
    seen: Annotated[bool, typer.Option("--seen", help="You have seen what changed; what was held goes out.")] = False,
    compared: Annotated[bool, typer.Option("--compared", help="You have compared the number; it is theirs.")] = False,
    shown: ShownOption = "",
    yes: YesOption = False,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Somebody's devices and keys: what changed, and the number to compare with them, face to face or by telephone.

    With --shown this device compares, and keeps that you have compared if nothing differs.

    Example: tmtp keys 'Bob Builder' --shown 'TMTP-SAFETY:1:…'
    """
    carried = text_of(shown).strip() if shown else ""
    if shown and (compared or not carried):
        fail("either --compared, or --shown and what their device shows", USAGE)

    async def work(client: Client) -> tuple[m.Person, m.SafetyNumber, m.Devices, o.Compared | None]:
        of = await account_of(client, account)
        await fetched(client, [of.name])  # what is known of their keys may be nothing yet, or old
        person = await person_of(client, of.name, name)
        number: m.SafetyNumber = await client.call("keys.safety", o.OfPerson(of.name, person.uid))
        devices: m.Devices = await client.call("devices.of", o.OfPerson(of.name, person.uid))
        if not as_json:
            _print_keys(person, number, devices)
        held: o.Compared | None = None
        head, same = (number.head if compared else devices.head), compared  # as it was shown; they may differ
        if carried:
            held = await client.call("keys.compare", o.CompareKeys(of.name, person.uid, carried))
            head, same = held.head, held.same
        elif compared and not yes:
            await confirmed(f"Does {person.alias} have the same number?")
        if seen or same:
            person = await client.call("keys.seen", o.SeenKeys(of.name, person.uid, head, same))
            await pushed(client, of.name)  # what was held
        return person, number, devices, held

    person, number, devices, held = run(work)
    if as_json:
        print_json({"person": person, "safety_number": number, "devices": devices, "compared": held})
    if held is not None and not held.same:
        for wrong in held.wrong:
            say(f"  differs: {wrong}", to=err, style="red")
        fail("Do not take their keys for theirs until that is cleared up.", FAILED)
    if as_json:
        return
    if compared or held is not None:
        say("Compared: nothing differs." if held is not None else "Compared.")
    elif seen:
        say("Seen. What was held for it goes out.")
    elif devices.unseen or devices.trouble:
        say(f"Once you have looked at this: tmtp keys '{person.alias}' --seen")


def _print_keys(person: m.Person, number: m.SafetyNumber, devices: m.Devices) -> None:
    say(f"{person.alias} ({person.uid})", style="bold")
    for change in devices.unseen:
        say(f"  changed: {change}", style="yellow")
    if devices.trouble:
        say(f"  mind: {devices.trouble}", style="red")
    for device in devices.devices:
        say(f"  device {device.label}  {device.stands}")
    say(f"  the number to compare{' (you have)' if number.compared else ''}:")
    say(f"    {number.digits}", style="bold")
    print_qr(number.code)


# -- who asks to read what was sent before ----------------------------------------------------------------------------
@wishes.callback(invoke_without_command=True)
def list_wishes(context: typer.Context, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Devices that ask to read a message of yours which was sent before they were one of their account.

    Example: tmtp wishes
    """
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client) -> list[m.KeyWish]:
        return await _wishes(client, (await account_of(client, account)).name)

    found = run(work)
    if as_json:
        print_json(found)
    elif not found:
        say("Nobody asks.")
    else:
        rows = [(f"#{ending(one.message)}", one.alias or one.uid, f"#{ending(one.device)}", one.text) for one in found]
        print_table(out, ("message", "who", "device", ""), rows)
        say("To let them: tmtp wishes grant ID. Not: tmtp wishes refuse ID")


@wishes.command("grant")
def grant(
    message_ids: WishArgument, device: DeviceOption = "", account: AccountOption = "", as_json: JsonOption = False
) -> None:
    """Let a device read messages that were sent before it was there.

    Example: tmtp wishes grant 1f2e3d4c
    """
    _decide(message_ids, device, account, agreed=True, as_json=as_json)


@wishes.command("refuse")
def refuse(
    message_ids: WishArgument, device: DeviceOption = "", account: AccountOption = "", as_json: JsonOption = False
) -> None:
    """Do not let a device read messages that were sent before it was there; it hears nothing of that.

    Example: tmtp wishes refuse 1f2e3d4c
    """
    _decide(message_ids, device, account, agreed=False, as_json=as_json)


def _decide(ids: list[str], device: str, account: str, *, agreed: bool, as_json: bool) -> None:
    async def work(client: Client) -> list[tuple[m.KeyWish, bool]]:
        of = await account_of(client, account)
        await reach(client, of.name)
        asked = await _wishes(client, of.name)
        meant = [one for id in ids for one in _named(asked, bare(id), device.removeprefix("#"))]
        decided = []
        for one in dict.fromkeys(meant):
            word = o.GrantKey(of.name, one.message, one.uid, one.device, agreed)
            done = await _granted(client, word, one)
            decided.append((one, done))
        await pushed(client, of.name)
        return decided

    decided = run(work)
    if as_json:
        print_json([{"message": one.message, "device": one.device, "granted": done} for one, done in decided])
        return
    for one, done in decided:
        who = one.alias or one.uid
        if done:
            say(f"{who} can read #{ending(one.message)} on that device.")
        elif agreed:
            warn(f"The device of {who} is gone meanwhile; nothing was let.")
        else:
            say(f"{who} is not let.")


async def _granted(client: Client, word: o.GrantKey, wish: m.KeyWish) -> bool:
    try:
        done: m.Done = await client.call("keys.grant", word)
    except ProblemError as error:
        if error.problem.code != "unseen_keys":
            raise
        who = wish.alias or wish.uid
        fail(f"The devices of {who} have changed; look at them first: tmtp keys '{who}', then --seen", NOT_NOW)
    return done.done


async def _wishes(client: Client, account: str) -> list[m.KeyWish]:
    found: list[m.KeyWish] = await client.call("keys.wishes", o.OfAccount(account))
    return found


def _named(wishes: list[m.KeyWish], id: str, device: str) -> list[m.KeyWish]:
    """Those of one message; ends the command where none, or those of several, are called so."""
    found = [one for one in wishes if one.message.endswith(id) and one.device.endswith(device)]
    if len({one.message for one in found}) != 1:
        fail(f"nobody asks for a message, or for more than one, whose id ends in {id}; tmtp wishes shows them", FAILED)
    return found
