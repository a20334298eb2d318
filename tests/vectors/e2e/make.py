# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes the vectors of sealed messages, the same each time: `python -m tests.vectors.e2e.make`.

What is to be opened is sealed by the product; what is to be refused is forged by `tests.vectors.e2e.forging`. A second
reader (`tests.oracle.sealed_message`) opens and refuses them all.
"""

import json
from pathlib import Path
from typing import Any

from tests.vectors.e2e.cast import (
    ADA,
    BOB,
    CAT,
    DESK,
    PHONE,
    SERVICE,
    TABLET,
    Chance,
    Device,
    act,
    in_words,
    octets,
    sealed,
)
from tests.vectors.e2e.forging import refused
from tmtp_core.crypto.content_key import for_account, for_devices, for_shared, wrap
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.envelope import padded
from tmtp_core.crypto.passphrase import SALT_BYTES, Cost, key_from_passphrase
from tmtp_core.crypto.safety_number import SafetyCode, Side, encode_code, safety_number
from tmtp_core.crypto.stream import stream_size
from tmtp_core.wire.messages import TO_GROUP, Recipient
from tmtp_core.wire.payload import Attached, PostHead

FOLDER = Path(__file__).parent
PASSPHRASE = "Ａda’s ﬁrst pass\u0301phrase"
CHEAP = Cost(2, 32 << 10)


def device_reader(device: Device, which: str = "box") -> dict[str, Any]:
    """Who has one secret key."""
    public = device.public(which)
    return {
        "uid": device.uid,
        "device": device.key,
        "box": device.public("box"),
        "secrets": {public: to_text(device.secret(which))},
    }


def opened() -> dict[str, Any]:
    """What is to be opened, by name."""
    return {
        "short": short(),
        "to a group, by prekeys": group(),
        "attachments": attachments(),
        "two pieces": two_pieces(),
        "to oneself": to_oneself(),
        "wrapped again": wrapped_again(),
        "shared key": shared_key(),
        "shared passphrase": shared_passphrase(),
    }


def expected(
    key: bytes, composed: Any, head: bytes, text: bytes, files: list[bytes], link: dict[str, Any]
) -> dict[str, Any]:
    """What every reader must come to."""
    length = int.from_bytes(composed.beginning[:4])
    return {
        "key": to_text(key),
        "manifest": composed.beginning[4 : 4 + length].decode(),
        "head": head.decode(),
        "text": text.decode(),
        "attachments": [to_text(file) for file in files],
        "link": link,
    }


NO_LINK = {"count": 0, "last": ""}


def short() -> dict[str, Any]:
    key, e2e = for_devices([TABLET.target(), PHONE.target()], Chance("short"))
    what = act(PostHead(subject="Lunch"), [ADA.account(), BOB.account()])
    composed, stream = sealed(key, e2e, what, b"At *noon*?")
    says = "The least: one recipient with one device, one other device of the sender's, no thread yet, no attachment."
    given = for_account(key, BOB.uid)
    return in_words(
        composed,
        stream,
        says,
        device_reader(TABLET),
        opens=expected(given, composed, what.head, b"At *noon*?", [], NO_LINK),
    )


def group() -> dict[str, Any]:
    cat = CAT.device("phone")
    targets = [TABLET.target("prekey of week 7"), DESK.target(), PHONE.target("prekey of week 8"), cat.target("prekey")]
    key, e2e = for_devices(targets, Chance("group"))
    head = PostHead(threadid="16f00000000000a1", alias="Ada", subject='Grüße: "zeros" \\ \x01 \u2028 \U0001f40c')
    last = to_text(octets("the manifest before"))
    accounts = [ADA.account(7, last), BOB.account(2, last), CAT.account(4)]
    what = act(head, accounts, [Recipient("Chess Club", TO_GROUP), Recipient(CAT.uid, 1)])
    text = b"Wer spielt?\n"
    composed, stream = sealed(key, e2e, what, text)
    says = "Prekeys where there are any; each account has a place in the sender's chain that only it can read."
    opens = expected(for_account(key, BOB.uid), composed, what.head, text, [], {"count": 2, "last": last})
    return in_words(composed, stream, says, device_reader(TABLET, "prekey of week 7"), opens=opens)


FILES = [b"%PDF-1.7 a file", b"", b'{"title":"Lunch"}', b'{"dish":"soup"}']


def attachments() -> dict[str, Any]:
    key, e2e = for_devices([TABLET.target()], Chance("attachments"))
    names = [("u:menu.pdf", ""), ("u:empty", ""), ("f:lunch.form", "lunch"), ("r:lunch.answer", "lunch")]
    attach = tuple(Attached(name, len(file), ffn) for (name, ffn), file in zip(names, FILES, strict=True))
    head = PostHead(threadid="16f00000000000a1", attach=attach)
    what = act(head, [ADA.account(1), BOB.account(1)])
    composed, stream = sealed(key, e2e, what, b"", FILES)
    says = "No text; a file, an empty file, a form and a filled one."
    opens = expected(for_account(key, BOB.uid), composed, what.head, b"", FILES, {"count": 1, "last": ""})
    return in_words(composed, stream, says, device_reader(TABLET), opens=opens)


def two_pieces() -> dict[str, Any]:
    key, e2e = for_devices([TABLET.target()], Chance("two pieces"))
    file = octets("a file", 64 << 10)
    what = act(PostHead(attach=(Attached("u:file", len(file)),)), [ADA.account(), BOB.account()])
    composed, stream = sealed(key, e2e, what, b"See there.", [file])
    says = "More than one piece of the stream."
    opens = expected(for_account(key, BOB.uid), composed, what.head, b"See there.", [file], NO_LINK)
    return in_words(composed, stream, says, device_reader(TABLET), opens=opens)


def to_oneself() -> dict[str, Any]:
    key, e2e = for_devices([PHONE.target("prekey")], Chance("to oneself"))
    text = b'[["thread","16f00000000000a1","muted","true"]]'
    what = act(PostHead(nodesync=True, sync=1), [ADA.account(12, to_text(octets("before")))], [])
    composed, stream = sealed(key, e2e, what, text)
    says = "For the sender's own other devices: `for` is empty."
    link = {"count": 12, "last": to_text(octets("before"))}
    opens = expected(for_account(key, ADA.uid), composed, what.head, text, [], link)
    return in_words(composed, stream, says, device_reader(PHONE, "prekey"), opens=opens)


def wrapped_again() -> dict[str, Any]:
    chance = Chance("wrapped again")
    key, e2e = for_devices([TABLET.target()], chance)
    what = act(PostHead(subject="Lunch"), [ADA.account(), BOB.account()])
    composed, stream = sealed(key, e2e, what, b"At noon.")
    given = for_account(key, BOB.uid)
    again = wrap(given, DESK.public("box"), chance)
    says = "A device that it was not sealed to was given the key later (`again`), sealed to its box key."
    opens = expected(given, composed, what.head, b"At noon.", [], NO_LINK)
    return in_words(composed, stream, says, device_reader(DESK), again=again, opens=opens)


def shared_key() -> dict[str, Any]:
    shared = octets("a key that all share")
    key, e2e = for_shared(shared, 3, Chance("shared key"))
    what = act(PostHead(threadid="16f00000000000a1"), [ADA.account(), BOB.account(5), CAT.account()])
    composed, stream = sealed(key, e2e, what, b"Under the third key.")
    says = "Suite 1 with a random key, in its third epoch. The reader has two keys and finds which."
    reader = {"uid": BOB.uid, "shared": [to_text(octets("an older key")), to_text(shared)]}
    opens = expected(
        for_account(key, BOB.uid), composed, what.head, b"Under the third key.", [], {"count": 5, "last": ""}
    )
    return in_words(composed, stream, says, reader, opens=opens)


def shared_passphrase() -> dict[str, Any]:
    chance = Chance("shared passphrase")
    salt = chance(SALT_BYTES)
    shared = key_from_passphrase(PASSPHRASE, salt, CHEAP)
    key, e2e = for_shared(shared, 0, chance, salt=salt, cost=CHEAP)
    what = act(PostHead(subject="Vault"), [ADA.account(), BOB.account()])
    composed, stream = sealed(key, e2e, what, b"Under a passphrase.")
    says = "Suite 1 with a passphrase, taken in NFKC, and the least cost that is allowed."
    opens = expected(for_account(key, BOB.uid), composed, what.head, b"Under a passphrase.", [], NO_LINK)
    reader = {"uid": BOB.uid, "passphrase": PASSPHRASE}
    return in_words(composed, stream, says, reader, shared=to_text(shared), opens=opens)


def safety() -> list[dict[str, Any]]:
    """Safety numbers and the codes that the first of the two shows."""
    pairs = [(ADA, 1, BOB, 4), (BOB, 4, CAT, 300), (CAT, 1, ADA, 1)]
    numbers = []
    for one, one_count, other, other_count in pairs:
        sides = Side(one.uid, one.head, one_count), Side(other.uid, other.head, other_count)
        numbers.append(
            {
                "service": SERVICE.public,
                "sides": [{"uid": side.uid, "head": side.head, "count": side.count} for side in sides],
                "digits": safety_number(SERVICE.public_key, *sides),
                "code": encode_code(SafetyCode(SERVICE.public_key, *sides)),
            }
        )
    return numbers


def sizes() -> list[dict[str, int]]:
    """Octets before the zeros, with them, and of the stream."""
    plain = [1, 255, 256, 257, 4_095, 8_191, 8_192, 8_193, 65_535, 65_536, 65_537, 100_000, 10**6, 10**9, 2**40 + 1]
    return [{"content": one, "padded": padded(one), "stream": stream_size(padded(one))} for one in plain]


def files() -> dict[str, str]:
    """All of them, by name."""
    made = {"opened": opened(), "refused": refused(), "safety": safety(), "sizes": sizes()}
    return {f"{name}.json": json.dumps(value, indent=1, ensure_ascii=False) + "\n" for name, value in made.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, "utf-8")
