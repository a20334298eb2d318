# SPDX-License-Identifier: AGPL-3.0-or-later
"""A session's share: of the loop's time, of memory, and what a cut link still hears. No socket, no clock, no database."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from tmtp_core import limits
from tmtp_core.domain.outcome import Answer, Asker, Moment, Outcome
from tmtp_core.domain.port import EMPTY, Body
from tmtp_core.errors import UNAVAILABLE, RequestRefused
from tmtp_core.session import Session
from tmtp_core.store.payloads import Backlog
from tmtp_core.store.writer import Job
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

UID = "U" * 32


class Outlet:
    """Takes everything."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.cuts: list[bytes] = []
        self.reading = True
        self.closed = self.aborted = self.congested = self.clogged = False
        self.peer_address = ""

    def send(self, head: bytes, body: Body = EMPTY) -> None:
        self.sent.append(head + body.inline)

    def close(self) -> None:
        self.closed = True

    def cut(self, last_word: bytes) -> None:
        self.cuts.append(last_word)

    def abort(self) -> None:
        self.aborted = True

    def set_reading(self, wanted: bool) -> None:
        self.reading = wanted


class Upload:
    """Keeps nothing; what comes of it is the test's to say."""

    def __init__(self) -> None:
        self.finished: Callable[[Body | OSError], None]

    def take(self, chunk: memoryview) -> None:
        pass

    def finish(self, done: Callable[[Body | OSError], None]) -> None:
        self.finished = done

    def discard(self) -> None:
        pass


class Host:
    """A service that lets everybody in and decides when the test says so."""

    message_max_bytes = 1 << 20

    def __init__(self) -> None:
        self.rules: Any = Rules()
        self.room: Any = self
        self.jobs: deque[Job] = deque()
        self.turns: deque[Callable[[], None]] = deque()
        self.uploads: list[Upload] = []
        self.held = 0
        self.now_s = 0.0
        self.full = False

    def greet(self, session: Session) -> m.TmtpRevAnswer:
        return m.TmtpRevAnswer("2", "test")

    def announce(self, request: m2.ServiceInfo) -> Answer:
        return Answer(m2.Skin(request.id, "sig", 5), b"skin!")

    def moment(self) -> Moment:
        return Moment(0)

    def monotonic_s(self) -> float:
        return self.now_s

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def enter(self, session: Session, request: object) -> None:
        session.entered(Asker(1, 7, UID, "public"), 64, frozenset())

    def released(self, session: Session, outcome: Outcome) -> None:
        for told in outcome.cuts.values():
            session.cut(told)

    def new_backlog(self) -> Backlog:
        return Backlog()

    def new_upload(self, size: int, backlog: Backlog, on_progress: Callable[[], None]) -> Any:
        self.uploads.append(Upload())
        return self.uploads[-1]

    def discard(self, files: tuple[str, ...]) -> None:
        pass

    def hold(self, size: int) -> None:
        self.held += size

    def in_loop(self, act: Callable[[], None]) -> None:
        self.turns.append(act)

    def must_wait(self, session: Session) -> bool:
        return self.full

    def acknowledge(self, *args: object) -> None: ...
    def request_page(self, session: Session) -> None: ...
    def shows_life(self, session: Session) -> None: ...
    def gone(self, session: Session) -> None: ...
    def disconnected(self, session: Session) -> None: ...

    def turn(self) -> None:
        """One turn of the loop."""
        for _ in range(len(self.turns)):
            self.turns.popleft()()

    def decide(self, result: object) -> None:
        """The writer has decided the oldest request."""
        self.jobs.popleft().done(result)


class Rules:
    """Whatever is asked for."""

    def __getattr__(self, name: str) -> Any:
        return Rules()

    def __call__(self, *args: object) -> Outcome:
        return Outcome()


class Peer:
    """A session that is logged in, with both its ends."""

    def __init__(self) -> None:
        self.host = Host()
        self.outlet = Outlet()
        self.session = Session(self.host, self.outlet, ())  # type: ignore[arg-type]
        self.session.receive(m.encode_head(m.TmtpRev("2")) + m.encode_head(m2.LoginByKey(UID, "device", "sig")))
        self.outlet.sent.clear()

    def send(self, *requests: Any) -> None:
        self.session.receive(b"".join(map(m.encode_head, requests)))

    def until_all_is_parsed(self) -> int:
        """How many turns it takes."""
        turns = 0
        while self.host.turns:
            self.host.turn()
            turns += 1
        return turns


@pytest.fixture
def peer() -> Peer:
    return Peer()


# -- the loop's time -------------------------------------------------------------------------------------------------
def test_a_chunk_of_tiny_requests_takes_many_turns(peer: Peer) -> None:
    pulse = m.encode_head(m.Pulse())
    peer.session.receive(pulse * limits.SESSION_TURN_EVENTS * 10)
    assert peer.session._link.buffered_bytes == len(pulse) * limits.SESSION_TURN_EVENTS * 9
    peer.session.receive(pulse)
    peer.session.resumed()
    assert peer.session._link.buffered_bytes == len(pulse) * limits.SESSION_TURN_EVENTS * 9 + len(pulse)
    assert peer.until_all_is_parsed() == 10
    assert peer.session._link.buffered_bytes == 0


def test_long_headers_take_turns_by_their_length(peer: Peer) -> None:
    header = m.encode_head(m.Ack("x" * 20_000, "ok"))
    peer.session.receive(header * 30)
    assert peer.session._link.buffered_bytes >= len(header) * 30 - limits.SESSION_TURN_BYTES - len(header)
    assert peer.until_all_is_parsed() >= 5
    assert peer.session._link.buffered_bytes == 0


def test_what_waits_for_its_turn_is_bounded(peer: Peer) -> None:
    peer.session.receive(m.encode_head(m.Pulse()) * 50_000)
    peer.session.receive(b"")
    assert not peer.outlet.reading
    peer.until_all_is_parsed()
    assert peer.outlet.reading


def test_answers_do_not_give_a_link_more_than_its_turn(peer: Peer) -> None:
    """Each answer makes room for one more request, and all of a batch come in one turn."""
    round_ = m.encode_head(m.Pulse()) * (limits.SESSION_TURN_EVENTS - 10) + m.encode_head(m2.ServiceInfo("1"))
    peer.session.receive(round_ * 200)
    while len(peer.host.jobs) < limits.SESSION_PENDING_REQUESTS_MAX:
        peer.host.turn()
    before = peer.session._link.buffered_bytes
    for _ in range(len(peer.host.jobs)):
        peer.host.decide(Outcome())
    peer.host.turn()
    assert before - peer.session._link.buffered_bytes <= len(round_) + len(m.encode_head(m.Pulse())) * 20


# -- memory ----------------------------------------------------------------------------------------------------------
def test_answers_are_charged_before_they_are_made(peer: Peer) -> None:
    peer.send(*(m2.LogFetch(f"{number}", UID) for number in range(30)))
    asked = len(peer.host.jobs)
    assert asked == limits.SESSION_ANSWERS_MAX_BYTES // limits.LOG_PAGE_MAX_BYTES
    assert peer.host.held >= asked * limits.LOG_PAGE_MAX_BYTES
    assert sum(job.size for job in peer.host.jobs) == peer.host.held
    for _ in range(30):
        peer.host.decide(Outcome())
        peer.until_all_is_parsed()
    assert peer.host.held == 0
    assert not peer.host.jobs


@pytest.mark.parametrize("request_", [m2.GroupInfo("1", "a group"), m2.InviteEdit("1", "list")])
def test_lists_are_made_one_after_the_other(peer: Peer, request_: m2.Request) -> None:
    peer.send(request_, request_, request_)
    assert len(peer.host.jobs) == 1
    peer.host.decide(Outcome())
    peer.until_all_is_parsed()
    assert len(peer.host.jobs) == 1


def test_an_id_is_charged_as_its_answer_repeats_it(peer: Peer) -> None:
    peer.send(*(m2.Find("<" * 9_000, "abc") for _ in range(30)))
    assert len(peer.host.jobs) <= limits.SESSION_ANSWERS_MAX_BYTES // (9_000 * limits.ESCAPED_MAX_BYTES) + 1


@pytest.mark.parametrize("op", ["post", "large post", "note", "presence", "log"])
def test_those_whom_a_request_names_are_charged(peer: Peer, op: str) -> None:
    """They take many times their JSON: 32 headers of full length would be 12 MB of a link that is bound to have 4."""
    everybody = tuple(m.Recipient("a", 1) for _ in range(3_000))
    requests = {
        "post": m.Post("q", everybody, 1),
        "large post": m.Post("q", everybody, limits.PAYLOAD_INLINE_MAX_BYTES + 1),
        "note": m.PostNotify("q", (), everybody, datalen=2, notelen=1),
        "presence": m.OhiEdit("q", "add", everybody),
        "log": m2.LogAppend("q", "entry", tuple(m2.Signature("a", "") for _ in everybody)),
    }
    data = bytes(requests[op].datalen)
    for _ in range(limits.SESSION_PENDING_REQUESTS_MAX):
        peer.session.receive(m.encode_head(requests[op]) + data)
        peer.until_all_is_parsed()
    assert not peer.outlet.reading
    asked = len(peer.host.jobs) or len(peer.host.uploads)
    assert asked * len(everybody) * 120 < limits.SESSION_PENDING_BYTES_MAX * 1.1
    while peer.host.jobs:
        peer.host.decide(RequestRefused("no"))
    for upload in peer.host.uploads:
        upload.finished(OSError("away"))
        peer.host.turn()
    peer.session.cut()
    assert not peer.host.held


def test_small_payloads_count_while_they_wait_behind_a_large_one(peer: Peer) -> None:
    large = m.encode_frame(m.Post("large", (), 200_000), bytes(200_000))
    small = m.encode_frame(m.Post("small", (), 60_000), bytes(60_000))
    peer.session.receive(large)
    peer.until_all_is_parsed()
    before = peer.host.held
    peer.session.receive(small)
    peer.until_all_is_parsed()
    assert not peer.host.jobs
    assert peer.host.held >= before + 60_000


def test_a_small_payload_that_comes_in_pieces_counts_as_well(peer: Peer) -> None:
    large = m.encode_frame(m.Post("large", (), 200_000), bytes(200_000))
    small = m.encode_frame(m.Post("small", (), 60_000), bytes(60_000))
    peer.session.receive(large + small[:100])
    peer.until_all_is_parsed()
    peer.session.receive(small[100:])
    peer.until_all_is_parsed()
    before = peer.host.held
    peer.host.uploads[1].finished(Body(60_000, bytes(60_000)))
    assert not peer.host.jobs
    assert peer.host.held == before + 60_000


def test_a_post_without_a_descriptor_is_refused_in_its_turn_and_the_link_lives(peer: Peer) -> None:
    peer.session.receive(m.encode_frame(m.Post("large", (), 100_000), bytes(100_000)))
    peer.until_all_is_parsed()
    peer.host.uploads[0].finished(OSError(24, "too many open files"))
    peer.host.turn()
    (job,) = peer.host.jobs
    with pytest.raises(RequestRefused, match=UNAVAILABLE):
        job.decide(None)  # type: ignore[arg-type]
    peer.host.decide(RequestRefused(UNAVAILABLE))
    assert peer.session.open
    assert peer.host.held == 0


def test_a_post_that_the_disk_refuses_ends_the_link_and_gives_its_memory_back(peer: Peer) -> None:
    peer.session.receive(m.encode_frame(m.Post("large", (), 100_000), bytes(100_000)))
    peer.until_all_is_parsed()
    peer.host.uploads[0].finished(OSError(28, "no space left on device"))
    peer.host.turn()
    assert peer.outlet.closed
    assert UNAVAILABLE.encode() in peer.outlet.sent[-1]
    assert peer.host.held == 0


# -- the end ---------------------------------------------------------------------------------------------------------
def test_a_cut_link_hears_the_last_word_and_no_answer(peer: Peer) -> None:
    peer.send(m2.Find("1", "abc"))
    peer.session.cut("device suspended")
    peer.host.decide(Outcome(answers=[m.Acked("1")]))
    peer.until_all_is_parsed()
    assert peer.outlet.cuts == [m.encode_head(m.QuitNotice("device suspended"))]
    assert peer.outlet.sent == []


def test_a_link_that_has_ended_is_cut_all_the_same(peer: Peer) -> None:
    peer.session.end("logout ok")
    assert peer.outlet.closed
    peer.session.cut("device suspended")
    assert len(peer.outlet.cuts) == 1


def test_who_cuts_himself_hears_that_it_was_done(peer: Peer) -> None:
    peer.send(m2.Find("1", "abc"))
    acked = m.Acked("1")
    peer.host.decide(Outcome(answers=[acked], cuts={7: "device revoked"}))
    assert peer.outlet.cuts == [m.encode_head(acked) + m.encode_head(m.QuitNotice("device revoked"))]
    assert peer.outlet.sent == []


@pytest.mark.parametrize("said", [b"", m.encode_head(m.TmtpRev("2")), b"nonsense, and so the end"])
def test_the_deadline_of_who_never_logged_in_holds_for_taking_a_last_word_too(said: bytes) -> None:
    host, outlet = Host(), Outlet()
    session = Session(host, outlet, ())  # type: ignore[arg-type]
    session.receive(said)
    host.now_s = limits.LOGIN_DEADLINE_S - 0.1
    session.sweep()
    assert not outlet.aborted
    host.now_s = limits.LOGIN_DEADLINE_S
    session.sweep()
    assert outlet.closed
    session.sweep()
    assert outlet.aborted


def test_who_has_logged_in_may_take_its_last_word_slowly(peer: Peer) -> None:
    peer.session.end("logout ok")
    peer.host.now_s = limits.LOGIN_DEADLINE_S + 1
    peer.session.sweep()
    assert not peer.outlet.aborted
