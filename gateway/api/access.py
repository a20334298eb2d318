# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks: the owner at the control socket, or a program with a token (C1)."""

import socket
import struct
from typing import Final, Protocol

from aiohttp import web

from gateway.addresses import counted_as
from gateway.administration import Actor, local_peer, local_user
from gateway.administration.tokens import Tokens
from gateway.api.problems import TOO_MANY, UNAUTHENTICATED, ProblemAnswer
from tmtp_core import limits
from tmtp_core.clock import Clock

_PEER: Final = struct.Struct("=iII")  # pid, uid, gid: Linux, unix(7) SO_PEERCRED
_MINUTE_S: Final = 60.0


class Gate(Protocol):
    """Says who sent a request."""

    async def admit(self, request: web.Request) -> Actor:
        """Who it is. Raises `ProblemAnswer`, or `ServiceUnavailable`."""
        ...


class OwnersSocket:
    """Whoever can open the socket: its mode lets nobody but the owner of the data."""

    async def admit(self, request: web.Request) -> Actor:
        """See `Gate`."""
        connection = request.transport.get_extra_info("socket") if request.transport is not None else None
        if connection is None or not hasattr(socket, "SO_PEERCRED"):
            return local_user()
        _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        return local_peer(uid)


class BearerTokens:
    """`Authorization: Bearer tmtpadm_…` (RFC 6750 §2.1).

    Who has a good token gets in also where others at his address try bad ones.
    """

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._failures = Meter(clock)
        self._requests = Meter(clock)

    async def admit(self, request: web.Request) -> Actor:
        """See `Gate`."""
        given = request.headers.getall("Authorization", [])
        scheme, _, text = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        actor = await self._tokens.actor(text.strip()) if scheme.lower() == "bearer" else None
        if actor is None:
            if not self._failures.count(counted_as(request.remote or ""), limits.API_FAILURES_PER_MINUTE):
                raise ProblemAnswer(TOO_MANY, "too many requests without a valid token; wait a minute")
            raise ProblemAnswer(
                UNAUTHENTICATED, "send Authorization: Bearer and a token of `tmtp-gateway token create`"
            )
        most = limits.API_REQUESTS_PER_MINUTE
        if not self._requests.count(actor.name, most):
            raise ProblemAnswer(TOO_MANY, f"a token is good for {most} requests a minute; wait")
        return actor


class Meter:
    """Counts by key, each for a minute from its first time on; the eldest keys are forgotten when there are many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counted: dict[str, tuple[float, int]] = {}  # since when, how many; eldest first

    def count(self, key: str, most: int) -> bool:
        """One more; False where that is more than `most`."""
        now_s = self._clock.monotonic_s()
        since_s, count = self._counted.get(key, (now_s, 0))
        if now_s - since_s >= _MINUTE_S:
            self._counted.pop(key)
            since_s, count = now_s, 0
        self._counted[key] = since_s, count + 1
        if len(self._counted) > limits.API_ADDRESSES_REMEMBERED_MAX:
            del self._counted[next(iter(self._counted))]
        return count < most
