# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bench's own promise: it sees every post arrive once and in order, and notices when one does not. No times."""

import pytest

from bench.load import Crowd, Shape, measure
from bench.member import Member, Tally
from bench.server import BenchServer
from bench.worker import Place


@pytest.mark.parametrize(
    "shape",
    [
        Shape(clients=20, in_flight=3, seconds=1.0),
        Shape(clients=20, rate=200, size=100_000, recipients=3, seconds=1.0),
        Shape(clients=20, rate=50, groups_of=10, seconds=1.0),
    ],
    ids=["closed loop", "open loop, large", "groups"],
)
def test_a_short_load_arrives_once_and_in_order(shape: Shape) -> None:
    with BenchServer() as server, Crowd(Place("127.0.0.1", server.port), 2) as crowd:
        crowd.register(shape.clients)
        figures = measure(crowd, shape, server.pid)
        assert figures.problems == []
        assert figures.posts_per_s > 0
        per_post = shape.groups_of - 1 if shape.groups_of else shape.recipients
        assert figures.deliveries_per_s == pytest.approx(figures.posts_per_s * per_post, rel=0.5)
        assert figures.cost is not None
        crowd.ask("leave")
        crowd.ask("come_back")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [([0, 1, 2], []), ([0, 2], ["got post 2 of member 7, not 1"]), ([0, 0], ["got post 0 of member 7, not 1"])],
    ids=["in order", "one is missing", "one is doubled"],
)
def test_it_notices_what_must_not_happen(numbers: list[int], said: list[str]) -> None:
    tally = Tally()
    member = Member(3, tally)
    for number in numbers:
        member.take_delivery(Member.stamp(7, number, 0), 1)
    assert [problem.partition("member 3 ")[2] for problem in tally.problems] == said
