# SPDX-License-Identifier: AGPL-3.0-or-later
"""Debian's Firefox, by WebDriver BiDi, which it speaks itself: as much of it as a look at a page and some keys take.

Playwright drives a Firefox of its own build only, which not every machine can fetch. By BiDi it starts Debian's, and then
wants a command that this one does not know (emulation.setMediaFeaturesOverride).
"""

import asyncio
import base64
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

FIREFOX: Final = shutil.which("firefox-esr") or shutil.which("firefox")
KEYS: Final = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c"}
_PATIENCE_S: Final = 120.0
_LISTENS: Final = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
_MESSAGE_MAX_BYTES: Final = 1 << 26  # a picture
_PREFERENCES: Final = {  # it asks nobody outside: whoever is not on this machine is asked by a port that nobody has
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "remote.active-protocols": 1,
    "ui.prefersReducedMotion": 1,
}
_TELLS: Final = """() => addEventListener("securitypolicyviolation",
    (event) => console.error(`the policy refuses ${event.violatedDirective} ${event.blockedURI}`))"""


class Firefox:
    """One tab. `troubles`: what its console called an error."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._tab = ""
        self.troubles: list[str] = []

    async def begin(self) -> None:
        """A session, and its tab."""
        await self.ask("session.new", capabilities={})
        await self.ask("session.subscribe", events=["log.entryAdded"])
        await self.ask("script.addPreloadScript", functionDeclaration=_TELLS)
        self._tab = (await self.ask("browsingContext.getTree"))["contexts"][0]["context"]
        await self.ask("browsingContext.activate", context=self._tab)

    async def ask(self, method: str, **params: Any) -> Any:
        """A command, and its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                said = await self._socket.receive_json()
                if said.get("method") == "log.entryAdded" and said["params"]["level"] == "error":
                    self.troubles.append(str(said["params"]["text"]))
                if said.get("id") == number:
                    assert said["type"] == "success", said
                    return said["result"]

    async def go(self, url: str) -> None:
        """Until the page is there."""
        await self.ask("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    async def size(self, width: int, height: int) -> None:
        """Of the page, in pixels."""
        await self.ask("browsingContext.setViewport", context=self._tab, viewport={"width": width, "height": height})

    async def evaluate(self, expression: str) -> Any:
        """Its value, or what it promises, by way of JSON."""
        text = f"(async () => JSON.stringify(await ({expression})) ?? 'null')()"
        answer = await self.ask("script.evaluate", expression=text, target={"context": self._tab}, awaitPromise=True)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    async def run(self, program: str) -> None:
        """A whole program, of which no value is wanted."""
        answer = await self.ask(
            "script.evaluate", expression=program, target={"context": self._tab}, awaitPromise=False
        )
        assert answer["type"] == "success", answer

    async def until(self, expression: str) -> None:
        """Wait until this holds."""
        async with asyncio.timeout(_PATIENCE_S):
            while not await self.evaluate(expression):
                await asyncio.sleep(0.1)

    async def press(self, *keys: str) -> None:
        """One after the other."""
        strokes = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": strokes}]
        await self.ask("input.performActions", context=self._tab, actions=actions)

    async def picture(self, file: Path) -> None:
        """Of what is seen."""
        taken = await self.ask("browsingContext.captureScreenshot", context=self._tab)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(taken["data"]))


@asynccontextmanager
async def running_firefox(profile: Path) -> AsyncIterator[Firefox]:
    """A process of its own, with nothing in its profile, for the length of the block."""
    assert FIREFOX is not None
    preferences = "".join(
        f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in _PREFERENCES.items()
    )
    await asyncio.to_thread((profile / "user.js").write_text, preferences, "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    rest: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not (found := _LISTENS.search((await process.stderr.readline()).decode())):
                assert process.returncode is None, "Firefox has ended"
        rest = asyncio.create_task(process.stderr.read())  # else it waits until somebody reads what it says
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{found[1]}/session", max_msg_size=_MESSAGE_MAX_BYTES) as socket,
        ):
            made = Firefox(socket)
            await made.begin()
            yield made
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if rest is not None:
            await rest
