# SPDX-License-Identifier: AGPL-3.0-or-later
"""The example of docs/protocol.md, *Sealed messages*, is the vector of that name, step by step (B9)."""

import json
from pathlib import Path

from tests.oracle import sealed_message as oracle
from tests.vectors.e2e import make
from tests.vectors.e2e.cast import ADA, BOB, SERVICE, TABLET

PAGE = Path(__file__).parent.parent.parent / "docs" / "protocol.md"


def lines() -> dict[str, str]:
    """What the page says, computed without the product's code from what the vector has."""
    vector = json.loads((make.FOLDER / "opened.json").read_text("utf-8"))["short"]
    outer = oracle.base64.urlsafe_b64decode(vector["data"] + "==")[: vector["datahead"]]
    stream = oracle.base64.urlsafe_b64decode(vector["data"] + "==")[vector["datahead"] :]
    service = oracle.un64(vector["service"], 32)
    e2e = json.loads(outer)["e2e"]
    secret = TABLET.secret("box")
    public = oracle.sodium.crypto_scalarmult_base(secret)
    key = oracle.sodium.crypto_box_seal_open(oracle.un64(e2e["keys"][0]["sealed"], 112), public, secret)
    stream_key = oracle.hash256(service + outer, key[:32], b"tmtp-e2e-stream")
    plain = oracle.decrypted(stream_key, oracle.un64(e2e["header"], 24), stream)
    end = 4 + int.from_bytes(plain[:4], "big")
    content = plain.rstrip(b"\0")
    manifest = json.loads(plain[4:end])
    inner = manifest["inner"]["size"]
    return {
        "service key": SERVICE.public,
        "Ada's uid": ADA.uid,
        "Bob's uid": BOB.uid,
        "Bob's device": TABLET.key,
        "its X25519 secret": oracle.to64(secret),
        "its box": oracle.to64(public),
        "outer head": outer.decode(),
        "Bob's content key": oracle.to64(key),
        "commit": oracle.to64(oracle.hash256(b"", key[:32], b"tmtp-e2e-commit")),
        "stream key": oracle.to64(stream_key),
        "stream": f"{len(stream)} octets, hash {oracle.to64(oracle.hash256(stream))}",
        "first octets": plain[:4].hex(),
        "manifest": plain[4:end].decode(),
        "its hash": oracle.to64(oracle.hash256(plain[4:end])),
        "signature": oracle.to64(plain[end : end + 64]),
        "inner head": plain[end + 64 : end + 64 + inner].decode(),
        "text": content[end + 64 + inner :].decode(),
        "zeros": str(len(plain) - len(content)),
    }


def test_the_example_of_the_page_is_true() -> None:
    page = PAGE.read_text("utf-8")
    block = page.split("```sealed\n")[1].split("```")[0]
    assert dict(line.split(": ", 1) for line in block.splitlines()) == lines()
