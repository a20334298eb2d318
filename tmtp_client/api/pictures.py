# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures with a QR code over the local server: `POST /codes?of=invitation`, the picture's octets as the body (B7)."""

import asyncio
from typing import Final, get_args

import msgspec
from aiohttp import web

from tmtp_client import limits
from tmtp_client.api import problems
from tmtp_client.api.dispatcher import Dispatcher
from tmtp_client.api.frames import Answer
from tmtp_client.api.guards import refused
from tmtp_client.api.models import Text
from tmtp_client.api.problems import ProblemError
from tmtp_client.api.transfers import OCTETS
from tmtp_client.engine.code_reading import CodeReader, Wanted, too_large

_WANTED: Final = {name: name for name in get_args(Wanted)}


class Pictures:
    """The handler. Nothing of a picture is kept."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._reader = CodeReader()

    async def read(self, request: web.Request) -> web.Response:
        """Answers as the socket does: `result` (`Text`), or `problem`, of the field `picture` where that is wrong.

        A wrong picture is no error of whoever asks: a browser would note one in its console.
        """
        if request.content_type != OCTETS:
            return refused(415, "usage", f"send the file's octets as {OCTETS}", "Content-Type")
        wanted = _WANTED.get(request.query.get("of", ""))
        if wanted is None:
            return refused(400, "usage", f"of: one of {', '.join(_WANTED)}", "of")
        try:
            text = await self._dispatcher.guarded("codes.read", lambda: self._read(request, wanted))
        except ProblemError as error:
            answer = Answer(0, problem=error.problem)
        else:
            answer = Answer(0, Text(text))
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    async def _read(self, request: web.Request, wanted: Wanted) -> str:
        picture = bytearray()
        try:
            while True:
                async with asyncio.timeout(limits.API_UPLOAD_STALL_S):
                    piece = await request.content.readany()
                if not piece:
                    break
                picture += piece
                if len(picture) > limits.CODE_PICTURE_MAX_BYTES:
                    raise too_large()
        except TimeoutError:
            raise problems.not_now("the file stopped coming") from None
        return await self._reader.read(bytes(picture), wanted)
