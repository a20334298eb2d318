# SPDX-License-Identifier: AGPL-3.0-or-later
"""The figures of a run, for people: tables for a terminal, and the same in Markdown for docs/performance.md."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.reach import AIMS, GO_REFERENCE_POSTS_PER_S, PROTOTYPE_POSTS_PER_S, Results, spelled

LOADS: Final = {
    "steady": "200 clients, 1 KB, one post each in flight",
    "pipelined": "200 clients, 1 KB, five each in flight",
    "thousand": "1,000 clients, 1 KB, one each in flight",
    "letters": "200 clients, 6.7 KB",
    "offered": "1,000 posts/s offered, 1 KB",
    "groups": "groups of 100, 40 posts/s offered",
    "stalled": "1,000 clients, 500 posts/s offered, one hangs",
}
_LOAD_COLUMNS: Final = (
    "load",
    "posts/s",
    "deliveries/s",
    "ack p50 / p99 / p99.9",
    "delivery p50 / p99 / p99.9",
    "CPU a post",
    "written a post",
    "most memory",
    "bench",
)
Rows = Sequence[Sequence[str]]


def load_of(results: Results, name: str) -> Mapping[str, Any] | None:
    """The figures of a load of posts, where it was measured."""
    result = results.get(name, {})
    result = result.get("with", result)
    return result if "posts_per_s" in result else None


def reach_rows(results: Results) -> Rows:
    """What, aim, measured, whether that is reached."""
    rows = []
    for aim in AIMS:
        measured = aim.measured(results)
        if measured is None:
            rows.append((aim.what, aim.text, "–", "not measured"))
        else:
            rows.append((aim.what, aim.text, spelled(measured, aim.unit), "yes" if aim.reached(measured) else "NO"))
    return rows


def context_rows(results: Results) -> Rows:
    """Against what else was measured on machines of this size, in other runs."""
    steady = load_of(results, "steady")
    if steady is None:
        return ()
    posts = steady["posts_per_s"]
    return [
        (name, f"{low:,}–{high:,} posts/s", f"{posts:,.0f} posts/s", f"{posts / high:.1f}–{posts / low:.1f} ×")
        for name, (low, high) in (
            ("the Go reference: an fsync a message, stop and wait", GO_REFERENCE_POSTS_PER_S),
            ("a prototype of this service without policy checks", PROTOTYPE_POSTS_PER_S),
        )
    ]


def load_rows(results: Results) -> Rows:
    """One line for each load of posts."""
    rows = []
    for name, text in LOADS.items():
        load = load_of(results, name)
        if load is None:
            continue
        cost = load["cost"]
        rows.append(
            (
                text,
                f"{load['posts_per_s']:,.0f}",
                f"{load['deliveries_per_s']:,.0f}",
                _latency(load["ack_ms"]),
                _latency(load["delivery_ms"]),
                f"{cost['cpu_us_per_post']:,.0f} µs",
                f"{cost['written_per_post'] / 1000:.1f} KB",
                f"{cost['rss_max_mib']:.0f} MiB",
                " + ".join(f"{busy:.0%}" for busy in load["bench_cpu"])
                + (" (the limit)" if load.get("bench_is_the_limit") else ""),
            )
        )
    return rows


def other_rows(results: Results) -> Rows:
    """Everything that is no load of posts: name and value."""
    rows: list[tuple[str, str]] = []
    for name, result in results.items():
        if load_of(results, name) is None:
            rows += [(f"{name}: {figure}", value) for figure, value in flat(result)]
        else:
            kept = {key: result[key] for key in ("fsyncs_per_s", "posts_per_fsync", "ratios") if key in result}
            rows += [(f"{name}: {figure}", value) for figure, value in flat(kept)]
    return rows


def flat(result: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Names and values, with what is nested named by its path."""
    rows: list[tuple[str, str]] = []
    for name, value in result.items():
        if isinstance(value, Mapping) and value.keys() == {"median", "from", "to"}:
            rows.append((above + name, "{median} ({from}–{to})".format(**{k: spelled(v) for k, v in value.items()})))
        elif isinstance(value, Mapping):
            rows += flat(value, f"{above}{name}.")
        elif isinstance(value, bool):
            rows.append((above + name, "yes" if value else "no"))
        elif isinstance(value, float | int):
            rows.append((above + name, spelled(value)))
        elif value:
            rows.append((above + name, ", ".join(map(str, value))))
    return rows


def show(console: Console, results: Results) -> None:
    """The tables of a whole run."""
    _table(console, "Loads", _LOAD_COLUMNS, load_rows(results))
    _table(console, "In context", ("against", "measured then", "here", "ratio"), context_rows(results))
    _table(console, "Reach", ("", "aim", "measured", "reached"), reach_rows(results))
    busy = [name for name in LOADS if (load_of(results, name) or {}).get("bench_is_the_limit")]
    if busy:
        console.print(f"The bench was as busy as the service, and may be what was measured: {', '.join(busy)}.")
    for name, result in results.items():
        for problem in result["problems"]:
            console.print(f"[bold red]BROKEN[/bold red] {name}: {problem}")


def markdown(circumstances: Mapping[str, Any], results: Results) -> str:
    """The tables of docs/performance.md."""
    parts = [
        "Commit {commit}, Python {python}, {machine}, {cores} cores, {when}:".format(**circumstances),
        _markdown(("", "aim", "measured", "reached"), reach_rows(results)),
        _markdown(_LOAD_COLUMNS, load_rows(results)),
        _markdown(("against", "measured then", "here", "ratio"), context_rows(results)),
        _markdown(("other figures", ""), other_rows(results)),
    ]
    return "\n\n".join(part for part in parts if part)


def _latency(latency: Mapping[str, float]) -> str:
    return " / ".join(spelled(latency[name]) for name in ("p50", "p99", "p999")) + " ms"


def _table(console: Console, title: str, columns: Sequence[str], rows: Rows) -> None:
    if not rows:
        return
    table = Table(*columns, title=title, title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*row, style="yellow" if row[-1] == "NO" else "dim" if row[-1] == "not measured" else None)
    console.print(table)


def _markdown(columns: Sequence[str], rows: Rows) -> str:
    if not rows:
        return ""
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows))
