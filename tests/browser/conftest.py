# SPDX-License-Identifier: AGPL-3.0-or-later
"""One gateway with people on it, one browser, for all tests here; each test has a profile of its own."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.support import filming
from tests.support.axe import axe_source
from tests.support.console import World, populate
from tests.support.mail_world import MailWorld, populate_with_mail
from tests.support.pages import ComeIn, Town, coming_in, make_library

CHROMIUM = shutil.which("chromium")
HEADLESS = shutil.which("chromium-headless-shell") or CHROMIUM
"""The same engine without the frame around it, which draws nothing of its own beside each page: a third less time."""
PATIENCE_MS = 30_000  # with a page on a busy machine
SLOWNESS = float(os.environ.get("TMTP_BROWSER_SLOWNESS", "1"))  # so many times slower than this machine; by night 6
Enter = Callable[..., Page]

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("gateway")) as made:
        populate(made)
        yield made


@pytest.fixture(scope="package")
def mail_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailWorld]:
    with MailWorld(tmp_path_factory.mktemp("mail-gateway")) as made:
        populate_with_mail(made)
        yield made


@pytest.fixture(scope="package")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Two services, for the tests of the client's pages: tests/support/pages.py."""
    make_library()
    with Town(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    filming.prepare()
    with sync_playwright() as begun:
        yield begun


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with launched(playwright, HEADLESS) as opened:
        yield opened


@contextmanager
def launched(playwright: Playwright, program: str | None) -> Iterator[Browser]:
    """A browser; the test is skipped by name where there is none."""
    if program is None:
        pytest.skip("chromium is not installed")
    opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
    yield opened
    opened.close()


@pytest.fixture(scope="package")
def axe() -> str:
    return axe_source()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with fresh_context(browser) as opened:
        yield opened


@pytest.fixture
def enter(world: World, context: BrowserContext) -> Iterator[Enter]:
    """Signs somebody in."""
    with entering(world, context) as sign_in:
        yield sign_in


@pytest.fixture
def enter_mail(mail_world: MailWorld, context: BrowserContext) -> Iterator[Enter]:
    """The same, where there is an intake with mail."""
    with entering(mail_world, context) as sign_in:
        yield sign_in


@pytest.fixture
def come_in(context: BrowserContext) -> Iterator[ComeIn]:
    """Opens somebody's pages of the client."""
    with coming_in(context) as opened:
        yield opened


@pytest.fixture
def other_come_in(browser: Browser) -> Iterator[ComeIn]:
    """The same as `come_in`, in the browser of somebody else."""
    with fresh_context(browser) as context, coming_in(context) as opened:
        yield opened


@contextmanager
def fresh_context(browser: Browser) -> Iterator[BrowserContext]:
    """A profile of its own."""
    with browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce") as opened:
        opened.set_default_timeout(PATIENCE_MS)
        if SLOWNESS > 1:
            opened.on("page", slow_down)
        yield opened


def slow_down(page: Page) -> None:
    """Let its scripts run as on a slower machine."""
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWNESS})


@contextmanager
def entering(world: World, context: BrowserContext) -> Iterator[Enter]:
    """What signs somebody in, in a page that is looked at until the end: no script fails, nothing is refused."""
    troubles: list[str] = []
    world.call(world.console.reports.clear)

    def sign_in(person: str = "Ada Lovelace", role: str = "owner") -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(world.link(person, role))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"**/i/{world.first}")
        return page

    yield sign_in
    assert not troubles
    assert world.call(lambda: list(world.console.reports)) == []


@pytest.fixture(scope="session")
def screens() -> Path:
    """Where pictures of pages go: not committed."""
    folder = Path(__file__).parent.parent.parent / "var" / "screens"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
