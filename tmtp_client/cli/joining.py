# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp join`, `recover`, `sign-in`, `alias`, `whoami`: coming to an account, coming back, and who one is (B1, B4)."""

import asyncio
import ssl
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.cli.asking import words_of
from tmtp_client.cli.common import (
    FAILED,
    USAGE,
    AccountOption,
    JsonOption,
    err,
    fail,
    print_json,
    say,
    warn,
)
from tmtp_client.cli.sending import bar_of
from tmtp_client.cli.session import FIRST_NAME, account_of, progressing, reach, run
from tmtp_core.names import NameRefused, check_name
from tmtp_core.wire.address import ServiceAddress, parse_address

_WORDS_A_LINE: Final = 6

AddressArgument = Annotated[str, typer.Argument(help="host:port, or the tmtp:// link you were given.")]
PinOption = Annotated[str, typer.Option(help="sha256:… of a self-signed service, if the link has none.")]
BrowserOption = Annotated[bool, typer.Option(help="Open the browser for a sign-in, or only print its address.")]
CaOption = Annotated[Path | None, typer.Option(help="PEM file of a private certificate authority.")]
LabelOption = Annotated[str, typer.Option(help="What you call this device, on all your devices.")]


def join(
    alias: Annotated[str, typer.Option(help="The name others know you by; 8 bytes or more, yours for ever.")],
    address: Annotated[str, typer.Argument(help="host:port, or the tmtp:// link you were given.")] = "",
    picture: Annotated[
        Path | None, typer.Option(help="A picture of the invitation's QR code, instead of the link.", dir_okay=False)
    ] = None,
    invite: Annotated[str, typer.Option(help="The invitation's token, if the link has none.")] = "",
    pin: PinOption = "",
    ca: CaOption = None,
    label: LabelOption = "",
    sign_in: Annotated[
        bool, typer.Option("--sign-in", help="Sign in with the service's provider, also where you need not.")
    ] = False,
    browser: BrowserOption = True,
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Open an account on a service; this device becomes its first.

    Where the service wants you to sign in with your organisation, that happens in your browser.

    It prints the account's recovery sheet, once. Write it down: with it you come back when every device is lost, and
    bar one that was stolen. No device keeps it, so that none can take the account over.

    Example: tmtp join 'tmtp://chat.example.org:4433#invite=…' --alias 'Ada Lovelace'

    Example: tmtp join --picture card.jpg --alias 'Ada Lovelace'
    """
    if bool(address.strip()) == (picture is not None):
        fail("say the link that you were given, tmtp://…, or host:port; or give a picture of its QR code", USAGE)
    check_alias(alias)
    name = account or FIRST_NAME
    shown = str(picture.absolute()) if picture is not None else ""

    async def work(client: Client) -> tuple[m.Joined, bool]:
        link = await _link_in(client, shown) if shown else address
        asked = o.Join(name, link, alias, label, invite, pin, _ca_file(ca), sign_in)
        with _working() as told:
            joining = _signed_in(client, "accounts.join", asked, browser=browser)
            joined: m.Joined = await progressing(client, joining, "join", told)
        home: m.Home = await client.call("home.state")
        _print_joined(joined, link, pin, as_json=as_json)
        await client.call("accounts.told", o.OfAccount(name))  # now that it is on the screen: it must be nowhere else
        return joined, home.protected

    joined, protected = run(work)
    if not protected:
        say("The history on this device is not locked; to lock it: tmtp lock --set-passphrase", to=err)
    if joined.error:
        fail(f"{joined.error}. Your account exists; choose another name: tmtp alias 'Other Name'", FAILED)
    if not as_json:
        say("Next: tmtp ping 'Somebody Known' 'Hello, it is me' · tmtp inbox · tmtp watch")


async def _link_in(client: Client, picture: str) -> str:
    """The invitation that the picture at this path shows. Raises `ProblemError`."""
    read: m.Text = await client.call("codes.read", o.ReadCode(picture, "invitation"))
    return read.text


def recover(
    address: AddressArgument,
    uid: Annotated[str, typer.Option(help="As the recovery sheet has it.")],
    alias: Annotated[str, typer.Option(help="Your name there.")],
    revoke_others: Annotated[
        bool, typer.Option("--revoke-others", help="Bar every device that the account had, for good.")
    ] = False,
    pin: PinOption = "",
    ca: CaOption = None,
    label: LabelOption = "",
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Come back to your account with its recovery sheet, when every device is lost; this device becomes one of it.

    The 24 words are asked for, or read from standard input. Your other devices are told.

    Example: tmtp recover 'tmtp://chat.example.org:4433' --uid … --alias 'Ada Lovelace' --revoke-others
    """
    check_alias(alias)
    name = account or FIRST_NAME
    words = asyncio.run(words_of("The 24 words of your recovery sheet"))
    asked = o.Recover(name, address, uid, alias, words, label, pin, _ca_file(ca), revoke_others)

    async def work(client: Client) -> tuple[m.Joined, int]:
        joined: m.Joined = await client.call("accounts.recover", asked)
        devices: m.Devices = await client.call("devices.list", o.OfAccount(name))
        return joined, sum(not one.this and one.stands != "revoked" for one in devices.devices)

    joined, others = run(work)
    now = joined.account
    if as_json:
        print_json({"uid": now.uid, "alias": now.alias, "service": now.service, "other_devices": others})
    if joined.error:
        fail(f"{joined.error}. You are back all the same; choose your name: tmtp alias 'Your Name'", FAILED)
    if as_json:
        return
    say(f"You are {now.alias} on {now.service} again.")
    if others:
        say(f"The account has {others} other device{'s' if others > 1 else ''} still: tmtp devices")


def sign_in_again(browser: BrowserOption = True, account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Sign in with your organisation's provider again, after it has signed you out.

    Until then the service lets none of your devices in, and says: authentication required.

    Example: tmtp sign-in
    """

    async def work(client: Client) -> m.Account:
        meant = await account_of(client, account)
        await _signed_in(client, "accounts.sign_in", o.SignInAgain(meant.name), browser=browser)
        return await account_of(client, meant.name)

    now = run(work)
    if as_json:
        print_json(now)
    else:
        say(f"You are {now.alias} on {now.service} again.")


def take_alias(
    name: Annotated[str, typer.Argument(help="8 bytes or more; yours for ever.")],
    account: AccountOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a further name; messages go out under it from now on.

    Example: tmtp alias 'Ada, sales'
    """
    check_alias(name)

    async def work(client: Client) -> m.Account:
        meant = await account_of(client, account)
        await reach(client, meant.name)
        changed: m.Account = await client.call("accounts.alias", o.SetAlias(meant.name, name))
        return changed

    now = run(work)
    if as_json:
        print_json(now)
    else:
        say(f"You are {now.alias} now.")


def whoami(account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Who you are, and whom you know.

    Example: tmtp whoami
    """

    async def work(client: Client) -> tuple[m.Account, list[m.Person]]:
        meant = await account_of(client, account)
        people: list[m.Person] = await client.call("people.list", o.OfAccount(meant.name))
        return meant, [one for one in people if one.stands != "self"]

    now, people = run(work)
    if as_json:
        contacts = [{"alias": one.alias, "uid": one.uid, "stands": one.stands} for one in people]
        who = {"uid": now.uid, "alias": now.alias, "aliases": now.aliases, "service": now.service}
        print_json({"account": now.name, **who, "contacts": contacts})
        return
    say(f"{now.alias} on {now.service} (uid {now.uid})")
    for person in people:
        say(f"  knows {person.alias} ({person.uid})")


# -- inside ----------------------------------------------------------------------------------------------------------
def check_alias(name: str) -> None:
    """Said here, before an invitation is spent on it."""
    try:
        check_name(name)
    except (NameRefused, UnicodeEncodeError) as refused:
        fail(f"That cannot be a name: {refused}", USAGE)


async def _signed_in(client: Client, operation: str, asked: Any, *, browser: bool) -> Any:
    """The answer, after the person was at the provider of sign-in, where that is asked for."""
    answer = await client.call(operation, asked)
    if not isinstance(answer, m.SignIn):
        return answer
    say("Sign in, in your browser:", to=err)
    say(answer.url, to=err)
    if browser:
        await asyncio.to_thread(webbrowser.open, answer.url)
    return await client.call(operation, msgspec.structs.replace(asked, sign_in=answer.sign_in))


@contextmanager
def _working() -> Iterator[Callable[[int, int], None]]:
    """Shows how far the work is that a service asks for, if it does."""
    bar, task = bar_of(0, "working", counts=True)
    begun = False

    def told(tried: int, about: int) -> None:
        nonlocal begun
        if not begun:
            say("Many people join just now; this device proves that it means it.", to=err)
            begun = True
            bar.start()
        bar.update(task, completed=min(tried, about), total=about)

    try:
        yield told
    finally:
        if begun:
            bar.stop()


def _ca_file(ca: Path | None) -> str:
    if ca is None:
        return ""
    try:
        ssl.create_default_context(cafile=ca)
    except OSError as error:  # also of a file that holds no certificate
        fail(f"--ca {ca} holds no certificates that can be used: {error.strerror or error}", USAGE)
    return str(ca.absolute())


def _print_joined(joined: m.Joined, address: str, pin: str, *, as_json: bool) -> None:
    now = joined.account
    if as_json:
        told = {"uid": now.uid, "alias": now.alias, "service": now.service, "recovery": joined.recovery or None}
        print_json({**told, "error": joined.error} if joined.error else told)
        return
    say(f"You are {now.alias or 'nameless'} on {now.service}.")
    if joined.recovery:
        named = parse_address(address)
        _print_sheet(now, ServiceAddress(now.host, now.port, pin or named.pin), joined.recovery)
    else:
        warn("The service speaks revision 1 only, which knows no recovery sheet: this device is the only way in.")


def _print_sheet(account: m.Account, where: ServiceAddress, words: str) -> None:
    """The recovery sheet: everything that the way back needs."""
    say("")
    say("Your recovery sheet. Write it down and keep it away from your devices; it is shown only now:")
    print_words(words)
    who = f"--uid '{account.uid}' --alias '{account.alias or 'Your Name'}'"
    say(f"  the way back: tmtp recover '{where.link()}' {who}")
    say("")


def print_words(words: str) -> None:
    """24 words in rows, numbered, as one copies them."""
    rows = words.split()
    for start in range(0, len(rows), _WORDS_A_LINE):
        line = enumerate(rows[start : start + _WORDS_A_LINE], start + 1)
        say("    " + "  ".join(f"{place:2} {word:<8}" for place, word in line).rstrip())
