# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp join`, `recover`, `alias`, `whoami`: coming to an account, coming back to it, and who one is (B1, B4)."""

import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.progress import Progress, TaskID

from tmtp_client import limits
from tmtp_client.cli.common import (
    FAILED,
    USAGE,
    JsonOption,
    ProfileOption,
    account_of,
    check_alias,
    err,
    fail,
    new_request_id,
    print_json,
    profile_of,
    run,
    say,
)
from tmtp_client.cli.signing_in import Ways, signed_in
from tmtp_client.connection import (
    AccountKeys,
    Connection,
    DeviceKeys,
    Disconnected,
    Endpoint,
    OnWork,
    Refused,
    WrongService,
)
from tmtp_client.engine.engine import Engine
from tmtp_client.engine.history import History, Identity
from tmtp_client.engine.recovery import seed_of, words_of
from tmtp_core.crypto.account_log import RECOVERY, ActName, Entry, LogState
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.log_records import LogInvalid, compose, decode_records, verify
from tmtp_core.crypto.sign_in import device_nonce
from tmtp_core.crypto.signing import Signer
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.address import ServiceAddress, parse_address

SIGN_IN_REQUIRED: Final = 2
"""`auth` of `tmtprev` (wire.md §10); 1 is possible."""
_WORDS_A_LINE: Final = 6

AddressArgument = Annotated[str, typer.Argument(help="host:port, or the tmtp:// link you were given.")]
PinOption = Annotated[str | None, typer.Option(help="sha256:… of a self-signed service, if the link has none.")]
BrowserOption = Annotated[bool, typer.Option(help="Open the browser for a sign-in, or only print its address.")]
CaOption = Annotated[Path | None, typer.Option(help="PEM file of a private certificate authority.")]


@dataclass(frozen=True, slots=True)
class _Service:
    """Where to go, and how to know that it is the one."""

    address: ServiceAddress
    ca_file: str | None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(
            self.address.host, self.address.port, self.address.pin, Path(self.ca_file) if self.ca_file else None
        )

    def identity(
        self, greeting: m.TmtpRevAnswer, uid: str, alias: str, keys: DeviceKeys | None, node: str = ""
    ) -> Identity:
        """Who this device is there."""
        return Identity(
            uid=uid,
            node=node,
            alias=alias,
            host=self.address.host,
            port=self.address.port,
            pin=self.address.pin,
            ca_file=self.ca_file,
            service=greeting.name,
            keys=keys,
            service_key=greeting.service.key if greeting.service is not None else "",
        )


def join(
    address: AddressArgument,
    alias: Annotated[str, typer.Option(help="The name others know you by; 8 bytes or more, yours for ever.")],
    invite: Annotated[str | None, typer.Option(help="The invitation's token, if the link has none.")] = None,
    pin: PinOption = None,
    ca: CaOption = None,
    sign_in: Annotated[
        bool, typer.Option("--sign-in", help="Sign in with the service's provider, also where you need not.")
    ] = False,
    browser: BrowserOption = True,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Open an account on a service; this device becomes its first.

    Where the service wants you to sign in with your organisation, that happens in your browser.

    It prints the account's recovery sheet, once. Write it down: with it you come back when every device is lost, and
    bar one that was stolen. No device keeps it, so that none can take the account over.

    Example: tmtp join 'tmtp://chat.example.org:4433#invite=…' --alias 'Ada Lovelace'
    """
    service = _service(address, pin, ca, invite)
    check_alias(alias)
    history = profile_of(profile).open()
    known = history.identity()
    pending = history.pending_keys(known.service_key) if known is not None else None
    if known is not None and pending is None:
        _refuse_second(profile, known)
    if known is not None:
        identity, error = known, ""
    else:
        identity, error = run(_joined(service, alias, history, Ways(sign_in, browser)))
    keys = history.pending_keys(identity.service_key)
    words = words_of(keys.recovery_seed) if keys is not None else None
    if as_json:
        told = {"uid": identity.uid, "alias": identity.alias, "service": identity.service, "recovery": words}
        print_json({**told, "error": error} if error else told)
    else:
        say(f"You are {identity.alias or 'nameless'} on {identity.service}.")
        if words is not None:
            _print_sheet(identity, words)
    history.forget_pending()  # now that it is on the screen: it must be nowhere else
    if known is not None and (known.host, known.port) != (service.address.host, service.address.port):
        _refuse_second(profile, known)
    if error:
        fail(f"{error}. Your account exists; choose another name: tmtp alias 'Other Name'", FAILED)
    if as_json:
        return
    say("Next: tmtp ping 'Somebody Known' 'Hello, it is me' · tmtp inbox · tmtp watch")


def recover(
    address: AddressArgument,
    uid: Annotated[str, typer.Option(help="As the recovery sheet has it.")],
    alias: Annotated[str, typer.Option(help="Your name there.")],
    revoke_others: Annotated[
        bool, typer.Option("--revoke-others", help="Bar every device that the account had, for good.")
    ] = False,
    pin: PinOption = None,
    ca: CaOption = None,
    profile: ProfileOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Come back to your account with its recovery sheet, when every device is lost; this device becomes one of it.

    The 24 words are asked for, or read from standard input. Your other devices are told.

    Example: tmtp recover 'tmtp://chat.example.org:4433' --uid … --alias 'Ada Lovelace' --revoke-others
    """
    service = _service(address, pin, ca, None)
    check_alias(alias)
    history = profile_of(profile).open()
    known = history.identity()
    if known is not None:
        _refuse_second(profile, known)
    typed = typer.prompt("The 24 words of your recovery sheet") if sys.stdin.isatty() else sys.stdin.read()
    try:
        recovery = Signer(seed_of(typed))
    except ValueError as wrong:
        fail(str(wrong), USAGE)
    identity, others = run(_recover(service, uid, alias, recovery, revoke_others, history))
    if as_json:
        print_json({"uid": uid, "alias": identity.alias, "service": identity.service, "other_devices": others})
        return
    say(f"You are {identity.alias} on {identity.service} again.")
    if others:
        say(f"The account has {others} other device{'s' if others > 1 else ''} still.")


def sign_in_again(browser: BrowserOption = True, profile: ProfileOption = "default") -> None:
    """Sign in with your organisation's provider again, after it has signed you out.

    Until then the service lets none of your devices in, and says: authentication required.

    Example: tmtp sign-in
    """
    account = account_of(profile)
    identity = account.identity
    if identity.keys is None:
        fail("an account without keys cannot; ask whoever runs the service", FAILED)
    address = ServiceAddress(identity.host, identity.port, identity.pin)
    run(_sign_in_again(_Service(address, identity.ca_file), identity, identity.keys, Ways(True, browser)))
    say(f"You are {identity.alias} on {identity.service} again.")


def take_alias(
    name: Annotated[str, typer.Argument(help="8 bytes or more; yours for ever.")], profile: ProfileOption = "default"
) -> None:
    """Take a further name; messages go out under it from now on.

    Example: tmtp alias 'Ada, sales'
    """
    check_alias(name)
    account = account_of(profile)
    with account.profile.lock() as ours:
        if not ours:
            fail("tmtp watch runs for this profile; end it first", FAILED)
        run(_take_alias(account.history, account.identity, name))
    say(f"You are {name} now.")


def whoami(profile: ProfileOption = "default", as_json: JsonOption = False) -> None:
    """Who you are, and whom you know.

    Example: tmtp whoami
    """
    account = account_of(profile)
    contacts = account.history.contacts()
    if as_json:
        values = {"uid": account.identity.uid, "alias": account.identity.alias, "service": account.identity.service}
        print_json({**values, "contacts": [{"alias": alias, "uid": uid} for alias, uid in contacts]})
        return
    say(f"{account.identity.alias} on {account.identity.service} (uid {account.identity.uid})")
    for alias, uid in contacts:
        say(f"  knows {alias} ({uid})")


# -- what the commands do --------------------------------------------------------------------------------------------
async def _joined(service: _Service, alias: str, history: History, ways: Ways) -> tuple[Identity, str]:
    """As `_join`; an invitation that is not good any more is called that."""
    try:
        return await _join(service, alias, history, ways)
    except Disconnected as error:
        if str(error) != "invitation required":
            raise
        if service.address.invite is None:
            raise Disconnected("this takes an invitation; ask whoever runs the service for one") from None
        raise Disconnected("the invitation is not good, or no more: it was used, revoked, or has expired") from None


async def _join(service: _Service, alias: str, history: History, ways: Ways | None = None) -> tuple[Identity, str]:
    """Register; and why the account has not got the alias, if so.

    The keys are kept before the service hears of them, so that a join that was cut off is taken up again by the next
    one. They stay pending for the sheet.
    """
    ways = ways or Ways()
    async with _greeted(service) as (connection, greeting):
        keys = _joining_keys(history, greeting.service.key) if greeting.service is not None else None
        if not _asks_who(greeting, ways):
            return await _register(service, connection, greeting, alias, history, keys, None)
    oidc = await _proof_of_person(greeting, keys.device if keys is not None else None, ways)
    async with _greeted(service) as (connection, again):  # no link stays open for as long as a person needs
        if again.service != greeting.service:
            raise WrongService("another service answers than before; nothing was signed for it")
        return await _register(service, connection, again, alias, history, keys, oidc)


async def _register(
    service: _Service,
    connection: Connection,
    greeting: m.TmtpRevAnswer,
    alias: str,
    history: History,
    keys: AccountKeys | None,
    oidc: dict[str, Any] | None,
) -> tuple[Identity, str]:
    """As the device with these keys, or with a password where the service knows revision 1 only."""
    invite = service.address.invite
    if keys is not None:
        with _progress() as on_work:
            registered = await connection.register_keys(
                socket.gethostname(), keys, alias, invite, oidc=oidc, on_work=on_work
            )
    else:
        registered = await connection.register(alias, alias, invite, oidc)
    named = "" if registered.error else alias
    device = keys.device if keys is not None else None
    identity = service.identity(greeting, registered.uid, named, device, registered.nodeid)
    history.set_identity(identity)
    return identity, registered.error


def _joining_keys(history: History, service_key: str) -> AccountKeys:
    """Those of a join that was cut off, or new ones, which are kept."""
    keys = history.pending_keys(service_key)
    if keys is None:
        keys = AccountKeys.new(os.urandom)
        history.set_pending_keys(service_key, keys)
    elif not keys.recovery_seed:
        raise Refused("this profile is on its way back to an account: finish that with tmtp recover")
    return keys


def _asks_who(greeting: m.TmtpRevAnswer, ways: Ways) -> bool:
    """Whether a provider of sign-in is to be asked."""
    return greeting.auth == SIGN_IN_REQUIRED or (ways.wanted and greeting.auth > 0)


async def _proof_of_person(greeting: m.TmtpRevAnswer, device: DeviceKeys | None, ways: Ways) -> dict[str, Any]:
    """What the provider says of the person, for this device only.

    `Refused` where the service knows no device keys: what it would be given, it could give to another in one's name.
    """
    if not greeting.authby:
        raise TimeoutError("the service cannot reach its provider of sign-in now; try again later")
    if device is None or greeting.service is None:
        raise Refused(
            "this service speaks revision 1 only, where a sign-in is not bound to this device: another service could "
            "have sent you here to come in under your name; ask who runs it for revision 2"
        )
    provider = greeting.authby[0]

    def tell(url: str) -> None:
        say(f"Sign in with {provider.label} in your browser:", to=err)
        say(url, to=err)

    nonce = device_nonce(from_text(greeting.service.key), device.signer.public)
    return {"id_token": await signed_in(provider, nonce, tell, browser=ways.browser)}


async def _sign_in_again(service: _Service, identity: Identity, keys: DeviceKeys, ways: Ways) -> None:
    async with _greeted(service) as (_, greeting):
        pass
    if not _asks_who(greeting, ways):
        raise Refused("this service asks no provider")
    oidc = await _proof_of_person(greeting, keys, ways)
    async with _greeted(service) as (connection, _):
        await connection.login_by_key(identity.uid, keys.signer, identity.service_key, oidc)


@contextmanager
def _progress() -> Iterator[OnWork]:
    """Shows how far the work is that a service asks for, if it does."""
    with Progress(console=err, transient=True) as progress:
        tasks: list[TaskID] = []

        def on_work(tried: int, about: int) -> None:
            if not tasks:
                say("Many people join just now; this device proves that it means it:", to=err)
                tasks.append(progress.add_task("working", total=about))
            progress.update(tasks[0], completed=min(tried, about))

        yield on_work


async def _recover(
    service: _Service, uid: str, alias: str, recovery: Signer, revoke_others: bool, history: History
) -> tuple[Identity, int]:
    """Look at the log, add this device to it, enter by it. How many other devices the account still has.

    The device's keys are kept before the service hears of them: when something cuts this off, the next try goes on
    with the same device.
    """
    async with _greeted(service) as (connection, greeting):
        if greeting.service is None:
            raise Disconnected("the service speaks revision 1 only, which knows no recovery keys")
        await connection.login_by_recovery(uid, recovery)
        log = await _verified_log(connection, uid, greeting.service.key)
        keys = _returning_keys(history, greeting.service.key, log)
        chain = _Chain(connection, uid, greeting.service.key, log)
        if keys.signer.public not in log.devices:
            both = {RECOVERY: recovery, keys.signer.public: keys.signer}
            await chain.append("add", both, device=keys.signer.public, box=keys.box)
        others = [device.key for device in chain.log.unrevoked() if device.key != keys.signer.public]
        while revoke_others and others:  # one may be added meanwhile, by whoever has a device of this account
            await chain.append("revoke", {RECOVERY: recovery}, target=others[0])
            others = [device.key for device in chain.log.unrevoked() if device.key != keys.signer.public]
        identity = service.identity(greeting, uid, "", keys)
        history.set_identity(identity)
    history.forget_pending()
    try:
        return await _take_alias(history, identity, alias), len(others)
    except Refused as refused:
        raise Refused(f"{refused}. You are back all the same; choose your name: tmtp alias 'Your Name'") from None


def _returning_keys(history: History, service_key: str, log: LogState) -> DeviceKeys:
    """The keys with which an earlier try was cut off, or new ones. Raises `Refused` in the midst of a join."""
    pending = history.pending_keys(service_key)
    if pending is not None and pending.recovery_seed:
        raise Refused("an account is being opened in this profile: finish that with tmtp join, or choose --profile")
    if pending is not None and log.standing(pending.device.signer.public, log.time_ms) != "revoked":
        return pending.device
    keys = DeviceKeys.new(os.urandom)
    history.set_pending_keys(service_key, AccountKeys(keys, b""))
    return keys


class _Chain:
    """The log of an account, which others may add to while one signs."""

    def __init__(self, connection: Connection, uid: str, service_key: str, log: LogState) -> None:
        self.log = log
        self._connection = connection
        self._uid = uid
        self._service_key = service_key

    async def append(self, act: ActName, signers: dict[str, Signer], **fields: str) -> None:
        """Sign an entry on top of the log as it is, and again when it has moved on. Raises `Refused`."""
        for _ in range(limits.LOG_TRIES_MAX):
            made, sigs = compose(Entry(act, self.log.head_text, **fields), signers, self.log.service_key)
            taken = True
            try:
                await self._connection.ask(m2.LogAppend(new_request_id(), made, sigs))
            except Refused as refused:
                if "moved on" not in str(refused):
                    raise
                taken = False
            self.log = await _verified_log(self._connection, self._uid, self._service_key, self.log)
            if taken:
                return
        raise Refused("somebody else changes this account all the time; try again")


async def _verified_log(connection: Connection, uid: str, service_key: str, known: LogState | None = None) -> LogState:
    """An account's log, checked record by record from what is known. Raises `Disconnected` when it does not hold."""
    log = known
    while True:
        since = log.count if log is not None else 0
        page, data = await connection.inquire(m2.LogFetch(new_request_id(), uid, since))
        try:
            records = decode_records(data)
            log = verify(records, uid=uid, service_key=service_key, known=log)
        except LogInvalid as invalid:
            raise Disconnected(f"the service's log of this account does not hold: {invalid}") from None
        if not (isinstance(page, m2.LogPage) and page.more and records):
            return log


async def _take_alias(history: History, identity: Identity, name: str) -> Identity:
    """Take a name, or show that one has it already; asking again for one's own succeeds."""
    async with Engine(history, identity).running() as engine:
        try:
            connection = await engine.connection.at_once(limits.PATIENCE_S)
        except Disconnected as error:
            if engine.connection.failed is not None:
                raise
            raise TimeoutError(str(error)) from None  # not now
        await connection.ask(m.UserEdit(new_request_id(), newalias=name))
    named = replace(identity, alias=name)
    history.set_identity(named)
    return named


@asynccontextmanager
async def _greeted(service: _Service) -> AsyncIterator[tuple[Connection, m.TmtpRevAnswer]]:
    """A connection on which nobody has entered yet."""
    connection = await Connection.open(service.endpoint, revision="2")
    try:
        yield connection, connection.service.result()
    finally:
        await connection.quit()


def _service(address: str, pin: str | None, ca: Path | None, invite: str | None) -> _Service:
    """What was typed, or a plain word on what is wrong with it."""
    try:
        parsed = parse_address(address)
    except ValueError as error:
        fail(str(error), USAGE)
    named = ServiceAddress(parsed.host, parsed.port, pin or parsed.pin, invite or parsed.invite)
    if ca is not None:
        try:
            ssl.create_default_context(cafile=ca)
        except OSError as error:  # also of a file that holds no certificate
            fail(f"--ca {ca} holds no certificates that can be used: {error.strerror or error}", USAGE)
    return _Service(named, str(ca.resolve()) if ca is not None else None)


def _refuse_second(profile: str, known: Identity) -> NoReturn:
    """A profile has one account."""
    fail(f"the profile {profile} is {known.alias} on {known.service} already; choose another --profile", USAGE)


def _print_sheet(identity: Identity, words: str) -> None:
    """The recovery sheet: everything that the way back needs."""
    bare = ServiceAddress(identity.host, identity.port, identity.pin).link()
    rows = words.split()
    say("")
    say("Your recovery sheet. Write it down and keep it away from your devices; it is shown only now:")
    for start in range(0, len(rows), _WORDS_A_LINE):
        line = enumerate(rows[start : start + _WORDS_A_LINE], start + 1)
        say("    " + "  ".join(f"{place:2} {word:<8}" for place, word in line).rstrip())
    say(f"  the way back: tmtp recover '{bare}' --uid '{identity.uid}' --alias '{identity.alias or 'Your Name'}'")
    say("")
