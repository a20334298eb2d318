# SPDX-License-Identifier: AGPL-3.0-or-later
"""The copy of a thread: as existing clients write it, to the octet; and nothing that is none is taken for one."""

from contextlib import suppress

import google_crc32c
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmtp_client import limits
from tmtp_client.engine import thread_copy
from tmtp_client.engine.thread_copy import Copied
from tmtp_core.wire.payload import Attached, Subscriber

THREAD = "0000000000000001"
ADA = Copied(THREAD, "1" * 32, "Ada & Co", "2026-11-26T12:00:00.000Z", "Plans <1>", "Hé", (Attached("u:a.txt", 5),))
READER = Subscriber("Ada & Co", "1" * 32, "Ada & Co", "1" * 32, ".", "author", subscribe=True)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
attached = st.builds(Attached, texts.map("u:{}".format), st.integers(0, 2**40), texts)
copied = st.builds(
    Copied,
    st.integers(0, 2**64 - 1).map("{:016x}".format),
    texts,
    texts,
    texts,
    texts,
    texts,
    st.lists(attached, max_size=3).map(tuple),
)
subscriber = st.builds(Subscriber, texts, texts, texts, texts, texts, texts, st.booleans())


def test_a_copy_is_what_existing_clients_write() -> None:
    """Worked out by hand from what they store: digits, JSON in their order and escapes, text, line feeds, arrays."""
    head = (
        b'{"Id":"0000000000000001","Len":3,"Posted":"2026-11-26T12:00:00.000Z","From":"' + b"1" * 32 + b'","SubHead":'
        b'{"Alias":"Ada \\u0026 Co","ThreadId":"0000000000000001","Subject":"Plans \\u003c1\\u003e",'
        b'"Attach":[{"Name":"u:a.txt","Size":5}]}}'
    )
    block = b"%04x" % len(head) + head + b"\n" + "Hé".encode()
    octets = thread_copy.write(THREAD, [ADA], [READER])
    assert octets.startswith(block + b"\n[")
    index, people = int(octets[-16:-8], 16), int(octets[-8:], 16)
    places = msgspec.json.decode(octets[len(block) + 1 : len(block) + 1 + index])
    assert places == [
        {
            "Id": THREAD,
            "From": "1" * 32,
            "Alias": "Ada & Co",
            "Date": "2026-11-26T12:00:00.000Z",
            "Subject": "Plans <1>",
            "Seen": "",
            "Offset": 0,
            "Size": len(block) + 1,
            "Checksum": google_crc32c.value(block),
        }
    ]
    assert len(octets) == len(block) + 1 + index + people + 16


@given(st.lists(copied, max_size=5), st.lists(subscriber, max_size=5))
def test_what_is_written_is_read(messages: list[Copied], readers: list[Subscriber]) -> None:
    octets = thread_copy.write(THREAD, messages, readers)
    assert thread_copy.read(octets) == (tuple(messages), tuple(readers))


@given(st.binary(max_size=300), st.integers(0, 500), st.integers(0, 3))
def test_what_is_none_is_refused_in_words(noise: bytes, at: int, how: int) -> None:
    whole = thread_copy.write(THREAD, [ADA], [READER])
    octets = [noise, whole[:at], whole[:at] + noise + whole[at:], whole[:at] + noise + whole[at + len(noise) :]][how]
    with suppress(ValueError):  # and nothing else
        thread_copy.read(octets)


def test_more_than_is_handed_on_at_once_is_refused() -> None:
    long = Copied(THREAD, "1" * 32, "Ada", "", "", "x" * (limits.COPY_MAX_BYTES + 1))
    with pytest.raises(ValueError, match="forward the messages that matter"):
        thread_copy.write(THREAD, [long], [])


def test_an_id_that_no_message_of_a_service_has_is_refused() -> None:
    octets = thread_copy.write(THREAD, [ADA], [READER]).replace(b'"Id":"0000000000000001"', b'"Id":"../../../../ada"')
    with pytest.raises(ValueError, match="cannot be read"):
        thread_copy.read(octets)
