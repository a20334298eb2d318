# SPDX-License-Identifier: AGPL-3.0-or-later
"""The comparison's own promise: the same load on both sides, in turns, and ratios that say which is which. No times."""

import json
import math
from pathlib import Path

import pytest

from bench.compare import Comparison, address, main
from bench.load import Figures, Latency, Shape
from bench.server import BenchServer


def test_our_server_beside_one_that_commits_each_post_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "compare.json"
    with BenchServer(stop_and_wait=True) as peer:
        load = ["--clients", "20", "--in-flight", "2", "--rounds", "2", "--seconds", "1"]
        one = ["--peer", f"127.0.0.1:{peer.port}", "--peer-pid", str(peer.pid)]
        assert main([*one, *load, "--json", str(file)]) == 0
    report = json.loads(file.read_text("utf-8"))
    assert [len(report[side]) for side in ("ours", "peer")] == [2, 2]
    for turn in (*report["ours"], *report["peer"]):
        assert turn["problems"] == []
        assert turn["posts_per_s"] > 0
        assert turn["cost"] is not None
    for ratio in report["ratios"].values():
        assert 0 < ratio["least"] <= ratio["median"] <= ratio["most"]
    commits = [report[side][-1]["cost"]["written_per_post"] for side in ("ours", "peer")]
    assert commits[0] < commits[1]  # group commits write less: the peer's column is the peer's


def test_a_peer_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with BenchServer() as ours:
        assert (
            main(["--peer", "127.0.0.1:9", "--ours", f"127.0.0.1:{ours.port}", "--clients", "2", "--seconds", "0.2"])
            == 2
        )
    assert "round 1, peer:" in capsys.readouterr().err


def _figures(posts: float, p99: float) -> Figures:
    return Figures(posts, posts * 2, Latency(1.0, p99, p99), Latency(1.0, p99, p99))


def test_each_pair_of_turns_gives_a_ratio_and_what_is_unknown_gives_none() -> None:
    ours = [_figures(100, 2), _figures(300, 2), _figures(200, 2)]
    peer = [_figures(10, 4), _figures(10, 8), _figures(40, math.nan)]
    ratios = Comparison(Shape(), ours, peer).ratios()
    assert (ratios["posts_per_s"].least, ratios["posts_per_s"].median, ratios["posts_per_s"].most) == (5, 10, 30)
    assert (ratios["ack_p99_ms"].least, ratios["ack_p99_ms"].most) == (0.25, 0.5)
    assert ratios["cpu_us_per_post"].median is None


def test_an_address_has_a_port() -> None:
    assert address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert address("[::1]:80") == ("::1", 80)
    with pytest.raises(Exception, match="not HOST:PORT"):
        address("example.org")
