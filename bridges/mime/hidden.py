# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an HTML mail has for filters and not for eyes: text that its own styles hide.

Not a browser: what hides text in mail is a short list. What it misses is shown, which harms nobody.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bridges import limits

_STYLE_SHEET: Final = re.compile(r"<style\b[^>]{0,200}>(.*?)(?:</style|\Z)", re.IGNORECASE | re.DOTALL)
_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_BRACE: Final = re.compile(r"[{}]")
_SIMPLE: Final = re.compile(r"([a-z][a-z0-9]*)?([.#][A-Za-z_-][\w-]*)?")
_ZERO: Final = r"0*(?:\.0+)?(?:px|pt|em|rem|ex|%|cm|mm|in|vw|vh)?"
_TINY: Final = re.compile(rf"(?:{_ZERO}|(?:0?\.\d+|1)px|(?:0?\.\d+|1)pt|0?\.0\d*r?em)")
_ZERO_SIZE: Final = re.compile(_ZERO)
_FAR_AWAY: Final = re.compile(r"-\d{3,}(?:\.\d*)?(?:px|pt|em|rem)")
_HEX: Final = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})")
_RGB: Final = re.compile(r"rgba?\((\d{1,3})[,\s]+(\d{1,3})[,\s]+(\d{1,3})(?:[,/\s]+([\d.]+%?))?\)")
_NAMED: Final = {"white": (255, 255, 255), "black": (0, 0, 0), "snow": (255, 250, 250), "ivory": (255, 255, 240)}
_NEAR: Final = 12  # of 255, in each of red, green and blue: nobody reads that

Colour = tuple[int, int, int]
Sheet = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Look:
    """How an element's text is seen; children inherit it."""

    hidden: bool = False
    ink: Colour = (0, 0, 0)
    ground: Colour = (255, 255, 255)

    @property
    def unseen(self) -> bool:
        """Whether text here cannot be seen."""
        return self.hidden or all(abs(one - other) <= _NEAR for one, other in zip(self.ink, self.ground, strict=True))


def style_sheet(html: str) -> Sheet:
    """The declarations of simple selectors (`td`, `.name`, `#name`, `td.name`) in the mail's own style sheets."""
    sheet: dict[str, dict[str, str]] = {}
    text = " ".join(match[1] for match in _STYLE_SHEET.finditer(html))[: limits.STYLE_SHEET_MAX_CHARACTERS]
    for selectors, body in _rules(_COMMENT.sub(" ", text)):
        found = declarations(body)
        for selector in selectors.split(",")[:50]:
            simple = selector.strip()
            if simple and _SIMPLE.fullmatch(simple):
                sheet.setdefault(simple, {}).update(found)
    return sheet


def _rules(text: str) -> Iterator[tuple[str, str]]:
    """Selectors and declarations of rules that hold everywhere: those inside of `@media` may be for small screens."""
    depth, begin, selectors = 0, 0, ""
    for match in _BRACE.finditer(text):
        between = text[begin : match.start()]
        begin = match.end()
        if match[0] == "{":
            depth += 1
            selectors = between if depth == 1 else selectors
        elif depth:
            depth -= 1
            if depth == 0 and "@" not in selectors:
                yield selectors.rpartition(";")[2], between


def declarations(style: str) -> dict[str, str]:
    """A style attribute's properties and values, in lower case."""
    found: dict[str, str] = {}
    for declaration in style[:4_000].lower().split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            found[name.strip()] = value.replace("!important", "").strip()
    return found


def look_of(tag: str, attributes: Mapping[str, str], sheet: Sheet, parent: Look) -> Look:
    """How the text of an element is seen, given how its parent's is."""
    if not attributes and tag not in sheet:
        return parent
    style: dict[str, str] = dict(sheet.get(tag, {}))
    names = [f".{one}" for one in attributes.get("class", "").split()[:20]]
    names += [f"#{attributes['id']}"] if attributes.get("id") else []
    for name in names:
        style |= {**sheet.get(name, {}), **sheet.get(tag + name, {})}
    style |= declarations(attributes.get("style", ""))
    ground = _colour(style.get("background-color") or style.get("background", "").split(" ")[0]) or _colour(
        attributes.get("bgcolor", "").lower()
    )
    if "background-image" in style or "url(" in style.get("background", ""):
        ground = ground or (128, 128, 128)  # a picture: no colour of text is its own
    ink = _colour(style.get("color", "")) or _colour(attributes.get("color", "").lower())
    hidden = parent.hidden or "hidden" in attributes or _hides(style)
    return Look(hidden, ink or parent.ink, ground or parent.ground)


def _hides(style: Mapping[str, str]) -> bool:
    clipped = style.get("overflow", "").startswith("hidden")
    return bool(
        style.get("display") == "none"
        or style.get("visibility") in ("hidden", "collapse")
        or style.get("mso-hide") == "all"
        or style.get("color") == "transparent"
        or _matches(_TINY, style.get("font-size"))
        or _matches(_ZERO_SIZE, style.get("opacity"))
        or (clipped and any(_matches(_TINY, style.get(one)) for one in ("height", "width", "max-height", "max-width")))
        or any(_matches(_FAR_AWAY, style.get(one)) for one in ("text-indent", "left", "top", "margin-left"))
    )


def _matches(pattern: re.Pattern[str], value: str | None) -> bool:
    return bool(value) and pattern.fullmatch(value or "") is not None


def _colour(value: str) -> Colour | None:
    """Red, green and blue; None for what is not understood, which then is taken to be seen."""
    if value in _NAMED:
        return _NAMED[value]
    if match := _HEX.fullmatch(value):
        digits = match[1] if len(match[1]) == 6 else "".join(digit * 2 for digit in match[1])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if match := _RGB.fullmatch(value):
        return min(int(match[1]), 255), min(int(match[2]), 255), min(int(match[3]), 255)
    return None
