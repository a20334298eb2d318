# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several gateway processes on one PostgreSQL, against one, and against SQLite (docs/scaling.md)."""

from typing import Any, Final

from bench.load import Figures, measure
from bench.postgresql import Cluster, binaries
from bench.scale import Result, Scale
from bench.server import BenchServer, Usage
from bench.shared import SharedServer
from bench.worker import Place

_WARM_UP_S: Final = 2.0  # accounts are read, and everybody writes to everybody for the first time
_ACROSS_SHARE: Final = 0.2  # of the rate that is offered elsewhere: what is measured is the way, and not the queue


def processes(scale: Scale) -> Result:
    """200 clients over one process on SQLite, one on PostgreSQL, and two: what they do, and cost with PostgreSQL.

    Then an offered load, two thirds of which goes from one process to the other: how long that takes.
    """
    if binaries() is None:
        return {"left_out": "PostgreSQL is not installed: apt-get install postgresql", "problems": []}
    with BenchServer() as server, scale.crowd(server) as crowd:
        crowd.register(scale.clients)
        measure(crowd, scale.shape(seconds=_WARM_UP_S))
        embedded = measure(crowd, scale.shape(), server.pid)
    cluster = Cluster(shared_buffers="256MB", max_wal_size="4GB")
    try:
        cluster.start()
        one, _ = _on_postgresql(scale, cluster, 1)
        two, across = _on_postgresql(scale, cluster, 2)
    finally:
        cluster.remove()
    assert embedded.cost is not None
    return {
        "sqlite": embedded.as_dict(),
        "one": one,
        "two": two,
        "across": across,
        "ratios": {
            "posts": two["posts_per_s"] / one["posts_per_s"],
            "cpu": two["cpu_us_per_post_in_all"] / embedded.cost.cpu_us_per_post,
            "cpu_of_one": one["cpu_us_per_post_in_all"] / embedded.cost.cpu_us_per_post,
        },
        "problems": [*embedded.problems, *one.pop("problems"), *two.pop("problems"), *across.pop("problems")],
    }


def _on_postgresql(scale: Scale, cluster: Cluster, count: int) -> tuple[Result, Result]:
    """A closed load on so many processes, each with a process of the bench, and an offered one."""
    with SharedServer(count, cluster) as server:
        places = [Place("127.0.0.1", port) for port in server.ports]
        with scale.crowd(places, max(count, 1)) as crowd:
            crowd.register(scale.clients)
            measure(crowd, scale.shape(seconds=_WARM_UP_S))
            database: list[Usage] = []

            def used() -> Usage:
                gateways, postgresql = server.usage()
                database.append(postgresql)
                return gateways

            loaded = measure(crowd, scale.shape(), used)
            offered = measure(crowd, scale.shape(rate=scale.rate * _ACROSS_SHARE))
    return _with_database(loaded, database, scale.seconds), offered.as_dict()


def _with_database(figures: Figures, database: list[Usage], seconds: float) -> dict[str, Any]:
    assert figures.cost is not None
    posts = max(1.0, figures.posts_per_s * seconds)
    database_us = (database[1].cpu_s - database[0].cpu_s) * 1e6 / posts
    return {
        **figures.as_dict(),
        "cpu_us_per_post_of_postgresql": database_us,
        "cpu_us_per_post_in_all": figures.cost.cpu_us_per_post + database_us,
    }
