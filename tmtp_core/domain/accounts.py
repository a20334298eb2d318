# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts, their nodes and their aliases: ops 1, 2 and 3 (wire.md §3, §6)."""

from tmtp_core import limits
from tmtp_core.crypto.credentials import credential, credentials_match
from tmtp_core.domain import quotas
from tmtp_core.domain.admission import Admissions, redeem
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.naming import take_alias
from tmtp_core.domain.outcome import NO_DEVICE, Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Ledger, Role, Status
from tmtp_core.domain.sign_in import SignedIn
from tmtp_core.errors import LoginRefused, RequestRefused
from tmtp_core.ids import RandomBytes, decode_base32, new_node_secret, new_uid
from tmtp_core.wire.messages import (
    Acked,
    Info,
    Login,
    LoginEvent,
    Register,
    Registered,
    UserEdit,
    UserEvent,
    encode_stored,
)

LOGIN_OK = "login ok"
BY_RECOVERY = "recovery"
"""`info` of the recovery key's log-in."""
SUSPENDED = "device suspended"
"""`info` of a suspended device's log-in, and what its links are told when they end."""


class Accounts:
    """Opens accounts and knows their nodes by secret. `key` is the instance's credential key."""

    def __init__(self, key: bytes, random_bytes: RandomBytes, admissions: Admissions) -> None:
        self._key = key
        self._random_bytes = random_bytes
        self._admissions = admissions

    def register(self, ledger: Ledger, request: Register, moment: Moment, signed_in: SignedIn | None = None) -> Outcome:
        """Op 1. A bad alias does not fail it: the account exists and `registered` says why it has no name."""
        admission = self._admissions.admit(ledger, request, moment, signed_in)
        account = ledger.create_account(new_uid(self._random_bytes), Role.MEMBER, moment.ms)
        self._admissions.use(ledger, account, admission)
        secret, device = self._new_device(ledger, account, request.newnode, moment)
        error = self._admissions.name(ledger, account, admission)
        outcome = Outcome(
            answers=[Registered(account.uid, secret, error), Info(LOGIN_OK)],
            enters=Asker(account.key, device, account.uid),
        )
        redeem(ledger, outcome, account, admission, moment)
        return outcome

    def recognise(self, ledger: Ledger, request: Login) -> Asker:
        """Op 2, first half: whose node this is. Raises `LoginRefused` (wire.md §3.4); changes nothing."""
        try:
            secret = decode_base32(request.node)
        except ValueError:
            raise LoginRefused("corrupt base32 value") from None
        account = ledger.account(request.uid)
        if account is None or account.status is not Status.ACTIVE:
            raise LoginRefused("login failed")
        offered = credential(self._key, secret)
        for device in account.devices:
            if credentials_match(device.credential, offered):
                return Asker(account.key, device.key, account.uid)
        raise LoginRefused("login failed")

    def log_in(self, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
        """Op 2, second half: the link enters, and all nodes of the account are told (wire.md §3.7)."""
        account = live_account(ledger, asker)
        head = account.log.head_text if account.log is not None else ""
        if asker.device == NO_DEVICE:
            outcome = Outcome(answers=[Info(BY_RECOVERY, head=head)], enters=asker, restricted=True)
            return self._tell_of_login(ledger, outcome, account, asker, moment, "recovery")
        if is_restricted(account, asker, moment):  # a password may move the account to keys, and nothing else
            info = Info(SUSPENDED, head=head) if asker.public is not None else Info("move this account to keys")
            return Outcome(answers=[info], enters=asker, restricted=True)
        outcome = Outcome(answers=[Info(LOGIN_OK, head=head if asker.revision == 2 else "")], enters=asker)
        return self._tell_of_login(ledger, outcome, account, asker, moment, "tbd")

    def _tell_of_login(
        self, ledger: Ledger, outcome: Outcome, account: Account, asker: Asker, moment: Moment, node: str
    ) -> Outcome:
        if not quotas.tells_of_login(ledger, account, moment):
            return outcome
        stamp = Stamp(ledger, asker, moment)
        number, message_id = stamp.id()
        event = LoginEvent(id=message_id, from_=asker.uid, posted=stamp.posted, datalen=0, node=node)
        send(ledger, outcome, number, event, own_devices(account))
        return outcome

    def probe(self, ledger: Ledger, asker: Asker, moment: Moment) -> bytes:
        """A `login` message that is not stored: a live client acks it, which shows that its link lives."""
        stamp = Stamp(ledger, asker, moment)
        _, message_id = stamp.id()
        return encode_stored(LoginEvent(id=message_id, from_=asker.uid, posted=stamp.posted, datalen=0, node="tbd"))

    def edit_user(self, request: UserEdit, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
        """Op 3: a further alias or a further node."""
        account = active_account(ledger, asker)
        refuse_bridge(account)
        quotas.count_post(ledger, account, 0, moment)  # it is told to all own devices
        if request.newalias is not None:
            return self._add_alias(ledger, asker, account, request, moment)
        return self._add_node(ledger, asker, account, request, moment)

    def _new_device(self, ledger: Ledger, account: Account, label: str, moment: Moment) -> tuple[str, int]:
        secret = new_node_secret(self._random_bytes)
        hashed = credential(self._key, decode_base32(secret))
        device = ledger.add_device(account, hashed, moment.ms, label=label[: limits.LABEL_MAX_CHARACTERS])
        return secret, device.key

    def _add_alias(self, ledger: Ledger, asker: Asker, account: Account, request: UserEdit, moment: Moment) -> Outcome:
        alias = request.newalias or ""
        take_alias(ledger, account, alias)
        outcome = Outcome(answers=[Acked(request.id)])
        tell_alias(ledger, outcome, account, alias, asker, moment)
        return outcome

    def _add_node(self, ledger: Ledger, asker: Asker, account: Account, request: UserEdit, moment: Moment) -> Outcome:
        """The new node's queue starts as a copy of the asking node's; then all nodes hear of it.

        The secret stands only in the asking node's copy, which is therefore a message of its own.
        """
        if account.has_keys:
            raise RequestRefused("AddNode: this account's devices have keys; add the device in its log")
        if len(account.devices) >= limits.NODES_PER_ACCOUNT_MAX:
            raise RequestRefused(f"AddNode: Exceeds {limits.NODES_PER_ACCOUNT_MAX} nodes")
        if len((request.newnode or "").encode()) > limits.NEWNODE_MAX_BYTES:
            raise RequestRefused(f"AddNode: newnode is longer than {limits.NEWNODE_MAX_BYTES} bytes")
        secret, device = self._new_device(ledger, account, request.newnode or "", moment)
        ledger.copy_queue([asker.device], device)
        outcome = Outcome(answers=[Acked(request.id)])
        stamp = Stamp(ledger, asker, moment)
        asking = [one for one in account.devices if one.key == asker.device]
        for nodeid, devices in ((secret, asking), (None, own_devices(account, but=asker.device))):
            number, message_id = stamp.id()
            event = UserEvent(
                id=message_id,
                from_=asker.uid,
                posted=stamp.posted,
                datalen=0,
                newnode=request.newnode,
                nodeid=nodeid,
            )
            send(ledger, outcome, number, event, devices)
        return outcome


def tell_alias(ledger: Ledger, outcome: Outcome, account: Account, alias: str, asker: Asker, moment: Moment) -> None:
    """All devices of an account hear of its new alias."""
    stamp = Stamp(ledger, asker, moment)
    number, message_id = stamp.id()
    event = UserEvent(id=message_id, from_=asker.uid, posted=stamp.posted, datalen=0, newalias=alias)
    send(ledger, outcome, number, event, own_devices(account))


def live_account(ledger: Ledger, asker: Asker) -> Account:
    """The asking account. Raises `LoginRefused` when it or what it entered by has gone meanwhile: the link ends."""
    account = ledger.account_by_key(asker.account)
    if asker.device == NO_DEVICE:
        there = account.log is not None and account.log.recovery == asker.public
    else:
        device = account.device(asker.device)
        there = device is not None and device.public == asker.public  # a password that gave way to a key is none
    if account.status is not Status.ACTIVE or not there:
        raise LoginRefused("login failed")
    return account


def active_account(ledger: Ledger, asker: Asker) -> Account:
    """The asking account, by a device that may act for it. Raises `LoginRefused`."""
    account = live_account(ledger, asker)
    if _is_held(account, asker):
        raise LoginRefused(SUSPENDED)
    return account


def is_restricted(account: Account, asker: Asker, moment: Moment) -> bool:
    """Whether the asker may only look at the account's log and add to it: a suspended device, the recovery key, or a
    password where those are spoken no more.
    """
    return _is_held(account, asker) or (asker.public is None and not moment.policy.revision1)


def _is_held(account: Account, asker: Asker) -> bool:
    if asker.public is None:
        return False
    state = account.log.devices.get(asker.public) if account.log is not None else None
    return state is None or state.revoked or state.suspended_by is not None  # the recovery key is no device
