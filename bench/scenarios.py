# SPDX-License-Identifier: AGPL-3.0-or-later
"""Loads of posts: closed and open, small and large, to people and to groups; and one reader who hangs."""

import statistics
from collections.abc import Sequence
from typing import Any

from bench.load import Figures, Shape, measure
from bench.scale import Result, Scale
from bench.server import BenchServer, forget_rss_max, fsyncs_per_s


def steady(scale: Scale) -> Result:
    """200 clients, 1 KB to two recipients, one post each in flight; against the disk, and against one commit a post."""
    return _against_one_commit_a_post(scale, scale.shape())


def thousand(scale: Scale) -> Result:
    """The same with 1,000 clients."""
    return _against_one_commit_a_post(scale, scale.shape(clients=scale.many))


def pipelined(scale: Scale) -> Result:
    """200 clients with five posts each in flight."""
    return _alone(scale, scale.shape(in_flight=5))


def letters(scale: Scale) -> Result:
    """200 clients, 6.7 KB a post: a letter with its formatting."""
    return _alone(scale, scale.shape(size=6_700))


def groups(scale: Scale) -> Result:
    """Posts to groups of 100, at 40 a second: 3,960 deliveries."""
    return _alone(scale, scale.shape(groups_of=scale.group, rate=scale.group_rate))


def offered(scale: Scale) -> Result:
    """1,000 posts a second, come what may: how long each of them takes."""
    return _alone(scale, scale.shape(rate=scale.rate))


def stalled(scale: Scale) -> Result:
    """1,000 clients, half as many posts a second, all of them to one more reader; then the same, and that one hangs.

    Afterwards it goes on, and must get everything that waited for it.
    """
    with BenchServer() as server, scale.crowd(server) as crowd:
        crowd.register(scale.many)
        rounds: dict[bool, list[Figures]] = {False: [], True: []}
        for _ in range(scale.rounds):
            for hangs, figures in rounds.items():
                forget_rss_max(server.pid)
                shape = scale.shape(clients=scale.many, rate=scale.rate / 2, hub=True, stalled=hangs)
                figures.append(measure(crowd, shape, server.pid))
        before, after = (_median(figures) for figures in rounds.values())
        return {
            "without": before,
            "with": after,
            "ratios": {
                "ack_p99": after["ack_ms"]["p99"] / before["ack_ms"]["p99"],
                "delivery_p99": after["delivery_ms"]["p99"] / before["delivery_ms"]["p99"],
                "rss_max": after["cost"]["rss_max_mib"] / before["cost"]["rss_max_mib"],
            },
            "problems": before.pop("problems") + after.pop("problems"),
        }


def _against_one_commit_a_post(scale: Scale, shape: Shape) -> Result:
    """This server, and the same with one commit a post and one delivery in flight, in turns: A B A B."""
    ours: list[Figures] = []
    theirs: list[Figures] = []
    disk: list[float] = []
    for _ in range(scale.rounds):
        for stop_and_wait, figures in ((False, ours), (True, theirs)):
            with BenchServer(stop_and_wait=stop_and_wait) as server:
                disk.append(fsyncs_per_s(server.folder, scale.disk_s))
                figures.append(_loaded(scale, server, shape))
    result, other = _median(ours), _median(theirs)
    fsyncs = statistics.median(disk)
    pairs = list(zip(ours, theirs, strict=True))
    return {
        **result,
        "fsyncs_per_s": fsyncs,
        "posts_per_fsync": result["posts_per_s"] / fsyncs,
        "one_commit_a_post": other,
        "ratios": {
            "posts": _spread([mine.posts_per_s / other.posts_per_s for mine, other in pairs]),
            "deliveries": _spread([mine.deliveries_per_s / other.deliveries_per_s for mine, other in pairs]),
            "delivery_p99": _spread([mine.delivery_ms.p99 / other.delivery_ms.p99 for mine, other in pairs]),
        },
        "problems": result["problems"] + other.pop("problems"),
    }


def _alone(scale: Scale, shape: Shape) -> Result:
    with BenchServer() as server:
        return _loaded(scale, server, shape).as_dict()


def _loaded(scale: Scale, server: BenchServer, shape: Shape) -> Figures:
    with scale.crowd(server) as crowd:
        crowd.register(shape.clients)
        return measure(crowd, shape, server.pid)


def _spread(ratios: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(ratios), "from": min(ratios), "to": max(ratios)}


def _median(rounds: Sequence[Figures]) -> Result:
    """Of each figure; of the bench's own use the most, and all problems."""
    together = [one.as_dict() for one in rounds]
    result = {name: _median_of([one[name] for one in together]) for name in together[0]}
    result["problems"] = [problem for one in together for problem in one["problems"]]
    result["bench_cpu"] = [max(shares) for shares in zip(*(one["bench_cpu"] for one in together), strict=True)]
    result["bench_is_the_limit"] = any(one["bench_is_the_limit"] for one in together)
    return result


def _median_of(values: Sequence[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: _median_of([value[name] for value in values]) for name in values[0]}
    return statistics.median(values) if isinstance(values[0], float) else values[0]
