# SPDX-License-Identifier: AGPL-3.0-or-later
"""How an instance does now, and has done in the last hour or day."""

from typing import Any, Final

from aiohttp import web

from gateway.administration import models as m
from gateway.console.plots import Plot, Series, plot
from gateway.console.visits import Visit
from tmtp_core import limits

_DISK_SHORT: Final = 0.1  # of the disk, free
_LINE_POINTS_MIN: Final = 2
_AGE_UNITS: Final = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))
_HOUR: Final = (3_600, ("60 min ago", "45", "30", "15", "now"))
_DAY: Final = (86_400, ("24 h ago", "18", "12", "6", "now"))


async def overview(visit: Visit) -> web.Response:
    """Figures and plots, which `live.mjs` keeps fresh."""
    context = await _figures(visit)
    return visit.page("overview.html", title="Overview", here="overview", **context)


async def live(visit: Visit) -> web.Response:
    """The part of it that changes, alone."""
    context = await _figures(visit)
    return visit.fragment("overview_live.html", **context)


async def _figures(visit: Visit) -> dict[str, Any]:
    now: m.Overview = await visit.ask("overview")
    history: m.History = await visit.ask_here("history")
    daily = visit.asked("span") == "day"
    figures = next(one for one in now.instances if one.instance == visit.place.name)
    return {
        "overview": now,
        "figures": figures,
        "disk_short": now.disk_free_bytes < _DISK_SHORT * now.disk_total_bytes,
        "backup_late": _is_late(now),
        "plots": _plots(history.day if daily else history.hour, now.now_ms, *(_DAY if daily else _HOUR)),
        "spans": (("Hour", visit.base), ("Day", f"{visit.base}?span=day")),
        "span_chosen": int(daily),
        "live": f"{visit.base}/live" + ("?span=day" if daily else ""),
        "may_invite": visit.may("invitations:write"),
        "may_reports": visit.may("reports:read"),
    }


def _is_late(now: m.Overview) -> bool:
    """Whether backups are set up, and the newest is older than it should be, or missing."""
    newest_ms = now.backups.newest_ms
    if newest_ms is None:
        return now.backups.state != "not_set_up"
    return now.now_ms - newest_ms > limits.BACKUP_OLD_S * 1000


def _plots(samples: list[m.Sample], now_ms: int, span_s: int, span: tuple[str, ...]) -> list[Plot]:
    """All plots; none while there is nothing to draw a line through."""
    if len(samples) < _LINE_POINTS_MIN:
        return []
    age_unit, age_unit_s = _age_unit(max(one.oldest_queued_s for one in samples))
    wanted = (
        ("Connections", "open", [Series("Connections", lambda one: one.links)]),
        (
            "Messages",
            "a second",
            [
                Series("delivered", lambda one: one.deliveries_per_s),
                Series("posted", lambda one: one.posts_per_s),
            ],
        ),
        ("Age of the queue", age_unit, [Series("Oldest", lambda one: one.oldest_queued_s / age_unit_s)]),
        ("Latency", "ms", [Series("99 of 100 acknowledged within", lambda one: one.ack_ms_p99)]),
    )
    return [
        plot(title, unit, series, samples, now_ms=now_ms, span_s=span_s, span=span) for title, unit, series in wanted
    ]


def _age_unit(highest_s: float) -> tuple[str, float]:
    """In what the age of a queue is told: its name, and seconds in it."""
    return next(((name, unit_s) for unit_s, name in _AGE_UNITS if highest_s >= 2 * unit_s), ("s", 1.0))
