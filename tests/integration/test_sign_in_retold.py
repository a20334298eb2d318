# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sign-in with a provider after a restore: whose an account is, and what its sign-out ended (A1, B4)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tmtp_core.crypto.signing import Signer
from tmtp_core.domain import facts as f
from tmtp_core.domain.administration import BRIDGE
from tmtp_core.domain.device_log import DeviceLogs
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.port import Identity, Role, Status
from tmtp_core.domain.retelling import Retelling
from tmtp_core.domain.sign_in import SignedIn, SignedOut, keep_person, sign_out
from tmtp_core.store.database import Database
from tmtp_core.store.journalled import JournalledLedger

FAR_MS = 10**15
ADA, BOB = Identity("https://idp.example", "ada", "s"), Identity("https://idp.example", "bob")


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.facts: list[f.Fact] = []

    def known(self, number: int) -> None:
        pass

    def append(self, told: f.Told) -> None:
        one = f.decode_told(f.encode_told(told))
        self.facts += one.facts


class Machine:
    """A database with a journal, where Ada has an account since before the backup."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self.database = Database(folder)
        self.journal = Kept()
        self.ledger = JournalledLedger(self.database, signer.public_key, lambda event, fields: None, self.journal)
        self.database.do(self.ledger.load)
        self.do(lambda ledger: ledger.bind(ledger.create_account("ada", Role.MEMBER, 1), ADA, 100))
        self.journal.facts.clear()

    def do(self, work: Callable[[Any], Any]) -> Any:
        def run(connection: Any) -> Any:
            self.ledger.begin(connection)
            result = work(self.ledger)
            self.ledger.flush()
            return result

        result = self.database.do(run)
        self.ledger.committed()
        return result

    def state(self) -> list[object]:
        """Of everybody: status, whose, since when."""

        def look(ledger: Any) -> list[object]:
            found: list[object] = []
            for identity in (ADA, BOB):
                for key in ledger.accounts_of(identity.issuer, identity.subject, identity.session):
                    one = ledger.account_by_key(key)
                    found.append((one.uid, one.status, ledger.signed_in_s(one), ledger.signed_out_s(one)))
            return [*found, ledger.was_used(b"n" * 16), ledger.was_used(b"o" * 16)]

        return self.do(look)  # type: ignore[no-any-return]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine, Callable[[], None]]]:
    """The one that is lost, the restored one, and what tells this what the first has done."""
    signer = Signer(os.urandom(32))
    lost, restored = (Machine(tmp_path / f"{name}.sqlite3", signer) for name in ("lost", "restored"))

    def retell() -> None:
        tell = lambda ledger: Retelling(ledger, DeviceLogs(signer), Moment(10**18), pytest.fail).tell(  # noqa: E731
            lost.journal.facts
        )
        restored.do(tell)
        heard_once = restored.state()
        restored.do(tell)
        assert restored.state() == heard_once  # hearing it twice changes nothing

    yield lost, restored, retell
    lost.database.close()
    restored.database.close()


def signed_out(issued_s: int) -> Callable[[Any], Any]:
    return lambda ledger: sign_out(SignedOut(ADA.issuer, ADA.subject, "", issued_s, b"n" * 16, FAR_MS), ledger)


def test_who_was_signed_out_or_registered_after_the_backup_is_so_after_the_restore(
    machines: tuple[Machine, Machine, Callable[[], None]],
) -> None:
    lost, restored, retell = machines
    lost.do(signed_out(200))
    new = lambda ledger: keep_person(  # noqa: E731
        ledger, ledger.create_account("bob", Role.MEMBER, 1), SignedIn(BOB, 150, b"o" * 16, FAR_MS)
    )
    lost.do(new)
    retell()
    assert (
        restored.state()
        == lost.state()
        == [("ada", Status.BARRED, 100, 200), ("bob", Status.ACTIVE, 150, 0), True, True]
    )


def test_a_bar_that_no_sign_in_lifts_stays_one(machines: tuple[Machine, Machine, Callable[[], None]]) -> None:
    """An administrator barred who was signed out when the backup was taken."""
    lost, restored, retell = machines
    for machine in (lost, restored):
        machine.do(signed_out(200))
    lost.journal.facts.clear()
    lost.do(lambda ledger: ledger.set_status(ledger.account("ada"), Status.BARRED))
    retell()
    assert restored.state() == lost.state()
    assert restored.state()[0] == ("ada", Status.BARRED, 100, 0)


def test_a_bridge_that_was_made_after_the_backup_keeps_its_account(
    machines: tuple[Machine, Machine, Callable[[], None]],
) -> None:
    """C2: or its next start would make it another one."""
    lost, restored, retell = machines

    def made(ledger: Any) -> None:
        ledger.create_account("another", Role.MEMBER, 1)
        ledger.set_counter(BRIDGE + "intake", ledger.create_account("intake's", Role.BRIDGE, 1).key)

    lost.do(made)
    restored.do(lambda ledger: [ledger.create_account(uid, Role.MEMBER, 1) for uid in "xyz"])  # other keys
    retell()
    assert restored.do(lambda ledger: ledger.bridge_name(ledger.account("intake's"))) == "intake"
