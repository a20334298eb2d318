# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the client's pages cost a person who reads (B1): a real daemon, an account of 100,000 messages, Chromium.

    python -m bench.client_pages                     # about four minutes
    python -m bench.client_pages --before TREE --json FILE

An account is filled with a long history and one conversation of thousands of messages, a second one with less. Then a
`tmtp daemon` serves its pages to a browser in which somebody reads: begins, scrolls the list and the conversation by
wheel and keys, goes from service to service, opens conversations, writes, searches. `--before` names another tree of
this program: its pages and its engine do the same with the same accounts, in turns. How busy the machine was stands in
the figures; no figure fails anything. A `problem` is that what must be there is not: exit code 1.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from bench.page_account import ACCOUNTS, LONG, Size, fill_accounts
from bench.page_trace import WATCHING, Watched
from bench.server import BenchFailed, BenchServer

_ROOT: Final = Path(__file__).resolve().parent.parent
_PATIENCE_MS: Final = 60_000
_SIZE: Final = {"width": 1280, "height": 800}
_LIST: Final = '[data-pane="list"] .scroller'
_THREAD: Final = ".messages-place"
_DAEMON: Final = ("-c", "from tmtp_client.program import main; main()", "daemon", "--json")


# -- a daemon, and a browser ---------------------------------------------------------------------------------
@contextmanager
def daemon(home: Path, tree: Path) -> Iterator[str]:
    """The daemon of that tree's program; where one comes in, once."""
    environment = {**os.environ, "TMTP_HOME": str(home), "PYTHONPATH": str(tree)}
    with subprocess.Popen([sys.executable, *_DAEMON], env=environment, cwd=tree, stdout=subprocess.PIPE) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            said = b""
            while not said.endswith(b"}\n"):
                line = process.stdout.readline()
                if not line:
                    raise BenchFailed("the daemon does not start")
                said += line
            yield json.loads(said)["enter"]
        finally:
            process.terminate()
            process.wait()


class Reader:
    """Somebody who reads, in a browser of his own."""

    def __init__(self, browser: Browser, enter: str, size: Size) -> None:
        self._browser = browser
        self._size = size
        self.problems: list[str] = []
        with self._context(None) as context:
            page = context.new_page()
            page.goto(enter)
            page.wait_for_selector(".client", timeout=_PATIENCE_MS)
            self._url = page.url.partition("#")[0]
            self._cookie = context.storage_state()

    def measure(self) -> dict[str, Any]:
        """Everything, one after the other."""
        figures: dict[str, Any] = {"begins": self._begins()}
        with self._context(self._cookie) as context:
            page = context.new_page()
            watched = Watched(page)
            page.goto(f"{self._url}#/a/{ACCOUNTS[0]}")
            page.wait_for_selector("[data-row]", timeout=_PATIENCE_MS)
            page.wait_for_timeout(1_500)
            for name, work, box, inside in (
                ("list, wheel", self._wheel_list, _LIST, ".virtual-row"),
                ("list, keys", self._keys_list, _LIST, ".virtual-row"),
                ("conversation, wheel", self._wheel_thread, _THREAD, ".messages > li"),
                ("conversation, keys", self._keys_thread, _THREAD, ".messages > li"),
                ("writes", self._writes, "", ""),
                ("searches", self._searches, "", ""),
            ):
                took: dict[str, Any] = {}

                def run(work: Callable[[Page, dict[str, Any]], None] = work, took: dict[str, Any] = took) -> None:
                    work(page, took)

                self._prepare(page, name)
                load = os.getloadavg()[0]
                seen = watched.during(run, box, inside)
                figures[name] = {**seen.figures(), **took, "load": load}
            figures["service switch"] = self._moments(page, watched, self._switch)
            figures["opens a conversation"] = self._moments(page, watched, self._open)
        return figures

    # -- the beginning -------------------------------------------------------------------------------------------
    def _begins(self) -> dict[str, Any]:
        """First paint, and the first row; with nothing kept, and again."""
        found: dict[str, list[dict[str, float]]] = {"cold": [], "again": []}
        for _ in range(self._size.times):
            with self._context(self._cookie) as context:
                page = context.new_page()
                for kind, go in (("cold", self._go), ("again", lambda page: page.reload())):
                    go(page)
                    page.wait_for_selector("[data-row]", timeout=_PATIENCE_MS)
                    page.wait_for_timeout(300)
                    found[kind].append(page.evaluate(_BEGAN))
        return {
            kind: {
                name: {"median": median(one[name] for one in some), "most": max(one[name] for one in some)}
                for name in some[0]
            }
            for kind, some in found.items()
        }

    def _go(self, page: Page) -> None:
        page.goto(f"{self._url}#/a/{ACCOUNTS[0]}")

    # -- what one does for a while -------------------------------------------------------------------------------
    def _prepare(self, page: Page, name: str) -> None:
        if name.startswith("conversation") or name == "writes":
            page.evaluate("(to) => (location.hash = to)", f"#/a/{ACCOUNTS[0]}/t/{LONG}")
            page.wait_for_selector(".messages [data-message]", timeout=_PATIENCE_MS)
            page.wait_for_selector("form.compose textarea", timeout=_PATIENCE_MS)
        elif name == "searches":
            page.evaluate("(to) => (location.hash = to)", f"#/search?in={ACCOUNTS[0]}")
            page.wait_for_selector("#search-words", timeout=_PATIENCE_MS)
        page.wait_for_timeout(1_000)

    def _wheel_list(self, page: Page, took: dict[str, Any]) -> None:
        """Down through two thousand conversations, and up again."""
        self._over(page, _LIST)
        down = self._wheel(page, 700, 230)
        took["conversations"] = page.evaluate(f"Math.round(document.querySelector('{_LIST}').scrollTop / 76)")
        took["s"] = down + self._wheel(page, -1_400, 115)
        if took["conversations"] < 500:
            self.problems.append(f"only {took['conversations']} conversations were scrolled through")

    def _keys_list(self, page: Page, took: dict[str, Any]) -> None:
        page.focus('[data-row][tabindex="0"]')
        for key, count in (
            ("ArrowDown", 100),
            ("PageDown", 60),
            ("ArrowUp", 40),
            ("PageUp", 40),
            ("Home", 1),
            ("End", 10),
        ):
            for _ in range(count):
                page.keyboard.press(key)
        took["focused"] = page.evaluate(
            "Number(document.activeElement?.closest('li')?.getAttribute('aria-posinset') ?? 0)"
        )
        page.keyboard.press("Home")
        if not took["focused"]:
            self.problems.append("the focus was lost in the list")

    def _wheel_thread(self, page: Page, took: dict[str, Any]) -> None:
        """Up through more than a thousand messages, and down again."""
        self._over(page, _THREAD)
        first = (
            "Number(document.querySelector('.messages [data-message]')?.textContent.match(/number (\\d+)/)?.[1] ?? -1)"
        )
        before = page.evaluate(first)
        up = self._wheel(page, -600, 250)
        took["messages"] = before - page.evaluate(first)
        took["s"] = up + self._wheel(page, 600, 250)
        if took["messages"] < 200:
            self.problems.append(f"only {took['messages']} messages were scrolled through")

    def _keys_thread(self, page: Page, took: dict[str, Any]) -> None:
        page.locator(".messages [data-message]").last.focus()
        for key, count in (("k", 150), ("j", 100)):
            for _ in range(count):
                page.keyboard.press(key)

    def _writes(self, page: Page, took: dict[str, Any]) -> None:
        page.focus("form.compose textarea")
        page.keyboard.type("It is written down as it comes to mind, and no key waits for the page. " * 2)
        took["characters"] = page.evaluate("document.querySelector('form.compose textarea').value.length")
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")

    def _searches(self, page: Page, took: dict[str, Any]) -> None:
        for words in ("ba de", "from:0012 ko", "has:file", "planted77"):
            page.fill("#search-words", "")
            page.focus("#search-words")
            page.keyboard.type(words)
            page.wait_for_timeout(600)
        took["found"] = page.locator("[data-row]").count()

    def _over(self, page: Page, selector: str) -> None:
        box = page.locator(selector).bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def _wheel(self, page: Page, by: int, count: int) -> float:
        begin = time.monotonic()
        for _ in range(count):
            page.mouse.wheel(0, by)
        return time.monotonic() - begin

    # -- what takes a moment -------------------------------------------------------------------------------------
    def _moments(self, page: Page, watched: Watched, once: Callable[[Page, int], float]) -> dict[str, Any]:
        """Done several times: from the click to the paint of what was meant."""
        took: list[float] = []

        def run() -> None:
            for number in range(2 * self._size.times):
                took.append(once(page, number))
                page.wait_for_timeout(400)

        page.evaluate("(to) => (location.hash = to)", f"#/a/{ACCOUNTS[0]}")
        page.wait_for_selector(f'[data-row^="{ACCOUNTS[0]} "]', timeout=_PATIENCE_MS)
        page.wait_for_timeout(1_000)
        load = os.getloadavg()[0]
        seen = watched.during(run)
        first, again = took[:2], took[2:]
        return {
            "first_ms": max(first),
            "again_ms": {"median": median(again), "most": max(again)},
            **seen.figures(),
            "load": load,
        }

    def _switch(self, page: Page, number: int) -> float:
        to = ACCOUNTS[(number + 1) % 2]
        return float(page.evaluate(_UNTIL_PAINTED, [f'.service[href="#/a/{to}"]', f'[data-row^="{to} "]']))

    def _open(self, page: Page, number: int) -> float:
        row = page.locator("[data-row]").nth(number % 5)
        key = str(row.get_attribute("data-row"))
        address = f'[data-row="{key}"]'
        return float(
            page.evaluate(_UNTIL_PAINTED, [address, f'{address}[aria-current="true"]', ".messages [data-message]"])
        )

    @contextmanager
    def _context(self, cookie: Any) -> Iterator[BrowserContext]:
        context = self._browser.new_context(viewport=_SIZE, storage_state=cookie, reduced_motion="reduce")  # type: ignore[arg-type]
        context.add_init_script(WATCHING)
        try:
            yield context
        finally:
            context.close()


_BEGAN: Final = """() => {
  const of = (one) => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .reduce((sum, entry) => sum + one(entry), 0);
  return {
    first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? -1,
    first_row_ms: benchSeen.firstRow,
    requests: of(() => 1),
    compressed_kb: of((entry) => entry.encodedBodySize) / 1000,
  };
}"""
_UNTIL_PAINTED: Final = """async ([click, ...there]) => {
  const frame = () => new Promise((painted) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = painted;
    channel.port2.postMessage(0);
  }));
  const begin = performance.now();
  document.querySelector(click).click();
  do await frame(); while (!there.every((one) => document.querySelector(one)) && performance.now() - begin < 30000);
  return performance.now() - begin;
}"""
"""Milliseconds from a click until the frame in which all of that is there has been painted."""


# -- turns ---------------------------------------------------------------------------------------------------
def measure(size: Size, before: Path | None) -> dict[str, Any]:
    """The figures, of this tree and of the other one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise BenchFailed("chromium is not installed")
    with tempfile.TemporaryDirectory(prefix="tmtp-bench-") as name, BenchServer() as server:
        home = Path(name)
        fill_accounts(home, server, size)
        turns = [("before", before), ("now", _ROOT)] if before else [("now", _ROOT)]
        figures: dict[str, Any] = {"size": {name: getattr(size, name) for name in Size.__slots__}, "problems": []}
        for which, tree in turns:
            assert tree is not None
            with daemon(home, tree) as enter, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                reader = Reader(browser, enter, size)
                figures[which] = reader.measure()
                figures["problems"] += reader.problems
                browser.close()
        return figures


def table(figures: dict[str, Any]) -> str:
    """For people, as Markdown."""
    lines = []
    for which in ("before", "now"):
        if which not in figures:
            continue
        begins = figures[which].pop("begins")
        lines += ["", *(f"{which}, {kind}: {_said(some)}" for kind, some in begins.items()), ""]
        lines += [f"| {which} | {' | '.join(_COLUMNS)} |", f"|---|{'--:|' * len(_COLUMNS)}"]
        for name, one in figures[which].items():
            row = [_shown(column(one)) for column in _COLUMNS.values()]
            lines.append(f"| {name} | {' | '.join(row)} |")
        figures[which]["begins"] = begins
    return "\n".join(lines)


def _said(some: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{name} {one['median']:.0f} (most {one['most']:.0f})" for name, one in some.items())


def _shown(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value)


_COLUMNS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "tasks >50 ms": lambda one: one["tasks_over_50_ms"],
    "of CPU": lambda one: one["tasks_over_50_ms_of_cpu"],
    "longest, ms": lambda one: one["longest_ms"],
    "its CPU": lambda one: one["longest_cpu_ms"],
    "CPU in all, ms": lambda one: one["cpu_ms"],
    "event to paint, most": lambda one: one["event_to_paint_ms"]["most"],
    "looks without content": lambda one: f"{one['looks_without_content']} of {one['looks']}",
    "requests": lambda one: sum(one["asked"].values()),
    "first, ms": lambda one: one.get("first_ms", ""),
    "again, ms": lambda one: one["again_ms"]["median"] if "again_ms" in one else "",
    "passed": lambda one: one.get("conversations", one.get("messages", "")),
    "load": lambda one: f"{one['load']:.1f}",
}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="What the client's pages cost.")
    size = Size()
    parser.add_argument("--history", type=int, default=size.history, help="messages of the account (default: 100,000)")
    parser.add_argument("--thread", type=int, default=size.thread, help="of the long conversation (default: 5,000)")
    parser.add_argument("--times", type=int, default=size.times, help="of what takes a moment (default: 5)")
    parser.add_argument(
        "--before", type=Path, metavar="TREE", help="another tree of this program, in turns with this one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures, too")
    given = parser.parse_args()
    figures = measure(Size(given.history, given.thread, size.other, given.times), given.before)
    print(table(figures))
    for problem in figures["problems"]:
        print(problem, file=sys.stderr)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    sys.exit(1 if figures["problems"] else 0)


if __name__ == "__main__":
    main()
