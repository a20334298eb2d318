# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTML of mail to plain text (B6, D2): what a person would read, where links lead, nothing that is loaded or hidden.

nh3 reads it as browsers do and keeps a closed list of tags; styles and addresses survive that step only to be judged
here, and none of them is passed on as markup.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from typing import Any, Final
from urllib.parse import urlsplit

import lxml.html
import nh3
from inscriptis import Inscriptis
from inscriptis.css_profiles import STRICT_CSS_PROFILE
from inscriptis.model.config import ParserConfig

from bridges import limits
from bridges.mime.hidden import Look, Sheet, look_of, style_sheet
from bridges.mime.readable import ascii_host

_TAGS: Final = (
    "a abbr address article aside b big blockquote body br caption center cite code dd del details dfn div dl dt em"
    " figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q s samp"
    " section small span strike strong sub summary sup table tbody td tfoot th thead tr tt u ul var"
)
_CONTENT_TOO: Final = (
    "script style head title template noscript object applet iframe frameset svg math select textarea audio video"
)
_ATTRIBUTES: Final = {
    "*": {"style", "class", "id", "hidden", "color", "bgcolor"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
}
_SCHEMES: Final = frozenset({"http", "https", "mailto", "tel", "cid"})
_OPEN, _CLOSE = (
    "\ue000",
    "\ue001",
)  # where a quote begins and ends, on lines of their own; text loses such characters before
_NESTING: Final = re.compile(
    r"<(/?)(?:div|span|table|blockquote|ul|ol|dl|center|font|b|i|u|a|em|strong|section)\b", re.I
)
_ANY_TAG: Final = re.compile(r"<[^>]{0,4000}>")
_INVISIBLE_CONTENT: Final = re.compile(
    r"<(script|style|head|title)\b.*?(?:</\1[^>]{0,100}>?|\Z)", re.IGNORECASE | re.DOTALL
)
_WEB: Final = re.compile(r"(https?):[/\\]*", re.IGNORECASE)
_SEEMS_ADDRESS: Final = re.compile(
    r"(?:https?://)?(?:[^\s/@]{1,200}@)?((?:[^\s./:@<>()\"',;]{1,63}\.){1,10}[^\s./:@<>()\"',;\d]{2,24})(?=[/:?#\s]|$)",
    re.I,
)
_FILES: Final = (
    "pdf",
    "doc",
    "docx",
    "xls",
    "xlsx",
    "ppt",
    "pptx",
    "txt",
    "csv",
    "jpg",
    "jpeg",
    "png",
    "gif",
    "html",
    "php",
)
_QUOTE_CLASSES: Final = frozenset({"gmail_quote", "yahoo_quoted", "moz-cite-prefix-quote", "protonmail_quote"})
_QUOTE_IDS: Final = frozenset({"mail-editor-reference-message-container", "OLK_SRC_BODY_SECTION"})
_PLAIN: Final = ParserConfig(css=STRICT_CSS_PROFILE)  # no indentation for looks
_TRACKER_EDGE_MAX: Final = 2  # pixels


@dataclass
class _Findings:
    hidden_characters: int = 0
    trackers: int = 0
    pictures: int = 0
    masked: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What a reader should know."""
        notes = []
        if self.masked:
            hosts = ", ".join(list(dict.fromkeys(self.masked))[:5])
            notes.append(f"a link of this mail does not lead where its text says: it leads to {hosts}")
        if self.hidden_characters:
            notes.append(f"this mail hides text from its readers, {self.hidden_characters} characters; it was left out")
        if self.trackers:
            notes.append(
                f"left out: {_counted(self.trackers, 'invisible picture')} that would tell its sender when this is read"
            )
        if self.pictures:
            notes.append(f"left out: {_counted(self.pictures, 'picture')} on other machines")
        return notes


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"


def html_as_text(html: str) -> tuple[str, list[str]]:
    """The text and notes about it. Quotes begin with `>`; a link is followed by its target unless its text is that."""
    html = html.replace(_OPEN, "").replace(_CLOSE, "").replace("\x00", "")
    if _depth(html) > limits.HTML_DEPTH_MAX:
        return _without_tags(html), ["its HTML is nested too deep to be understood; only its words are here"]
    clean = nh3.clean(
        html,
        tags=set(_TAGS.split()),
        clean_content_tags=set(_CONTENT_TOO.split()),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes=set(_SCHEMES),
        link_rel=None,
    )
    if not clean.strip():
        return "", []
    if clean.count("<") > 2 * limits.HTML_ELEMENTS_MAX:
        return _without_tags(html), ["its HTML is too large to be understood; only its words are here"]
    findings = _Findings()
    try:
        tree = lxml.html.fragment_fromstring(clean, create_parent="div")
        _Judge(style_sheet(html), findings).walk(tree)
        text = str(Inscriptis(tree, _PLAIN).get_text())
    except (RecursionError, ValueError, lxml.etree.LxmlError):
        return _without_tags(html), ["its HTML could not be understood; only its words are here"]
    return _tidy(text), findings.notes()


def _depth(html: str) -> int:
    depth = deepest = 0
    for match in _NESTING.finditer(html):
        depth += -1 if match[1] else 1
        depth = max(depth, 0)
        deepest = max(deepest, depth)
    return deepest


def _without_tags(html: str) -> str:
    return re.sub(r"\s{3,}", "\n\n", unescape(_ANY_TAG.sub(" ", _INVISIBLE_CONTENT.sub(" ", html)))).strip()


class _Judge:
    """Takes out of a tree what is not to be read, and puts in what its reader has to know."""

    def __init__(self, sheet: Sheet, findings: _Findings) -> None:
        self._sheet = sheet
        self._findings = findings
        self._by_tag: dict[str, Callable[[Any, Look], None]] = {"a": self._link, "img": self._picture}

    def walk(self, root: Any) -> None:
        """Judge every element, from the outside in."""
        pending: list[tuple[Any, Look]] = [(root, Look())]
        while pending:
            element, parent = pending.pop()
            look = look_of(str(element.tag), element.attrib, self._sheet, parent)
            children = list(element)
            if look.hidden:
                self._findings.hidden_characters += len("".join(element.itertext()).strip())
                _remove(element)
                continue
            if look.unseen:
                self._blank(element, children)
            pending.extend((child, look) for child in children)
            handler = self._by_tag.get(str(element.tag))
            if handler is not None:
                handler(element, look)
            elif _is_quote(element):
                _fence(element)

    def _blank(self, element: Any, children: list[Any]) -> None:
        """Text in the colour of its ground; what stands inside may have another colour."""
        pieces = [element.text or "", *(child.tail or "" for child in children)]
        self._findings.hidden_characters += len("".join("".join(pieces).split()))
        element.text = None
        for child in children:
            child.tail = None

    def _picture(self, element: Any, look: Look) -> None:
        """No picture of another machine is ever loaded; one that nobody can see is there to tell that it was."""
        remote = element.get("src", "").lower().startswith(("http:", "https:"))
        edges = [re.match(r"\s*(\d{1,5})", element.get(edge, "")) for edge in ("width", "height")]
        if remote and any(edge is not None and int(edge[1]) <= _TRACKER_EDGE_MAX for edge in edges):
            self._findings.trackers += 1
        elif remote:
            self._findings.pictures += 1
        words = " ".join(element.get("alt", "").split())[:200]
        _remove(element, f"[{words}]" if words else "")

    def _link(self, element: Any, look: Look) -> None:
        target = re.sub(r"[\t\r\n]", "", element.get("href", "").strip()).replace(" ", "%20")
        if begin := _WEB.match(target):  # as browsers read it
            target = f"{begin[1]}://" + target[begin.end() :].replace("\\", "/")
        try:
            parts = urlsplit(target)
            host = parts.hostname or ""
        except ValueError:
            return
        if parts.scheme.lower() not in ("http", "https", "mailto", "tel") or look.unseen:
            return
        words = " ".join("".join(element.itertext()).split())
        if parts.scheme.lower() in ("mailto", "tel"):
            bare = target.partition(":")[2].partition("?")[0]
            if bare.lower() not in words.lower().replace(" ", ""):
                _append(element, f" [{bare}]")
            return
        shown = _shown(target)[: limits.LINK_MAX_CHARACTERS]
        told = _SEEMS_ADDRESS.search(words[: limits.LINK_MAX_CHARACTERS])
        if told is not None and not _is_file(told) and not _same_host(told[1], host):
            self._findings.masked.append(ascii_host(host))
            _append(element, f" [leads to {ascii_host(host)}: {shown}]")
        elif words.rstrip("/") != target.rstrip("/"):
            _append(element, f" [{shown}]" if words or list(element) else "")


def _shown(target: str) -> str:
    """An address without a name before its host, and with no bracket that could seem to end what is said of it."""
    scheme, _, rest = target.partition("//")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :].replace("[", "%5B").replace("]", "%5D")
    return f"{scheme}//{authority.rpartition('@')[2]}{path}"


def _is_file(told: re.Match[str]) -> bool:
    """Whether these words are rather a file's name: `report.pdf`."""
    return "/" not in told[0] and told[1].rpartition(".")[2].lower() in _FILES


def _same_host(told: str, host: str) -> bool:
    told, host = ascii_host(told), ascii_host(host)
    return told.removeprefix("www.") == host.removeprefix("www.")


def _is_quote(element: Any) -> bool:
    classes = set(element.get("class", "").split())
    if element.tag == "blockquote":
        return not any(ancestor.tag == "div" and _has_quote_class(ancestor) for ancestor in element.iterancestors())
    return element.tag == "div" and bool(classes & _QUOTE_CLASSES or element.get("id") in _QUOTE_IDS)


def _has_quote_class(element: Any) -> bool:
    return bool(set(element.get("class", "").split()) & _QUOTE_CLASSES)


def _fence(element: Any) -> None:
    """Marks where a quote begins and ends."""
    opening, closing = lxml.html.Element("div"), lxml.html.Element("div")
    opening.text, closing.text = _OPEN, _CLOSE
    opening.tail, element.text = element.text, None
    element.insert(0, opening)
    element.append(closing)


def _remove(element: Any, instead: str = "") -> None:
    """Take an element out, and keep what follows it."""
    parent = element.getparent()
    if parent is None:
        element.clear()
        return
    rest = instead + (element.tail or "")
    previous = element.getprevious()
    if previous is not None:
        previous.tail = (previous.tail or "") + rest
    else:
        parent.text = (parent.text or "") + rest
    parent.remove(element)


def _append(element: Any, text: str) -> None:
    children = list(element)
    if children:
        children[-1].tail = (children[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


def _tidy(text: str) -> str:
    """Quotes marked line by line; no trailing blanks, no long gaps."""
    out: list[str] = []
    depth = 0
    for raw in text.replace("\xa0", " ").split("\n"):
        opened = raw.count(_OPEN)
        line = raw.replace(_OPEN, "").replace(_CLOSE, "").rstrip()
        depth += opened
        if line.strip() or (not opened and not raw.count(_CLOSE) and out and out[-1].strip("> ")):
            out.append(("> " * depth + line).rstrip() if depth else line)
        depth = max(0, depth - raw.count(_CLOSE))
    return "\n".join(out).strip("\n")
