# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bodies of requests over HTTP, and forms in them: read within bounds of size and time, in one way for all (C1, D5).

A client's word is not taken for how its text is written: some of Python's codecs take a minute for a megabyte.
"""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from tmtp_core import limits

FORM: Final = "application/x-www-form-urlencoded"


class BodyRefused(Exception):
    """A body that is not taken; `status`: as HTTP calls it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def body_of(request: web.Request, most_bytes: int) -> bytes:
    """A request's body, whole. Raises `BodyRefused`: 408, 413, 415, or 400 where it broke off."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BodyRefused(415, "bodies are taken as they are, without Content-Encoding")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.API_REQUEST_DEADLINE_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most_bytes:
                    raise BodyRefused(413, f"a body has {most_bytes} bytes at most")
    except TimeoutError:
        raise BodyRefused(408, f"a body comes within {limits.API_REQUEST_DEADLINE_S:.0f} s") from None
    except (ConnectionError, web.RequestPayloadError):
        raise BodyRefused(400, "the body broke off") from None
    return bytes(body)


async def fields_of(request: web.Request, most_bytes: int) -> dict[str, list[str]]:
    """The fields of a form in UTF-8, each with its texts in order. Raises `BodyRefused`, also where it is none."""
    if request.content_type != FORM or not is_utf8(request):
        raise BodyRefused(400, f"a form is {FORM}, in UTF-8")
    raw = await body_of(request, most_bytes)
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=limits.FORM_FIELDS_MAX
        )
    except ValueError:
        raise BodyRefused(400, f"a form has {limits.FORM_FIELDS_MAX} fields at most, in UTF-8") from None
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def is_utf8(request: web.Request) -> bool:
    """Whether a body is said to be in UTF-8, or nothing is said."""
    return (request.charset or "utf-8").lower() in {"utf-8", "utf8"}
