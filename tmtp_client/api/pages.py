# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages: the files of `tmtp_client/web` and `tmtp_client/look`, as the local server hands them out (B6).

Read anew for each request, so that who develops them loads a page again and sees what he wrote; what a browser has
already is not sent again (`ETag`), and what is text goes compressed (RFC 9110 §8.4, §8.8.3, §13.1.2). Names are looked
up part by part in the package, never joined to a path: nothing outside is reached, and nothing of a type that is not
listed.
"""

import asyncio
import gzip
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types rendered",
    )
)
"""Of the page. A text becomes markup in one place only, `web/app/base/rendered.js`: elsewhere the browser refuses. Its
files have the server's own, under which nothing runs that is opened by itself."""
CACHING: Final = "no-cache"  # kept, and asked for each time: another version of the program may answer
FOLDERS: Final = {"app": "web/app", "styles": "web/styles", "words": "web/words", "lib": "web/lib", "look": "look"}
"""The first part of an address, and the folder of `tmtp_client` that it stands for."""
TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NOT_MADE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>TMTP</title>'
    "<p>The engine runs, but its pages are not complete: what they take from npm is made by"
    " <code>scripts/environment.sh</code>, which <code>make run</code> and <code>make test</code> call.</html>"
)


@dataclass(frozen=True, slots=True)
class _Packed:
    """A file, compressed. `tag` is that of the file as it is."""

    tag: str
    content: bytes


class Pages:
    """The handlers of `/` and of the files."""

    def __init__(self) -> None:
        self._package = resources.files("tmtp_client")
        self._packed: dict[str, _Packed] = {}  # by address: as many as there are files

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Their addresses."""
        router.add_get("/", self._front)
        router.add_get(f"/{{folder:{'|'.join(FOLDERS)}}}/{{name:.+}}", self._file)

    async def _front(self, request: web.Request) -> web.Response:
        made = await asyncio.to_thread(self._find, "web/lib", "preact.js")
        if made is None:
            return web.Response(text=_NOT_MADE, content_type="text/html")
        answer = await self._answer(request, "web", "index.html")
        answer.headers["Content-Security-Policy"] = POLICY
        return answer

    async def _file(self, request: web.Request) -> web.Response:
        return await self._answer(request, FOLDERS[request.match_info["folder"]], request.match_info["name"])

    async def _answer(self, request: web.Request, folder: str, name: str) -> web.Response:
        found = await asyncio.to_thread(self._read, folder, name)
        if found is None:
            raise web.HTTPNotFound
        plain, packed = found
        compressed = _takes_gzip(request.headers.get("Accept-Encoding", ""))
        tag = f"{packed.tag}-gzip" if compressed else packed.tag
        headers = {"ETag": f'"{tag}"', "Cache-Control": CACHING, "Vary": "Accept-Encoding"}
        if any(one.value in {tag, "*"} for one in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if compressed:
            headers["Content-Encoding"] = "gzip"
        media = TYPES[name.rpartition(".")[2]]
        body = packed.content if compressed else plain
        return web.Response(body=body, content_type=media, charset="utf-8", headers=headers)

    def _read(self, folder: str, name: str) -> tuple[bytes, _Packed] | None:
        file = self._find(folder, name)
        if file is None:
            return None
        plain = file.read_bytes()
        tag = hashlib.sha256(plain).hexdigest()[:32]
        address = f"{folder}/{name}"
        packed = self._packed.get(address)
        if packed is None or packed.tag != tag:
            packed = self._packed[address] = _Packed(tag, gzip.compress(plain, mtime=0))
        return plain, packed

    def _find(self, folder: str, name: str) -> Traversable | None:
        """The file of that name, if there is one that may be handed out."""
        parts = name.split("/")
        if not all(_NAME.fullmatch(part) for part in parts) or name.rpartition(".")[2] not in TYPES:
            return None
        place = self._package
        for part in (*folder.split("/"), *parts):
            place = place / part
        return place if place.is_file() else None


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names it, and not as what is not wanted (RFC 9110 §12.5.3)."""
    for one in accepted.lower().split(","):
        coding, _, weight = one.partition(";")
        if coding.strip() == "gzip":
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return False
