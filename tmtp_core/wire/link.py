# SPDX-License-Identifier: AGPL-3.0-or-later
"""One link as a table of states and operations, in both roles (wire.md §3). No socket in sight.

The service's side: bytes in (`ServerLink.receive`), events out (`ServerLink.next_event`). What is illegal in a
state fails by look-up in `_SERVER_TABLE`; whatever is wrong is raised as `ProtocolError`, whose `quit_text`
is what the peer is told. After that the link is over.

The client's side (`ClientLink`) checks that answers come in the order a service may send them.

Structs are told apart by `type`: to say no, `isinstance` looks for a hook of their metaclass, which takes longer than
parsing a header does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Final

import msgspec

from tmtp_core import limits
from tmtp_core.errors import ProtocolError
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.codec import DataEnd, DataRead, FrameReader, HeadRead
from tmtp_core.wire.requests import parse_request


class LinkState(IntEnum):  # not Enum, whose hash is computed in Python at every look-up
    """How far a link is."""

    OPEN = auto()  # accepted, nothing read
    NEGOTIATED = auto()  # TmtpRev seen
    ENTERING = auto()  # Login or Register seen, not answered: what follows waits
    MEMBER = auto()  # logged in
    ENDED = auto()


# -- events of the service's side ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Negotiated:
    """Op 0 came; the answer is due."""

    request: m.TmtpRev


@dataclass(frozen=True, slots=True)
class Entering:
    """Op 1 or 2 came. Nothing more is parsed until `ServerLink.entered`."""

    request: m.Register | m.Login | m2.RegisterKeys | m2.LoginByKey


class RequestRead(msgspec.Struct, frozen=True):
    """A whole request without streamed data; `text` is the checked UTF-8 text of a ping or group invitation."""

    request: m2.Request
    text: bytes = b""


class PostRead(msgspec.Struct, frozen=True):
    """A post came whole, since it is small: `data` are its `request.datalen` octets."""

    request: m.Post | m.PostNotify
    data: bytes


@dataclass(frozen=True, slots=True)
class BodyBegan:
    """A post's header came; `request.datalen` octets follow as `BodyChunk`s."""

    request: m.Post | m.PostNotify


class BodyChunk(msgspec.Struct, frozen=True):
    """The next octets of the post."""

    chunk: memoryview


@dataclass(frozen=True, slots=True)
class BodyEnded:
    """The post is complete."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Op 12 came: answer `quit` and close."""


ServerEvent = Negotiated | Entering | RequestRead | PostRead | BodyBegan | BodyChunk | BodyEnded | Goodbye

_REPEATED: Final = "disallowed op repetition"
_UNAUTHENTICATED: Final = "disallowed op on unauthenticated link"
_CONNECTED: Final = "disallowed op on connected link"
_MEMBER_REQUESTS: Final = (
    m.UserEdit,
    m.OhiEdit,
    m.GroupInvite,
    m.GroupEdit,
    m.Post,
    m.PostNotify,
    m.Ping,
    m.Ack,
    m.Pulse,
    m.Quit,
    *m2.MEMBER_REQUESTS,
)
_ENTRANCES: Final = (m.Register, m.Login, m2.RegisterKeys, m2.LoginByKey)

_FREE_OF_RULES: Final = frozenset(_MEMBER_REQUESTS) - {m.Ping, m.GroupInvite, m.Quit}  # of a state, or of their text
_WAITING: Final = (LinkState.ENTERING, LinkState.ENDED)

_SERVER_TABLE: Final[dict[LinkState, dict[type, LinkState | str]]] = {
    # Before TmtpRev every error is a close without a word (wire.md §3.3): see `ServerLink._fail`.
    LinkState.OPEN: {
        m.TmtpRev: LinkState.NEGOTIATED,
        **dict.fromkeys(_ENTRANCES, _UNAUTHENTICATED),
        **dict.fromkeys(_MEMBER_REQUESTS, _UNAUTHENTICATED),
    },
    LinkState.NEGOTIATED: {
        m.TmtpRev: _REPEATED,
        **dict.fromkeys(_ENTRANCES, LinkState.ENTERING),
        **dict.fromkeys(_MEMBER_REQUESTS, _UNAUTHENTICATED),
    },
    LinkState.MEMBER: {
        m.TmtpRev: _REPEATED,
        **dict.fromkeys(_ENTRANCES, _CONNECTED),
        **dict.fromkeys(_MEMBER_REQUESTS, LinkState.MEMBER),
        m.Quit: LinkState.ENDED,
    },
}


class ServerLink:
    """The service's end of one link.

    Feed what was read to `receive`, then take events until there is none; after `Entering` there is none until
    `entered` is called. The clock is an argument: `now_s` is monotonic seconds.
    """

    def __init__(self, now_s: float, message_max_bytes: int) -> None:
        self.state = LinkState.OPEN
        self._message_max_bytes = message_max_bytes
        self.revision = 1
        self._reader: FrameReader[m2.Request] = FrameReader(parse_request)
        self._request: m2.Request | None = None  # whose data is being read
        self._text: bytearray | None = None  # of a ping or invitation; None while data is streamed
        self._opened_s = now_s
        self._last_read_s = now_s

    @property
    def buffered_bytes(self) -> int:
        """Bytes received and not yet parsed."""
        return self._reader.buffered_bytes

    @property
    def at_rest(self) -> bool:
        """Whether nothing that was received waits to be parsed, nor half a message."""
        return self._reader.at_frame_border

    @property
    def last_read_s(self) -> float:
        """When the peer last sent anything."""
        return self._last_read_s

    @property
    def login_deadline_s(self) -> float:
        """Until when a log-in must have come; not renewed by what is read (wire.md §3.1)."""
        return self._opened_s + limits.LOGIN_DEADLINE_S

    def deadline_s(self) -> float:
        """When the link is to be closed without a word, if nothing happens before (wire.md §3.1)."""
        if self.state in (LinkState.OPEN, LinkState.NEGOTIATED):
            return self.login_deadline_s
        if self.state is LinkState.ENTERING:
            return float("inf")  # it is the service that is awaited
        return self._last_read_s + limits.IDLE_DEADLINE_S

    def receive(self, chunk: bytes | bytearray | memoryview, now_s: float) -> None:
        """Take the next bytes of the stream."""
        self._last_read_s = now_s
        self._reader.feed(chunk)

    def grant(self, more_s: float) -> None:
        """A log-in may come so much later."""
        self._opened_s += more_s

    def entered(self) -> None:
        """The log-in was granted: what was received since may be parsed."""
        self.state = LinkState.MEMBER

    def events(self) -> Iterator[ServerEvent]:
        """All that the bytes so far mean. Raises as `next_event` does."""
        return iter(self.next_event, None)

    def next_event(self) -> ServerEvent | None:
        """What the bytes so far mean next. Raises `ProtocolError`; the link has ended then."""
        if self.state in _WAITING:
            return None
        try:
            while (event := self._reader.next_event()) is not None:
                if isinstance(event, HeadRead):
                    meant = self._begin(event.head)
                    if meant is not None:
                        return meant
                elif isinstance(event, DataEnd):
                    return self._end()
                elif self._text is None:
                    return BodyChunk(event.chunk)
                else:
                    self._text += event.chunk
        except ProtocolError as error:
            raise self._fail(error) from None
        return None

    def _begin(self, request: m2.Request) -> ServerEvent | None:
        """A header came, perhaps with all its data; None where that is still to come."""
        verdict = _SERVER_TABLE[self.state][type(request)]
        if isinstance(verdict, str):
            raise ProtocolError(verdict)
        self.state = verdict
        if type(request) is m.Post or type(request) is m.PostNotify:
            self._check_post(request)
            data = self._reader.take_data(limits.PAYLOAD_INLINE_MAX_BYTES)
            if data is not None:
                return PostRead(request, data)
            self._text = None
            return BodyBegan(request)
        if request.datalen > limits.PING_MAX_BYTES:  # only pings and group invitations get here with data
            raise ProtocolError("data too long for request type")
        text = self._reader.take_data(limits.PING_MAX_BYTES)
        if text is not None:
            return self._whole(request, text)
        self._request, self._text = request, bytearray()
        return None

    def _check_post(self, request: m.Post | m.PostNotify) -> None:
        """What is refused before any data is read (wire.md §2, and the decision on `datalen`)."""
        if request.datalen > self._message_max_bytes:
            raise ProtocolError("data too long for request type")
        if type(request) is m.PostNotify:
            if request.datalen <= request.notelen:
                raise ProtocolError("data too short for request type")
            if request.datahead > request.datalen - request.notelen:  # no client could read what it was handed
                raise ProtocolError("invalid header")
            if request.fornotself and not request.for_:
                raise ProtocolError("recipient list empty")

    def _end(self) -> ServerEvent:
        """The data of a message that came in pieces is complete."""
        request, text = self._request, self._text
        self._request = self._text = None
        if request is None or text is None:
            return BodyEnded()
        return self._whole(request, bytes(text))

    def _whole(self, request: m2.Request, text: bytes) -> ServerEvent:
        """A request without streamed data is complete."""
        if type(request) in _FREE_OF_RULES:
            return RequestRead(request, text)
        if isinstance(request, m.TmtpRev):
            if request.id == m2.REVISION:
                self.revision = 2
                self._reader.parse = m2.parse_request  # until here headers are read as revision 1 reads them
            return Negotiated(request)
        if isinstance(request, _ENTRANCES):
            return Entering(request)
        if isinstance(request, m.Quit):
            return Goodbye()
        check_ping_text(text)
        return RequestRead(request, text)

    def _fail(self, error: ProtocolError) -> ProtocolError:
        """End the link; before TmtpRev the peer is told nothing (wire.md §3.3)."""
        silent = self.state is LinkState.OPEN
        self.state = LinkState.ENDED
        return ProtocolError(None) if silent else error


def check_ping_text(text: bytes | bytearray) -> None:
    """D2, wire.md §6: valid UTF-8 without U+FFFD, at most 140 UTF-16 units. Raises `ProtocolError`."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise ProtocolError("data not valid UTF8") from None
    if "\ufffd" in decoded:
        raise ProtocolError("data not valid UTF8")
    if len(decoded.encode("utf-16-le")) // 2 > limits.PING_MAX_UTF16_UNITS:
        raise ProtocolError("data too long for request type")


# -- the client's side -----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class EventRead:
    """A header from the service; its data, if any, follows as `BodyChunk`s, then `BodyEnded`."""

    event: m2.Event


ClientEvent = EventRead | BodyChunk | BodyEnded

_STORED: Final = (
    m.LoginEvent,
    m.UserEvent,
    m.OhiEditEvent,
    m.PingEvent,
    m.InviteEvent,
    m.MemberEvent,
    m.Delivery,
    m.Notify,
    *m2.STORED_ONLY_HERE,
)

_CLIENT_TABLE: Final[dict[LinkState, dict[type, LinkState]]] = {
    LinkState.OPEN: {m.TmtpRevAnswer: LinkState.NEGOTIATED, m.QuitNotice: LinkState.ENDED},
    LinkState.NEGOTIATED: {
        m.Registered: LinkState.ENTERING,
        m.Info: LinkState.MEMBER,
        m.QuitNotice: LinkState.ENDED,
    },
    LinkState.ENTERING: {m.Info: LinkState.MEMBER, m.QuitNotice: LinkState.ENDED},
    LinkState.MEMBER: {
        m.Acked: LinkState.MEMBER,
        m.Ohi: LinkState.MEMBER,
        m.Info: LinkState.MEMBER,
        m.QuitNotice: LinkState.ENDED,
        **dict.fromkeys((m2.LogPage, m2.Listing, m2.Skin), LinkState.MEMBER),
        **dict.fromkeys(_STORED, LinkState.MEMBER),
    },
    LinkState.ENDED: {},
}


class ClientLink:
    """The client's end of one link: bytes from the service in, events out, in an order that makes sense."""

    def __init__(self) -> None:
        self.state = LinkState.OPEN
        self._reader: FrameReader[m2.Event] = FrameReader(m2.parse_event)

    def receive(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        self._reader.feed(chunk)

    def events(self) -> Iterator[ClientEvent]:
        """Yield what the bytes so far mean. Raises `ProtocolError` for what no service sends in this state."""
        for event in self._reader.events():
            if isinstance(event, HeadRead):
                follows = _CLIENT_TABLE[self.state].get(type(event.head))
                if follows is None:
                    raise ProtocolError(
                        f"the service sent {type(event.head).__name__} on a link that is {self.state.name}"
                    )
                self.state = follows
                yield EventRead(event.head)
            elif isinstance(event, DataRead):
                yield BodyChunk(event.chunk)
            else:
                yield BodyEnded()
