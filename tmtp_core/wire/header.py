# SPDX-License-Identifier: AGPL-3.0-or-later
"""Header JSON as revision 1 programs read and write it (wire.md §1.2 to §1.6, §9).

Reading is lenient exactly where existing clients need it (field names in any case, the last of two wins,
null means "not given", bad UTF-8 becomes U+FFFD) and strict everywhere else. Writing is compact, sorted
and escaped, because `headsum` is computed over the text.
"""

import json
import re
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeVar

import google_crc32c
import msgspec

from tmtp_core.errors import ProtocolError
from tmtp_core.wire.codec import LENGTH_DIGITS, frame

T = TypeVar("T", bound=msgspec.Struct)

_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_GO_ESCAPES: Final = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
    b"\\\\": b"\\\\",
    b"\\b": b"\\u0008",
    b"\\f": b"\\u000c",
}
_TO_ESCAPE: Final = re.compile(rb"[<>&]|\xe2\x80[\xa8\xa9]|\\[\\bf]")
_NAME: Final = re.compile(rb'"[A-Za-z]+"[ \t\n\r]*:')  # an unescaped quote before a colon ends a name and no value
_MANY_DIGITS: Final = 40  # no 64-bit number is longer


def encode_header(message: msgspec.Struct) -> bytes:
    """A message's header, framed: length digits and JSON as wire.md §1.5 describes them."""
    text = _ENCODER.encode(message)
    if not text.isascii() or b"<" in text or b">" in text or b"&" in text or b"\\" in text:  # sooner told than searched
        text = _TO_ESCAPE.sub(_go_escape, text)
    return frame(text)


def header_sum(framed: bytes) -> int:
    """`headsum` of a framed header that does not carry it yet: CRC-32C over digits and JSON (wire.md §9)."""
    return int(google_crc32c.value(framed))


def with_header_sum(framed: bytes) -> bytes:
    """A framed header with its `headsum`, put in front of `id`, its neighbour. Raises ValueError: see `frame`."""
    before, id_name, after = framed[LENGTH_DIGITS:].partition(b',"id":')  # which no value holds: its quotes are escaped
    return frame(b'%b,"headsum":%d%b%b' % (before, header_sum(framed), id_name, after))


def with_plain_names(raw: bytes) -> bytes:
    """The same header with its names in lower case: revision 1 programs write `Op` and `DataLen`."""
    return _NAME.sub(_lower, raw)


class HeaderShape(Generic[T]):
    """How headers become structs of one type.

    A header that is plain, but for the case of its names, takes the short way through msgspec. Anything else takes
    the long way through `_normalise`, which gives the same answer for every header that both accept (tested).
    """

    def __init__(self, shape: type[T], entry: type[msgspec.Struct]) -> None:
        """`shape` is the header's struct, `entry` that of the objects in its lists.

        Both forbid unknown fields, or the short way would miss names in other case.
        """
        self._shape = shape
        self._decoder = msgspec.json.Decoder(shape)
        self._names = _Names(_wire_names(shape), _wire_names(entry))

    def parse(self, raw: bytes) -> T:
        """Parse a request's header. Raises `ProtocolError("invalid header")`."""
        try:
            return self._decoder.decode(raw if b'"op":' in raw else with_plain_names(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # msgspec limits how deep JSON may nest
            pass
        return self.parse_the_long_way(raw)

    def parse_the_long_way(self, raw: bytes) -> T:
        """The same, with all names folded at every depth, and without nulls."""
        try:
            return msgspec.convert(_normalise(raw, self._names), self._shape, strict=True)
        except (ValueError, RecursionError, msgspec.ValidationError):
            raise ProtocolError("invalid header") from None


def _go_escape(match: "re.Match[bytes]") -> bytes:
    return _GO_ESCAPES[match[0]]


def _lower(match: "re.Match[bytes]") -> bytes:
    return match[0].lower()


class _Names(NamedTuple):
    """The names that are known: in the header, and in the objects of its lists."""

    header: frozenset[str]
    entry: frozenset[str]


def _wire_names(shape: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(shape))


def _normalise(raw: bytes, known: _Names) -> dict[str, Any]:
    """The header as a dict with lower-case names, without nulls and unknown names."""
    pairs = _JSON.decode(_decode_utf8(raw))
    if not isinstance(pairs, _Pairs):
        raise ValueError("not an object")  # noqa: TRY004 - every refusal of a header is one
    return _named(pairs, known.header, known.entry)


def _named(pairs: "_Pairs", known: frozenset[str] | None, entry: frozenset[str]) -> dict[str, Any]:
    """Fold names, drop nulls; keep only `known` names (None: all). The last of several wins."""
    named: dict[str, Any] = {}
    for name, value in pairs:
        folded = name.casefold()
        if value is not None and (known is None or folded in known):
            named[folded] = _plain(value, entry)
    return named


def _plain(value: Any, entry: frozenset[str]) -> Any:
    if isinstance(value, _Pairs):
        return _named(value, None, entry)
    if isinstance(value, list):
        return [_named(one, entry, entry) if isinstance(one, _Pairs) else _plain(one, entry) for one in value]
    if isinstance(value, str):
        return _without_lone_surrogates(value)
    return value


class _Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object with its names as written and in their order."""

    __slots__ = ()


def _pairs(items: list[tuple[str, Any]]) -> _Pairs:
    return _Pairs(items)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    """An integer, or a float where it is too long for any field: then it fails as a wrong type, or not at all."""
    return int(digits) if len(digits) < _MANY_DIGITS else float("inf")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_refuse_constant, parse_int=_integer)


def _decode_utf8(raw: bytes) -> str:
    """Decode, with one U+FFFD for each bad byte inside strings; bad bytes elsewhere stay and fail as JSON."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        text = raw.decode(errors="surrogateescape")
        return re.sub("[\udc80-\udcff]", "\ufffd", text)


def _without_lone_surrogates(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
