# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages in another engine than Chromium's: Debian's Firefox shows them, hears keys, and refuses nothing (B1)."""

from pathlib import Path

import pytest

from tests.support.firefox import FIREFOX, running_firefox
from tests.support.pages import Town
from tmtp_client.api import operations as o

_SIZES = (("wide", 1280, 800), ("narrow", 390, 844))


def test_a_conversation_is_read_in_firefox_by_keyboard(town: Town, axe: str, screens: Path, tmp_path: Path) -> None:
    if FIREFOX is None:
        pytest.skip("firefox-esr is not installed")
    ada, bob = town.person("Ada Vulpes", "work"), town.person("Bob Vulpes", "work")
    town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", (ada.name,), "For Firefox", "It is **here**, too", delay_s=0))
    ada.message("work", "It is **here**, too")
    way_in = ada.way_in()

    async def read() -> list[str]:
        found: list[str] = []
        async with running_firefox(tmp_path) as firefox:
            await firefox.go(way_in)
            await firefox.until("location.pathname === '/' && document.querySelector('.client') !== null")
            for name, width, height in _SIZES:
                await firefox.size(width, height)
                await firefox.press("g", "i")
                await firefox.until("document.activeElement.matches('[data-row]')")
                assert "For Firefox" in await firefox.evaluate("document.activeElement.innerText")
                await firefox.press("Enter")
                await firefox.until(
                    "document.activeElement.matches('[data-message]') && document.activeElement.innerText.includes('It is here')"
                )
                await firefox.until("document.querySelector('form.compose textarea') !== null")
                await firefox.run(axe)
                found += await firefox.evaluate("axe.run().then(({ violations }) => violations.map((one) => one.id))")
                await firefox.picture(screens / f"client-firefox-{name}.png")
                assert await firefox.evaluate("document.documentElement.scrollWidth <= innerWidth")
            # The door that one comes in by has no icon, and may show none.
            return found + [one for one in firefox.troubles if "/favicon.ico" not in one]

    assert town.do(read()) == []
