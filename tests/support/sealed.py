# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening a sealed post as a client does, whole."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tmtp_core.crypto.content_key import SHARED, key_of_shared, opens, unwrap
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.envelope import TEXT, Delivered, Octets, Opened, Opening
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire.payload import E2e


@dataclass
class Read:
    """A message that was opened."""

    opened: Opened
    text: bytes
    attachments: list[bytes]


def key_for(e2e: E2e, reader: dict[str, Any], shared: Iterable[bytes] = ()) -> bytes:
    """The content key that this reader of a vector has. Raises `EnvelopeRefused`."""
    for one in e2e.keys:
        if one.device == reader["device"] and (one.prekey or reader["box"]) in reader["secrets"]:
            return unwrap(one.sealed, from_text(reader["secrets"][one.prekey or reader["box"]]))
    for one in shared if e2e.suite == SHARED else ():
        if key := key_of_shared(e2e, one, reader["uid"]):
            return key
    raise EnvelopeRefused("no key")


def read(key: bytes, outer: bytes, pieces: Iterable[bytes], size: int, delivered: Delivered) -> Read:
    """Open it in these pieces. Raises `EnvelopeRefused`."""
    opening = Opening(key, outer, size, delivered)
    given: list[Opened | Octets] = []
    for piece in pieces:
        given += opening.push(piece)
    opening.finish()
    opened, *octets = given
    assert isinstance(opened, Opened)
    found: dict[int, bytearray] = {}
    ended = []
    for one in octets:
        assert isinstance(one, Octets)
        assert one.place not in ended
        found.setdefault(one.place, bytearray()).extend(one.data)
        if one.last:
            ended.append(one.place)
    assert ended == sorted(found) == list(range(TEXT, len(opened.manifest.attachments)))
    text, *attachments = [bytes(found[place]) for place in ended]
    return Read(opened, text, attachments)


def read_vector(vector: dict[str, Any], shared: Iterable[bytes] = ()) -> Read:
    """Open a vector of `tests/vectors/e2e`. Raises `EnvelopeRefused`."""
    data, datahead, reader = from_text(vector["data"]), vector["datahead"], vector["reader"]
    outer, stream = data[:datahead], data[datahead:]
    e2e = decode_outer(outer)
    key = unwrap(vector["again"], from_text(reader["secrets"][reader["box"]])) if "again" in vector else None
    key = key or key_for(e2e, reader, shared)
    assert opens(e2e, key) or "opens" not in vector
    delivered = Delivered(from_text(vector["service"]), vector["from"], reader["uid"])
    return read(key, outer, [stream], len(stream), delivered)


def as_vector(key: bytes, found: Read) -> dict[str, Any]:
    """What `opens` of a vector has, but the octets of manifest and head."""
    link = found.opened.link
    return {
        "key": to_text(key),
        "text": found.text.decode(),
        "attachments": [to_text(one) for one in found.attachments],
        "link": {"count": link.count, "last": link.last},
    }
