# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sealed messages as nobody honest makes them: by a service, by a recipient with the key, by a sender with everything.

Of each there is one, as small as can be; `tests/unit/test_envelope_hostile.py` tries many more.
"""

import json
from collections.abc import Callable
from typing import Any

from nacl import bindings

from tests.support.sealed import read_vector
from tests.vectors.e2e.cast import (
    ADA,
    BOB,
    CAT,
    DAN,
    LAPTOP,
    OTHER_SERVICE,
    SERVICE,
    TABLET,
    TO_BOB,
    Chance,
    Device,
    act,
    octets,
    pieces_of,
)
from tmtp_core.crypto.content_key import for_devices, for_shared, stream_key
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.envelope import compose, padded
from tmtp_core.crypto.manifest import digest, sign
from tmtp_core.crypto.passphrase import Cost
from tmtp_core.crypto.sealed_heads import encode_outer
from tmtp_core.crypto.stream import PIECE_BYTES, EnvelopeRefused
from tmtp_core.wire.payload import Attached, E2e, PostHead

MESSAGE, PUSH, REKEY, FINAL = 0, 1, 2, 3
FILES = [b"the contract", b"the receipts"]
TEXT = b"as agreed"


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Forgery:
    """A message of Ada's to Bob, in parts that can be exchanged before it is put together."""

    def __init__(self) -> None:
        self.key, self.e2e = for_devices([TABLET.target()], Chance("forgery"))
        self.reader: Device = TABLET
        self.sender, self.signer, self.signed_for = ADA.uid, LAPTOP.signer, SERVICE.public_key
        self.service = SERVICE.public_key
        attach = tuple(Attached(f"u:{number}", len(file)) for number, file in enumerate(FILES))
        self.head = compact(
            {"threadid": "16f00000000000a1", "subject": "Deal"}
            | {"attach": [{"name": one.name, "size": one.size} for one in attach]}
        )
        self.pieces = [TEXT, *FILES]
        self.manifest: dict[str, Any] = {}
        self.as_honest()
        self.signature: bytes | None = None
        self.zeros: bytes | None = None
        self.tag = FINAL
        self.length: int | None = None

    def as_honest(self) -> None:
        """The manifest that the product makes of it."""
        head = PostHead(threadid="16f00000000000a1", subject="Deal", attach=(Attached("u:0", 12), Attached("u:1", 12)))
        what = act(head, [ADA.account(1), BOB.account(1)], TO_BOB)
        assert what.head == self.head
        composed = compose(self.key, self.e2e, what, TEXT, pieces_of(FILES), self.signer, self.signed_for)
        length = int.from_bytes(composed.beginning[:4])
        self.manifest = json.loads(composed.beginning[4 : 4 + length])

    def rehash(self) -> None:
        """Sign what is there now."""
        self.manifest["inner"] = {"size": len(self.head), "hash": digest(self.head)}
        one, *others = [{"size": len(piece), "hash": digest(piece)} for piece in self.pieces]
        self.manifest["text"], self.manifest["attachments"] = one, others

    def plain(self, raw: bytes) -> bytes:
        signature = self.signature or sign(self.signer, self.signed_for, raw)
        length = len(raw) if self.length is None else self.length
        content = length.to_bytes(4) + raw + signature + self.head + b"".join(self.pieces)
        zeros = bytes(padded(len(content)) - len(content)) if self.zeros is None else self.zeros
        return content + zeros

    def post(self, raw: bytes | None = None, outer: bytes | None = None) -> tuple[bytes, bytes]:
        """Outer head and stream."""
        outer = encode_outer(self.e2e) if outer is None else outer
        plain = self.plain(compact(self.manifest) if raw is None else raw)
        return outer, encrypted(self.key, self.service, outer, self.e2e, [plain], [self.tag])


def encrypted(key: bytes, service: bytes, outer: bytes, e2e: E2e, pieces: list[bytes], tags: list[int]) -> bytes:
    """A stream in these pieces, with these tags."""
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(
        state, from_text(e2e.header), stream_key(key, service, outer)
    )
    return b"".join(
        bindings.crypto_secretstream_xchacha20poly1305_push(state, piece, None, tag)
        for piece, tag in zip(pieces, tags, strict=True)
    )


def vector(forgery: Forgery, says: str, post: tuple[bytes, bytes] | None = None) -> dict[str, Any]:
    outer, stream = post or forgery.post()
    return {
        "says": says,
        "service": to_text(forgery.service),
        "from": forgery.sender,
        "reader": {
            "uid": forgery.reader.uid,
            "device": forgery.reader.key,
            "box": forgery.reader.public("box"),
            "secrets": {forgery.reader.public("box"): to_text(forgery.reader.secret("box"))},
        },
        "datahead": len(outer),
        "data": to_text(outer + stream),
    }


def refused() -> dict[str, Any]:
    """What is to be refused, by name."""
    made = {name: make() for name, make in (_outer() | _stream() | _signed() | _whole()).items()}
    return {"nothing is wrong with this one": vector(Forgery(), "What the others are made of.")} | {
        name: one | {"because": why(one)} for name, one in made.items()
    }


def why(one: dict[str, Any]) -> str:
    """What the product says of it: that each is refused for its own reason is to be seen in the file."""
    try:
        read_vector(one)
    except EnvelopeRefused as refused:
        return str(refused)
    return ""


# -- what a service can do -------------------------------------------------------------------------------------------
def _outer() -> dict[str, Callable[[], dict[str, Any]]]:
    """Wrong outer heads. All but the first are sealed behind the wrong head, as only a sender can."""

    def altered() -> dict[str, Any]:
        forgery = Forgery()
        outer, stream = forgery.post()
        return vector(forgery, "A name beside `e2e`, put there on the way.", (outer[:-1] + b',"subject":"X"}', stream))

    def written(says: str, change: Callable[[bytes], bytes]) -> Callable[[], dict[str, Any]]:
        def make() -> dict[str, Any]:
            forgery = Forgery()
            outer = change(encode_outer(forgery.e2e))
            forgery.manifest["outer"] = digest(outer)
            return vector(forgery, says, forgery.post(outer=outer))

        return make

    def shared_cost() -> dict[str, Any]:
        forgery = Forgery()
        _, e2e = for_shared(octets("shared"), 0, Chance("cost"), salt=octets("salt", 16), cost=Cost(4, 64 << 20))
        outer, stream = forgery.post(outer=encode_outer(e2e))
        return vector(forgery, "Argon2id with 64 GiB.", (outer, stream))

    return {
        "outer head altered": altered,
        "outer head with more": written("Signed, but no such head.", lambda outer: outer[:-1] + b',"alias":"Ada"}'),
        "outer head with blanks": written(
            "Signed, but written otherwise.", lambda outer: outer.replace(b":", b": ", 1)
        ),
        "outer head with a name twice": written(
            "Signed, but a name twice.", lambda outer: b'{"e2e":{"suite":1},' + outer[1:]
        ),
        "outer head with other capitals": written(
            "Signed, but written otherwise.", lambda outer: outer.replace(b"e2e", b"E2E", 1)
        ),
        "suite 3": written("Not known here.", lambda outer: outer.replace(b'"suite":2', b'"suite":3')),
        "suite lowered": written("Keys, but suite 1.", lambda outer: outer.replace(b'"suite":2', b'"suite":1')),
        "suite 2 with an epoch": written(
            "Suite 2 knows no epochs.", lambda outer: outer.replace(b'"suite":2', b'"suite":2,"epoch":1')
        ),
        "a device twice": _device_twice,
        "a key of another message": _other_key,
        "two keys": _two_keys,
        "absurd cost": shared_cost,
    }


def _device_twice() -> dict[str, Any]:
    forgery = Forgery()
    forgery.e2e = E2e(2, keys=forgery.e2e.keys * 2, commit=forgery.e2e.commit, header=forgery.e2e.header)
    forgery.manifest["outer"] = digest(encode_outer(forgery.e2e))
    return vector(forgery, "Sealed twice to one device.")


def _other_key() -> dict[str, Any]:
    forgery = Forgery()
    _, other = for_devices([TABLET.target()], Chance("another message"))
    forgery.e2e = E2e(2, keys=other.keys, commit=forgery.e2e.commit, header=forgery.e2e.header)
    forgery.manifest["outer"] = digest(encode_outer(forgery.e2e))
    return vector(forgery, "The sealed key is another message's.")


def _two_keys() -> dict[str, Any]:
    forgery = Forgery()
    key, other = for_devices([TABLET.target()], Chance("a second key"))
    forgery.e2e = E2e(2, keys=other.keys, commit=forgery.e2e.commit, header=forgery.e2e.header)
    forgery.key = key
    forgery.manifest["outer"] = digest(encode_outer(forgery.e2e))
    return vector(
        forgery,
        "Everything is right under the sealed key, but `commit` names another: some would read another message.",
    )


def _stream() -> dict[str, Callable[[], dict[str, Any]]]:
    def changed(says: str, change: Callable[[bytes], bytes]) -> Callable[[], dict[str, Any]]:
        def make() -> dict[str, Any]:
            forgery = Forgery()
            outer, stream = forgery.post()
            return vector(forgery, says, (outer, change(stream)))

        return make

    def tagged(says: str, tag: int) -> Callable[[], dict[str, Any]]:
        def make() -> dict[str, Any]:
            forgery = Forgery()
            forgery.tag = tag
            return vector(forgery, says)

        return make

    def in_two() -> dict[str, Any]:
        forgery = Forgery()
        outer = encode_outer(forgery.e2e)
        plain = forgery.plain(compact(forgery.manifest))
        assert len(plain) < PIECE_BYTES
        pieces = [plain[:500], plain[500:]]
        stream = encrypted(forgery.key, forgery.service, outer, forgery.e2e, pieces, [MESSAGE, FINAL])
        return vector(forgery, "A piece that is not full before the last.", (outer, stream))

    return {
        "an octet altered": changed("In the middle.", lambda stream: stream[:700] + b"\0" + stream[701:]),
        "an octet cut off": changed("The last one.", lambda stream: stream[:-1]),
        "an octet added": changed("At the end.", lambda stream: stream + b"\0"),
        "nothing sealed": changed("Only a head.", lambda stream: b""),
        "no end": tagged("The last piece is not marked as the last: it was cut off at the border of a piece.", MESSAGE),
        "a tag of another use": tagged("The last piece has the tag PUSH.", PUSH),
        "a tag that changes keys": tagged("The last piece has the tag REKEY.", REKEY),
        "short pieces": in_two,
    }


# -- what who has the key can do -------------------------------------------------------------------------------------
def _signed() -> dict[str, Callable[[], dict[str, Any]]]:
    def unsigned(says: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[], dict[str, Any]]:
        """The honest signature over another manifest."""

        def make() -> dict[str, Any]:
            forgery = Forgery()
            forgery.signature = sign(forgery.signer, forgery.signed_for, compact(forgery.manifest))
            change(forgery.manifest)
            return vector(forgery, says)

        return make

    def at_another_service() -> dict[str, Any]:
        forgery = Forgery()
        forgery.service = OTHER_SERVICE.public_key
        return vector(forgery, "Encrypted anew for another service; the signature is for the first.")

    def by_another() -> dict[str, Any]:
        forgery = Forgery()
        forgery.sender = CAT.uid
        return vector(forgery, "The service says that it came from another account.")

    def handed_on() -> dict[str, Any]:
        forgery = Forgery()
        forgery.signature = sign(forgery.signer, forgery.signed_for, compact(forgery.manifest))
        forgery.reader = DAN.device("phone")
        forgery.key, forgery.e2e = for_devices([forgery.reader.target()], Chance("handed on"))
        return vector(forgery, "A recipient has sealed what was signed for him to somebody else.")

    def handed_back() -> dict[str, Any]:
        forgery = Forgery()
        forgery.signature = sign(forgery.signer, forgery.signed_for, compact(forgery.manifest))
        forgery.key, forgery.e2e = for_devices([TABLET.target()], Chance("handed back"))
        return vector(forgery, "What was signed, sealed anew to the same device.")

    return {
        "thread altered": unsigned("Not as signed.", lambda manifest: manifest.update(thread="16f00000000000a2")),
        "request altered": unsigned(
            "Not as signed: told a second time.", lambda manifest: manifest.update(request="2")
        ),
        "recipients altered": unsigned("Not as signed.", lambda manifest: manifest["for"].pop()),
        "head of a log altered": unsigned(
            "Not as signed.", lambda manifest: manifest["accounts"][0].update(head=BOB.head)
        ),
        "at another service": at_another_service,
        "by another": by_another,
        "handed on": handed_on,
        "handed back": handed_back,
    }


# -- what a sender can do --------------------------------------------------------------------------------------------
def _whole() -> dict[str, Callable[[], dict[str, Any]]]:
    """Signed by the sender as it is, and no message all the same."""

    def made(says: str, change: Callable[[Forgery], Any]) -> Callable[[], dict[str, Any]]:
        def make() -> dict[str, Any]:
            forgery = Forgery()
            change(forgery)
            return vector(forgery, says)

        return make

    def manifest(says: str, **changes: Any) -> Callable[[], dict[str, Any]]:
        return made(says, lambda forgery: forgery.manifest.update(changes))

    def written(says: str, change: Callable[[bytes], bytes]) -> Callable[[], dict[str, Any]]:
        def make() -> dict[str, Any]:
            forgery = Forgery()
            return vector(forgery, says, forgery.post(raw=change(compact(forgery.manifest))))

        return make

    def head(says: str, change: Callable[[bytes], bytes]) -> Callable[[], dict[str, Any]]:
        def set_head(forgery: Forgery) -> None:
            forgery.head = change(forgery.head)
            forgery.rehash()

        return made(says, set_head)

    def pieces(says: str, new: list[bytes], rehash: bool = False) -> Callable[[], dict[str, Any]]:
        def set_pieces(forgery: Forgery) -> None:
            forgery.pieces = new
            if rehash:
                forgery.rehash()

        return made(says, set_pieces)

    def account(says: str, **changes: Any) -> Callable[[], dict[str, Any]]:
        return made(says, lambda forgery: forgery.manifest["accounts"][1].update(changes))

    return {
        "manifest of a newer version": manifest("2, with what this one does not know.", v=2, text="elsewhere", more=1),
        "manifest of no version": manifest("0.", v=0),
        "manifest of another suite": manifest("1 inside, 2 outside.", suite=1),
        "manifest of another epoch": made("2 inside, none outside.", _with_epoch),
        "manifest of another head": manifest("It names another outer head.", outer=digest(b"")),
        "manifest of another subject": manifest(
            "Its hash is not that of the subject in the head.", subject=digest(b"Deal?")
        ),
        "manifest of another thread": manifest("The head says another one.", thread="16f00000000000a2"),
        "manifest without a request": manifest("It could not be known again.", request=""),
        "manifest without its sender": made(
            "Ada is not among whom it is for.", lambda one: one.manifest["accounts"].pop(0)
        ),
        "manifest without its reader": made(
            "Bob is not among whom it is for.", lambda one: one.manifest["accounts"].pop(1)
        ),
        "manifest with an account twice": made(
            "Twice.", lambda one: one.manifest["accounts"].append(one.manifest["accounts"][1])
        ),
        "manifest with a time too large": manifest("2^53.", time=2**53),
        "manifest with a device that is no key": manifest("A point of small order.", device=to_text(b"\1" + bytes(31))),
        "manifest with more": manifest("A name that no version has.", more=1),
        "manifest with a name twice": written("`v`.", lambda raw: b'{"v":2,' + raw[1:]),
        "manifest with blanks": written("One.", lambda raw: raw + b" "),
        "manifest with a default": written(
            "An epoch of 0 is left out.", lambda raw: raw.replace(b'"suite":2', b'"suite":2,"epoch":0')
        ),
        "manifest with escapes": written("A letter as \\u0064.", lambda raw: raw.replace(b'"id":', b'"i\\u0064":', 1)),
        "manifest too long": made("Its length says 4 GiB.", lambda one: setattr(one, "length", 2**32 - 1)),
        "link unreadable": account("Bob's place in the chain is not under his key.", link=to_text(octets("link", 56))),
        "link missing": made("Bob has no place in the chain.", lambda one: one.manifest["accounts"][1].pop("link")),
        "log head missing": made(
            "Under suite 2 everybody has a log.", lambda one: one.manifest["accounts"][1].pop("head")
        ),
        "head with a name twice": head("`subject` and `Subject`.", lambda raw: raw[:-1] + b',"Subject":"Deal"}'),
        "head sealed again": head("`e2e` inside.", lambda raw: raw[:-1] + b',"e2e":{"suite":2}}'),
        "head with one name for two": head("Both are `u:0`.", lambda raw: raw.replace(b"u:1", b"u:0")),
        "head with other sizes": head("11 and 13.", lambda raw: raw.replace(b"12", b"11", 1).replace(b"12", b"13", 1)),
        "head that is no JSON": head("A list.", lambda raw: b"[" + raw[1:-1] + b"]"),
        "text altered": pieces("One letter.", [b"As agreed", *FILES]),
        "attachments exchanged": pieces("The second first.", [TEXT, *reversed(FILES)]),
        "text in an attachment": made("Its end begins the first attachment.", _move_border),
        "an attachment less": pieces("Signed so, but the head has two.", [TEXT, FILES[0]], rehash=True),
        "an attachment more": pieces("Signed so, but the head has two.", [TEXT, *FILES, b"x"], rehash=True),
        "an attachment cut off": pieces("The last one is shorter than signed.", [TEXT, FILES[0], FILES[1][:-1]]),
        "no zeros": made("Nothing behind the last attachment.", lambda one: setattr(one, "zeros", b"")),
        "more zeros": made("256 more than are due.", lambda one: setattr(one, "zeros", _zeros(one) + bytes(256))),
        "ones for zeros": made("Something hidden.", lambda one: setattr(one, "zeros", b"\1" * len(_zeros(one)))),
    }


def _with_epoch(forgery: Forgery) -> None:
    items = list(forgery.manifest.items())
    place = next(place for place, (name, _) in enumerate(items) if name == "suite") + 1
    forgery.manifest = dict([*items[:place], ("epoch", 2), *items[place:]])


def _move_border(forgery: Forgery) -> None:
    """The same octets, cut elsewhere."""
    forgery.head = forgery.head.replace(b"12", b"13", 1)
    forgery.manifest["inner"] = {"size": len(forgery.head), "hash": digest(forgery.head)}
    forgery.manifest["text"]["size"] -= 1
    forgery.manifest["attachments"][0]["size"] += 1


def _zeros(forgery: Forgery) -> bytes:
    content = forgery.plain(compact(forgery.manifest)).rstrip(b"\0")
    return bytes(padded(len(content)) - len(content))
