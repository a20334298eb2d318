# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp devices`, `link`, `recovery`: one's own devices, and the sheet that overrides them (B4)."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Literal

import typer

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.api.problems import ProblemError
from tmtp_client.cli.asking import confirm, confirmed, words_of
from tmtp_client.cli.common import (
    FAILED,
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
    print_json_line,
    print_qr,
    say,
    time_text,
    utf8,
    warn,
)
from tmtp_client.cli.joining import print_words
from tmtp_client.cli.session import FIRST_NAME, account_of, listening, reach, run
from tmtp_client.cli.show import print_table

Act = Literal["suspend", "revoke", "confirm", "resume", "contest"]

DeviceArgument = Annotated[
    str, typer.Argument(metavar="DEVICE", help="What you call it, or the end of its key: tmtp devices shows both.")
]
_WORDS: Final = "The 24 words of your recovery sheet"

devices = typer.Typer()
link = typer.Typer(no_args_is_help=True, help="Make a further device one of your account's, by two short texts.")
recovery = typer.Typer(no_args_is_help=True, help="The recovery sheet: is it the right one, and a new one.")


@devices.callback(invoke_without_command=True)
def list_devices(context: typer.Context, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Your devices: which there are, how they came and went, and which may be no more.

    Example: tmtp devices
    """
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client) -> m.Devices:
        of = await account_of(client, account)
        listed: m.Devices = await client.call("devices.list", o.OfAccount(of.name))
        return listed

    _print_devices(run(work), as_json=as_json, with_log=True)


@devices.command("suspend")
def suspend(device: DeviceArgument, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Shut a device out for now: you cannot find it, say. To let it in again: resume.

    Example: tmtp devices suspend phone
    """
    _act(device, "suspend", account, as_json=as_json)


@devices.command("revoke")
def revoke(
    device: DeviceArgument, yes: YesOption = False, account: AccountOption = "", as_json: JsonOption = False
) -> None:
    """Bar a device for good: it was stolen.

    Example: tmtp devices revoke phone
    """
    confirm(f"Bar {device} for good?", yes=yes)
    _act(device, "revoke", account, as_json=as_json)


@devices.command("confirm")
def confirm_device(device: DeviceArgument, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """A device that was added is yours: it may do all that others may.

    The device that took it in cannot say so; another one can, or the recovery sheet.

    Example: tmtp devices confirm phone
    """
    _act(device, "confirm", account, as_json=as_json)


@devices.command("resume")
def resume(device: DeviceArgument, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Let a device in again that was suspended.

    Example: tmtp devices resume phone
    """
    _act(device, "resume", account, as_json=as_json)


@devices.command("contest")
def contest(
    device: DeviceArgument, yes: YesOption = False, account: AccountOption = "", as_json: JsonOption = False
) -> None:
    """On a device that was suspended, and not by you: the one that did so is suspended, too.

    This one stays suspended until you let it in again: tmtp devices resume

    Example: tmtp devices contest phone
    """
    confirm(f"Was it not you who suspended {device}? The device that did so is suspended, too.", yes=yes)
    _act(device, "contest", account, as_json=as_json)


@devices.command("name")
def name_device(
    device: DeviceArgument,
    label: Annotated[str, typer.Argument(help="What you call it, on all your devices.")],
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Name a device.

    Example: tmtp devices name 1f2e3d4c 'old phone'
    """

    async def work(client: Client) -> m.Devices:
        of = await account_of(client, account)
        key = _key(await client.call("devices.list", o.OfAccount(of.name)), device).key
        named: m.Devices = await client.call("devices.name", o.NameDevice(of.name, key, label))
        return named

    _print_devices(run(work), as_json=as_json)


def _act(device: str, act: Act, account: str, *, as_json: bool) -> None:
    """Where the recovery key has to sign, its words are asked for."""

    async def work(client: Client) -> m.Devices:
        of = await account_of(client, account)
        await reach(client, of.name)
        one = _key(await client.call("devices.list", o.OfAccount(of.name)), device)
        words = ""
        if act in one.by_words and act not in one.acts:
            words = await words_of(_WORDS)
        elif act not in one.acts:
            why = " ".join(text for text in one.cannot if text.startswith(f"To {act} ") or not text.startswith("To "))
            why = why or ("It is this one: another of yours can." if one.this else f"It is {one.stands}.")
            fail(f"That cannot be done to {one.label or device} now. {why}", FAILED)
        done: m.Devices = await client.call("devices.act", o.OnDevice(of.name, act, one.key, words))
        return done

    _print_devices(run(work), as_json=as_json)


def _key(listed: m.Devices, named: str) -> m.Device:
    found = [one for one in listed.devices if one.label == named] or [
        one for one in listed.devices if one.key.endswith(bare(named))
    ]
    if len(found) != 1:
        fail(f"no device, or more than one, is called {named}; tmtp devices shows them", FAILED)
    return found[0]


def _print_devices(listed: m.Devices, *, as_json: bool, with_log: bool = False) -> None:
    if as_json:
        print_json(listed)
        return
    rows = [
        (f"#{ending(one.key)}", one.label, "this one" if one.this else "", one.stands, time_text(one.added_ms))
        for one in listed.devices
    ]
    print_table(out, ("key", "name", "", "stands", "since"), rows)
    for line in listed.log if with_log else ():
        say(f"  {time_text(line.time_ms)}  {line.text}", style="dim")
    for change in listed.unseen:
        say(f"  changed: {change}", style="yellow")
    if listed.trouble:
        say(f"  mind: {listed.trouble}", style="red")


# -- a further device ------------------------------------------------------------------------------------------------
TextArgument = Annotated[
    str, typer.Argument(metavar="TEXT", help="The text that the other device shows; - reads it from standard input.")
]


@link.command("start")
def start(account: AccountOption = "", as_json: JsonOption = False) -> None:
    """On a device that you have: the text for the new one, for an hour.

    Example: tmtp link start
    """

    async def work(client: Client) -> m.Link:
        of = await account_of(client, account)
        await reach(client, of.name)
        made: m.Link = await client.call("devices.start_link", o.StartLink(of.name))
        return made

    made = run(work)
    if as_json:
        print_json(made)
        return
    say("On the new device, type: tmtp link answer and this text, or show it to its camera:")
    out.print(made.text, soft_wrap=True, markup=False)
    print_qr(made.text)
    say("It answers with a text of its own; type here: tmtp link finish and that text.")


@link.command("answer")
def answer(
    text: TextArgument,
    label: Annotated[
        str, typer.Option(help="What this device is called; your others take that in once it is confirmed.")
    ] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """On the new device: answer the first text, and wait until a device that you have has signed.

    Ctrl-C ends the waiting; the same text may be answered again. --json prints a line for the text, with its number,
    and one for the account.

    Example: tmtp link answer 'tmtp-link-1:…'
    """
    offer = _carried(text)
    name = account or FIRST_NAME

    async def work(client: Client) -> m.Account:
        async with listening(client) as heard:
            made: m.Link = await client.call("devices.answer_link", o.AnswerLink(name, offer, label))
            if as_json:
                print_json_line(made)
            else:
                say("On the device that you have, type: tmtp link finish and this text, or show it to its camera:")
                out.print(made.text, soft_wrap=True, markup=False)
                print_qr(made.text)
                say(f"It must show the same number as this one: {made.fingerprint}", style="bold")
            while True:
                home: m.Home = await client.call("home.state")
                found = next((one for one in home.accounts if one.name == name), None)
                if found is not None:
                    await client.call("accounts.settle", o.Settle(name))
                    return found
                given_up = next((one.trouble for one in home.coming if one.account == name and one.trouble), "")
                if given_up:
                    say(f"This device is none of the account's. {given_up}", to=err, style="red")
                    fail("Look there at what was added: tmtp devices. Then begin again: tmtp link start", FAILED)
                if home.locked:
                    raise ProblemError("locked", "")
                await _any(heard.next)

    now = run(work)
    if as_json:
        print_json_line(now)
    else:
        say(f"This device is one of {now.alias} on {now.service}, provisional until it is confirmed.")
        say("A third device can do that, or the recovery sheet on any: tmtp devices confirm")


@link.command("finish")
def finish(
    text: TextArgument,
    fingerprint: Annotated[
        str, typer.Option(help="The number that the new device shows; without it you are asked.")
    ] = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """On a device that you have: take the new device in, once you have compared the number.

    Example: tmtp link finish 'tmtp-linked-1:…'
    """
    carried = _carried(text)

    async def work(client: Client) -> m.Devices:
        of = await account_of(client, account)
        await reach(client, of.name)
        seen: m.Link = await client.call("devices.check_link", o.CheckLink(of.name, carried))
        number = fingerprint
        if not number:
            if not sys.stdin.isatty():
                fail("say the number that the new device shows: --fingerprint", USAGE)
            say(f"The number is {seen.fingerprint}.", to=err)
            await confirmed("Does the new device show the same?")
            number = seen.fingerprint
        done: m.Devices = await client.call("devices.finish_link", o.FinishLink(of.name, carried, number))
        await client.call("accounts.settle", o.Settle(of.name))
        return done

    _print_devices(run(work), as_json=as_json)


async def _any(next: Callable[[], Awaitable[m.Event]]) -> None:
    """Until something happens, and not for ever: the account may have come before."""
    try:
        async with asyncio.timeout(limits.LINK_POLL_S):
            await next()
    except TimeoutError:
        pass


def _carried(text: str) -> str:
    return (utf8(sys.stdin.read(limits.LINK_TEXT_MAX_BYTES)) if text == "-" else text).strip()


# -- the recovery sheet ----------------------------------------------------------------------------------------------
@recovery.command("check")
def check(account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Whether the sheet that you have is your account's: the 24 words are asked for, or read from standard input.

    Example: tmtp recovery check
    """
    words = asyncio.run(words_of(_WORDS))

    async def work(client: Client) -> m.Done:
        of = await account_of(client, account)
        checked: m.Done = await client.call("devices.check_recovery", o.CheckRecovery(of.name, words))
        return checked

    checked = run(work)
    if as_json:
        print_json({"right": checked.done})
    elif checked.done:
        say("These are the words of your account's recovery sheet.")
    if not checked.done:
        fail("These are the words of another sheet, or of one that was replaced.", FAILED)


@recovery.command("new")
def new(yes: YesOption = False, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Replace the recovery sheet, of which somebody may have a copy. The old one's words sign, and are void then.

    Example: tmtp recovery new
    """
    confirm("Make a new recovery sheet? The old one is void then.", yes=yes)
    words = asyncio.run(words_of(_WORDS))

    async def work(client: Client) -> None:
        of = await account_of(client, account)
        await reach(client, of.name)
        try:
            sheet: o.RecoverySheet = await client.call("devices.new_recovery", o.NewRecovery(of.name, words))
        except ProblemError as error:
            if error.problem.code == "not_now":
                warn("Whether the service has it is not known. Ask again with the same words: tmtp recovery new")
            raise
        if as_json:
            print_json({"recovery": sheet.words})
        else:
            say("Your new recovery sheet. Write it down, and destroy the old one; it is shown only now:")
            print_words(sheet.words)
        await client.call("accounts.told", o.OfAccount(of.name))  # now that it is on the screen

    run(work)
