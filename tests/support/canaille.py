# SPDX-License-Identifier: AGPL-3.0-or-later
"""Canaille for the length of a test, and a browser for it: one that reads its pages and fills its forms in."""

import asyncio
import contextlib
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp

from bench.server import free_port
from tests.support.authority import Authority
from tests.support.canaille_server import PASSWORD

_PATIENCE_S = 60.0
_FIELD = re.compile(r"<input\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r'\b(name|value|type)="([^"]*)"')


@dataclass(frozen=True)
class Canaille:
    """A provider that runs; `redirect_uri` is the one that it knows."""

    issuer: str
    redirect_uri: str
    trust: ssl.SSLContext | bool = True

    async def sign_in(self, url: str, who: str, password: str = PASSWORD) -> str:
        """What a person does in a browser: the address that the provider sends it back to in the end."""
        async with (
            asyncio.timeout(_PATIENCE_S),
            aiohttp.ClientSession(
                cookie_jar=aiohttp.CookieJar(unsafe=True), connector=aiohttp.TCPConnector(ssl=self.trust)
            ) as browser,
        ):
            page, at = await self._followed(browser, url)
            for name, value in (("login", who), ("password", password)):
                if at.startswith(self.redirect_uri):
                    break
                fields = {**_fields(page), name: value}
                page, at = await self._followed(browser, at, fields)
            assert at.startswith(self.redirect_uri), f"{at}: {page[:3000]}"
            return at

    async def _followed(
        self, browser: aiohttp.ClientSession, url: str, form: dict[str, str] | None = None
    ) -> tuple[str, str]:
        """A page and where it was found in the end; not beyond the provider."""
        while True:
            method, headers = (
                ("GET", {}) if form is None else ("POST", {"Referer": url})
            )  # of its own page, as browsers do
            async with browser.request(method, url, data=form, headers=headers, allow_redirects=False) as answer:
                if answer.status not in {301, 302, 303, 307}:
                    return await answer.text(), url
                url, form = urljoin(url, answer.headers["Location"]), None
            if not url.startswith(self.issuer + "/"):
                return "", url


def code_in(url: str) -> tuple[str, str]:
    """The code and the state with which a browser came back."""
    brought = parse_qs(urlsplit(url).query)
    return brought["code"][0], brought["state"][0]


@asynccontextmanager
async def running_canaille(
    redirect_uri: str | None = None, authority: Authority | None = None
) -> AsyncIterator[Canaille]:
    """A process of its own, on ports that were free a moment ago; over TLS where an authority vouches for it."""
    port = free_port()
    redirect_uri = redirect_uri or f"http://127.0.0.1:{free_port()}/"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.support.canaille_server",
        str(port),
        redirect_uri,
        *((str(authority.certificate), str(authority.key)) if authority is not None else ()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE_S):
            assert await process.stdout.readline() == b"listening\n"
        if authority is None:
            yield Canaille(f"http://127.0.0.1:{port}", redirect_uri)
        else:
            yield Canaille(f"https://127.0.0.1:{port}", redirect_uri, ssl.create_default_context(cafile=authority.own))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def _fields(page: str) -> dict[str, str]:
    """What a form holds already, above all the mark against forged requests."""
    found = [dict(_ATTRIBUTE.findall(field)) for field in _FIELD.findall(page)]
    return {
        one["name"]: unescape(one.get("value", "")) for one in found if one.get("type") == "hidden" and "name" in one
    }
