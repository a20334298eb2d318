# SPDX-License-Identifier: AGPL-3.0-or-later
"""One TMTP connection over asyncio and TLS (B1, B3); clients, bridges and load generators use it.

Record first, ack after: a message is acknowledged to the service only when `on_event` has returned. One id
per post: whoever tries a post again passes the same `request_id`, and the service stores it once.
"""

import asyncio
import base64
import contextlib
import hashlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tmtp_client import limits
from tmtp_core.errors import ProtocolError
from tmtp_core.wire import link as wire
from tmtp_core.wire import messages as m

T = TypeVar("T")

_REFUSALS: Final = frozenset({"login failed", "corrupt base32 value"})  # of a device, for good


class Refused(Exception):
    """The service does not grant a request: the text of its error ack."""


class Disconnected(Exception):
    """The connection is over; the text says why, in the service's words when it gave any."""


class WrongService(Exception):
    """The certificate is not the one that was pinned: nothing was sent."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is, and how to know it: by `pin` (`sha256:<base64url of the SPKI's SHA-256>`), else by CA."""

    host: str
    port: int
    pin: str | None = None
    ca_file: Path | None = None


class Payload:
    """The data of one incoming message, as it comes. Whatever the handler leaves unread is thrown away."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._buffered = 0
        self._room = asyncio.Event()
        self._room.set()
        self._abandoned = False
        self._broken = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    async def read(self) -> bytes:
        """All of it. For what is known to be small."""
        return b"".join([chunk async for chunk in self])

    async def _iterate(self) -> AsyncIterator[bytes]:
        while True:
            chunk = await self._chunks.get()
            if chunk is None:
                if self._broken:
                    raise Disconnected("the connection broke in the middle of a message")
                return
            self._buffered -= len(chunk)
            self._room.set()
            yield chunk

    async def feed(self, chunk: bytes) -> None:
        """From the connection: the next octets; waits while the handler is behind."""
        if self._abandoned:
            return
        while self._buffered >= limits.PAYLOAD_BUFFER_BYTES and not self._abandoned:
            self._room.clear()
            await self._room.wait()
        self._buffered += len(chunk)
        self._chunks.put_nowait(chunk)

    def end(self, *, broken: bool = False) -> None:
        """From the connection: that was all, or all that will ever come."""
        self._broken = broken
        self._chunks.put_nowait(None)

    def abandon(self) -> None:
        """The handler is done with it."""
        self._abandoned = True
        self._room.set()


OnEvent = Callable[[m.StoredEvent, Payload], Awaitable[None]]
"""Records one message durably; when it returns, the message is acknowledged. It must not wait for an answer
of the service: the answer may stand behind the very payload that waits for it. If it raises, the message
is not acknowledged and comes again."""

OnPresence = Callable[[m.Ohi], None]


async def _ignore(event: m.StoredEvent, payload: Payload) -> None:
    return


class Connection:
    """A link that is open until `closed`. Make one with `open`, then `register` or `login`, once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._link = wire.ClientLink()
        self._on_event: OnEvent = _ignore
        self._on_presence: OnPresence | None = None
        self._answers: dict[str, asyncio.Future[m.Acked]] = {}
        loop = asyncio.get_running_loop()
        self.service: asyncio.Future[m.TmtpRevAnswer] = loop.create_future()
        self._registered: asyncio.Future[m.Registered] = loop.create_future()
        self._entered: asyncio.Future[m.Info] = loop.create_future()
        self._ended: asyncio.Future[str] = loop.create_future()
        self._writing = asyncio.Lock()
        self._acks = bytearray()  # not sent yet, because a request is being sent
        self._events: asyncio.Queue[tuple[m.StoredEvent, Payload]] = asyncio.Queue(limits.EVENTS_WAITING_MAX)
        self._last_sent_s = loop.time()
        self._tasks = [loop.create_task(work()) for work in (self._read, self._handle, self._pulse)]

    @classmethod
    async def open(
        cls, endpoint: Endpoint, on_event: OnEvent = _ignore, on_presence: OnPresence | None = None
    ) -> "Connection":
        """Connect, check who is there, say which revision is spoken.

        Raises OSError or ssl.SSLError (cannot connect), `WrongService`, `Disconnected`.
        """
        async with asyncio.timeout(limits.CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=_client_context(endpoint), limit=limits.READ_CHUNK_BYTES
            )
            try:
                _check_pin(endpoint, writer)
                _set_user_timeout(writer)
            except BaseException:
                writer.transport.abort()
                raise
            connection = cls(reader, writer)
            connection._on_event = on_event
            connection._on_presence = on_presence
            try:
                await connection._send(m.encode_head(m.TmtpRev("1")))
                await connection._wait(connection.service)
            except BaseException:
                await connection.close()
                raise
        return connection

    # -- logging in --------------------------------------------------------------------------------------------------
    async def register(self, newnode: str, newalias: str = "_", invite: str | None = None) -> m.Registered:
        """Open an account. The answer's `error` says why the alias was not given. Raises `Disconnected`."""
        await self._send(m.encode_head(m.Register(newnode, newalias, invite=invite)))
        registered = await self._wait(self._registered)
        await self._wait(self._entered)
        return registered

    async def login(self, uid: str, node: str) -> m.Info:
        """Log this device in. Raises `Disconnected` with `login failed` and the like."""
        await self._send(m.encode_head(m.Login(uid, node)))
        return await self._wait(self._entered)

    # -- requests ----------------------------------------------------------------------------------------------------
    async def post(
        self,
        request_id: str,
        recipients: Sequence[m.Recipient],
        data: bytes | AsyncIterator[bytes],
        datalen: int | None = None,
        datahead: int = 0,
    ) -> m.Acked:
        """Post `data`; an iterator must yield exactly `datalen` octets. Raises `Refused` or `Disconnected`."""
        size = len(data) if isinstance(data, bytes) else datalen
        if size is None:
            raise ValueError("datalen must be given for data that comes in pieces")
        head = m.encode_head(m.Post(request_id, tuple(recipients), size, datahead))
        return await self._request(request_id, head, data, size)

    async def ping(self, request_id: str, from_: str, to: str, text: str) -> m.Acked:
        """A first contact, at most 140 UTF-16 units (D2)."""
        data = text.encode()
        return await self._request(request_id, m.encode_head(m.Ping(request_id, from_, to, len(data))), data, len(data))

    async def group_invite(self, request_id: str, gid: str, from_: str, to: str, text: str = "") -> m.Acked:
        """Invite the owner of an alias into a group."""
        data = text.encode()
        head = m.encode_head(m.GroupInvite(request_id, gid, from_, to, len(data)))
        return await self._request(request_id, head, data, len(data))

    async def ask(self, request: m.UserEdit | m.OhiEdit | m.GroupEdit) -> m.Acked:
        """Any request without data."""
        return await self._request(request.id, m.encode_head(request), b"", 0)

    async def quit(self) -> None:
        """Log out: once the service has answered, every ack of this connection is durable. Never raises."""
        with contextlib.suppress(Disconnected, TimeoutError):
            async with asyncio.timeout(limits.QUIT_TIMEOUT_S):
                await self._send(m.encode_head(m.Quit()))
                await asyncio.shield(self._ended)
        await self.close()

    async def close(self) -> None:
        """Close at once. Idempotent."""
        self._end("closed by this side")
        current = asyncio.current_task()
        others = [task for task in self._tasks if task is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(limits.CLOSE_TIMEOUT_S):
                await self._writer.wait_closed()
        self._writer.transport.abort()  # a peer that does not close its side is not waited for

    async def closed(self) -> str:
        """Wait for the end; why it came."""
        return await asyncio.shield(self._ended)

    @property
    def is_open(self) -> bool:
        """Whether requests may still be made."""
        return not self._ended.done()

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _request(self, request_id: str, head: bytes, data: bytes | AsyncIterator[bytes], size: int) -> m.Acked:
        if request_id in self._answers:
            raise ValueError(f"a request with the id {request_id!r} is under way")
        answer: asyncio.Future[m.Acked] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = answer
        try:
            if isinstance(data, bytes):
                await self._send(head + data)
            else:
                await self._send_pieces(head, data, size)
            acked = await self._wait(answer)
        finally:
            self._answers.pop(request_id, None)
        if acked.error:
            raise Refused(acked.error)
        return acked

    async def _wait(self, answer: "asyncio.Future[T]") -> T:
        async with asyncio.timeout(limits.ANSWER_TIMEOUT_S):
            waited_for: set[asyncio.Future[Any]] = {answer, self._ended}
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise Disconnected(self._ended.result())

    async def _send(self, frame: bytes) -> None:
        async with self._writing:
            await self._write_acks()
            await self._write(frame)
            await self._write_acks()

    async def _acknowledge(self, message_id: str) -> None:
        """Ack a message now, or right after the request that is being sent: messages go on coming meanwhile.

        If they did not, an upload could wait for the service and the service for acks, each for the other.
        """
        self._acks += m.encode_head(m.Ack(message_id, "ok"))
        if not self._writing.locked():
            async with self._writing:
                await self._write_acks()

    async def _write_acks(self) -> None:
        while self._acks:
            acks, self._acks = self._acks, bytearray()
            await self._write(bytes(acks))

    async def _send_pieces(self, head: bytes, data: AsyncIterator[bytes], size: int) -> None:
        """A frame whose data comes in pieces; if the pieces do not add up the link is lost, so it is closed."""
        async with self._writing:
            left = size
            try:
                await self._write(head)
                async for piece in data:
                    left -= len(piece)
                    if left < 0:
                        break
                    await self._write(piece)
            finally:
                if left:
                    self._end("the data did not have the length that was announced")
            await self._write_acks()

    async def _write(self, data: bytes) -> None:
        if self._ended.done():
            raise Disconnected(self._ended.result())
        try:
            self._writer.write(data)
            self._last_sent_s = asyncio.get_running_loop().time()
            await self._writer.drain()
        except (OSError, ssl.SSLError) as error:
            self._end(f"the connection broke: {error}")
            raise Disconnected(self._ended.result()) from None

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)
            self._writer.close()

    async def _read(self) -> None:
        """Read until the end; answers go to who waits, messages to the handler, in their order."""
        payload: Payload | None = None
        try:
            while chunk := await self._reader.read(limits.READ_CHUNK_BYTES):
                self._link.receive(chunk)
                for event in self._link.events():
                    if isinstance(event, wire.EventRead):
                        payload = await self._take(event.event)
                    elif isinstance(event, wire.BodyEnded):
                        if payload is not None:
                            payload.end()
                        payload = None
                    elif payload is not None:
                        await payload.feed(bytes(event.chunk))
            self._end("the service closed the connection")
        except (OSError, ssl.SSLError) as error:
            self._end(f"the connection broke: {error}")
        except ProtocolError as error:
            self._end(f"the service does not speak TMTP: {error.quit_text}")
        except Exception as error:
            self._end(f"presence could not be shown: {type(error).__name__}: {error}")
            raise
        finally:
            if payload is not None:
                payload.end(broken=True)

    async def _take(self, event: m.Event) -> Payload | None:
        """Act on a header; the payload to feed, if its data is wanted."""
        if isinstance(event, m.Acked):
            answer = self._answers.get(event.id)
            if answer is not None and not answer.done():
                answer.set_result(event)
        elif isinstance(event, m.Ohi):
            if self._on_presence is not None:
                self._on_presence(event)
        elif isinstance(event, m.QuitNotice):
            self._end(event.error)
        elif isinstance(event, m.TmtpRevAnswer):
            self.service.set_result(event)
        elif isinstance(event, m.Registered):
            self._registered.set_result(event)
        elif isinstance(event, m.Info):
            if not self._entered.done():
                self._entered.set_result(event)
        else:
            payload = Payload(event.datalen)
            await self._events.put((event, payload))
            return payload
        return None

    async def _handle(self) -> None:
        """One message after the other: recorded, then acknowledged."""
        while True:
            event, payload = await self._events.get()
            try:
                await self._on_event(event, payload)
            except Disconnected:
                return
            except Exception as error:
                self._end(f"a message could not be recorded: {error}")
                raise
            finally:
                payload.abandon()
            with contextlib.suppress(Disconnected):
                await self._acknowledge(event.id)

    async def _pulse(self) -> None:
        """Be heard of at least every `limits.PULSE_AFTER_S`."""
        loop = asyncio.get_running_loop()
        while not self._ended.done():
            silent_s = loop.time() - self._last_sent_s
            if silent_s >= limits.PULSE_AFTER_S:
                with contextlib.suppress(Disconnected):
                    await self._send(m.encode_head(m.Pulse()))
                silent_s = 0.0
            await asyncio.sleep(limits.PULSE_AFTER_S - silent_s)


class PersistentConnection:
    """A connection that comes back: reconnects with growing, jittered pauses and logs in again.

    `current` waits for a connection that is logged in. A log-in that is refused ends it all: `failed` says why.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        uid: str,
        node: str,
        on_event: OnEvent = _ignore,
        on_presence: OnPresence | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._uid = uid
        self._node = node
        self._on_event = on_event
        self._on_presence = on_presence
        self._jitter = jitter
        self._changed = asyncio.Condition()
        self._connection: Connection | None = None
        self.failed: str | None = None
        self.trouble: str | None = None  # why there is no connection just now
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def current(self, timeout_s: float | None = None) -> Connection:
        """A connection that is logged in. Raises `Disconnected` when log-in is refused, TimeoutError otherwise."""
        async with asyncio.timeout(timeout_s), self._changed:
            while True:
                if self.failed is not None:
                    raise Disconnected(self.failed)
                if self._connection is not None and self._connection.is_open:
                    return self._connection
                await self._changed.wait()

    async def at_once(self, timeout_s: float) -> Connection:
        """A connection that is logged in. Raises `Disconnected` when one try has failed, and says why."""
        async with asyncio.timeout(timeout_s), self._changed:
            while self._connection is None or not self._connection.is_open:
                reason = self.failed or self.trouble
                if reason is not None:
                    raise Disconnected(reason)
                await self._changed.wait()
            return self._connection

    async def stop(self) -> None:
        """Log out and stay away; whoever waits for a connection hears it. Idempotent."""
        if self._connection is not None:
            await self._connection.quit()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._set(None, self.failed or "stopped")

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = limits.RECONNECT_FIRST_S
        while self.failed is None:
            began_s = loop.time()
            try:
                await self._live()
            except (OSError, ssl.SSLError, ValueError, WrongService, Disconnected, TimeoutError) as error:
                self.trouble = str(error) or type(error).__name__
            await self._set(None, self.trouble if self.trouble in _REFUSALS else None)
            if loop.time() - began_s >= limits.STEADY_AFTER_S:
                pause_s = limits.RECONNECT_FIRST_S
            await asyncio.sleep(pause_s * (0.5 + self._jitter()))
            pause_s = min(2 * pause_s, limits.RECONNECT_LONGEST_S)

    async def _live(self) -> None:
        """One connection, from its beginning to its end."""
        connection = await Connection.open(self._endpoint, self._on_event, self._on_presence)
        try:
            await connection.login(self._uid, self._node)
            self.trouble = None
            await self._set(connection)
            self.trouble = await connection.closed()
        finally:
            await connection.close()

    async def _set(self, connection: Connection | None, failed: str | None = None) -> None:
        async with self._changed:
            self._connection = connection
            self.failed = failed
            self._changed.notify_all()


def _client_context(endpoint: Endpoint) -> ssl.SSLContext:
    """With a pin the key itself is checked, and neither names nor dates of the certificate."""
    if endpoint.pin is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loads no authorities, which would cost 20 ms a connection
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=str(endpoint.ca_file) if endpoint.ca_file is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_pin(endpoint: Endpoint, writer: asyncio.StreamWriter) -> None:
    if endpoint.pin is None:
        return
    tls = cast(ssl.SSLObject, writer.get_extra_info("ssl_object"))
    certificate = tls.getpeercert(binary_form=True)
    if certificate is None or certificate_pin(certificate) != endpoint.pin:
        raise WrongService(
            f"the service at {endpoint.host}:{endpoint.port} is not the one that was pinned; nothing was sent to it"
        )


def certificate_pin(certificate_der: bytes) -> str:
    """The pin of a certificate's key: `sha256:` and the base64url SHA-256 of its SPKI."""
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).rstrip(b"=").decode()


def _set_user_timeout(writer: asyncio.StreamWriter) -> None:
    """A peer that vanished is noticed in seconds, where the system can do that."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limits.TCP_USER_TIMEOUT_MS)
