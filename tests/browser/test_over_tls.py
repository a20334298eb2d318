# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console over TLS of its own, and behind a proxy that ends it (C1)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from playwright.sync_api import Browser, BrowserContext, Page, expect

from bench.server import free_port
from gateway.certificates import ensure_self_signed, server_context
from tests.support.console import World


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return ensure_self_signed(tmp_path_factory.mktemp("tls"), "console")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(ignore_https_errors=True, reduced_motion="reduce")
    opened.set_default_timeout(10_000)
    yield opened
    opened.close()


def add_a_passkey(context: BrowserContext, page: Page, url: str) -> None:
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    kind = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options = {**kind, "isUserVerified": True, "automaticPresenceSimulation": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto(f"{url}/me")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status").filter(has_text="passkey is there")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{url}/i/members")


def test_over_tls(tmp_path: Path, certificate: tuple[Path, Path], context: BrowserContext) -> None:
    crt, key = certificate
    settings = f'{{listen: "127.0.0.1:0", tls: {{certificate: "{crt}", key: "{key}"}}}}'
    with World(tmp_path, settings) as world:
        link = world.link()
        assert link.startswith("https://localhost:")
        page = context.new_page()
        answer = page.goto(link)
        assert answer is not None
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/i/members")
        add_a_passkey(context, page, link.partition("/sign-in")[0])


def test_behind_a_proxy_that_ends_tls(tmp_path: Path, certificate: tuple[Path, Path], context: BrowserContext) -> None:
    """It passes the name on, and nothing else: neither the scheme nor who asks."""
    port = free_port()
    url = f"https://localhost:{port}"
    with World(tmp_path, f'{{listen: "127.0.0.1:0", url: "{url}"}}') as world:

        async def passed_on(request: web.Request) -> web.Response:
            own = f"http://127.0.0.1:{world.gateway.administration_address[1]}{request.path_qs}"
            async with (
                ClientSession(auto_decompress=False) as session,
                session.request(
                    request.method, own, headers=request.headers, data=await request.read(), allow_redirects=False
                ) as answer,
            ):
                return web.Response(status=answer.status, headers=answer.headers, body=await answer.read())

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", passed_on)
        runner = web.AppRunner(app)

        async def start() -> asyncio.Server:
            await runner.setup()
            context, soon_s = server_context(*certificate), 0.2  # nobody waits for browsers that say no good-bye
            assert runner.server is not None
            return await asyncio.get_running_loop().create_server(
                runner.server, "127.0.0.1", port, ssl=context, ssl_handshake_timeout=1, ssl_shutdown_timeout=soon_s
            )

        proxy = world.do(start())
        link = world.link()
        assert link.startswith(f"{url}/sign-in/link/")
        page = context.new_page()
        page.goto(link)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/i/members")
        add_a_passkey(context, page, url)
        page.goto(f"{url}/i/members/invitations/new")
        page.get_by_role("button", name="Make the invitation").click()
        expect(page.locator("#link-1")).to_contain_text("tmtp://")
        world.call(proxy.close)
        world.do(runner.cleanup())
