# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page on which a sign-in ends: in the browser's first language that the client's pages have, too (decision 29)."""

import json
import re
from html import escape
from importlib import resources
from typing import Final

_PAGE: Final = (
    "<!doctype html><html lang={language}><meta charset=utf-8><title>{title}</title>"
    "<body style='font-family:sans-serif;margin:4rem'><h1>{title}</h1><p>{words}</p></body></html>"
)
_ANSWER: Final = (
    "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {size}\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nCache-Control: no-store\r\n"
    "Connection: close\r\n\r\n"
)
_ASKED: Final = re.compile(rb"^Accept-Language:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)  # RFC 9110 §12.5.4
_NAME: Final = re.compile(r"[a-z]{2,3}")


def answer(head: bytes, status: str, title: str, words: str) -> bytes:
    """The whole answer to a browser's request of this head."""
    language, catalogue = _language_of(head)
    title, words = (catalogue.get(one, one) for one in (title, words))
    page = _PAGE.format(language=language, title=escape(title), words=escape(words)).encode()
    return _ANSWER.format(status=status, size=len(page)).encode() + page


def _language_of(head: bytes) -> tuple[str, dict[str, str]]:
    """The first one named that has a catalogue, which browsers name in the order of their person's wish; or English."""
    asked = _ASKED.search(head)
    for one in (asked[1].decode("ascii", "replace") if asked is not None else "").split(","):
        name = one.partition(";")[0].strip().partition("-")[0].lower()
        if name == "en":
            break
        if _NAME.fullmatch(name):
            file = resources.files("tmtp_client").joinpath("web", "words", f"{name}.engine.json")
            if file.is_file():
                return name, json.loads(file.read_text("utf-8"))
    return "en", {}
