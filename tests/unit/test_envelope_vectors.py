# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vectors of sealed messages: two readers that share no code come to the same (B9)."""

import json
from typing import Any

import pytest

from tests.oracle import sealed_message as oracle
from tests.support.sealed import as_vector, key_for, read_vector
from tests.vectors.e2e import make
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.envelope import padded
from tmtp_core.crypto.manifest import decode, digest
from tmtp_core.crypto.passphrase import Cost, key_from_passphrase
from tmtp_core.crypto.safety_number import SafetyCode, Side, decode_code, encode_code, safety_number
from tmtp_core.crypto.sealed_heads import decode_inner, decode_outer
from tmtp_core.crypto.stream import EnvelopeRefused, stream_size


def load(name: str) -> Any:
    return json.loads((make.FOLDER / f"{name}.json").read_text("utf-8"))


OPENED, REFUSED = load("opened"), load("refused")
HONEST = "nothing is wrong with this one"


def shared_of(vector: dict[str, Any]) -> list[bytes]:
    """The shared keys that its reader has, or makes of his passphrase."""
    reader = vector["reader"]
    if passphrase := reader.get("passphrase"):
        e2e = decode_outer(from_text(vector["data"])[: vector["datahead"]])
        return [key_from_passphrase(passphrase, from_text(e2e.salt), Cost(e2e.ops, e2e.memory))]
    return [from_text(one) for one in reader.get("shared", ())]


def by_oracle(vector: dict[str, Any]) -> dict[str, Any]:
    """Open it with the second reader."""
    data, datahead, reader = from_text(vector["data"]), vector["datahead"], vector["reader"]
    secrets = {public: from_text(secret) for public, secret in reader.get("secrets", {}).items()}
    who = oracle.Reader(reader["uid"], reader.get("device", ""), secrets, reader.get("box", ""))
    e2e = json.loads(data[:datahead])["e2e"]
    if passphrase := reader.get("passphrase"):
        who.shared = [oracle.passphrase_key(passphrase, e2e)]
    who.shared += [from_text(one) for one in reader.get("shared", ())]
    if again := vector.get("again"):
        public, secret = reader["box"], secrets[reader["box"]]
        who.key = oracle.sodium.crypto_box_seal_open(from_text(again), from_text(public), secret)
    return oracle.open_post(data, datahead, from_text(vector["service"]), vector["from"], who)


def test_the_vectors_are_what_the_script_makes() -> None:
    for name, text in make.files().items():
        assert (make.FOLDER / name).read_text("utf-8") == text, f"{name}: python -m tests.vectors.e2e.make"


@pytest.mark.parametrize("name", OPENED)
def test_both_readers_open_what_is_to_be_opened(name: str) -> None:
    vector = OPENED[name]
    opens = vector["opens"]
    assert by_oracle(vector) == opens
    found = read_vector(vector, shared_of(vector))
    assert found.opened.manifest == decode(opens["manifest"].encode())
    assert found.opened.manifest_hash == digest(opens["manifest"].encode())
    assert found.opened.head == decode_inner(opens["head"].encode())
    assert as_vector(from_text(opens["key"]), found) == {
        part: opens[part] for part in ("key", "text", "attachments", "link")
    }


def test_the_content_key_of_a_vector_is_the_one_that_was_sealed() -> None:
    for vector in (OPENED["short"], OPENED["shared key"]):
        e2e = decode_outer(from_text(vector["data"])[: vector["datahead"]])
        assert key_for(e2e, vector["reader"], shared_of(vector)) == from_text(vector["opens"]["key"])


@pytest.mark.parametrize("name", [name for name in REFUSED if name != HONEST])
def test_both_readers_refuse_what_is_to_be_refused(name: str) -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        read_vector(REFUSED[name])
    assert str(refused.value) == REFUSED[name]["because"]
    with pytest.raises((oracle.Wrong, Exception)):
        by_oracle(REFUSED[name])


def test_the_message_of_which_the_refused_ones_are_made_opens() -> None:
    assert read_vector(REFUSED[HONEST]).text.decode() == by_oracle(REFUSED[HONEST])["text"] == "as agreed"


@pytest.mark.parametrize("vector", load("sizes"), ids=lambda vector: str(vector["content"]))
def test_the_length_that_outsiders_see(vector: dict[str, int]) -> None:
    content = vector["content"]
    assert padded(content) == oracle.padded(content) == vector["padded"]
    assert stream_size(padded(content)) == vector["stream"]
    assert content <= vector["padded"] <= content + max(255, content * 0.12)


@pytest.mark.parametrize("vector", load("safety"), ids=lambda vector: vector["digits"][:5])
def test_safety_numbers_are_the_same_on_both_sides(vector: dict[str, Any]) -> None:
    service = from_text(vector["service"])
    one, other = (Side(**side) for side in vector["sides"])
    assert safety_number(service, one, other) == safety_number(service, other, one) == vector["digits"]
    assert oracle.safety_number(service, vector["sides"]) == vector["digits"]
    assert decode_code(vector["code"]) == SafetyCode(service, one, other)
    assert encode_code(SafetyCode(service, one, other)) == vector["code"]
