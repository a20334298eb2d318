# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the comparison with other servers promises: it sees what is lost, doubled or out of order. No times."""

import shutil

import pytest
import uvloop

from bench.member import Member, Tally
from bench.peers.ejabberd import Ejabberd
from bench.peers.mail import Mail
from bench.peers.mosquitto import Mosquitto
from bench.peers.ours import Ours
from bench.peers.process import NotHere, PeerServer
from bench.peers.run import away_and_killed, everybody_online, half_away, online
from bench.peers.work import Client, Part, Seen, Work

WORK = Work(clients=6, seconds=0.5)


@pytest.mark.parametrize(
    ("numbers", "doubled", "reordered", "lost"),
    [
        ([0, 1, 2, 3], 0, 0, 0),
        ([0, 2, 1, 3], 0, 1, 0),
        ([0, 1, 1, 2, 3], 1, 0, 0),
        ([0, 3], 0, 0, 2),
        ([1, 2], 0, 0, 2),
        ([], 0, 0, 4),
    ],
    ids=["in order", "reordered", "doubled", "lost within", "lost at both ends", "nothing came"],
)
def test_it_notices_what_must_not_happen(numbers: list[int], doubled: int, reordered: int, lost: int) -> None:
    seen = Seen()
    for number in numbers:
        seen.take(7, number)
    assert (seen.doubled, seen.reordered, seen.lost(7, 4)) == (doubled, reordered, lost)


def test_everybody_posts_to_two_others_and_hears_from_two() -> None:
    for count in (3, 6, 50):
        parts = everybody_online(Work(clients=count))
        assert all(len({*part.to} - {part.number}) == 2 for part in parts)
        assert sorted((part.number, to) for part in parts for to in part.to) == sorted(
            (poster, part.number) for part in parts for poster in part.hears
        )
    posters, recipients = half_away(Work(clients=6))
    assert {number for part in posters for number in part.to} == {part.number for part in recipients}


def test_our_server_loses_nothing_when_it_is_killed_before_its_recipients_come_back() -> None:
    with Ours() as server:
        outcome = uvloop.run(away_and_killed(server, WORK))
    assert outcome.problems == []
    assert outcome.acknowledged > 0
    assert (outcome.lost, outcome.doubled, outcome.reordered) == (0, 0, 0)


class _Forgetful(Ours):
    """Ours, whose clients do not see every fifth message: a server that loses what it has acknowledged."""

    def client(self, part: Part, tally: Tally) -> Client:
        client = super().client(part, tally)
        took = client.took
        client.took = lambda stamp: None if stamp[7] % 5 == 4 else took(stamp)  # type: ignore[method-assign]
        return client


def test_a_server_that_loses_messages_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.run._QUIET_S", 0.3)
    assert Member.stamp(1, 4, 0)[7] == 4  # where the forgetful one looks
    with _Forgetful() as server:
        outcome = uvloop.run(online(server, WORK))
    assert outcome.lost > 0
    assert outcome.doubled == 0


@pytest.mark.parametrize("kind", [Ours, Mosquitto, Ejabberd, Mail], ids=lambda kind: kind.name)
def test_what_is_posted_to_who_is_there_arrives(kind: type[PeerServer]) -> None:
    try:
        server = kind()
    except NotHere as missing:
        pytest.skip(f"{kind.name}: {missing}")  # installed by scripts/bench.sh peers, not for the tests
    with server:
        outcome = uvloop.run(online(server, WORK, count_syncs=shutil.which("strace") is not None))
        family = server.pids()
    assert outcome.problems == []
    assert outcome.acknowledged > 0
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.cpu_us_per_post > 0
    assert family
    assert not server.folder.exists()
