# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accepting connections, within bounds that hold before anybody has said who he is (C1).

A listener accepts by itself, so that it knows each socket from its first moment: how many shake hands, how many
descriptors are left, when it is better to leave peers in the kernel's queue for a second.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Final

import structlog

from gateway.descriptors import is_for_files
from tmtp_core import limits

log = structlog.get_logger()

_TCP_INFO_RECEIVED: Final = struct.Struct("=128xQ")  # `tcpi_bytes_received`: Linux 4.1, include/uapi/linux/tcp.h


class Acceptor:
    """Accepts connections on one address. `context` None means no TLS."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self.shares_port = False  # with other processes: the kernel spreads connections over them
        self._host = host
        self._port = port
        self._context = context
        self._sockets: list[socket.socket] = []
        self._accepting = False
        # Handshakes under way, oldest first: when each began, and its socket.
        self._entering: dict[asyncio.Task[None], tuple[float, socket.socket]] = {}
        self._out_of_descriptors = False

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self._context is not None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one, also when 0 was asked for."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                listening = socket.socket(family, kind, protocol)
                self._sockets.append(listening)
                listening.setblocking(False)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if self.shares_port:
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind(address)
                listening.listen(limits.LISTEN_BACKLOG)
        except OSError:
            self.stop_accepting()
            raise
        self.go_on_accepting()

    def stop_accepting(self) -> None:
        """Take no new connections."""
        self._pause_accepting()
        for listening in self._sockets:
            listening.close()
        self._sockets = []
        for task in self._entering:
            task.cancel()

    async def entered(self) -> None:
        """Wait until no handshake is under way."""
        await asyncio.gather(*self._entering, return_exceptions=True)

    # -- what the listeners differ in --------------------------------------------------------------------------------
    def _new_protocol(self) -> asyncio.Protocol:
        """For one connection, made when its handshake begins."""
        raise NotImplementedError

    def _close_deadline_s(self) -> float:
        """How long TLS may take to end."""
        return limits.TLS_CLOSE_DEADLINE_S

    def _has_room(self) -> bool:
        """Whether one more connection may begin to enter."""
        raise NotImplementedError

    # -- accepting ---------------------------------------------------------------------------------------------------
    def go_on_accepting(self) -> None:
        """Once a second: whether accepting can go on."""
        if not self._accepting and self._sockets:
            self._accepting = True
            for listening in self._sockets:
                asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _pause_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            for listening in self._sockets:
                asyncio.get_running_loop().remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        """Peers wait: take some of them."""
        for _ in range(limits.ACCEPTED_AT_ONCE_MAX):
            if len(self._entering) >= limits.HANDSHAKES_MAX and self._who_gives_way() is None:
                self._pause_accepting()  # in the kernel's queue they wait until one ends, or lasts too long
                asyncio.get_running_loop().call_later(limits.HANDSHAKE_SILENCE_S, self.go_on_accepting)
                return
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors, no memory: peers wait in the kernel's queue until the next sweep
                self._pause_accepting()
                self._tell_shortage(True, error)
                return
            connection.setblocking(False)
            if is_for_files(connection.fileno()):
                self._tell_shortage(True)
                connection.close()
            elif not self._has_room():
                connection.close()
            else:
                self._tell_shortage(False)
                self._let_enter(connection)

    def _who_gives_way(self) -> asyncio.Task[None] | None:
        """Where many shake hands: the oldest that takes long, or that has said nothing at all so far."""
        now_s = asyncio.get_running_loop().time()
        for task, (begun_s, connection) in self._entering.items():
            age_s = now_s - begun_s
            if age_s >= limits.HANDSHAKE_PATIENCE_S:
                return task
            if age_s < limits.HANDSHAKE_SILENCE_S:
                return None  # and those after it are younger
            if _is_silent(connection):
                return task
        return None

    def _let_enter(self, connection: socket.socket) -> None:
        def entered(task: asyncio.Task[None]) -> None:
            self._entering.pop(task, None)
            if task.cancelled():  # before it began
                connection.close()
            self.go_on_accepting()

        if len(self._entering) >= limits.HANDSHAKES_MAX and (gives_way := self._who_gives_way()) is not None:
            gives_way.cancel()
            del self._entering[gives_way]
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._enter(connection))
        self._entering[task] = loop.time(), connection
        task.add_done_callback(entered)

    async def _enter(self, connection: socket.socket) -> None:
        """The TLS handshake; then the protocol hears of its connection."""
        tls = self._context is not None
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._new_protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=limits.LOGIN_DEADLINE_S if tls else None,
                ssl_shutdown_timeout=self._close_deadline_s() if tls else None,
            )

    def _tell_shortage(self, short: bool, error: OSError | None = None) -> None:
        """Say once that connections are turned away, until one is taken again."""
        if short and not self._out_of_descriptors:
            log.warning(
                "descriptors_short", address="{}:{}".format(*self.address), errno=error.errno if error else None
            )
        self._out_of_descriptors = short


def _is_silent(connection: socket.socket) -> bool:
    """Whether a peer has sent nothing, as far as the system tells."""
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RECEIVED.size)
    except (OSError, AttributeError):  # it is closed; or the system has no such option
        return False
    return len(told) == _TCP_INFO_RECEIVED.size and _TCP_INFO_RECEIVED.unpack(told)[0] == 0
