# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hybrid logical clock: stamps sort as edits do, never run back, and follow nobody into the far future."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmtp_client import limits
from tmtp_client.sync.clock import DEVICE_CHARACTERS, Stamp, device_name, heard, read_stamp, tick

HERE, THERE = device_name(b"here"), device_name(b"there")
_ms = st.integers(0, limits.STAMP_MAX_MS)
_stamps = st.builds(Stamp, _ms, st.integers(0, 0xFFFF), st.sampled_from([HERE, THERE]))


@given(_stamps, _stamps)
def test_stamps_sort_as_their_texts_do_and_come_back_from_them(one: Stamp, other: Stamp) -> None:
    assert (one < other) == (one.text < other.text)
    assert (one == other) == (one.text == other.text)
    assert read_stamp(one.text) == one


@given(st.lists(st.integers(-(10**9), limits.STAMP_MAX_MS - 1), min_size=2, max_size=50))
def test_a_clock_never_runs_back_whatever_the_machine_says(times: list[int]) -> None:
    latest: Stamp | None = None
    for now_ms in times:
        kept = None if latest is None else read_stamp(latest.text)  # as after a restart
        new = tick(kept, now_ms, HERE)
        assert latest is None or new > latest
        assert new.ms >= now_ms
        latest = new


@given(_stamps, _stamps, _ms)
def test_what_is_done_after_hearing_is_later_within_the_bound_and_nobody_is_dragged_beyond_it(
    latest: Stamp, other: Stamp, now_ms: int
) -> None:
    after = heard(latest, other, now_ms)
    assert after is not None
    assert after >= latest
    assert after.ms <= max(latest.ms, now_ms + limits.BELIEVED_AHEAD_MS)
    if other.ms <= now_ms + limits.BELIEVED_AHEAD_MS:
        assert after >= other


@given(_stamps)
def test_there_is_always_a_next_one_until_the_end_of_all_times(stamp: Stamp) -> None:
    if (stamp.ms, stamp.counter) == (limits.STAMP_MAX_MS, 0xFFFF):
        with pytest.raises(OverflowError):
            stamp.next_on(HERE)
    else:
        assert stamp < stamp.next_on(HERE)
        assert read_stamp(stamp.next_on(HERE).text) is not None


def test_two_devices_never_make_the_same_stamp_and_no_key_is_told_by_its_name() -> None:
    assert tick(None, 5, HERE) != tick(None, 5, THERE)
    assert len(HERE) == DEVICE_CHARACTERS
    assert b"here" not in HERE.encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "f" * 12 + "-0000-" + "A" * 16,
        "0" * 12 + "-0000-" + "A" * 15,
        "0" * 12 + "-0000-" + "A" * 16 + "\n",
        "0" * 12 + "-000G-" + "A" * 16,
        "٠" * 12 + "-0000-" + "A" * 16,
    ],
)
def test_what_is_no_stamp_is_none(text: str) -> None:
    assert read_stamp(text) is None
