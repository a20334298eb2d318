# SPDX-License-Identifier: AGPL-3.0-or-later
"""Asking a provider: over TLS, within bounds, and nobody to whom it would send us on (RFC 9700 §4.11)."""

import ssl
from pathlib import Path
from typing import Any

import aiohttp

from gateway.sign_in import bounds
from gateway.sign_in.strict_json import strict_json
from tmtp_core.errors import ServiceUnavailable


class ProviderUnavailable(ServiceUnavailable):
    """The provider does not answer, or not as a provider does. The text is for whoever signs in; `why` for the log."""

    def __init__(self, why: str) -> None:
        super().__init__("the sign-in provider cannot be reached, try again later")
        self.why = why


async def fetch(
    url: str, form: dict[str, str] | None = None, auth: aiohttp.BasicAuth | None = None, ca: Path | None = None
) -> Any:
    """The JSON at an address, or the answer to a form that is sent there. Raises `ProviderUnavailable`.

    `ca`: a file with the authorities that may vouch for the server; None: the system's. Read anew each time.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=bounds.FETCH_TIMEOUT_S)
    try:
        trusted = ssl.create_default_context(cafile=ca)  # aiohttp's own trusts nobody: see `gateway.cli.process`
        async with (
            aiohttp.ClientSession(
                timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), headers=headers
            ) as session,
            session.request(
                "GET" if form is None else "POST", url, data=form, auth=auth, allow_redirects=False, ssl=trusted
            ) as answer,
        ):
            if answer.status != 200:
                raise ProviderUnavailable(f"{url} answered with {answer.status}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise ProviderUnavailable(f"{url} answered with something compressed")
            return strict_json(await _bounded(answer))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ProviderUnavailable(f"{url}: {type(error).__name__}") from None
    except ValueError as error:
        raise ProviderUnavailable(f"{url} answered with {error}") from None


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(bounds.CHUNK_BYTES):
        body += chunk
        if len(body) > bounds.ANSWER_MAX_BYTES:
            raise ValueError("more than it should")
    return bytes(body)
