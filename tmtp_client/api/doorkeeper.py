# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections of which nobody knows yet whose they are: few at once, and not for long (B1, D4).

Everybody on this machine can connect to a port of 127.0.0.1, and so can every page that the person's browser shows. A
connection that says nothing costs a descriptor, of which the engine needs some for the services. So a stranger has to
say soon who he is; where too many of them wait, the eldest goes: whoever has the cookie or the key says so at once.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from aiohttp.web_protocol import RequestHandler

from tmtp_client import limits

Serve = Callable[[], RequestHandler]


class Doorkeeper:
    """Makes the protocol of each connection, as `create_server` asks for it; `admit` who was recognised."""

    BACKLOG = limits.API_STRANGERS_MAX // 2
    """That no connection is the eldest before it is made: so many are accepted at once."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._strangers: OrderedDict[asyncio.BaseProtocol, asyncio.TimerHandle] = OrderedDict()

    def __call__(self) -> RequestHandler:
        """A connection came."""
        protocol = self._serve()
        loop = asyncio.get_running_loop()
        self._strangers[protocol] = loop.call_later(limits.API_STRANGER_S, self._turn_away, protocol)
        if len(self._strangers) > limits.API_STRANGERS_MAX:
            self._turn_away(next(iter(self._strangers)))
        return protocol

    def admit(self, protocol: asyncio.BaseProtocol) -> None:
        """This one has the cookie or the key: it may stay."""
        timer = self._strangers.pop(protocol, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """The server ends, and all its connections with it."""
        for timer in self._strangers.values():
            timer.cancel()
        self._strangers.clear()

    def _turn_away(self, protocol: asyncio.BaseProtocol) -> None:
        self._strangers.pop(protocol).cancel()
        transport = getattr(protocol, "transport", None)
        if transport is not None:  # else it has gone by itself
            transport.abort()
