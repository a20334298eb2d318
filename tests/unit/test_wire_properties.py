# SPDX-License-Identifier: AGPL-3.0-or-later
"""Properties of codec and link: the cuts of a stream mean nothing, and hostile bytes are only an error (wire.md §1)."""

import json
from collections.abc import Callable, Iterable
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tmtp_core.errors import ProtocolError
from tmtp_core.wire import link as wire
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.codec import frame
from tmtp_core.wire.requests import parse_request

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
aliases = st.text(st.characters(categories=["L", "N"]), min_size=8, max_size=20)
octets = st.binary(min_size=1, max_size=300)
pings = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=70).map(str.encode)
recipients = st.lists(st.builds(m.Recipient, texts, st.integers(1, 3)), max_size=3).map(tuple)


def _ping(request_id: str, from_: str, to: str, data: bytes) -> bytes:
    return m.encode_frame(m.Ping(request_id, from_, to, len(data)), data)


def _post(request_id: str, to: tuple[m.Recipient, ...], data: bytes) -> bytes:
    return m.encode_frame(m.Post(request_id, to, len(data)), data)


def _post_notify(request_id: str, to: tuple[m.Recipient, ...], note: bytes, data: bytes) -> bytes:
    size = len(note) + len(data)
    return m.encode_frame(m.PostNotify(request_id, to, datalen=size, notelen=len(note)), note + data)


requests = st.one_of(
    st.builds(lambda i, k: m.encode_head(m.Ack(i, k)), texts, texts),
    st.just(m.encode_head(m.Pulse())),
    st.builds(lambda i, a: m.encode_head(m.UserEdit(i, newalias=a)), texts, aliases),
    st.builds(lambda i, g: m.encode_head(m.GroupEdit(i, "join", g)), texts, aliases),
    st.builds(_ping, texts, aliases, aliases, pings),
    st.builds(_post, texts, recipients, octets),
    st.builds(_post_notify, texts, recipients, octets, octets),
    octets,  # and now and then something that is no request at all
)
entry = m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Login("u" * 32, "n" * 40))


def _take_all(link: wire.ServerLink, seen: list[object]) -> bool:
    """Take the events there are, and let a log-in in; whether there may be more."""
    took = False
    for event in link.events():
        took = True
        if isinstance(event, wire.PostRead):  # which came in one piece
            seen += [wire.BodyBegan(event.request), event.data, wire.BodyEnded()]
        elif not isinstance(event, wire.BodyChunk):
            seen.append(event)
        elif isinstance(seen[-1], bytes):
            seen[-1] += bytes(event.chunk)
        else:
            seen.append(bytes(event.chunk))
    if link.state is wire.LinkState.ENTERING:
        link.entered()
    return took and link.state is not wire.LinkState.ENDED


def meaning(chunks: Iterable[bytes]) -> list[object]:
    """All that a link makes of a stream, with the borders of data pieces taken out."""
    link = wire.ServerLink(0.0, 1 << 20)
    seen: list[object] = []
    for chunk in chunks:
        link.receive(chunk, 0.0)
        try:
            while _take_all(link, seen):
                pass
        except ProtocolError as error:
            seen.append(error.quit_text)
            return seen
    return seen


@given(st.lists(requests, max_size=6), st.data())
def test_whole_input_equals_any_cuts(frames: list[bytes], data: st.DataObject) -> None:
    stream = entry + b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = meaning([stream])
    assert meaning(parts) == whole
    assert meaning(stream[i : i + 1] for i in range(len(stream))) == whole


@given(st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes_raise_nothing_but_a_protocol_error(data: bytes, after_entry: bool) -> None:
    meaning([entry + data if after_entry else data])


@given(st.binary(max_size=200))
def test_arbitrary_headers_raise_nothing_but_a_protocol_error(header: bytes) -> None:
    meaning([entry + frame(header.ljust(8)) + bytes(16)])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["op", "Op", "ID", "id", "For", "type", "datalen", "DataLen", "notelen", "To", "oidc", "x"])


@given(st.dictionaries(names, json_values, max_size=8))
def test_odd_but_valid_json_raises_nothing_but_a_protocol_error(header: dict[str, object]) -> None:
    meaning([entry + frame(json.dumps(header).encode().ljust(8)) + bytes(16)])


@pytest.mark.parametrize("field", ["oidc", "Oidc", "id", "for", "unknown"])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_an_invalid_header(field: str, begin: str, end: str) -> None:
    """Before log-in too. How deep msgspec goes depends on the stack it stands on; beyond that it is no header."""
    nested = '{"a":' + begin * 8_000 + "1" + end * 8_000 + "}"
    header = f'{{"op":0,"id":"1","{field}":{nested}}}'.encode()
    for parse in (parse_request, m2.parse_request):
        with pytest.raises(ProtocolError, match="invalid header"):
            parse(header)
    for parse_event in (m.parse_event, m2.parse_event):
        with pytest.raises(ProtocolError, match="invalid header"):
            parse_event(f'{{"op":"ack","id":"1","{field}":{nested}}}'.encode())
    link = wire.ServerLink(0.0, 1 << 20)
    link.receive(frame(header), 0.0)
    with pytest.raises(ProtocolError):
        list(link.events())


plain = st.fixed_dictionaries(
    {"op": st.integers(0, 14)},
    optional={
        "id": texts,
        "datalen": st.integers(-1, 500),
        "datahead": st.integers(-1, 20),
        "datasum": st.integers(-1, 2**64),
        "for": st.lists(st.fixed_dictionaries({"id": texts, "type": st.integers(-1, 4)}), max_size=2),
        "notefor": st.lists(st.fixed_dictionaries({"id": texts, "type": st.integers(0, 4)}), max_size=2),
        "oidc": st.dictionaries(st.sampled_from(["id_token", "token_type"]), texts, max_size=2),
        "type": st.sampled_from(["add", "drop", "init", "ok", ""]),
        "newalias": texts,
        "newnode": texts,
        "uid": texts,
        "node": texts,
        "from": texts,
        "to": texts,
        "gid": texts,
        "act": st.sampled_from(["join", "alias", "drop", "x"]),
        "notelen": st.integers(-1, 20),
    },
)


@example({"op": 11, "for": [{"id": "x", "type": 1}]}, Random(3))
@given(plain, st.randoms(use_true_random=False))
def test_field_names_match_in_any_case(header: dict[str, object], random: Random) -> None:
    """The short way (plain names) and the long way (odd names) make the same of a header."""

    def odd(value: object) -> object:
        if isinstance(value, dict):
            return {"".join(random.choice((c, c.upper())) for c in k): odd(v) for k, v in value.items()}
        return [odd(one) for one in value] if isinstance(value, list) else value

    def parsed(value: object) -> object:
        try:
            return parse_request(json.dumps(value).encode())
        except ProtocolError as error:
            return error.quit_text

    assert parsed(odd(header)) == parsed(header)
    assert parsed({**header, "unknown": 1.5}) == parsed(header)


whole = st.sampled_from(
    [
        {"op": 7, "id": "1", "for": [{"id": "u", "type": 1}], "datalen": 10},
        {"op": 10, "id": "1", "type": "ok"},
        {"op": 11},
    ]
)
twists: dict[str, st.SearchStrategy[object]] = {
    "id": st.sampled_from(["", "ſ", None]),
    "ids": st.lists(texts, max_size=2),
    "type": st.sampled_from(["ok", ""]),
    "for": st.lists(st.fixed_dictionaries({"id": texts | st.just(""), "type": st.integers(0, 4)}), max_size=2),
    "datalen": st.sampled_from([-1, 0, 1, 20, 2**63 - 1, 2**63]),
    "datahead": st.integers(-1, 20),
    "datasum": st.sampled_from([-1, 0, 2**64 - 1, 2**64]),
    "from": texts,
    "as": st.fixed_dictionaries({"address": texts | st.just("")}, optional={"proof": texts, "more": texts}),
    "to": texts,
}
twisted = st.lists(st.one_of([st.tuples(st.just(name), values) for name, values in twists.items()]), max_size=3)


@given(whole, twisted.map(dict))
def test_the_short_way_of_frequent_requests_makes_the_same_of_a_header(
    whole: dict[str, object], twists: dict[str, object]
) -> None:
    """A name that no request has makes a header take the general way."""
    header = {**whole, **twists}

    def parsed(parse: Callable[[bytes], object], value: object) -> object:
        try:
            return parse(json.dumps(value).encode())
        except ProtocolError as error:
            return error.quit_text

    for parse in (parse_request, m2.parse_request):
        assert parsed(parse, header) == parsed(parse, {**header, "unknown": 1.5})


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_what_is_written_is_read_again(text: str) -> None:
    written = m.encode_stored(
        m.Delivery(id="0" * 16, from_=text, posted="p", datalen=5, datahead=2, datasum=7, notify=1)
    )
    event = m.parse_event(written[4:])
    assert isinstance(event, m.Delivery)
    assert (event.from_, event.datalen, event.datahead, event.notify) == (text, 5, 2, 1)
    assert int(written[:4], 16) == len(written) - 4
    assert not {0x3C, 0x3E, 0x26} & set(written)
