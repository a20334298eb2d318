# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invitations as a sheet to print and cut: one card a person, with a code to scan (C1).

One file of HTML that loads nothing: no picture, font, style or script from elsewhere, and a policy in it that forbids
them. It prints on A4 and on Letter, three cards a page.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import segno

from tmtp_core.names import NameRefused, check_name

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
/* 255 mm are left of Letter's height, 273 mm of A4's: three cards of 84 mm fit on both. */
@page {{ margin: 12mm }}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; max-width: 186mm; color: #000; background: #fff; font: 10.5pt/1.35 sans-serif }}
.card {{ height: 84mm; overflow: hidden; padding: 5mm 2mm; display: flex; gap: 6mm; break-inside: avoid;
  border-bottom: 0.3mm dashed #555 }}
.code {{ flex: none; width: 58mm }}
.code svg {{ width: 58mm; height: 58mm; display: block }}
.code p {{ margin: 1mm 0 0; text-align: center; font-size: 8.5pt }}
h2 {{ margin: 0; font-size: 15pt; line-height: 1.15; overflow-wrap: anywhere }}
p, ol {{ margin: 1.5mm 0 }}
ol {{ padding-left: 5mm }}
code {{ font: 7.5pt/1.25 monospace; overflow-wrap: anywhere }}
.small {{ font-size: 8.5pt }}
@media screen {{ body {{ padding: 6mm }} }}
</style>
</head>
<body>
{cards}
</body>
</html>
"""

_CARD: Final = """\
<section class="card">
<div class="code">{code}<p>{title}</p></div>
<div>
<h2>{name}</h2>
<p>You are invited to <b>{title}</b>, where we write to each other from now on.</p>
<ol>
<li>Scan the code with your app, or type in a terminal:<br><code>{command}</code></li>
<li>Write down the 24 words that you are shown. They are your way back when you lose your device; nobody else has
them.</li>
</ol>
<p class="small">{until} Whoever has this card can join in your place: tear it up afterwards.</p>
</div>
</section>"""


@dataclass(frozen=True, slots=True)
class Card:
    """One person's invitation: the name, and the link that holds it."""

    name: str
    link: str


def sheet(title: str, cards: Sequence[Card], until: str | None) -> str:
    """The sheet, as HTML. `title`: what people call the service; `until`: when the invitations end, in words."""
    good = f"It works once, until {until}." if until is not None else "It works once."
    return _PAGE.format(
        title=escape(f"{title}: invitations"), cards="\n".join(_card(escape(title), one, escape(good)) for one in cards)
    )


def _card(title: str, card: Card, until: str) -> str:
    return _CARD.format(
        code=_code(card.link), title=title, name=escape(card.name), command=escape(command(card)), until=until
    )


def command(card: Card) -> str:
    """What the person types: with the name of the list where it can be one here."""
    try:
        check_name(card.name)
        name = card.name
    except NameRefused:
        name = "Your Name"
    return f"tmtp join {shlex.quote(card.link)} --alias {shlex.quote(name)}"


def _code(link: str) -> str:
    """A QR code as SVG inside the page. Level M: it is still read with a seventh of it soiled (ISO/IEC 18004)."""
    return str(segno.make_qr(link, error="m").svg_inline(border=4, omitsize=True, svgclass=None, lineclass=None))
