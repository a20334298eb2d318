# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page in Chromium does while something is done to it: its tasks, by the clock and by the processor.

A task is what the main thread does without looking up: nothing is drawn, and no key is heard, until it ends. The clock
says how long that was; on a machine that others use, the processor's time says what of it was the page's own. Both are
in Chromium's trace (`RunTask`: `dur`, `tdur`), as is what the time went into. Beside them the page says what a person
would notice: how long an event took until it was painted, and whether anything was to be seen while one scrolled.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.sync_api import CDPSession, Page, WebSocket

LONG_MS: Final = 50.0
"""A task that is felt (W3C Long Tasks)."""
_CATEGORIES: Final = ("devtools.timeline", "disabled-by-default-devtools.timeline", "disabled-by-default-v8.gc")
_PARTS: Final = {
    "script": ("FunctionCall", "EvaluateScript", "v8.run", "RunMicrotasks"),
    "style": ("UpdateLayoutTree",),
    "layout": ("Layout",),
    "paint": ("PrePaint", "Paint", "Layerize", "Commit", "UpdateLayer"),
    "collecting": ("MinorGC", "MajorGC"),
}
_END_S: Final = 60.0
WATCHING: Final = """
(() => {
  const seen = (globalThis.benchSeen = { events: [], frames: 0, looks: 0, blank: 0, firstRow: 0 });
  new PerformanceObserver((list) => seen.events.push(...list.getEntries().map((one) => [one.name, one.duration])))
    .observe({ type: "event", durationThreshold: 16 });
  const rows = new MutationObserver(() => {
    if (!document.querySelector("[data-row]")) return;
    seen.firstRow = performance.now();
    rows.disconnect();
  });
  rows.observe(document, { childList: true, subtree: true });
  globalThis.benchLook = (selector, inside) => {
    const look = () => {
      const box = document.querySelector(selector);
      if (!box || !seen.looking) return;
      requestAnimationFrame(look);
      seen.frames += 1;
      if (seen.frames % 4) return;
      const { left, top, width, height } = box.getBoundingClientRect();
      const at = (part) => document.elementFromPoint(left + width / 2, top + height * part);
      seen.looks += 1;
      seen.blank += [0.25, 0.75].every((part) => at(part)?.closest(inside)) ? 0 : 1;
    };
    seen.looking = true;
    requestAnimationFrame(look);
  };
})();
"""
"""Run in a page before its own scripts. `benchLook` looks, every fourth frame, whether `inside` is to be seen in a box.
"""


@dataclass(slots=True)
class Seen:
    """Of something that was done."""

    wall_ms: list[float] = field(default_factory=list)
    """Each task of a millisecond or more."""
    cpu_ms: list[float] = field(default_factory=list)
    """The processor's time of the same ones."""
    parts_ms: Counter[str] = field(default_factory=Counter)
    """Of the processor, by what it was for; script has in it what it forces (style, layout)."""
    busy_ms: float = 0.0
    """Of the processor, all tasks together."""
    events_ms: list[float] = field(default_factory=list)
    """From an event until what it did was painted; those of 16 ms and more."""
    looks: int = 0
    blank: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    """Requests to the engine, by operation."""

    def figures(self) -> dict[str, Any]:
        """As JSON has them."""
        return {
            "tasks_over_50_ms": sum(one > LONG_MS for one in self.wall_ms),
            "tasks_over_50_ms_of_cpu": sum(one > LONG_MS for one in self.cpu_ms),
            "longest_ms": max(self.wall_ms, default=0.0),
            "longest_cpu_ms": max(self.cpu_ms, default=0.0),
            "cpu_ms": self.busy_ms,
            "parts_cpu_ms": dict(self.parts_ms),
            "event_to_paint_ms": {
                "most": max(self.events_ms, default=0.0),
                "over_50": sum(e > 50 for e in self.events_ms),
            },
            "looks": self.looks,
            "looks_without_content": self.blank,
            "asked": dict(self.asked),
        }


class Watched:
    """A page that is watched."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._devtools: CDPSession = page.context.new_cdp_session(page)
        self._sent: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._ended = False
        self._devtools.on("Tracing.dataCollected", lambda data: self._events.extend(data["value"]))
        self._devtools.on("Tracing.tracingComplete", self._end)
        page.on("websocket", self._hear)

    def during(self, work: Callable[[], None], box: str = "", inside: str = "") -> Seen:
        """What the page does while `work` is done. `box`: where something of `inside` is to be seen all the time."""
        page, self._events, self._ended = self._page, [], False
        self._sent.clear()
        page.evaluate("Object.assign(benchSeen, { events: [], frames: 0, looks: 0, blank: 0, looking: false })")
        if box:
            page.evaluate("([box, inside]) => benchLook(box, inside)", [box, inside])
        config = {"includedCategories": list(_CATEGORIES), "recordMode": "recordUntilFull"}
        self._devtools.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
        work()
        page.wait_for_timeout(300)  # what is still under way
        self._devtools.send("Tracing.end")
        waited = 0.0
        while not self._ended and waited < _END_S:
            page.wait_for_timeout(20)
            waited += 0.02
        said = page.evaluate("() => (benchSeen.looking = false, benchSeen)")
        seen = _tasks(self._events)
        seen.events_ms = [duration for _, duration in said["events"]]
        seen.looks, seen.blank = said["looks"], said["blank"]
        seen.asked = Counter(self._sent)
        return seen

    def _end(self, _: object) -> None:
        self._ended = True

    def _hear(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda frame: self._sent.append(_operation(frame)))


def _operation(frame: str | bytes) -> str:
    text = frame.decode() if isinstance(frame, bytes) else frame
    return text.partition('"method":"')[2].partition('"')[0]


def _tasks(events: list[dict[str, Any]]) -> Seen:
    """Of the main thread of the page: the renderer's that did most."""
    threads = {
        (one["pid"], one["tid"])
        for one in events
        if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    seen: dict[tuple[int, int], Seen] = {thread: Seen() for thread in threads}
    for one in events:
        mine = seen.get((one["pid"], one["tid"]))
        if mine is None or one["ph"] != "X":
            continue
        wall, cpu = one.get("dur", 0) / 1_000, one.get("tdur", 0) / 1_000
        if one["name"] == "RunTask":
            mine.busy_ms += cpu
            if wall >= 1:
                mine.wall_ms.append(wall)
                mine.cpu_ms.append(cpu)
        for part, names in _PARTS.items():
            if one["name"] in names:
                mine.parts_ms[part] += cpu
    return max(seen.values(), key=lambda one: one.busy_ms, default=Seen())
