# SPDX-License-Identifier: AGPL-3.0-or-later
"""A sealed message, composed, sealed and opened in one pass (B9; docs/protocol.md, *Sealed messages*).

The data of the post is an outer head that has `e2e` and nothing else, then a stream (`tmtp_core.crypto.stream`) of

    length of the manifest (4 octets) · manifest · signature (64 octets) · inner head · text · attachments · zeros

so that nothing is read that was not signed, but the manifest. Whoever composes knows all sizes and hashes beforehand.
What is opened may be shown when `Opening.finish` has returned, and not before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from tmtp_core import limits
from tmtp_core.crypto import manifest as manifests
from tmtp_core.crypto.content_key import opens, stream_key
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.manifest import VERSION, Addressee, Link, Manifest, Piece, digest
from tmtp_core.crypto.sealed_heads import decode_inner, decode_outer, encode_outer
from tmtp_core.crypto.signing import HASH_BYTES, SIGNATURE_BYTES, Signer
from tmtp_core.crypto.stream import HEADER_BYTES, PIECE_BYTES, EnvelopeRefused, StreamReader, StreamWriter, stream_size
from tmtp_core.wire.messages import Recipient
from tmtp_core.wire.payload import E2e, PostHead

TEXT: Final = -1
"""`place` of the text; attachments have 0, 1, …"""
_LENGTH_BYTES: Final = 4


def padded(size: int) -> int:
    """The length that outsiders see of `size` octets: a multiple of 256, of larger ones Padmé's, at most 12 % more.

    Padmé (PURBs, PoPETs 2019) shows the order of magnitude and the first bits of a length, no more.
    """
    exponent = max(size, 1).bit_length() - 1
    grain = max(1 << max(exponent - exponent.bit_length(), 0), limits.SEALED_PAD_BYTES)
    return max(-(-size // grain), 1) * grain


# -- composing -------------------------------------------------------------------------------------------------------
class Composed(Struct, frozen=True):
    """What all tries to send a message have in common; keep it as secret as the message.

    `key` is the sender's content key, `beginning` what stands before the text. `size` is the stream's: `datalen` is
    this and the outer head's. The same octets come out at every try: never seal other pieces with it.
    """

    key: bytes
    outer: bytes
    beginning: bytes
    pieces: tuple[Piece, ...]
    size: int
    manifest_hash: str

    def __repr__(self) -> str:
        return f"Composed({self.size} octets)"


@dataclass(frozen=True, slots=True)
class Account:
    """One that the message is for: the head of its log, and its place in this device's chain."""

    uid: str
    head: str
    link: Link


@dataclass(frozen=True, slots=True)
class Act:
    """Who sends what where, as the manifest names it: `head` is the inner head's octets."""

    sender: str
    request: str
    time_ms: int
    recipients: tuple[Recipient, ...]
    accounts: tuple[Account, ...]
    head: bytes


def compose(
    key: bytes, e2e: E2e, act: Act, text: bytes, attachments: Sequence[Piece], device: Signer, service_key: bytes
) -> Composed:
    """Sign a message that is sealed under `key` as `e2e` has it (`tmtp_core.crypto.content_key`).

    Raises `EnvelopeRefused` for what no recipient would open.
    """
    outer = encode_outer(e2e)
    decode_outer(outer)
    head = decode_inner(act.head)
    manifest = Manifest(
        v=VERSION,
        sender=act.sender,
        device=device.public,
        request=act.request,
        time=act.time_ms,
        for_=act.recipients,
        accounts=tuple(
            Addressee(one.uid, one.head, manifests.seal_link(key, one.uid, one.link)) for one in act.accounts
        ),
        thread=head.threadid or "",
        suite=e2e.suite,
        epoch=e2e.epoch,
        outer=digest(outer),
        inner=Piece(len(act.head), digest(act.head)),
        subject=digest(head.subject.encode()),
        text=Piece(len(text), digest(text)),
        attachments=tuple(attachments),
    )
    raw = manifests.encode(manifest)
    manifests.decode(raw)
    _check_head(manifest, head)
    signature = manifests.sign(device, service_key, raw)
    beginning = len(raw).to_bytes(_LENGTH_BYTES) + raw + signature + act.head
    size = stream_size(padded(len(beginning) + sum(piece.size for piece in manifest.pieces)))
    return Composed(key, outer, beginning, manifest.pieces, size, digest(raw))


class Sealing:
    """Encrypts a composed message. Push the text and then the attachments, in pieces of any size."""

    def __init__(self, composed: Composed, service_key: bytes) -> None:
        e2e = decode_outer(composed.outer)
        stream = StreamWriter(
            stream_key(composed.key, service_key, composed.outer), from_text(e2e.header, HEADER_BYTES)
        )
        self._stream = stream
        self._pieces = _Pieces(composed.pieces)
        self._ready = stream.push(composed.beginning)
        content = len(composed.beginning) + sum(piece.size for piece in composed.pieces)
        self._zeros = padded(content) - content

    def push(self, data: bytes) -> bytes:
        """The next octets of the stream. Raises ValueError when the pieces are not those that were composed."""
        if self._pieces.take(data)[1]:
            raise ValueError("more than was announced")
        ready, self._ready = self._ready + self._stream.push(data), b""
        return ready

    def finish(self) -> Iterator[bytes]:
        """The last octets, in pieces. Raises ValueError when something is lacking."""
        self._pieces.take(b"")  # an empty text needs no push
        if not self._pieces.complete:
            raise ValueError("not all that was announced was sealed")
        return self._end()

    def _end(self) -> Iterator[bytes]:
        """The zeros of a large message are some percent of it."""
        yield self._ready
        for start in range(0, self._zeros, PIECE_BYTES):
            yield self._stream.push(bytes(min(PIECE_BYTES, self._zeros - start)))
        yield self._stream.finish()


# -- opening ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Delivered:
    """Where the message came: at which service, from whom as the service says, and to whom."""

    service_key: bytes
    sender: str
    reader: str


class Opened(Struct, frozen=True):
    """What the device signed, the inner head, and this account's place in the device's chain.

    Whether that device stands in the log, and whether something is missing before, is for others to judge.
    """

    manifest: Manifest
    manifest_hash: str
    link: Link
    head: PostHead


class Octets(Struct, frozen=True):
    """The next octets of the text (`TEXT`) or an attachment. `last` comes once for each: its hash was right."""

    place: int
    data: bytes
    last: bool


class Opening:
    """Decrypts a sealed message whose stream has `size` octets, under the reader's content key.

    Gives `Opened`, then `Octets`. What it gives takes as much memory as what is pushed. Raises `EnvelopeRefused`; then
    nothing of the message may be used.
    """

    def __init__(self, key: bytes, outer: bytes, size: int, delivered: Delivered) -> None:
        self._e2e = decode_outer(outer)
        if not opens(self._e2e, key):
            raise EnvelopeRefused("this is not the key of this message")
        self._key = key
        self._outer = outer
        self._delivered = delivered
        self._size = size
        self._head_at = 0
        self._stream = StreamReader(
            stream_key(key, delivered.service_key, outer), from_text(self._e2e.header, HEADER_BYTES), size
        )
        self._beginning = bytearray()
        self._signed: tuple[Manifest, str] | None = None
        self._pieces: _Pieces | None = None

    def push(self, data: bytes) -> list[Opened | Octets]:
        """Take the next octets of the stream."""
        plain = self._stream.push(data)
        given: list[Opened | Octets] = []
        try:
            if self._pieces is None:
                opened, plain = self._begin(plain)
                given.extend(opened)
            if self._pieces is not None:
                octets, zeros = self._pieces.take(plain)
                given.extend(octets)
                if zeros.strip(b"\0"):
                    raise EnvelopeRefused("something stands where nothing should")
        except ValueError as error:
            raise self._stream.refuse(str(error)) from None
        return given

    def finish(self) -> None:
        """Raise `EnvelopeRefused` unless the message is whole."""
        self._stream.finish()
        if self._pieces is None or not self._pieces.complete:
            raise self._stream.refuse("it ends too early")

    def _begin(self, plain: bytes) -> tuple[list[Opened | Octets], bytes]:
        """Read what stands before the text, once all of it is here; also what follows."""
        self._beginning += plain
        if self._signed is None:
            self._signed = self._read_manifest()
        if self._signed is None:
            return [], b""
        manifest, manifest_hash = self._signed
        start = self._head_at
        end = start + manifest.inner.size
        if len(self._beginning) < end:
            return [], b""
        raw = bytes(self._beginning[start:end])
        if digest(raw) != manifest.inner.hash:
            raise EnvelopeRefused("the head inside is another than was signed")
        head = decode_inner(raw)
        _check_head(manifest, head)
        rest = bytes(self._beginning[end:])
        self._beginning.clear()
        self._pieces = _Pieces(manifest.pieces)
        link = manifests.open_link(self._key, manifest.links[self._delivered.reader])
        return [Opened(manifest, manifest_hash, link, head)], rest

    def _read_manifest(self) -> tuple[Manifest, str] | None:
        """The manifest and its hash, judged; None: not all of it is here."""
        if len(self._beginning) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._beginning[:_LENGTH_BYTES])
        if length > limits.MANIFEST_MAX_BYTES:
            raise EnvelopeRefused(f"a manifest has at most {limits.MANIFEST_MAX_BYTES} octets")
        end = _LENGTH_BYTES + length
        self._head_at = end + SIGNATURE_BYTES
        if len(self._beginning) < self._head_at:
            return None
        raw = bytes(self._beginning[_LENGTH_BYTES:end])
        manifest = manifests.decode(raw)
        signature = bytes(self._beginning[end : self._head_at])
        manifests.check(manifest.device, signature, self._delivered.service_key, raw)
        self._judge(manifest)
        return manifest, digest(raw)

    def _judge(self, manifest: Manifest) -> None:
        """Raise `EnvelopeRefused` unless it was signed by the sender, for the reader, behind this head, so long."""
        if manifest.sender != self._delivered.sender:
            raise EnvelopeRefused("it was written by another account than the service says")
        if self._delivered.reader not in manifest.heads:
            raise EnvelopeRefused("it was not written for this account")
        if (manifest.suite, manifest.epoch) != (self._e2e.suite, self._e2e.epoch):
            raise EnvelopeRefused("it was signed for another suite or epoch")
        if manifest.outer != digest(self._outer):
            raise EnvelopeRefused("it was signed behind another head")
        content = self._head_at + manifest.inner.size + sum(piece.size for piece in manifest.pieces)
        if stream_size(padded(content)) != self._size:
            raise EnvelopeRefused("it is not as long as was signed")


# -- both ways --------------------------------------------------------------------------------------------------------
def _check_head(manifest: Manifest, head: PostHead) -> None:
    """Raise `EnvelopeRefused` unless the inner head says what the manifest says."""
    if manifest.thread != (head.threadid or ""):
        raise EnvelopeRefused("it was signed for another thread")
    if manifest.subject != digest(head.subject.encode()):
        raise EnvelopeRefused("it was signed with another subject")
    if [piece.size for piece in manifest.attachments] != [attached.size for attached in head.attach]:
        raise EnvelopeRefused("it was signed with other attachments")


class _Pieces:
    """Text and attachments as they pass: cut where the manifest says, and their hashes compared."""

    def __init__(self, pieces: tuple[Piece, ...]) -> None:
        self._pieces = pieces
        self._place = 0
        self._begin()

    def take(self, data: bytes) -> tuple[list["Octets"], bytes]:
        """Pass the next octets; also what stands behind the last piece. Raises ValueError for a wrong hash."""
        given: list[Octets] = []
        rest = memoryview(data)
        while self._place < len(self._pieces) and (rest or not self._left):
            octets = bytes(rest[: self._left])
            rest = rest[len(octets) :]
            self._hash.update(octets)
            self._left -= len(octets)
            if last := not self._left:
                self._check()
            given.append(Octets(self._place + TEXT, octets, last))
            if last:
                self._place += 1
                self._begin()
        return given, bytes(rest)

    @property
    def complete(self) -> bool:
        """Whether all have passed."""
        return self._place == len(self._pieces)

    def _begin(self) -> None:
        self._left = 0 if self.complete else self._pieces[self._place].size
        self._hash = blake2b(digest_size=HASH_BYTES)

    def _check(self) -> None:
        if to_text(self._hash.digest()) != self._pieces[self._place].hash:
            raise ValueError("the text is another than was signed" if not self._place else "an attachment is another")
