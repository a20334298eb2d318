# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of messages over the local server: streamed both ways, in constant memory.

What others sent is handed out as a file to keep, of no type that a browser runs. A picture, sound, text or PDF is shown
in a page only when the page asks for it (`?inline=1`), where its octets are what its name says
(`tmtp_client.api.inline`), and under a policy that lets it do nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol
from urllib.parse import quote

import msgspec
from aiohttp import web

from tmtp_client import limits
from tmtp_client.api import problems
from tmtp_client.api.dispatcher import Dispatcher
from tmtp_client.api.frames import ErrorCode, Problem
from tmtp_client.api.guards import SANDBOX, SHOWN, refused
from tmtp_client.api.inline import ALONE, INLINE, TEXTS, head_bytes, why_not
from tmtp_client.api.models import Staged
from tmtp_client.api.problems import ProblemError

OCTETS: Final = "application/octet-stream"
_ASKS: Final = "ask"
"""`?inline=ask`: whether it would be shown; a page that tries instead has a failure in its console."""
_STATUS: Final[dict[ErrorCode, int]] = {
    "usage": 400,
    "not_found": 404,
    "locked": 423,
    "refused": 409,
    "not_now": 503,
    "conflict": 409,
    "unseen_keys": 409,
    "internal": 500,
}


class Upload(Protocol):
    """A file on its way into the vault."""

    async def write(self, data: bytes) -> None: ...
    async def finish(self) -> Staged: ...
    async def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Download:
    """A file of the vault. `tag` is another for other octets."""

    name: str
    media: str
    size: int
    tag: str


class FileRoom(Protocol):
    """The engine's files, as the server needs them. All raise what the dispatcher translates."""

    async def upload(self, account: str, name: str) -> Upload: ...
    async def find(self, account: str, message: str, place: int) -> Download: ...
    def read(self, account: str, message: str, place: int, start: int) -> AsyncGenerator[bytes, None]: ...


class Transfers:
    """The handlers of `/files`."""

    def __init__(self, room: FileRoom, dispatcher: Dispatcher) -> None:
        self._room = room
        self._dispatcher = dispatcher
        self._uploads = asyncio.Semaphore(limits.API_UPLOADS_MAX)
        self._downloads = asyncio.Semaphore(limits.API_DOWNLOADS_MAX)
        self._underway: set[asyncio.Transport] = set()

    def locked(self) -> None:
        """The home was locked: no octet more goes out or comes in."""
        for transport in self._underway:
            transport.abort()

    async def take_in(self, request: web.Request) -> web.StreamResponse:
        """`POST /files/ACCOUNT?name=…`: the body is the file's octets. Answers `Staged`."""
        if request.content_type != OCTETS:  # one that no form can send without the browser asking first
            return refused(415, "usage", f"send the file's octets as {OCTETS}", "Content-Type")
        if self._uploads.locked():
            return refused(503, "not_now", "too many files are being taken in at once; try again")
        async with self._uploads, self._known(request):
            try:
                staged = await self._dispatcher.guarded("files.stage", lambda: self._take_in(request))
            except ProblemError as error:
                return _refused(error.problem)
        return web.Response(body=msgspec.json.encode(staged), content_type="application/json")

    async def hand_out(self, request: web.Request) -> web.StreamResponse:
        """`GET /files/ACCOUNT/MESSAGE/PLACE`, with `Range`, `If-Range` and `If-None-Match` (RFC 9110 §13, §14)."""
        account, message, place = (request.match_info[name] for name in ("account", "message", "place"))
        if self._downloads.locked():
            return refused(503, "not_now", "too many files are being handed out at once; try again")
        async with self._downloads, self._known(request):
            try:
                found = await self._dispatcher.guarded(
                    "files.save", lambda: self._room.find(account, message, int(place))
                )
                which = (account, message, int(place))
                if _wants_shown(request, found):
                    head = await self._dispatcher.guarded(
                        "files.save", lambda: self._head(which, head_bytes(found.media))
                    )
                    why = why_not(found.media, found.size, head)
                    if request.query["inline"] == _ASKS:
                        return web.json_response({"why": why.word if why else ""})
                    if why:
                        return refused(why.status, "refused", why.text)
                    found = _as_shown(found)
            except ProblemError as error:
                return _refused(error.problem)
            if any(one.value in {found.tag, "*"} for one in request.if_none_match or ()):
                return web.Response(status=304, headers={"ETag": f'"{found.tag}"'})
            return await self._stream(request, found, which)

    @asynccontextmanager
    async def _known(self, request: web.Request) -> AsyncIterator[None]:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        self._underway.add(transport)
        try:
            yield
        finally:
            self._underway.discard(transport)

    async def _take_in(self, request: web.Request) -> Staged:
        upload = await self._room.upload(request.match_info["account"], request.query.get("name", ""))
        try:
            while True:
                async with asyncio.timeout(limits.API_UPLOAD_STALL_S):
                    piece = await request.content.readany()
                if not piece:
                    break
                await upload.write(piece)
            return await upload.finish()
        except TimeoutError:
            await upload.abandon()
            raise problems.not_now("the file stopped coming") from None
        except BaseException:
            await upload.abandon()
            raise

    async def _head(self, which: tuple[str, str, int], size: int) -> bytes:
        """The first octets, so many or all. Raises `ProblemError`."""
        head = bytearray()
        async with aclosing(self._room.read(*which, 0)) as pieces:
            async for piece in pieces:
                head += piece
                if len(head) >= size:
                    break
        return bytes(head[:size])

    async def _stream(self, request: web.Request, found: Download, which: tuple[str, str, int]) -> web.StreamResponse:
        start, end = 0, found.size
        wanted = _range(request, found)
        if wanted and wanted[0] >= wanted[1]:
            answer = refused(416, "usage", "the file is shorter than that", "Range")
            answer.headers["Content-Range"] = f"bytes */{found.size}"
            return answer
        response = web.StreamResponse(status=206 if wanted else 200, headers=_headers(request, found))
        if wanted:
            start, end = wanted
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
        response.content_length = end - start
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        left = end - start
        try:
            async with aclosing(self._room.read(*which, start)) as pieces:
                async for piece in pieces:
                    async with asyncio.timeout(limits.API_SLOW_READER_S):
                        await response.write(piece[:left])
                    left -= len(piece[:left])
                    if not left:
                        break
        except (TimeoutError, ProblemError):  # nobody takes it; or the home was locked meanwhile
            if request.transport is not None:
                request.transport.abort()
        return response


def _wants_shown(request: web.Request, found: Download) -> bool:
    return request.query.get("inline") in {"1", _ASKS} and found.media in INLINE


def _as_shown(found: Download) -> Download:
    """Of a text only its beginning: a browser lays out all that it gets."""
    if found.media not in TEXTS or found.size <= limits.TEXT_SHOWN_MAX_BYTES:
        return found
    return replace(found, size=limits.TEXT_SHOWN_MAX_BYTES, tag=f"{found.tag}-begin")


def _headers(request: web.Request, found: Download) -> dict[str, str]:
    inline = _wants_shown(request, found)
    media = "text/plain; charset=utf-8" if found.media in TEXTS else found.media
    policy = SHOWN if inline and found.media not in ALONE else {"Content-Security-Policy": SANDBOX}
    return policy | {
        "Content-Type": media if inline else OCTETS,
        "Content-Disposition": f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(found.name, safe='')}",
        "Accept-Ranges": "bytes",
        "ETag": f'"{found.tag}"',
    }


def _range(request: web.Request, found: Download) -> tuple[int, int] | None:
    """From where to where, which may be nothing; None: all of it, as for what is no range of one piece."""
    if "Range" not in request.headers or request.headers.get("If-Range", f'"{found.tag}"') != f'"{found.tag}"':
        return None
    try:
        wanted = request.http_range
    except ValueError:
        return None
    start, end, _ = wanted.indices(found.size)
    return start, end


def _refused(problem: Problem) -> web.Response:
    return refused(_STATUS[problem.code], problem.code, problem.text, problem.field)
