# SPDX-License-Identifier: AGPL-3.0-or-later
"""One link's life in the service: bytes in, decisions asked for, frames out (A3, A4, wire.md §3 and §8).

A session owns the link's state table, the payload that is being uploaded, the requests that wait for their
commit, and the delivery window. It knows no socket: what carries the bytes is an `Outlet`.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from tmtp_core import limits
from tmtp_core.asking import (
    Decide,
    Step,
    goodbye,
    post_decision,
    recipients_bytes,
    refuse_for_now,
    refuse_restricted,
    step_of,
)
from tmtp_core.crypto.possession import Channel
from tmtp_core.domain.outcome import Answer, Asker, Moment, Outcome
from tmtp_core.domain.port import EMPTY, Body, Message
from tmtp_core.domain.rules import Rules
from tmtp_core.domain.window import DeliveryWindow
from tmtp_core.errors import UNAVAILABLE, ProtocolError, RequestRefused, ServiceUnavailable
from tmtp_core.ids import message_id_number
from tmtp_core.outlet import Outlet
from tmtp_core.room import Room
from tmtp_core.store.payloads import Backlog, Upload, is_shortage
from tmtp_core.store.writer import Job, Result
from tmtp_core.wire import link as wire
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

NONE_INTERRUPTED: frozenset[int] = frozenset()  # one for all links: each `frozenset()` is another 216 octets


class Host(Protocol):
    """What a session needs of the service it belongs to."""

    message_max_bytes: int
    rules: Rules
    room: Room

    def greet(self, session: "Session") -> m.TmtpRevAnswer | None: ...
    def announce(self, request: m2.ServiceInfo) -> Answer: ...
    def moment(self) -> Moment: ...
    def monotonic_s(self) -> float: ...
    def submit(self, job: Job) -> None: ...
    def acknowledge(self, device: int, message: Message, sent_s: float | None = None) -> None: ...
    def request_page(self, session: "Session") -> None: ...
    def enter(self, session: "Session", request: m.Login | m.Register | m2.LoginByKey | m2.RegisterKeys) -> None: ...
    def released(self, session: "Session", outcome: Outcome) -> None: ...
    def shows_life(self, session: "Session") -> None: ...
    def gone(self, session: "Session") -> None: ...
    def disconnected(self, session: "Session") -> None: ...
    def new_backlog(self) -> Backlog: ...
    def new_upload(self, size: int, backlog: Backlog, on_progress: Callable[[], None]) -> Upload: ...
    def discard(self, files: tuple[str, ...]) -> None: ...
    def in_loop(self, act: Callable[[], None]) -> None: ...


class _Incoming:
    """The post that is being uploaded: one payload, or the note's and the data's."""

    def __init__(self, request: m.Post | m.PostNotify, new_upload: Callable[[int], Upload]) -> None:
        self.request = request
        sizes = [request.datalen]
        if isinstance(request, m.PostNotify):
            sizes = [request.notelen, request.datalen - request.notelen]
        self.uploads = [(new_upload(size), size) for size in sizes]
        self._current = 0
        self._left = sizes[0]

    def take(self, chunk: memoryview) -> None:
        while chunk:
            if not self._left:
                self._current += 1
                self._left = self.uploads[self._current][1]
            part = chunk[: self._left]
            self.uploads[self._current][0].take(part)
            self._left -= len(part)
            chunk = chunk[len(part) :]

    def discard(self) -> None:
        for upload, _ in self.uploads:
            upload.discard()


class Session:
    """One link. The listener calls `receive`, `connection_lost` and `resumed`; the service the rest."""

    def __init__(self, host: Host, outlet: Outlet, spki_hashes: tuple[bytes, ...]) -> None:
        """`spki_hashes`: SHA-256 of the SPKI of the certificates that the peer may see on this link."""
        self.outlet = outlet
        self.asker: Asker | None = None
        self.channels: tuple[Channel, ...] = ()  # what a device signs to enter; set once, by the greeting
        self.spki_hashes = spki_hashes
        self.contested = False  # another link wants this one's node: the next byte shows that it lives
        self.window: DeliveryWindow | None = None
        self.interrupted = NONE_INTERRUPTED  # numbers that were in flight when the link ended
        self._host = host
        self._restricted = False  # the device may look at its account's log and add to it, and nothing else
        self._link = wire.ServerLink(host.monotonic_s(), host.message_max_bytes)
        self._incoming: _Incoming | None = None
        self._backlog: Backlog | None = None  # of its uploads, from the first on
        self._steps: list[Step] = []  # not a deque: most links are idle, and an empty deque takes 760 octets
        self._uncommitted = 0
        self._held_bytes = 0  # by requests that are not decided
        self._answers_due_bytes = 0
        self._ending = False
        self._last_word: bytes | None = None
        self._closed = False
        self._parsing = False
        self._continuing = False  # the rest of what was received has its turn later
        self._reading = True
        self._cut_by_itself = False  # the request that is being answered cuts this very link …
        self._parting = b""  # … and these are its answers

    # -- from the listener -------------------------------------------------------------------------------------------
    def receive(self, chunk: bytes | bytearray | memoryview) -> None:
        """The peer sent these bytes."""
        if self.contested:
            self._host.shows_life(self)
        if self._ending:
            return
        self._link.receive(chunk, self._host.monotonic_s())
        if self.window is not None and self.window.hidden:
            self._take_hidden(heard=True)
        self.proceed()

    def hung_up(self) -> None:
        """The peer says no more. Requests read whole are still decided; an unfinished one is forgotten."""
        if self._closed:
            return
        self._stop_asking()
        self._closed = True
        self._host.gone(self)

    def connection_lost(self) -> None:
        """The connection is gone."""
        self.hung_up()
        self._host.disconnected(self)

    def resumed(self) -> None:
        """The peer takes what it is sent again."""
        self.pump()
        self.proceed()

    # -- from the service --------------------------------------------------------------------------------------------
    @property
    def revision(self) -> int:
        """What was agreed on for this link."""
        return self._link.revision

    @property
    def open(self) -> bool:
        """Whether the link may still be spoken on."""
        return not self._ending

    def grant(self, more_s: float) -> None:
        """The log-in may come so much later."""
        self._link.grant(more_s)

    def proceed(self) -> None:
        """Parse what was received as far as back-pressure allows, and no more of it than is one link's turn."""
        if self._parsing:
            return
        if self._continuing:
            self._set_reading()
            return
        self._parsing = True
        link, turn = self._link, limits.SESSION_TURN_EVENTS
        most_left = link.buffered_bytes - limits.SESSION_TURN_BYTES
        try:
            while not self._ending and self._may_parse():
                event = link.next_event()
                if event is None:
                    break
                self._act(event)
                if link.at_rest:
                    break
                turn -= 1
                if not turn or link.buffered_bytes < most_left:
                    self._proceed_later()
                    break
        except ProtocolError as error:
            self.end(error.quit_text)
        finally:
            self._parsing = False
        self._set_reading()

    def send(self, message: m2.Event | Answer) -> None:
        """Send a message that is not stored."""
        if self._closed:
            return
        event, data = (message.event, message.data) if isinstance(message, Answer) else (message, b"")
        try:
            head = m.encode_head(event)
        except ValueError:  # the request's id or names, repeated and escaped, do not fit a header
            self.end("invalid header")
            return
        if self._cut_by_itself:
            self._parting += head + data
        else:
            self.outlet.send(head, Body(len(data), data) if data else EMPTY)

    def entered(self, asker: Asker, window: int, interrupted: frozenset[int], *, restricted: bool = False) -> None:
        """The log-in is durable and its answers are sent: deliveries may flow, `window` at a time, the interrupted
        ones first, as soon as the first page is here, which was read with the log-in. To a restricted link nothing
        flows.
        """
        self.asker = asker
        self._restricted = restricted
        if not restricted:
            self.window = DeliveryWindow(window, interrupted)
            self.window.page_requested()
        self._link.entered()
        self.pump()
        self.proceed()

    def pump(self) -> None:
        """Send what the window allows, and ask for more when it runs dry."""
        window, asker = self.window, self.asker
        if window is None or window.at_rest or asker is None or self._ending or self.outlet.congested:
            return
        for message in window.take(self._host.monotonic_s()):
            self.outlet.send(message.head_for(asker.revision), message.body)
        if window.hidden:
            self._take_hidden(heard=False)
        if window.wants_page:
            window.page_requested()
            self._host.request_page(self)

    def sweep(self) -> None:
        """Once a second: deadlines, and deliveries that were not acknowledged in time."""
        now_s = self._host.monotonic_s()
        if self._ending:
            if self.asker is None and now_s >= self._link.login_deadline_s:
                self.outlet.abort()  # the deadline of who never logged in holds also for taking a last word
            return
        if self._reading and now_s >= self._link.deadline_s():
            self.end(None)
            return
        if self.window is None or self.asker is None:
            return
        if self.outlet.congested:  # what is still on its way out cannot be late
            self.window.restart_timers(now_s)
            return
        for message in self.window.overdue(now_s):
            self.outlet.send(message.head_for(self.asker.revision), message.body)

    def end(self, quit_text: str | None) -> None:
        """End the link: what was asked before is answered first, `quit` is the last frame (wire.md §3.8)."""
        if self._ending:
            return
        self._stop_asking()
        self._last_word = m.encode_head(m.QuitNotice(quit_text)) if quit_text is not None else None
        self._set_reading()
        self._close_if_done()

    def cut(self, quit_text: str | None = None) -> None:
        """End the link at once: what is queued is not sent, what was asked is decided and not answered.

        Also when it is ending already. `quit_text` None: without a word, for a peer that is taken for dead.
        """
        self.hung_up()
        last_word = m.encode_head(m.QuitNotice(quit_text)) if quit_text is not None else b""
        self.outlet.cut(self._parting + last_word)

    def _stop_asking(self) -> None:
        """Nothing more is read or delivered; what was asked is still decided."""
        if self._ending:
            return
        self._ending = True
        self.interrupted = self.window.in_flight if self.window is not None else NONE_INTERRUPTED
        self.window = None
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    # -- parsing -----------------------------------------------------------------------------------------------------
    def _act(self, event: wire.ServerEvent) -> None:
        if type(event) is wire.RequestRead:  # not isinstance: see `tmtp_core.wire.link`
            self._act_on_request(event)
        elif type(event) is wire.PostRead:
            self._act_on_post(event.request, event.data)
        elif type(event) is wire.BodyChunk:
            assert self._incoming is not None
            self._incoming.take(event.chunk)
        elif isinstance(event, wire.BodyBegan):
            self._incoming = _Incoming(event.request, self._new_upload)
        elif isinstance(event, wire.BodyEnded):
            self._post_is_complete()
        elif isinstance(event, wire.Entering):
            self._host.enter(self, event.request)
        elif isinstance(event, wire.Negotiated):
            self._greet()
        else:
            self._say_goodbye()

    def _new_upload(self, size: int) -> Upload:
        if self._backlog is None:
            self._backlog = self._host.new_backlog()
        return self._host.new_upload(size, self._backlog, self.proceed)

    def _greet(self) -> None:
        answer = self._host.greet(self)
        if answer is None:
            self.end("revision 1 is not spoken here")
        else:
            self.send(answer)

    def _act_on_request(self, event: wire.RequestRead) -> None:
        request = event.request
        if type(request) is m.Ack:
            self._acknowledge(request)
        elif type(request) is not m.Pulse:
            self._ask(step_of(request, event.text, self._host, self.channels))

    def _acknowledge(self, ack: m.Ack) -> None:
        """Op 10: acted on at once, ahead of posts that wait for the disk; a stray one costs nothing."""
        if self.window is None or self.asker is None:
            return
        acknowledged = False
        for text in (ack.id, *ack.ids):
            number = message_id_number(text)
            flight = self.window.acknowledge(number) if number is not None else None
            if flight is not None:
                self._host.acknowledge(self.asker.device, flight.message, flight.sent_s)
                acknowledged = True
        if acknowledged:
            if self.window.hidden:
                self._take_hidden(heard=True)
            self.pump()

    def _take_hidden(self, *, heard: bool) -> None:
        """Acknowledge for the device what it would have acknowledged by now, were it shown (D3)."""
        if self.window is not None and self.asker is not None:
            for message in self.window.take_hidden(heard=heard):
                self._host.acknowledge(self.asker.device, message)

    def _act_on_post(self, request: m.Post | m.PostNotify, data: bytes) -> None:
        """Op 7 or 8 with little data."""
        bodies: tuple[Body, ...] = (Body(len(data), data),)
        if type(request) is m.PostNotify:
            note, rest = data[: request.notelen], data[request.notelen :]
            bodies = Body(len(note), note), Body(len(rest), rest)
        decide = post_decision(request, bodies, self._host.rules)
        self._ask(Step(decide, request.id, len(data) + recipients_bytes(request), key=m.repetition_key(request)))

    def _post_is_complete(self) -> None:
        incoming, self._incoming = self._incoming, None
        assert incoming is not None
        request = incoming.request
        step = Step(
            None,
            request.id,
            recipients_bytes(request),
            key=m.repetition_key(request),
            waits_for=len(incoming.uploads),
        )
        self._count(step)
        self._steps.append(step)
        for place, (upload, _) in enumerate(incoming.uploads):
            upload.finish(partial(self._body_is_durable, step, request, place))

    def _body_is_durable(self, step: Step, request: m.Post | m.PostNotify, place: int, body: Body | OSError) -> None:
        """From any thread: one payload of a post is where a crash leaves it, or could not be written."""
        if isinstance(body, Body) and body.file is None:
            self._body_arrived(step, request, place, body)  # small ones never leave this thread
        else:
            self._host.in_loop(partial(self._body_arrived, step, request, place, body))

    def _body_arrived(self, step: Step, request: m.Post | m.PostNotify, place: int, body: Body | OSError) -> None:
        step.waits_for -= 1
        if isinstance(body, Body):
            step.bodies[place] = body
            self._hold(step, len(body.inline))
        elif is_shortage(body):
            step.decide = refuse_for_now
        if step.waits_for:
            return
        if len(step.bodies) == (1 if isinstance(request, m.Post) else 2):
            bodies = tuple(step.bodies[number] for number in sorted(step.bodies))
            step.decide = post_decision(request, bodies, self._host.rules)
        self._submit_ready()

    def _say_goodbye(self) -> None:
        """Op 12: once every ack of this link is durable, `logout ok`."""
        self._ask(goodbye())
        self.end("logout ok")

    # -- requests on their way ---------------------------------------------------------------------------------------
    def _ask(self, step: Step) -> None:
        self._count(step)
        if self._steps or step.decide is None:  # behind a post whose payload is not yet durable
            self._steps.append(step)
        else:
            self._submit(step, step.decide)

    def _count(self, step: Step) -> None:
        """A request's memory and its answer's are counted until it is decided."""
        repeated = len(step.request_id) * limits.ESCAPED_MAX_BYTES
        step.answer_bytes += min(repeated + limits.ACK_BYTES, limits.HEADER_MAX_BYTES)
        self._answers_due_bytes += step.answer_bytes
        size, step.size = step.size, 0
        self._hold(step, size + step.answer_bytes)

    def _hold(self, step: Step, size: int) -> None:
        step.size += size
        self._held_bytes += size
        self._host.room.hold(size)

    def _settle(self, step: Step) -> None:
        """A request is decided, or never will be."""
        self._answers_due_bytes -= step.answer_bytes
        self._hold(step, -step.size)

    def _submit_ready(self) -> None:
        """Hand requests to the writer, in the order in which they came."""
        while self._steps and not self._steps[0].waits_for:
            step = self._steps.pop(0)
            if step.decide is None:
                self._settle(step)
                self._host.discard(step.files)
                self.end(UNAVAILABLE)
                continue
            self._submit(step, step.decide)
        self._close_if_done()

    def _submit(self, step: Step, decide: Decide) -> None:
        asker = self.asker
        assert asker is not None
        if self._restricted and not step.narrow:
            decide = refuse_restricted
        self._uncommitted += 1
        moment = self._host.moment()
        self._host.submit(
            Job(
                decide=lambda ledger: decide(ledger, asker, moment),
                done=partial(self._decided, step),
                request=(asker.device, step.key) if step.key is not None else None,
                files=step.files,
                size=step.size,
                looks=step.looks,
            )
        )

    def _decided(self, step: Step, result: Result) -> None:
        """The request's commit is durable, or it was refused."""
        self._uncommitted -= 1
        try:
            self._tell(step, result)
        finally:
            self._settle(step)
        self._close_if_done()
        if not self._reading or self._link.buffered_bytes:  # it was held back
            self._proceed_later()

    def _tell(self, step: Step, result: Result) -> None:
        """What became of a request, and what follows from it for others."""
        if isinstance(result, Outcome):
            self._cut_by_itself = self.asker is not None and self.asker.device in result.cuts
            for answer in result.answers:
                self.send(answer)
            self._host.released(self, result)
        elif isinstance(result, RequestRefused):
            self.send(m.Acked(step.request_id, error=result.text[: limits.ERROR_TEXT_MAX_CHARACTERS]))
        elif isinstance(result, ProtocolError):
            self.end(result.quit_text)
        else:
            assert isinstance(result, ServiceUnavailable)
            self.end(UNAVAILABLE)

    # -- back-pressure and the end -----------------------------------------------------------------------------------
    def _may_parse(self) -> bool:
        return (
            self._uncommitted + len(self._steps) < limits.SESSION_PENDING_REQUESTS_MAX
            and self._held_bytes < limits.SESSION_PENDING_BYTES_MAX
            and self._answers_due_bytes < limits.SESSION_ANSWERS_MAX_BYTES
            and (self._backlog is None or self._backlog.size < limits.UPLOAD_BACKLOG_MAX_BYTES)
            and not self.outlet.clogged
            and not self._host.room.must_wait(self)
        )

    def _set_reading(self) -> None:
        if self._closed:
            return
        room = self._link.buffered_bytes < limits.SESSION_BUFFER_MAX_BYTES
        wanted = self._ending or (room and self._may_parse())
        if wanted is not self._reading:
            self._reading = wanted
            self.outlet.set_reading(wanted)

    def _proceed_later(self) -> None:
        """Go on in the next turn of the loop, after the other links had theirs."""
        if not self._continuing:
            self._continuing = True
            self._host.in_loop(self._continue)

    def _continue(self) -> None:
        self._continuing = False
        self.proceed()

    def _close_if_done(self) -> None:
        if not self._ending or self._closed or self._uncommitted or self._steps:
            return
        self._closed = True
        if self._last_word is not None:
            self.outlet.send(self._last_word)
        self.outlet.close()
        self._host.gone(self)
