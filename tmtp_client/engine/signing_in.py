# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signing in with the provider that a service names, in the person's own browser (A1; RFC 8252, RFC 7636).

The browser comes back to this device's own 127.0.0.1 with a code, which only this process can change for a token: it
holds the verifier. The token goes to the service, and to nobody else.
"""

import asyncio
import hmac
import json
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from tmtp_client import limits
from tmtp_client.connection import RefusedHere
from tmtp_client.engine import sign_in_page
from tmtp_core.crypto.encoding import to_text
from tmtp_core.wire import messages as m

_REQUEST: Final = re.compile(rb"GET (/[!-~]{0,4096}) HTTP/1\.[01]\r\n")


OpenUrl = Callable[[str, str], None]
"""Is given a provider's name and the address that the person's own browser is to open; never waits."""


async def signed_in(provider: m.SignIn, nonce: str, open_url: OpenUrl) -> str:
    """The ID token of a person who signs in now, under a nonce that stands for this device and this service.

    Raises `Refused`, OSError or TimeoutError.
    """
    login, token = dict(parse_qsl(provider.login[1])), dict(parse_qsl(provider.token[1]))
    state, verifier = to_text(os.urandom(limits.STATE_BYTES)), to_text(os.urandom(limits.VERIFIER_BYTES))
    waiting = _Waiting(state, login.get("redirect_uri"))
    async with waiting.listening():
        asked = {
            **login,
            "nonce": nonce,
            "redirect_uri": waiting.redirect_uri,
            "state": state,
            "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = _checked(provider.login[0])
        open_url(provider.label, f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}")
        try:
            async with asyncio.timeout(limits.SIGN_IN_PATIENCE_S):
                code = await waiting.code
        except TimeoutError:
            raise TimeoutError("nobody came back from the provider's pages in time; begin again") from None
    form = {**token, "code": code, "redirect_uri": waiting.redirect_uri, "code_verifier": verifier}
    answer = await _posted(_checked(provider.token[0]), form)
    found = answer.get("id_token")
    if not isinstance(found, str):
        raise RefusedHere(
            f"the provider gave no token: {answer.get('error_description') or answer.get('error') or 'none'}"
        )
    return found


class _Waiting:
    """Listens where the browser comes back; `code` is what it brings, once."""

    def __init__(self, state: str, redirect_uri: str | None) -> None:
        parts = urlsplit(redirect_uri or "http://127.0.0.1:0/")
        if parts.scheme != "http" or parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
            raise RefusedHere(f"the service has people sent back to {redirect_uri}, which is not this device")
        self._host, self._port, self._path = parts.hostname, parts.port or 0, parts.path or "/"
        self._state = state
        self.redirect_uri = redirect_uri or ""
        self.code: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """While the person is at the provider."""
        server = await asyncio.start_server(self._answer, self._host, self._port, limit=limits.REQUEST_MAX_BYTES)
        if not self.redirect_uri:
            self.redirect_uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield
        finally:
            server.close()
            self.code.cancel()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of a browser."""
        try:
            async with asyncio.timeout(limits.BROWSER_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(sign_in_page.answer(head, *self._taken(head)))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    def _taken(self, head: bytes) -> tuple[str, str, str]:
        """What a request brings; status, title and words of the answer."""
        match = _REQUEST.match(head)
        target = urlsplit(match[1].decode()) if match is not None else None
        if target is None or target.path != self._path:
            return "404 Not Found", "Nothing here", "This is where a sign-in ends."
        brought = parse_qs(target.query)
        state = brought.get("state", [""])[0]
        if not hmac.compare_digest(state.encode(), self._state.encode()):
            return "400 Bad Request", "Not your sign-in", "Begin again in your client."
        if self.code.done():
            return "400 Bad Request", "It was here already", "You may close this page."
        if "code" not in brought:
            why = brought.get("error_description", brought.get("error", ["no code"]))[0]
            self.code.set_exception(RefusedHere(f"the provider did not let you in: {why}"))
            return "200 OK", "You are not signed in", "Your client says why. You may close this page."
        self.code.set_result(brought["code"][0])
        return "200 OK", "You are signed in", "You may close this page, and go on in your client."


def _checked(url: str) -> str:
    """An address of a provider that may be gone to: https, or on this device. Raises `Refused`."""
    parts = urlsplit(url)
    here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if (parts.scheme != "https" and not here) or not parts.hostname or "@" in parts.netloc:
        raise RefusedHere("the service names a provider that is not reached by https")
    return url


async def _posted(url: str, form: dict[str, str]) -> dict[str, Any]:
    """The JSON with which the provider changes a code for a token."""
    import aiohttp  # noqa: PLC0415 - it takes a moment to load, and few commands need it

    timeout = aiohttp.ClientTimeout(total=limits.CONNECT_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, data=form, allow_redirects=False, headers={"Accept": "application/json"}) as answer,
        ):
            raw = b""
            async for piece in answer.content.iter_any():
                raw += piece
                if len(raw) > limits.TOKEN_ANSWER_MAX_BYTES:
                    raise RefusedHere("the provider answers with more than a token")
    except aiohttp.ClientError as error:
        raise OSError(f"the provider does not answer: {type(error).__name__}") from None
    try:
        decoded = json.loads(raw)
    except (ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise RefusedHere(f"the provider answers with {answer.status}, and no token")
    return decoded
