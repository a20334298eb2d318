# SPDX-License-Identifier: AGPL-3.0-or-later
"""Text in ASCII takes a shorter way, and comes out as on the long one (D2)."""

from hypothesis import given
from hypothesis import strategies as st

from bridges.mime.readable import one_line, readable, unforged

_UNSEEN = "\u200b"  # with it a text is not ASCII, and goes the long way, on which this is taken out
PLAIN = st.text(st.characters(max_codepoint=127))
NOTES = st.lists(st.sampled_from([*"[]() \n\tgatewy", "[gateway]", "\r\n", "\x1b"])).map("".join)


@given(st.one_of(PLAIN, NOTES))
def test_plain_text_is_as_readable_as_any(text: str) -> None:
    assert readable(text) == readable(_UNSEEN + text)
    assert one_line(text) == one_line(_UNSEEN + text)
    assert unforged(text) + "\n" + _UNSEEN == unforged(text + "\n" + _UNSEEN)
