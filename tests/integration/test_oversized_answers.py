# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers have bounds: what a request names is cut, parted or refused; what still fits no header harms its link only."""

import asyncio
from pathlib import Path

import pytest

from tests.support.instance import TestInstance, running_instance
from tmtp_client.connection import Connection, Endpoint, Refused
from tmtp_core import limits
from tmtp_core.domain.outcome import PresenceEdit
from tmtp_core.domain.port import Role
from tmtp_core.wire import messages as m


async def test_an_answer_that_does_not_fit_harms_only_its_link(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance") as instance:
        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        alice, mallory = await Connection.open(endpoint), await Connection.open(endpoint)
        await alice.register("n", "Alice Liddell")
        await mallory.register("n", "Mallory Mal")
        with pytest.raises(Refused, match="longer than"):
            await mallory.ask(m.UserEdit("n", newnode="x" * 20_000))
        raw = (
            b'{"op":6,"id":"' + b"<" * 20_000 + b'","act":"join","gid":"there is none"}'
        )  # six times as long when escaped
        mallory._writer.write(b"%04x%b" % (len(raw), raw))
        answers = await asyncio.gather(*(alice.post(f"{number}", [], b"x") for number in range(50)))
        assert len(answers) == 50
        assert await mallory.closed() == "invalid header"
        assert instance.service.healthy
        await alice.quit()
        await mallory.close()


async def test_an_error_repeats_a_long_name_in_part(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance") as instance:
        alice = await _member(instance, "Alice Liddell")
        with pytest.raises(Refused) as refused:
            await alice.ask(m.GroupEdit("1", "join", "g" * 60_000))
        assert str(refused.value).startswith("GroupJoin: iGid ggg")
        assert len(str(refused.value)) == limits.ERROR_TEXT_MAX_CHARACTERS
        await alice.quit()


async def test_presence_lists_have_bounds_that_fit_a_header(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance") as instance:
        alice = await _member(instance, "Alice Liddell")
        uids = [f"{number:032d}".replace("0", "B") for number in range(limits.OHI_EDIT_MAX)]
        uids = list(dict.fromkeys(uids))
        await instance.service.decide(lambda ledger: [ledger.create_account(uid, Role.MEMBER, 0) for uid in uids])
        await alice.ask(m.OhiEdit("most", "add", _entries(uids, limits.OHI_EDIT_MAX)))
        with pytest.raises(Refused, match="OhiEdit: Exceeds 1200 uids"):
            await alice.ask(m.OhiEdit("more", "add", _entries(uids, limits.OHI_EDIT_MAX + 1)))
        await alice.quit()


async def test_more_people_than_info_holds_follow_as_ohi(tmp_path: Path) -> None:
    """The board is filled as if all of them were connected: 1,503 links would be slow and show the same."""
    async with running_instance(tmp_path / "instance") as instance:
        first = await Connection.open(_endpoint(instance))
        registered = await first.register("n", "Alice Liddell")
        await first.quit()
        present = [f"{number:032d}" for number in range(limits.OHI_IN_INFO_MAX + 3)]
        for uid in present:
            instance.service._board.edit(uid, object(), PresenceEdit("add", (registered.uid,)))
        heard: list[str] = []
        again = await Connection.open(_endpoint(instance), on_presence=lambda ohi: heard.append(ohi.from_))
        info = await again.login(registered.uid, registered.nodeid)
        assert info.ohi == tuple(present[: limits.OHI_IN_INFO_MAX])
        await again.post("1", [], b"x")  # its answer comes after all of them
        assert heard == present[limits.OHI_IN_INFO_MAX :]
        await again.quit()


def _endpoint(instance: TestInstance) -> Endpoint:
    return Endpoint(instance.host, instance.port, instance.spki_pin)


async def _member(instance: TestInstance, alias: str) -> Connection:
    connection = await Connection.open(_endpoint(instance))
    await connection.register("n", alias)
    return connection


def _entries(uids: list[str], count: int) -> tuple[m.Recipient, ...]:
    """`count` entries; the uids over again where there are fewer."""
    return tuple(m.Recipient(uids[place % len(uids)]) for place in range(count))
