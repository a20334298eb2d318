# SPDX-License-Identifier: AGPL-3.0-or-later
"""One link: requests out, answers and messages in (wire.md §1 to §8)."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from tmtp_client import limits
from tmtp_client.connection.endpoint import (
    Endpoint,
    WrongService,
    check_pin,
    client_context,
    set_user_timeout,
    spki_hash,
)
from tmtp_client.connection.incoming import Incoming, Waiting
from tmtp_client.connection.login import AccountKeys, Login, PasswordLogin
from tmtp_client.connection.payload import Disconnected, Gathered, Payload
from tmtp_client.connection.refused import Refused
from tmtp_client.connection.work import OnWork, worked
from tmtp_core.crypto.account_log import RECOVERY
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.log_records import Signature
from tmtp_core.crypto.possession import NO_TLS, Channel, greeting_proved, login_proof, registration_proof
from tmtp_core.crypto.signing import NONCE_BYTES, PUBLIC_KEY_BYTES, Signer
from tmtp_core.errors import ProtocolError
from tmtp_core.wire import link as wire
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

T = TypeVar("T")


Answer = tuple[m.Acked | m2.LogPage | m2.Listing | m2.Skin, bytes]
"""An answer and its data."""


LOGIN_OK = "login ok"


OnEvent = Callable[[m2.StoredEvent, Payload], Awaitable[None]]
"""Records one message durably; when it returns, the message is acknowledged. It must not wait for an answer
of the service: the answer may stand behind the very payload that waits for it. If it raises, the message
is not acknowledged and comes again."""

OnBatch = Callable[[Sequence[tuple[m2.StoredEvent, bytes]]], Awaitable[None]]
"""The same for several small messages and their data, in order: all of them are durable when it returns."""

OnPresence = Callable[[m.Ohi], None]


async def ignore(event: m2.StoredEvent, payload: Payload) -> None:
    """Acknowledge every message and keep none."""


class Connection:
    """A link that is open until `closed`. Make one with `open`, then `register` or `login`, once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._link = wire.ClientLink()
        self._on_event: OnEvent = ignore
        self._on_batch: OnBatch | None = None
        self._on_presence: OnPresence | None = None
        self._answers: dict[str, asyncio.Future[Answer]] = {}
        loop = asyncio.get_running_loop()
        self.service: asyncio.Future[m.TmtpRevAnswer] = loop.create_future()
        self._registered: asyncio.Future[m.Registered] = loop.create_future()
        self._entered: asyncio.Future[m.Info] = loop.create_future()
        self._ended: asyncio.Future[str] = loop.create_future()
        self.was_ended_there = False  # by the service, with or without a word; not by the network, nor by this side
        self._writing = asyncio.Lock()
        self._acks = bytearray()  # not sent yet, because a request is being sent
        self._events = Incoming()
        self._last_sent_s = loop.time()
        self._tasks = [loop.create_task(work()) for work in (self._read, self._handle, self._pulse)]

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        on_event: OnEvent = ignore,
        on_presence: OnPresence | None = None,
        revision: str = "1",
        *,
        on_batch: OnBatch | None = None,
    ) -> "Connection":
        """Connect, check who is there, say which revision is spoken. `on_batch` hears of small messages, if given.

        Raises OSError or ssl.SSLError (cannot connect), `WrongService`, `Disconnected`.
        """
        async with asyncio.timeout(limits.CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=client_context(endpoint), limit=limits.READ_CHUNK_BYTES
            )
            try:
                check_pin(endpoint, writer)
                set_user_timeout(writer)
            except BaseException:
                writer.transport.abort()
                raise
            connection = cls(reader, writer)
            connection._on_event = on_event
            connection._on_batch = on_batch
            connection._on_presence = on_presence
            try:
                await connection._send(m.encode_head(m.TmtpRev(revision)))
                await connection._wait(connection.service)
            except BaseException:
                await connection.close()
                raise
        return connection

    # -- logging in --------------------------------------------------------------------------------------------------
    async def register(
        self, newnode: str, newalias: str = "_", invite: str | None = None, oidc: dict[str, Any] | None = None
    ) -> m.Registered:
        """Open an account. The answer's `error` says why the alias was not given. Raises `Disconnected`.

        `oidc`: what a provider of sign-in answered, where one is asked for.
        """
        await self._send(m.encode_head(m.Register(newnode, newalias, oidc, invite)))
        registered = await self._wait(self._registered)
        await self._wait(self._entered)
        return registered

    async def login(self, uid: str, node: str) -> m.Info:
        """Log this device in. Raises `Disconnected` with `login failed` and the like."""
        await self._send(m.encode_head(m.Login(uid, node)))
        return await self._wait(self._entered)

    async def register_keys(
        self,
        label: str,
        keys: AccountKeys,
        newalias: str = "_",
        invite: str | None = None,
        *,
        oidc: dict[str, Any] | None = None,
        on_work: OnWork | None = None,
    ) -> m.Registered:
        """Open an account whose first device has these keys; on a connection of revision 2.

        `oidc`: what a provider of sign-in answered, where one is asked for. Where work is asked for it is done here;
        `on_work` hears how far it is. Raises `Disconnected`, or `Refused` where there is too much of it.
        """
        entry, sigs, proof, recovery_proof = await self._genesis(keys)
        device = keys.device.signer.public
        work = await worked(await self._wait(self.service), await self.channel(), device, on_work)
        request = m2.RegisterKeys(
            label, newalias, device, entry, sigs, proof, recovery_proof, invite=invite, oidc=oidc, work=work
        )
        await self._send(m.encode_head(request))
        registered = await self._wait(self._registered)
        try:
            await self._wait(self._entered)
        except Disconnected as ended:  # the answer to an earlier try was lost: the account is there
            if str(ended) != m2.REGISTERED_BEFORE:
                raise
        return registered

    async def move_to_keys(self, request_id: str, keys: AccountKeys) -> m.Acked:
        """After a log-in by password: the account has keys from now on, and its passwords end; so does this link.

        Raises `Refused` or `Disconnected`.
        """
        return await self.ask(m2.LogAppend(request_id, *await self._genesis(keys)))

    async def _genesis(self, keys: AccountKeys) -> tuple[str, tuple[Signature, ...], str, str]:
        """The first entry of an account's log, its signatures, and the proofs that both keys are here."""
        channel = await self.channel()
        entry, sigs = keys.genesis(channel.service_key)
        raw = from_text(entry)
        proofs = [registration_proof(key, channel, raw) for key in (keys.device.signer, keys.recovery)]
        return entry, sigs, proofs[0], proofs[1]

    async def login_by_key(
        self, uid: str, device: Signer, service_key: str | None = None, oidc: dict[str, Any] | None = None
    ) -> m.Info:
        """Log this device in by signature. `service_key`: the service must have this one.

        `oidc`: of a new sign-in with the provider, which has ended the one before. Raises `Disconnected`, or
        `WrongService` before anything was signed.
        """
        return await self._prove(uid, device.public, device, service_key, oidc)

    async def login_by_recovery(self, uid: str, recovery: Signer) -> m.Info:
        """Enter by the account's recovery key, as no device: its log can be fetched and added to, and nothing else.

        Raises `Disconnected`.
        """
        return await self._prove(uid, RECOVERY, recovery, None)

    async def _prove(
        self, uid: str, by: str, key: Signer, service_key: str | None, oidc: dict[str, Any] | None = None
    ) -> m.Info:
        channel = await self.channel()
        if service_key is not None and to_text(channel.service_key) != service_key:
            raise WrongService("the service has not the key that it had; nothing was signed for it")
        await self._send(m.encode_head(m2.LoginByKey(uid, by, login_proof(key, channel, uid), oidc)))
        return await self._wait(self._entered)

    async def enter(self, login: Login) -> m.Info:
        """Log in with what the device has. Raises `Disconnected`, also where the service lets it do next to nothing."""
        if isinstance(login, PasswordLogin):
            info = await self.login(login.uid, login.node)
        else:
            info = await self.login_by_key(login.uid, login.device, login.service_key)
        if info.info != LOGIN_OK:
            self._end(info.info)
            raise Disconnected(info.info)
        return info

    async def channel(self) -> Channel:
        """What a device signs to enter.

        Raises `Disconnected` when the service announced no revision 2, and `WrongService` when it does not prove that
        its key is behind this connection's certificate: somebody else repeats what it announced.
        """
        greeting = await self._wait(self.service)
        if greeting.service is None:
            raise Disconnected("the service speaks revision 1 only")
        try:
            nonce, key = from_text(greeting.nonce, NONCE_BYTES), from_text(greeting.service.key, PUBLIC_KEY_BYTES)
        except ValueError as error:
            raise Disconnected(f"the service does not speak TMTP: {error}") from None
        channel = Channel(nonce, key, spki_hash(self._writer) or NO_TLS)
        if not any(greeting_proved(proof, channel) for proof in greeting.proofs):
            raise WrongService("the service does not prove that it has its key; nothing was signed for it")
        return channel

    # -- requests ----------------------------------------------------------------------------------------------------
    async def post(
        self,
        request_id: str,
        recipients: Sequence[m.Recipient],
        data: bytes | AsyncIterator[bytes],
        datalen: int | None = None,
        datahead: int = 0,
        *,
        from_: str = "",
        as_: m.Outsider | None = None,
    ) -> m.Acked:
        """Post `data`; an iterator must yield exactly `datalen` octets. Raises `Refused` or `Disconnected`.

        Revision 2: `from_` is the alias that speaks, `as_` whom a bridge speaks for.
        """
        size = len(data) if isinstance(data, bytes) else datalen
        if size is None:
            raise ValueError("datalen must be given for data that comes in pieces")
        head = m.encode_head(m.Post(request_id, tuple(recipients), size, datahead, 0, from_, as_))
        return await self._request(request_id, head, data, size)

    async def post_notify(
        self,
        request_id: str,
        recipients: Sequence[m.Recipient],
        notified: Sequence[m.Recipient],
        note: tuple[bytes, int],
        data: AsyncIterator[bytes],
        datalen: int,
        datahead: int,
        *,
        not_self: bool = False,
        from_: str = "",
    ) -> m.Acked:
        """Post `datalen` octets of `data` to `recipients`, and a note to them and to `notified` (op 8, wire.md §6).

        `note`: its octets, of which so many are its head. `not_self`: own other devices get the note alone. Raises
        `Refused` or `Disconnected`.
        """
        octets, notehead = note
        size = len(octets) + datalen
        head = m.PostNotify(
            request_id,
            tuple(recipients),
            tuple(notified),
            not_self,
            datalen=size,
            datahead=datahead,
            notelen=len(octets),
            notehead=notehead,
            from_=from_,
        )

        async def pieces() -> AsyncIterator[bytes]:
            yield octets
            async for piece in data:
                yield piece

        return await self._request(request_id, m.encode_head(head), pieces(), size)

    async def ping(self, request_id: str, from_: str, to: str, text: str) -> m.Acked:
        """A first contact, at most 140 UTF-16 units (D2)."""
        data = text.encode()
        return await self._request(request_id, m.encode_head(m.Ping(request_id, from_, to, len(data))), data, len(data))

    async def group_invite(self, request_id: str, gid: str, from_: str, to: str, text: str = "") -> m.Acked:
        """Invite the owner of an alias into a group."""
        data = text.encode()
        head = m.encode_head(m.GroupInvite(request_id, gid, from_, to, len(data)))
        return await self._request(request_id, head, data, len(data))

    async def ask(
        self,
        request: m.UserEdit
        | m.OhiEdit
        | m.GroupEdit
        | m2.LogAppend
        | m2.InviteEdit
        | m2.BlockEdit
        | m2.KeyEdit
        | m2.Report,
    ) -> m.Acked:
        """Any request without data that is answered by an ack. Raises `Refused` or `Disconnected`."""
        return await self._request(request.id, m.encode_head(request), b"", 0)

    async def inquire(
        self, request: m2.LogFetch | m2.InviteEdit | m2.Find | m2.ServiceInfo | m2.GroupInfo
    ) -> tuple[m2.LogPage | m2.Listing | m2.Skin, bytes]:
        """Any request that is answered with data. Raises `Refused` or `Disconnected`."""
        event, data = await self._answer(request.id, m.encode_head(request), b"", 0)
        if isinstance(event, m.Acked):
            raise Disconnected("the service does not speak TMTP: an ack without an answer")
        return event, data

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
        try:
            await asyncio.gather(*others, return_exceptions=True)
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(limits.CLOSE_TIMEOUT_S):
                    await self._writer.wait_closed()
        finally:
            self._writer.transport.abort()  # a peer that does not close its side is not waited for

    async def closed(self) -> str:
        """Wait for the end; why it came."""
        return await asyncio.shield(self._ended)

    @property
    def head(self) -> str:
        """Of the account's log, as it was when this device entered; empty without one."""
        return self._entered.result().head if self._entered.done() else ""

    @property
    def present(self) -> tuple[str, ...]:
        """Who was there when this device entered, of those who tell it (`ohi`)."""
        return self._entered.result().ohi if self._entered.done() else ()

    @property
    def is_open(self) -> bool:
        """Whether requests may still be made."""
        return not self._ended.done()

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _request(self, request_id: str, head: bytes, data: bytes | AsyncIterator[bytes], size: int) -> m.Acked:
        event, _ = await self._answer(request_id, head, data, size)
        if not isinstance(event, m.Acked):
            raise Disconnected("the service does not speak TMTP: another answer than an ack")
        return event

    async def _answer(self, request_id: str, head: bytes, data: bytes | AsyncIterator[bytes], size: int) -> Answer:
        if request_id in self._answers:
            raise ValueError(f"a request with the id {request_id!r} is under way")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = answer
        try:
            if isinstance(data, bytes):
                await self._send(head + data)
            else:
                await self._send_pieces(head, data, size)
            event, answered = await self._wait(answer)
        finally:
            self._answers.pop(request_id, None)
        if isinstance(event, m.Acked) and event.error:
            raise Refused(event.error)
        return event, answered

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

    async def _acknowledge(self, ids: Sequence[str]) -> None:
        """Ack messages now, or right after the request that is being sent: messages go on coming meanwhile.

        If they did not, an upload could wait for the service and the service for acks, each for the other.
        """
        if len(ids) > 1 and self._speaks_revision2:
            self._acks += m.encode_head(m.Ack("", "ok", ids=tuple(ids)))
        else:
            for message_id in ids:
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

    def _end(self, reason: str, *, there: bool = False) -> None:
        if not self._ended.done():
            self.was_ended_there = there
            self._ended.set_result(reason)
            self._writer.close()

    async def _read(self) -> None:
        """Read until the end; answers go to who waits, messages to the handler, in their order."""
        payload: Payload | Gathered | None = None
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
            self._end("the service closed the connection", there=True)
        except (OSError, ssl.SSLError) as error:
            self._end(f"the connection broke: {error}")
        except ProtocolError as error:
            self._end(f"the service does not speak TMTP: {error.quit_text}", there=True)
        except Exception as error:
            self._end(f"presence could not be shown: {type(error).__name__}: {error}")
            raise
        finally:
            if payload is not None:
                payload.end(broken=True)

    async def _take(self, event: m2.Event) -> Payload | Gathered | None:
        """Act on a header; the payload to feed, if its data is wanted."""
        if isinstance(event, m.Acked | m2.LogPage | m2.Listing | m2.Skin):
            answer = self._answers.get(event.id)
            if answer is None or answer.done():
                return None
            if isinstance(event, m.Acked):
                answer.set_result((event, b""))
                return None
            if event.datalen > limits.ANSWER_MAX_BYTES:
                raise ProtocolError("an answer that is too long")
            return Gathered(partial(_answered, answer, event))
        if isinstance(event, m.Ohi):
            if self._on_presence is not None:
                self._on_presence(event)
        elif isinstance(event, m.QuitNotice):
            self._end(event.error, there=True)
        elif isinstance(event, m.TmtpRevAnswer):
            self.service.set_result(event)
        elif isinstance(event, m.Registered):
            self._registered.set_result(event)
        elif isinstance(event, m.Info):
            if not self._entered.done():
                self._entered.set_result(event)
        else:
            payload = Payload(event.datalen)
            await self._events.put(event, payload)
            return payload
        return None

    async def _handle(self) -> None:
        """One message, or one batch of small ones, after the other: recorded, then acknowledged."""
        while True:
            taken = await self._events.take(self._batch)
            try:
                await self._record(taken)
            except Disconnected as ended:
                self._end(str(ended))  # by then it has, unless the handler says so: nobody would handle what comes
                return
            except Exception as error:
                self._end(f"a message could not be recorded: {error}")
                raise
            finally:
                for _, payload in taken:
                    payload.abandon()
            with contextlib.suppress(Disconnected):
                await self._acknowledge([event.id for event, _ in taken])

    async def _record(self, taken: Sequence[Waiting]) -> None:
        event, payload = taken[0]
        if self._on_batch is None or payload.size > limits.BATCHED_EVENT_MAX_BYTES:
            await self._on_event(event, payload)
        else:
            await self._on_batch([(event, await payload.read()) for event, payload in taken])

    @property
    def _batch(self) -> int:
        """How many messages may make one batch: half a window, so that the other half comes while one is recorded."""
        if self._on_batch is None:
            return 1
        window = self._entered.result().window if self._entered.done() else 0
        return max(1, window // 2) if window else limits.BATCH_EVENTS

    @property
    def _speaks_revision2(self) -> bool:
        return self.service.done() and self.service.result().service is not None

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


def _answered(answer: "asyncio.Future[Answer]", event: m2.LogPage | m2.Listing | m2.Skin, data: bytes) -> None:
    """The data of an answer is complete."""
    if not answer.done():
        answer.set_result((event, data))
