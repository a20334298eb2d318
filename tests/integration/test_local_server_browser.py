# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others sent, shown by a real browser from the local server: it is seen, and it runs and fetches nothing (B6)."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Frame, Page, Route, async_playwright

from tests.support.small_engine import SmallEngine, Visitor, visited
from tmtp_client.api.transfers import Download

CHROMIUM = shutil.which("chromium")
_PAGE = (
    "<!doctype html><title>page</title><iframe src='{src}' width=600 height=400></iframe><img src='{src}' id=picture>"
)
_POLICY = "default-src 'none'; frame-src 'self'; img-src 'self'"
_RUNS = "<script>fetch('{canary}/run'); top.document.title = 'taken'; document.title = 'taken'</script>"
_PDF = """%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(this.submitForm\\('{canary}/submit'\\);
app.launchURL\\('{canary}/launch',true\\);)>>>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/AA<</O<</S/URI/URI({canary}/open)>>>>>>endobj
trailer<</Root 1 0 R>>
"""


class Attachments(SmallEngine):
    """One hostile attachment, under the type that the test says."""

    media = "text/plain"

    async def find(self, account: str, message: str, place: int) -> Download:
        found = await super().find(account, message, 0)
        return Download("an attachment", self.media, found.size, self.media)


@asynccontextmanager
async def canary() -> AsyncIterator[tuple[str, list[str]]]:
    """A server that must never be asked."""
    asked: list[str] = []

    async def heard(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(headers={"Access-Control-Allow-Origin": "*"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", heard)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


@asynccontextmanager
async def shown(visitor: Visitor, inline: bool) -> AsyncIterator[tuple[Page, Frame]]:
    """A page of this server with the attachment in a frame; it came in as a person's browser does."""
    src = f"/files/work/m/0?inline={int(inline)}"

    async def page_with_frame(route: Route) -> None:
        headers = {"Content-Security-Policy": _POLICY, "Cross-Origin-Embedder-Policy": "require-corp"}
        await route.fulfill(body=_PAGE.format(src=src), content_type="text/html", headers=headers)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--headless=new"], headless=True
        )
        page = await browser.new_page()
        await page.route("**/shown", page_with_frame)
        await page.goto(visitor.server.way_in())
        await page.wait_for_url(f"{visitor.server.url}/")  # its way in leads on there
        await page.goto(f"{visitor.server.url}/shown", wait_until="load")
        await page.wait_for_timeout(1_000)
        yield page, page.frames[1]
        await browser.close()


@pytest.mark.parametrize(
    ("media", "content"),
    [
        ("text/plain", _RUNS),
        ("text/csv", "a,b\n" + _RUNS),
        ("application/pdf", _PDF),
        ("application/pdf", "<!doctype html>" + _RUNS),
        ("image/png", "<svg xmlns='http://www.w3.org/2000/svg'>" + _RUNS + "</svg>"),
        ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'>" + _RUNS + "</svg>"),
        ("text/html", "<!doctype html><img src='{canary}/img'>" + _RUNS),
        ("application/xhtml+xml", "<html xmlns='http://www.w3.org/1999/xhtml'>" + _RUNS + "</html>"),
    ],
)
async def test_an_attachment_runs_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media: str, content: str
) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    monkeypatch.setattr(Attachments, "media", media)
    async with canary() as (url, asked), visited(tmp_path, Attachments) as visitor:
        (tmp_path / "work-m-0").write_text(content.replace("{canary}", url))
        async with shown(visitor, inline=True) as (page, frame):
            assert await page.title() == "page"
            if media.startswith("text/") and media != "text/html":
                assert "<script>" in await frame.inner_text("body")
            assert not any(one.url.startswith("chrome-extension:") for one in page.frames)  # no viewer in a frame
            if content == _PDF:  # the browser's own viewer shows it, in a tab of its own
                await page.goto(f"{visitor.server.url}/files/work/m/0?inline=1")
                await page.wait_for_timeout(1_000)
                assert any(one.url.startswith("chrome-extension:") for one in page.frames)
        assert asked == []
