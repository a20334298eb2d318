# SPDX-License-Identifier: AGPL-3.0-or-later
"""The generated TypeScript compiles strictly, carries a client, and that client works in a real browser (B1)."""

import asyncio
import shutil
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.support.small_engine import visited
from tests.support.typescript import compile_all
from tmtp_client.api import generate

SAMPLE = Path(__file__).parent.parent / "vectors" / "api" / "sample.ts"


def written(folder: Path, more: str = "") -> None:
    (folder / "types.d.ts").write_text(generate.typescript(), "utf-8")
    (folder / "sample.ts").write_text(SAMPLE.read_text("utf-8") + more, "utf-8")


async def test_the_types_and_a_client_compile(tmp_path: Path) -> None:
    written(tmp_path)
    done = await asyncio.to_thread(compile_all, tmp_path, "types.d.ts", "sample.ts")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "wrong",
    [
        'new Client("", told).call("threads.eat", {});',
        'new Client("", told).call("people.list", {});',
        'new Client("", told).call("people.list", { account: "a", more: 1 });',
        'new Client("", told).call("people.list", { account: 1 });',
        'const page: Promise<Page> = new Client("", told).call("people.list", { account: "a" }); void page;',
        'told({ type: "presence", account: "a", data: { uid: "u" } });',
    ],
)
async def test_what_the_engine_would_refuse_does_not_compile(tmp_path: Path, wrong: str) -> None:
    written(tmp_path, f"\n{wrong}\n")
    done = await asyncio.to_thread(compile_all, tmp_path, "types.d.ts", "sample.ts")
    assert done.returncode != 0
    assert "sample.ts" in done.stdout


async def test_a_browser_comes_in_asks_and_hears_and_another_sites_page_does_not(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or pytest.skip("Debian's chromium is not installed")
    written(tmp_path)
    done = await asyncio.to_thread(compile_all, tmp_path, "types.d.ts", "sample.ts")
    assert done.returncode == 0
    program = (tmp_path / "sample.js").read_text("utf-8").replace("export ", "")
    async with visited(tmp_path) as visitor, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            # Pages of the server run nothing: the policy is put aside for the test's own script.
            context = await browser.new_context(bypass_csp=True)
            page = await context.new_page()
            await page.goto(visitor.server.way_in())
            await page.wait_for_url(visitor.server.url + "/")
            assert await page.evaluate("document.cookie") == ""
            address = f"ws://127.0.0.1:{visitor.server.port}/api/1"
            ask = (
                f"async () => {{ {program}; const heard = []; const client = new Client('{address}', e => heard.push(e));"
                " await client.opened(); await client.call('home.watch', {since: {work: 0}});"
                " const page = await client.call('threads.list', {limit: 7});"
                " while (heard.length < 2) await new Promise(done => setTimeout(done, 10));"
                " return [page.next, heard.map(told), heard.map(e => e.number)]; }"
            )
            visitor.engine.happens("work", 2)
            assert await page.evaluate(ask) == ["7", ["setting", "setting"], [1, 2]]

            # Another port of the same name: the browser sends the cookie along, the server looks at the page's origin.
            async with visited(tmp_path) as other:
                evil = await context.new_page()
                await evil.goto(other.server.way_in())
                await evil.wait_for_url(other.server.url + "/")
                refused = f"async () => {{ {program}; return new Client('{address}', told).opened().catch(String); }}"
                assert await evil.evaluate(refused) == "Error: refused"
        finally:
            await browser.close()
