# SPDX-License-Identifier: AGPL-3.0-or-later
"""Octets of a named charset to text: a closed list of codecs, the names that mail programs give them, no failure.

Python's own look-up would also find `zlib`, `idna` and other codecs that are no charsets, and looks for a file where it
knows a name but not this system's part of it (`mbcs`), which ends a worker. So no stranger's name gets there.
"""

import re
from encodings import aliases
from typing import Final

_UNICODE: Final = ("utf-8", "utf-7", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_ISO: Final = tuple(f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15, 16))
_WINDOWS: Final = tuple(f"cp{number}" for number in range(1250, 1259))
_DOS: Final = tuple(
    f"cp{number}" for number in (437, 737, 775, 850, 852, 855, 857, 858, 860, 862, 863, 864, 865, 866, 874)
)
_MAC: Final = ("mac-roman", "mac-cyrillic", "mac-greek", "mac-latin2", "mac-turkish", "mac-iceland")
_CYRILLIC: Final = ("koi8-r", "koi8-u", "kz1048", "ptcp154")
_EAST: Final = (
    *("gb18030", "hz", "big5", "big5hkscs", "cp950", "cp932", "shift-jis", "shift-jis-2004", "euc-jp", "euc-jis-2004"),
    *(
        "iso2022-jp",
        "iso2022-jp-1",
        "iso2022-jp-2",
        "iso2022-jp-ext",
        "iso2022-kr",
        "euc-kr",
        "cp949",
        "johab",
        "tis-620",
    ),
)
CODECS: Final = (*_UNICODE, *_ISO, *_WINDOWS, *_DOS, *_MAC, *_CYRILLIC, *_EAST)
"""All that are used; a worker loads them before it closes its doors."""


def _names() -> dict[str, str]:
    """What each codec is called, as `decoded` writes it: its own name and the ones that Python's table has for it."""
    modules = {name.replace("-", "_"): name for name in CODECS}
    others = {name.replace("_", "-"): modules[module] for name, module in aliases.aliases.items() if module in modules}
    return {name: name for name in CODECS} | others


_NAMES: Final = _names()
_ALIASES: Final = {
    # As browsers do (WHATWG, *Encoding*): what calls itself Latin-1 is Windows-1252, GB2312 is its superset, and so on.
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "iso-8859-1-1", "latin1", "latin-1", "l1", "8859-1"), "cp1252"),
    **dict.fromkeys(("x-ansi", "ansi", "windows-latin1", "x-cp1252", "iso-8859-1-windows-latin-1"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk", "cp936", "gb-2312-80", "gb2312-80", "euc-cn", "x-euc-cn"), "gb18030"),
    **dict.fromkeys(("ks-c-5601-1987", "ks-c-5601", "ksc5601", "korean", "euc-kr", "x-windows-949"), "cp949"),
    **dict.fromkeys(("shift-jis", "sjis", "x-sjis", "ms-kanji", "windows-31j", "shiftjis"), "cp932"),
    **dict.fromkeys(("utf8", "utf-8mb4", "utf8mb4", "unicode-1-1-utf-8", "x-unicode-2-0-utf-8", "utf-8n"), "utf-8"),
    **dict.fromkeys(("unicode-1-1-utf-7", "x-unicode-2-0-utf-7"), "utf-7"),
    **dict.fromkeys(("iso-8859-8-i", "iso-8859-8-e", "logical", "visual"), "iso8859-8"),
    **dict.fromkeys(("iso-8859-6-i", "iso-8859-6-e"), "iso8859-6"),
    **dict.fromkeys(("iso-8859-9", "latin5", "l5"), "cp1254"),
    **dict.fromkeys(("iso-8859-11", "tis-620", "dos-874", "windows-874", "x-windows-874"), "cp874"),
    **dict.fromkeys(("macintosh", "x-mac-roman", "mac", "x-macroman"), "mac-roman"),
    **dict.fromkeys(("x-mac-cyrillic", "x-mac-ukrainian"), "mac-cyrillic"),
    **dict.fromkeys(("x-big5", "big5-hkscs", "cn-big5", "x-x-big5"), "big5hkscs"),
    **dict.fromkeys(("x-euc-jp", "eucjp"), "euc-jp"),
    **dict.fromkeys(("koi8-ru", "koi", "koi8"), "koi8-u"),
}
_UNDECLARED: Final = frozenset({"", "us-ascii", "ascii", "ansi-x3.4-1968", "ansi-x3-4-1968", "iso-646", "646"})
_REPLACED: Final = "\ufffd"


def decoded(octets: bytes, charset: str) -> tuple[str, str]:
    """The text, and a note for its reader where something had to be guessed or replaced; "" where nothing had."""
    name = re.sub(r"[^a-z0-9.]+", "-", charset.strip().lower()[:80]).strip("-")
    if name in _UNDECLARED:
        return _guessed(octets), ""
    codec = _codec(name)
    if codec is None:
        return _guessed(octets), f"its charset {name} is not known here; some of its characters may be wrong"
    try:
        return octets.decode(codec).removeprefix("\ufeff"), ""
    except (UnicodeError, ValueError):
        text = octets.decode(codec, "replace").removeprefix("\ufeff")
    if codec != "utf-8" and not octets.isascii() and (wrong := _as_utf8(octets)) is not None:
        return wrong, ""  # UTF-8, whatever it says
    if codec == "utf-8" and 2 * text.count(_REPLACED) > sum(octet > 0x7F for octet in octets):
        return octets.decode("cp1252", "replace"), ""  # not UTF-8 at all, whatever it says
    return text, f"some of its characters are not valid {name} and stand here as {_REPLACED}"


def _codec(name: str) -> str | None:
    return _NAMES.get(_ALIASES.get(name, name))


def _guessed(octets: bytes) -> str:
    text = _as_utf8(octets)
    return octets.decode("cp1252", "replace") if text is None else text


def _as_utf8(octets: bytes) -> str | None:
    try:
        return octets.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None
