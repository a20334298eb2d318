# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others wrote as HTML that is safe to show: nothing runs or is loaded, and links say where they lead (B6, D2).

CommonMark with tables, strikethrough and task lists; HTML in it is text. A picture is a link to itself, never loaded; a
bare address of the web is one, too. A link leads to http, https, mailto or tmtp, and its true host stands behind its
words unless they are just that host, in ASCII: so letters that look like others, and words that name another address,
deceive nobody. The result is judged once more by nh3, from a closed list of elements and attributes.

`render` is a function of the text alone; what it may cost is bounded by who calls it (`rendering_process`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from tmtp_client import limits
from tmtp_core.text import visible

_BLOCKS: Final = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "td", "th")
_TAGS: Final = frozenset(
    (*_BLOCKS, "a", "bdi", "br", "code", "em", "hr", "pre", "s", "span", "strong", "table", "tbody", "thead", "tr")
)
_ATTRIBUTES: Final = {"a": {"href"}, "ol": {"start"}}
_DIRECTION: Final = {tag: {"dir": {"auto"}} for tag in _BLOCKS}  # each block as its own first letters run
_ALIGNED: Final = {"dir": {"auto"}, "align": {"left", "center", "right"}}
_VALUES: Final = {
    **_DIRECTION,
    "td": _ALIGNED,
    "th": _ALIGNED,
    "span": {"class": {"link-host", "link-host differs"}},
}
_SCHEMES: Final = frozenset({"http", "https", "mailto", "tmtp"})
_REL: Final = "noopener noreferrer nofollow"

_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]{2,45}\]"
_WEB: Final = re.compile(rf"(?:https?|tmtp)://({_HOST})(?::[0-9]{{1,5}})?(?:[/?#][!-~]*)?", re.IGNORECASE)
_LOCAL: Final = r"[!#$&'*+/=?^_`{|}~.A-Za-z0-9-]{1,64}"
_MAIL: Final = re.compile(rf"(mailto:)({_LOCAL}@(?:{_HOST}))(?:\?[!-~]*)?", re.IGNORECASE)
_SAYS_HOST: Final = re.compile(rf"(?:https?://|tmtp://)?({_HOST})(?::[0-9]{{1,5}})?(?:[/?#][!-~]*)?", re.IGNORECASE)
_SEEMS_ADDRESS: Final = re.compile(r"\w[.\u3002\uff0e\uff61]\w{2}|://|@")
_BARE: Final = re.compile(r"(?<![\w/.@:-])https?://[^\s<>]+", re.IGNORECASE)
_ADDRESS_END: Final = re.compile(r"[.,;:!?'\"*_\]}]+\Z")
_TASK: Final = re.compile(r"\[([ xX])\] ")
_TASK_SIGNS: Final = {" ": "\u2610 ", "x": "\u2611 "}
_ALIGNMENT: Final = re.compile(r"text-align:(left|center|right)")

# Nobody sees these, and they hide what a text says. (Joiners and direction marks stay: scripts and emoji need them.)
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U000e0000-\U000e0fff]"
)
# Controls, and what turns the direction of all that follows, up to the end of the block: spelled out.
_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ue000-\uf8ff]")
_MARKS: Final = (
    "[\u0300-\u036f\u0483-\u0489\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
_PILED_MARKS: Final = re.compile(f"({_MARKS}{{{limits.COMBINING_MARKS_MAX}}}){_MARKS}+")
_PARAGRAPHS: Final = re.compile(r"\n{2,}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a link leads: its address, and the host or mail address that a person should see."""

    href: str
    place: str


def target_of(url: str) -> Target | None:
    """Where an address leads; None for what no link may lead to, or for what two programs could read differently.

    `url` is in ASCII, as links are normalised: a host with letters outside it in its `xn--` form.
    """
    if len(url) > limits.LINK_MAX_CHARACTERS:
        return None
    if found := _WEB.fullmatch(url):
        return Target(url, found[1].lower())
    if found := _MAIL.fullmatch(url):  # without what would fill in copies, a text, or a file
        return Target(found[1] + found[2], found[2])
    return None


def render(text: str) -> str:
    """HTML of a text. One that is too long, too large as HTML, or not to be understood, stands as it was written."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) > limits.RENDER_MAX_CHARACTERS:
        return plain(text)
    try:
        html = _MARKDOWN.render(text)
    except (RecursionError, ValueError, IndexError, KeyError):
        return plain(text)
    if len(html) > limits.RENDERED_MAX_BYTES:
        return plain(text)
    return _clean(html)


def plain(text: str) -> str:
    """The text as it was written: its paragraphs and line ends, no more. A very long one is cut."""
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    whole = len(text) <= limits.PLAIN_MAX_CHARACTERS
    paragraphs = _PARAGRAPHS.split(text[: limits.PLAIN_MAX_CHARACTERS].strip("\n"))
    html = "\n".join(f'<p dir="auto">{escape(one).replace(chr(10), "<br>")}</p>' for one in paragraphs if one)
    return _clean(html if whole else html + "\n<p>[\u2026]</p>")


def _clean(html: str) -> str:
    clean = nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_attribute,
        tag_attribute_values=_VALUES,
        url_schemes=set(_SCHEMES),
        url_relative="deny",
        link_rel=_REL,
    )
    # Here, where entities have been read: attributes are ASCII, and none of these stands in the markup.
    clean = _STEERING.sub(lambda found: visible(found[0]), _UNSEEN.sub("", clean))
    return str(_PILED_MARKS.sub(r"\1", clean))


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "href":
        target = target_of(value)
        return None if target is None else target.href
    if name == "start":
        return value if value.isascii() and value.isdigit() and len(value) <= 9 else None
    return value


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802
        return target_of(url) is not None


def _made() -> MarkdownIt:
    made = _Markdown("commonmark", {"html": False, "maxNesting": limits.RENDER_NESTING_MAX, "xhtmlOut": False})
    made.enable(["table", "strikethrough"])
    made.core.ruler.push("shown", _shown)
    return made


def _shown(state: StateCore) -> None:
    """What stands between parsing and HTML: tasks, pictures, links, directions, no style."""
    before: list[str] = []
    for token in state.tokens:
        if token.type == "inline" and token.children:
            if before[-2:] == ["list_item_open", "paragraph_open"]:
                _mark_task(token.children[0])
            token.children = list(_inline(token.children))
        elif token.nesting == 1 and token.tag in _BLOCKS:
            if found := _ALIGNMENT.fullmatch(str(token.attrs.pop("style", ""))):
                token.attrs["align"] = found[1]
            token.attrs["dir"] = "auto"
        elif token.type == "fence":
            token.info = ""
        before.append(token.type)


def _mark_task(first: Token) -> None:
    """A box, empty or ticked, for the brackets of a task."""
    if first.type == "text" and (found := _TASK.match(first.content)):
        first.content = _TASK_SIGNS[found[1].lower()] + first.content[found.end() :]


def _inline(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens of one line, links with their hosts and pictures as links."""
    link: list[Token] = []
    for token in tokens:
        if token.type == "link_open":
            link = [token]
        elif token.type == "image":
            words = f"[{_words(token.children or ()).strip() or 'image'}]"
            if link:  # a picture that is a link: its words are
                link.append(_text(words))
            else:
                yield from _link([_link_open(str(token.attrs.get("src", ""))), _text(words)])
        elif token.type == "link_close":
            yield from _link(link)
            link = []
        elif link:
            link.append(token)
        elif token.type == "text":
            yield from _bare(token)
        else:
            yield token
    yield from link


def _bare(token: Token) -> Iterator[Token]:
    """A text whose bare addresses of the web are links: all up to the next blank, or nothing of it.

    So no letter that is not in ASCII stands right behind a link, as if it belonged to it.
    """
    end = 0
    for found in _BARE.finditer(token.content):
        address = _ADDRESS_END.sub("", found[0])
        while address.endswith(")") and address.count(")") > address.count("("):
            address = _ADDRESS_END.sub("", address[:-1])
        if not found[0][len(address) :].isascii() or target_of(address) is None:
            continue
        if found.start() > end:
            yield _text(token.content[end : found.start()])
        yield from _link([_link_open(address), _text(address)])
        end = found.start() + len(address)
    if end == 0:
        yield token
    elif end < len(token.content):
        yield _text(token.content[end:])


def _link(tokens: Sequence[Token]) -> Iterator[Token]:
    """A link, its words held together against turns of direction, and its host behind them where they are not that."""
    opening, inner = tokens[0], tokens[1:]
    target = target_of(str(opening.attrs.get("href", "")))
    if target is None:
        yield from inner
        return
    words = _words(inner).strip()
    yield _link_open(target.href)
    yield Token("bdi_open", "bdi", 1)
    yield from inner if words else [_text(target.place)]
    yield Token("bdi_close", "bdi", -1)
    yield Token("link_close", "a", -1)
    if words and not _says(words, target):
        differs = " differs" if _SEEMS_ADDRESS.search(words) else ""
        yield _text(" ")
        yield Token("span_open", "span", 1, attrs={"class": f"link-host{differs}"})
        yield Token("bdi_open", "bdi", 1)
        yield _text(f"({target.place})")
        yield Token("bdi_close", "bdi", -1)
        yield Token("span_close", "span", -1)


def _says(words: str, target: Target) -> bool:
    """Whether a link's words name, to the letter, where it leads."""
    if target.place.startswith("xn--") or ".xn--" in target.place:
        return False  # a name in other letters: who reads it should know
    if words.lower() in {target.place.lower(), target.href.lower()}:
        return True
    found = _SAYS_HOST.fullmatch(words)
    return found is not None and found[1].lower() == target.place


def _words(tokens: Sequence[Token]) -> str:
    return "".join(_words(token.children or ()) if token.type == "image" else token.content for token in tokens)


def _text(words: str) -> Token:
    return Token("text", "", 0, content=words)


def _link_open(href: str) -> Token:
    attrs: dict[str, str | int | float] = {"href": href}
    return Token("link_open", "a", 1, attrs=attrs)


_MARKDOWN: Final[Any] = _made()
