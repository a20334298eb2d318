# SPDX-License-Identifier: AGPL-3.0-or-later
"""Three devices that edit without hearing of one another agree in the end, whatever order they hear in (B3, decision 26).

Registers, and everything that a person sees of them. Clocks are wrong by years, posts come late, twice, in any order;
messages come before or after what is said about them; processes are killed in the middle of a change.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.stepping import Device
from tmtp_client import limits
from tmtp_client.api.models import Draft
from tmtp_client.engine import drafts as writing
from tmtp_client.engine.tags import mark_thread
from tmtp_client.store.messages import NewMessage
from tmtp_client.sync import drafts, journal, registers, state
from tmtp_client.sync.registers import At, Change

YEAR_MS = 365 * 24 * 3600 * 1000
NOW_MS = 56 * YEAR_MS
STEP_MS = 1000
BOB, CARA = "B" * 32, "C" * 32


def message(number: int) -> NewMessage:
    """The service's messages: threads of three."""
    return NewMessage(
        id=f"{number:016x}",
        kind="message",
        outgoing=False,
        author=(BOB, CARA)[number % 2],
        alias=("Bob Builder", "Cara Cook")[number % 2],
        verified=True,
        to=(),
        thread=f"{number - number % 3:016x}",
        subject="a subject",
        text=f"text {number}",
        posted=f"2026-11-24T12:00:{number:02d}.000Z",
        received_ms=0,
        state="received",
        seen=False,
    )


MESSAGES = [message(number) for number in range(9)]
THREADS = sorted({one.thread for one in MESSAGES})
_device = st.integers(0, 2)
_message = st.sampled_from([one.id for one in MESSAGES])
_thread = st.sampled_from(THREADS)
_draft_key = st.sampled_from([THREADS[0], "new-1"])
_text = st.sampled_from(["", "one", "two \u2028 lines", "d\u0301rei"])
_snoozed = st.sampled_from([0, NOW_MS + 5 * STEP_MS, NOW_MS + YEAR_MS])
_json = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), st.lists, max_leaves=4)

EDIT = st.one_of(
    st.tuples(st.just("seen"), st.lists(_message, max_size=4), st.booleans()),
    st.tuples(st.just("thread seen"), _thread, st.booleans()),
    st.tuples(
        st.just("mark"),
        _thread,
        st.fixed_dictionaries(
            {},
            optional={
                "archived": st.booleans(),
                "muted": st.booleans(),
                "snoozed_until_ms": _snoozed,
                "tag": st.sampled_from(["x", "y"]),
                "untag": st.sampled_from(["x", "y"]),
                "encryption": st.sampled_from(["on", "off"]),
            },
        ),
    ),
    st.tuples(st.just("draft"), _draft_key, _text, _text, st.lists(st.sampled_from(["Bob", "Cara"]), max_size=2)),
    st.tuples(st.just("drop"), _draft_key),
    st.tuples(st.just("setting"), st.integers(0, 30)),
    st.tuples(st.just("stands"), st.sampled_from([BOB, CARA]), st.sampled_from(["contact", "ignored"])),
    st.tuples(st.just("newer"), st.sampled_from(["message", "of tomorrow"]), _message, _json),
)
STEP = st.one_of(
    st.tuples(st.just("edit"), _device, EDIT),
    st.tuples(st.just("edit"), _device, EDIT),
    st.tuples(st.just("edit"), _device, EDIT),
    st.tuples(st.just("receive"), _device, st.integers(0, 8)),
    st.tuples(st.just("tell"), _device, st.booleans()),
    st.tuples(st.just("hear"), _device, st.integers(0, 1000), st.booleans()),
    st.tuples(st.just("restart"), _device),
    st.tuples(st.just("clock"), _device, st.sampled_from([0, -40 * YEAR_MS, 9 * YEAR_MS, -3 * STEP_MS, 2 * STEP_MS])),
)


def edit(device: Device, what: tuple[Any, ...]) -> None:
    """One act of a person."""
    at = device.at()
    match what:
        case "seen", ids, seen:
            device.write(lambda c: state.mark_seen(c, at, ids, seen))
        case "thread seen", id, seen:
            device.write(lambda c: state.mark_thread_seen(c, at, id, "", seen))
        case "mark", id, given:
            with suppress(KeyError):  # it is not here yet: nobody sees it
                device.write(lambda c: mark_thread(c, at, id, **given))
        case "draft", key, text, subject, to:
            draft = Draft(key, thread=key, text=text, subject=subject, to=tuple(to))
            device.write(lambda c: writing.save(c, at, draft))
        case "drop", key:
            device.write(lambda c: writing.drop(c, at, key))
        case "setting", value:
            device.write(lambda c: state.set_setting(c, at, "undo_s", value))
        case "stands", uid, stands:
            device.write(lambda c: state.set(c, at, "person", uid, {"stands": stands}))
        case "newer", kind, key, value:
            device.write(lambda c: registers.set(c, at, kind, key, {"of tomorrow": value}))


class World:
    """Three devices and what is under way between them."""

    def __init__(self, folder: Path, ahead_ms: tuple[int, int, int]) -> None:
        self.devices = [Device(folder / f"{n}.db", f"device {n}", ahead) for n, ahead in enumerate(ahead_ms)]
        self.under_way: list[list[bytes]] = [[] for _ in self.devices]
        self.now_ms = NOW_MS

    def step(self, what: tuple[Any, ...]) -> None:
        """One thing happens."""
        self._pass(STEP_MS)
        match what:
            case "edit", place, act:
                edit(self.devices[place], act)
            case "receive", place, number:
                self.devices[place].receive(MESSAGES[number])
            case "tell", place, crash:
                self._tell(place, crash=crash)
            case "hear", place, chosen, again:
                posts = self.under_way[place]
                if posts:
                    post = posts[chosen % len(posts)]
                    self.devices[place].hear(post)
                    if not again:
                        posts.remove(post)
            case "restart", place:
                self.devices[place].restart()
            case "clock", place, ahead:
                self.devices[place].ahead_ms = ahead

    def settle(self, chance: random.Random) -> None:
        """Everything comes that is still to come, in any order; each wakes what was snoozed."""
        for place, device in enumerate(self.devices):
            self._tell(place)
            for one in chance.sample(MESSAGES, len(MESSAGES)):
                device.receive(one)
        for place, device in enumerate(self.devices):
            posts = self.under_way[place]
            chance.shuffle(posts)
            for post in posts:
                device.hear(post)
            posts.clear()
        self.wake()

    def wake(self) -> None:
        """What was snoozed until now comes back; clocks are right again, or devices would differ about what is now."""
        for device in self.devices:
            device.ahead_ms = 0
            for id in THREADS:
                device.write(partial(state.applied_to, at=device.at(), kind="thread", key=id))
            device.write(partial(state.wake, now_ms=self.now_ms))

    def agree(self) -> None:
        """They do, and their counts are what is there."""
        first, *others = self.devices
        for other in others:
            assert other.registers() == first.registers()
            assert other.shown() == first.shown()
        for device in self.devices:
            kept, counted = device.counts()
            assert kept == counted
            assert device.tell() == []

    def close(self) -> None:
        """End all processes."""
        for device in self.devices:
            device.close()

    def _tell(self, place: int, *, crash: bool = False) -> None:
        for post in self.devices[place].tell(crash=crash):
            for other, posts in enumerate(self.under_way):
                if other != place:
                    posts.append(post)

    def _pass(self, ms: int) -> None:
        self.now_ms += ms
        for device in self.devices:
            device.now_ms = self.now_ms


@contextmanager
def world(*ahead_ms: int) -> Iterator[World]:
    with TemporaryDirectory() as folder:
        made = World(Path(folder), (*ahead_ms, 0, 0, 0)[:3])  # type: ignore[arg-type]
        made._pass(0)
        try:
            yield made
        finally:
            made.close()


CHANGE = st.builds(
    Change,
    st.just("setting"),
    st.sampled_from(["undo_s", "language"]),
    st.just("value"),
    st.sampled_from(["1", "2", '"en"', "null"]),
    st.sampled_from([f"{NOW_MS + ms:012x}-{n:04x}-{'AB'[n % 2] * 16}" for ms in (0, 9 * YEAR_MS) for n in (0, 1)]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CHANGE, min_size=2, max_size=8).flatmap(lambda told: st.tuples(st.just(told), st.permutations(told))))
def test_the_order_in_which_changes_come_makes_no_difference(told: tuple[list[Change], list[Change]]) -> None:
    """Equal stamps with different values too, as a device makes whose disk was put back to an earlier state."""
    with world() as made:
        for device, changes in zip(made.devices, told, strict=False):
            device.write(lambda c, changes=changes: state.apply(c, At("Z" * 16, NOW_MS), changes))  # type: ignore[misc]
        first, second, _ = made.devices
        assert first.registers() == second.registers()
        assert first.shown() == second.shown()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(STEP, min_size=15, max_size=60),
    st.tuples(*[st.sampled_from([0, 0, 900, -20 * YEAR_MS, -56 * YEAR_MS, 10 * YEAR_MS])] * 3),
    st.randoms(use_true_random=False),
)
def test_devices_agree_in_the_end(
    steps: list[tuple[Any, ...]], ahead_ms: tuple[int, int, int], chance: random.Random
) -> None:
    with world(*ahead_ms) as made:
        for step in steps:
            made.step(step)
        made.settle(chance)
        made.agree()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, max_size=25), _device, EDIT, st.sampled_from([0, -56 * YEAR_MS, 9 * YEAR_MS]))
def test_what_a_person_does_last_holds_whatever_the_clocks_say(
    steps: list[tuple[Any, ...]], place: int, last: tuple[Any, ...], ahead_ms: int
) -> None:
    with world(0, 10 * YEAR_MS, -20 * YEAR_MS) as made:
        for step in steps:
            made.step(step)
        made.settle(random.Random(1))
        made.devices[place].ahead_ms = ahead_ms
        edit(made.devices[place], last)
        made.devices[place].ahead_ms = 0
        made.wake()
        wanted = made.devices[place].shown()
        made.settle(random.Random(2))
        assert made.devices[place].shown() == wanted
        made.agree()


def test_an_edit_of_a_device_that_lags_by_years_holds() -> None:
    with world(-30 * YEAR_MS, 10 * YEAR_MS) as made:
        lagging, ahead, third = made.devices
        for device in made.devices:
            device.receive(MESSAGES[0])
        edit(ahead, ("seen", [MESSAGES[0].id], True))
        made.settle(random.Random(0))
        lagging.ahead_ms = -30 * YEAR_MS
        edit(lagging, ("seen", [MESSAGES[0].id], False))
        made.settle(random.Random(0))
        made.agree()
        assert third.shown()["seen"][MESSAGES[0].id] == 0


def test_a_device_whose_clock_is_years_ahead_drags_nobody_along() -> None:
    with world(10 * YEAR_MS) as made:
        ahead, right, _ = made.devices
        edit(ahead, ("setting", 1))
        made.settle(random.Random(0))
        edit(right, ("setting", 2))  # over what came from the future: later than that
        edit(right, ("stands", BOB, "contact"))  # and at once back in the present
        stamps = {kind: stamp for (kind, _, _), (_, stamp) in right.registers().items()}
        assert stamps["person"] < f"{NOW_MS + YEAR_MS:012x}" < stamps["setting"]


def test_a_new_device_is_told_everything_also_what_its_elder_does_not_understand(tmp_path: Path) -> None:
    with world() as made:
        elder = made.devices[0]
        for one in MESSAGES:
            elder.receive(one)
        made.step(("edit", 0, ("mark", THREADS[0], {"tag": "x", "archived": True})))
        made.step(("edit", 0, ("newer", "of tomorrow", "key", {"a": 1})))
        made.step(("edit", 0, ("seen", [one.id for one in MESSAGES], True)))
        assert elder.tell()
        new = Device(tmp_path / "new.db", "new", 0)
        elder.write(registers.tell_everything)
        for post in elder.tell():
            new.hear(post)
        for one in MESSAGES:
            new.receive(one)
        assert new.registers() == elder.registers()
        assert new.shown() == elder.shown()
        assert new.tell() == []
        new.close()


def test_what_is_told_is_bounded_and_nothing_of_it_is_lost() -> None:
    with world() as made:
        device, other, _ = made.devices
        edits = [("of tomorrow", f"{number:04d}", {"field": "x" * 100}) for number in range(2000)]
        edits.append(("of tomorrow", "large", {"field": "y" * (limits.REGISTER_VALUE_MAX_BYTES - 2)}))
        device.write(lambda c: registers.set_many(c, device.at(), edits))
        posts = device.tell()
        assert sum(len(post) > limits.SYNC_POST_BYTES for post in posts) == 1
        assert all(len(post) < limits.SYNC_POST_MAX_BYTES for post in posts)
        for post in posts:
            other.hear(post)
        assert other.registers() == device.registers()


def test_a_refused_post_is_told_again_when_the_account_starts_and_not_before() -> None:
    with world() as made:
        device, other, _ = made.devices
        edit(device, ("setting", 3))
        edit(device, ("stands", BOB, "contact"))
        (post,) = device.tell()
        edit(device, ("setting", 4))
        device.write(lambda c: journal.refused(c, post))
        for told in device.tell():
            other.hear(told)
        assert list(other.registers()) == [("setting", "undo_s", "value")]
        device.write(registers.retry_refused)
        for told in device.tell():
            other.hear(told)
        assert other.registers() == device.registers()


@pytest.mark.parametrize(
    "post",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"edits":{}}',
        b'{"edits":[["0"]]}',
        b'{"edits":[[1,{}]]}',
        b'{"edits":[["0",{"message":{"id":["seen"]}}]]}',
        b'{"edits":[["0",{"message":{"id":{"seen":NaN}}}]]}',
        b'{"edits":[["0",{"message":{"id":{"seen":"\\ud800"}}}]]}',
        b'{"edits":[["0",{"message":{"id":{"seen":' + b"[" * 50_000 + b"]" * 50_000 + b"}}}]]}",
        b'{"edits":[' + b" " * limits.SYNC_POST_MAX_BYTES + b"]}",
    ],
)
def test_what_is_no_post_of_a_device_is_refused_in_words(post: bytes) -> None:
    with pytest.raises(ValueError, match=r"another device|octets"):
        journal.read(post)


GOOD = f"{NOW_MS:012x}-0000-{'A' * 16}"


@pytest.mark.parametrize(
    "change",
    [
        Change("message", "id", "seen", "true", GOOD.upper()),
        Change("message", "id", "seen", "true", GOOD + "\n"),
        Change("message", "id", "seen", "true", "f" * 12 + GOOD[12:]),
        Change("message", "id", "seen", "true", ""),
        Change("message", "id", "seen", "tru", GOOD),
        Change("message", "id", "seen", "true true", GOOD),
        Change("message", "i" * 300, "seen", "true", GOOD),
        Change("message", "\ud800", "seen", "true", GOOD),
        Change("here", "draft:x", "files", '["theirs"]', GOOD),
    ],
)
def test_a_change_that_is_none_is_left_out_and_others_are_taken(change: Change) -> None:
    with world() as made:
        device = made.devices[0]
        good = replace(change, kind="setting", key="undo_s", field="value", value="7", stamp=GOOD)
        device.write(lambda c: state.apply(c, device.at(), [change, good]))
        assert device.registers() == {("setting", "undo_s", "value"): ("7", GOOD)}
        assert device.write(lambda c: registers.get(c, "here", "draft:x", "files")) is None


@pytest.mark.parametrize(
    ("kind", "key", "field", "value"),
    [
        ("message", MESSAGES[0].id, "seen", '"yes"'),
        ("message", MESSAGES[0].id, "seen", "1"),
        ("thread", THREADS[0], "archived", "[]"),
        ("thread", THREADS[0], "snoozed_until_ms", "1e300"),
        ("thread", THREADS[0], "snoozed_until_ms", "99999999999999999999999"),
        ("thread", THREADS[0], "snoozed_until_ms", "true"),
        ("thread", THREADS[0], "encryption", '"rot13"'),
        ("thread", THREADS[0], "encryption", "[]"),
        ("thread", THREADS[0], "tag:x", '"on"'),
        ("draft", "new-1", "text", "[]"),
        ("draft", "new-1", "to", "[[]]"),
        ("draft", "new-1", "to", '"Bob"'),
        ("person", BOB, "stands", '"self"'),
        ("person", BOB, "stands", "{}"),
        ("setting", "undo_s", "value", "-1"),
        ("setting", "undo_s", "value", "true"),
        ("setting", "language", "value", "7"),
        ("setting", "skin", "value", '"x"'),
        ("setting", "notifications", "value", "[]"),
    ],
)
def test_a_value_that_makes_no_sense_here_is_kept_and_not_served(kind: str, key: str, field: str, value: str) -> None:
    with world() as made:
        device = made.devices[0]
        device.receive(MESSAGES[0])
        before = device.shown()
        device.write(lambda c: state.apply(c, device.at(), [Change(kind, key, field, value, GOOD)]))
        assert device.shown() == before
        assert device.registers() == {(kind, key, field): (value, GOOD)}


def test_a_later_message_brings_an_archived_thread_back_unless_it_is_muted() -> None:
    with world() as made:
        device = made.devices[0]
        for muted, first in ((False, 0), (True, 3)):
            device.receive(MESSAGES[first])
            edit(device, ("mark", MESSAGES[first].id, {"archived": True, "muted": muted}))
            device.receive(MESSAGES[first + 1])
        archived = {row["id"]: row["archived"] for row in device.shown()["threads"]}
        assert archived == {THREADS[0]: 0, THREADS[1]: 1}


def test_a_snoozed_thread_comes_back_when_it_is_time() -> None:
    with world() as made:
        device = made.devices[0]
        device.receive(MESSAGES[0])
        edit(device, ("mark", THREADS[0], {"snoozed_until_ms": NOW_MS + 5000}))
        assert device.write(state.next_wake_ms) == NOW_MS + 5000
        assert device.write(lambda c: state.wake(c, NOW_MS + 4999)) == []
        assert device.write(lambda c: state.wake(c, NOW_MS + 5000)) == [THREADS[0]]
        assert device.write(state.next_wake_ms) is None
        made._pass(6000)
        device.receive(MESSAGES[1])  # does not put it to sleep again
        assert device.write(state.next_wake_ms) is None


def test_files_of_a_draft_stay_on_their_device() -> None:
    with world() as made:
        device, other, _ = made.devices
        draft = Draft("new-1", text="words", files=("f1", "f2"))
        assert device.write(lambda c: writing.save(c, device.at(), draft)).files == ("f1", "f2")  # type: ignore[union-attr]
        for post in device.tell():
            assert b"f1" not in post
            other.hear(post)
        assert [(one.text, one.files) for one in other.write(drafts.all_of)] == [("words", ())]
        assert device.write(drafts.files_in_use) == {"f1", "f2"}
        assert device.write(lambda c: writing.drop(c, device.at(), "new-1"))
        assert not device.write(lambda c: writing.drop(c, device.at(), "new-1"))
        assert device.write(drafts.files_in_use) == frozenset()
        for post in device.tell():
            other.hear(post)
        assert other.write(drafts.all_of) == []
        assert "words" not in str(other.registers())
