# SPDX-License-Identifier: AGPL-3.0-or-later
"""The figures of a run as one picture, for a person to look at.

    python -m bench.plot var/bench/bench.json [--out FILE.svg]

Needs matplotlib, which only the extra `bench` brings (`pip install -e '.[bench]'`; `make bench` does that).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.reach import AIMS, GO_REFERENCE_POSTS_PER_S, PROTOTYPE_POSTS_PER_S, Results, spelled
from bench.report import LOADS, load_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REACHED, _MISSED, _INK, _FAINT, _BAND = "#2f7f79", "#c8643c", "#22303a", "#8a969e", "#e9eef0"
_ACK, _DELIVERY = "#2f7f79", "#5b6fb0"
_TIMES: Final = 4.0  # how far from its aim a figure is drawn at most
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.color": _INK,
    "ytick.left": False,
    "svg.hashsalt": "bench",
}


class PlotImpossible(Exception):
    """There is no matplotlib; the text says what mends it."""


def draw(report: Mapping[str, Any], path: Path) -> Path:
    """Draw what `bench.suite` wrote as JSON; the path. What the file's name ends with says the format.

    Raises `PlotImpossible`.
    """
    try:
        from matplotlib import rc_context  # noqa: PLC0415 - an extra that few need
        from matplotlib.figure import Figure  # noqa: PLC0415
        from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415
    except ImportError:
        raise PlotImpossible("No plot: matplotlib is missing. This mends it: pip install -e '.[bench]'") from None
    results: Results = report["results"]
    aims = [aim for aim in AIMS if aim.measured(results) is not None]
    loads = [name for name in LOADS if load_of(results, name) is not None]
    heights = [0.36 * len(aims) + 0.9, *([0.42 * len(loads) + 0.9] * 3 if loads else [])]
    with rc_context(_STYLE):
        height = sum(heights) + 1.6
        engine = ConstrainedLayoutEngine(h_pad=0.16, w_pad=0.2, rect=(0, 0, 1, 1 - 0.9 / height))
        figure = Figure(figsize=(12, height), layout=engine)
        figure.suptitle(
            "TMTP Gateway: what it costs",
            x=0.02,
            y=1 - 0.3 / height,
            ha="left",
            va="top",
            fontsize=18,
            fontweight="bold",
        )
        figure.text(0.02, 1 - 0.62 / height, _where(report), color=_FAINT, va="top")
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        _reach(axes[0], results)
        if loads:
            _throughput(axes[1], results, loads)
            _latencies(axes[2], results, loads)
            _costs(axes[3], results, loads)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def _where(report: Mapping[str, Any]) -> str:
    return "commit {commit} · Python {python} · {cores} cores, shared with the load · {machine} · {when}".format(
        **report
    )


def _reach(axes: "Axes", results: Results) -> None:
    """How many times better than its aim each figure is, or worse: to the right is better, whatever the figure."""
    rows = [(aim, measured) for aim in AIMS if (measured := aim.measured(results)) is not None]
    for place, (aim, measured) in enumerate(rows):
        better = measured / aim.limit if aim.at_least else aim.limit / measured if measured > 0 else _TIMES
        times = min(max(better, 1 / _TIMES), _TIMES)
        colour = _REACHED if aim.reached(measured) else _MISSED
        axes.barh(place, _TIMES * _TIMES, left=1 / _TIMES, height=0.62, color=_BAND)
        axes.barh(place, times - 1, left=1, height=0.34, color=colour)
        marker = "o" if times == better else ">" if better > times else "<"
        axes.plot(times, place, marker, color=colour, markersize=6, clip_on=False)
        axes.annotate(
            spelled(measured, aim.unit),
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
            color=colour,
        )
        axes.annotate(
            aim.text,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(88, 0),
            textcoords="offset points",
            va="center",
            color=_FAINT,
        )
    axes.axvline(1, color=_INK, linewidth=1.4)
    axes.set_xscale("log")
    axes.set_xlim(1 / _TIMES, _TIMES)
    axes.set_xticks([0.25, 0.5, 1, 2, 4], ["¼", "½", "the aim", "twice as good", "4 ×"])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [aim.what for aim, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title("What was to be reached")


def _throughput(axes: "Axes", results: Results, loads: Sequence[str]) -> None:
    values = [_load(results, name) for name in loads]
    for (low, high), text in (
        (GO_REFERENCE_POSTS_PER_S, "Go reference"),
        (PROTOTYPE_POSTS_PER_S, "prototype without rules"),
    ):
        axes.axvspan(low, high, color=_BAND)
        axes.annotate(
            text,
            ((low + high) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=_FAINT,
            fontsize=8.5,
        )
    for place, value in enumerate(values):
        axes.barh(place - 0.17, value["posts_per_s"], height=0.3, color=_ACK)
        axes.barh(place + 0.17, value["deliveries_per_s"], height=0.3, color=_DELIVERY)
        for shift, name in ((-0.17, "posts_per_s"), (0.17, "deliveries_per_s")):
            axes.annotate(
                spelled(value[name]),
                (value[name], place + shift),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
    disk = results.get("steady", {}).get("fsyncs_per_s")
    if disk:
        axes.axvline(disk, color=_MISSED, linestyle=(0, (4, 2)), linewidth=1.2)
        axes.set_xlabel(
            f"dashed: what the disk gives one writer, {spelled(disk)} fsyncs a second", color=_MISSED, loc="left"
        )
    _by_load(axes, loads)
    axes.set_xlim(0, max(PROTOTYPE_POSTS_PER_S[1] * 1.05, axes.get_xlim()[1]))
    _plain(axes)
    _legend(axes, "Throughput, a second", (("posts", _ACK), ("deliveries", _DELIVERY)))


def _latencies(axes: "Axes", results: Results, loads: Sequence[str]) -> None:
    for place, name in enumerate(loads):
        for shift, kind, colour in ((-0.15, "ack_ms", _ACK), (0.15, "delivery_ms", _DELIVERY)):
            latency = _load(results, name)[kind]
            p50, p99, p999 = (latency[q] for q in ("p50", "p99", "p999"))
            axes.plot([p50, p999], [place + shift] * 2, color=colour, linewidth=1.2, alpha=0.5)
            axes.plot([p50, p99], [place + shift] * 2, color=colour, linewidth=4, solid_capstyle="round")
            axes.plot(p50, place + shift, "o", color="white", markeredgecolor=colour, markersize=6, markeredgewidth=1.6)
            axes.plot(p999, place + shift, "|", color=colour, markersize=9)
            axes.annotate(
                f"{spelled(p50)} / {spelled(p99)} / {spelled(p999)}",
                (p999, place + shift),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
    _by_load(axes, loads)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    _plain(axes)
    axes.set_xlabel("○ half of all · ▬ 99 of 100 · | 999 of 1,000", color=_FAINT, loc="left")
    _legend(axes, "Latency, ms", (("until the ack", _ACK), ("until the delivery", _DELIVERY)))


def _costs(axes: "Axes", results: Results, loads: Sequence[str]) -> None:
    for place, name in enumerate(loads):
        load = _load(results, name)
        cost, fanout = load["cost"], load["deliveries_per_s"] / load["posts_per_s"]
        value = cost["cpu_us_per_post"] / (1 + fanout)
        axes.barh(place, value, height=0.42, color=_REACHED)
        text = (
            f"{spelled(value)}   = {spelled(cost['cpu_us_per_post'])} µs a post with {fanout:.3g} deliveries,"
            f"  {cost['written_per_post'] / 1000:,.1f} KB written,  {cost['rss_max_mib']:.0f} MiB at most"
        )
        axes.annotate(text, (value, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5)
    _by_load(axes, loads)
    axes.set_xlim(0, axes.get_xlim()[1] * 2.2)
    axes.set_title("CPU of the service for one message in or out, µs")


def _load(results: Results, name: str) -> Mapping[str, Any]:
    load = load_of(results, name)
    assert load is not None
    return load


def _by_load(axes: "Axes", loads: Sequence[str]) -> None:
    axes.set_yticks(range(len(loads)), [LOADS[name] for name in loads])
    axes.set_ylim(len(loads) - 0.5, -0.6)
    axes.grid(axis="x", color=_BAND)


def _plain(axes: "Axes") -> None:
    """Numbers as people write them, on a logarithmic scale too."""
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")


def _legend(axes: "Axes", title: str, entries: Sequence[tuple[str, str]]) -> None:
    axes.set_title(title, pad=20)
    for number, (text, colour) in enumerate(reversed(entries)):
        axes.annotate(
            "■ " + text,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-135 * number, 20),
            textcoords="offset points",
            ha="right",
            color=colour,
            fontweight="bold",
        )


def main() -> None:
    """Draw a file that `bench.suite` wrote."""
    parser = argparse.ArgumentParser(description="Draw the figures of a run.")
    parser.add_argument("file", type=Path, help="the JSON that `make bench` wrote")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where to: .svg, .png or .pdf (default: beside it, .svg)"
    )
    given = parser.parse_args()
    try:
        print(draw(json.loads(given.file.read_text("utf-8")), given.out or given.file.with_suffix(".svg")))
    except (PlotImpossible, OSError, ValueError) as failed:
        print(f"bench.plot: {failed}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
