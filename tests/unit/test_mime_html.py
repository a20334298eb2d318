# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTML of mail as text (B6, D2): where links lead is said, nothing is loaded, what is hidden stays out and is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import limits
from bridges.mime.html import html_as_text


def text_of(html: str) -> str:
    return html_as_text(html)[0]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://a.example/x">click</a>', "click [https://a.example/x]"),
        ('<a href="https://a.example/x">https://a.example/x</a>', "https://a.example/x"),
        ('<a href="https://a.example/">https://a.example</a>', "https://a.example"),
        ('<a href="https://www.a.example/x">a.example</a>', "a.example [https://www.a.example/x]"),
        ('<a href="mailto:a@b.example">a@b.example</a>', "a@b.example"),
        ('<a href="mailto:a@b.example?subject=x">write</a>', "write [a@b.example]"),
        ('<a href="javascript:x()">click</a>', "click"),
        ('<a href="data:text/html,x">click</a>', "click"),
        ('<a href=" https://a.exa\nmple/\n x]">click</a>', "click [https://a.example/%20x%5D]"),
        ('<a href="https://a.example/report">report.pdf</a>', "report.pdf [https://a.example/report]"),
        ('<a href="http://[broken">click</a>', "click"),
    ],
)
def test_links_say_where_they_lead(html: str, text: str) -> None:
    assert html_as_text(html) == (text, [])


@pytest.mark.parametrize(
    ("html", "host"),
    [
        ('<a href="https://b.example/x">https://a.example/login</a>', "b.example"),
        ('<a href="https://b.example/x">a.example</a>', "b.example"),
        ('<a href="https://b.example/x">Log in at a.example now</a>', "b.example"),
        ('<a href="https://b.example"><b>https://</b><i>a.example</i></a>', "b.example"),
        ('<a href="https://a.example@b.example/">https://a.example/</a>', "b.example"),
        ('<a href="https://a.example.b.example/">a.example</a>', "a.example.b.example"),
        ('<a href="https://a.example:x@b.example?[/a.example">a.example</a>', "b.example"),
        ('<a href="https://аpple.example/">apple.example</a>', "xn--pple-43d.example"),  # Cyrillic а
        (r'<a href="https://b.example\.a.example/">https://a.example/</a>', "b.example"),
        ('<a href="https:b.example">a.example</a>', "b.example"),
    ],
)
def test_a_link_that_claims_another_host_shows_both_and_is_told(html: str, host: str) -> None:
    text, notes = html_as_text(html)
    assert f"[leads to {host}: " in text
    assert "example" in text.partition("[")[0]
    assert "@" not in text
    assert notes == [f"a link of this mail does not lead where its text says: it leads to {host}"]


@pytest.mark.parametrize(
    "html",
    [
        '<p style="display:none">SECRET</p>',
        '<p style="DISPLAY : NONE !important">SECRET</p>',
        '<div style="visibility:hidden"><p>SECRET</p></div>',
        '<span style="font-size:0">SECRET</span>',
        '<span style="font-size:0.1px">SECRET</span>',
        '<span style="opacity:0">SECRET</span>',
        '<div style="max-height:0;overflow:hidden">SECRET</div>',
        '<div style="height:0px;width:0px;overflow:hidden;">SECRET</div>',
        '<p style="color:#ffffff">SECRET</p>',
        '<font color="white">SECRET</font>',
        '<p style="color:rgb(254,254,254)">SECRET</p>',
        '<table bgcolor="#000000"><tr><td><font color="#000">SECRET</font></td></tr></table>',
        '<div style="background-color:#123456;color:#123457">SECRET</div>',
        "<p hidden>SECRET</p>",
        '<p style="text-indent:-9999px">SECRET</p>',
        '<p style="mso-hide:all">SECRET</p>',
        "<style>.pre{display:none}</style><p class='x pre'>SECRET</p>",
        "<style>/* a */ td.pre, #pre {font-size:0}</style><p id=pre>SECRET</p>",
    ],
)
def test_hidden_text_is_left_out_and_told(html: str) -> None:
    text, notes = html_as_text(f"<p>before</p>{html}<p>after</p>")
    assert text == "before\n\nafter"
    assert notes == ["this mail hides text from its readers, 6 characters; it was left out"]


@pytest.mark.parametrize(
    "html",
    [
        '<p style="color:#fff;background:#000">SEEN</p>',
        '<table bgcolor="black"><tr><td style="color:white">SEEN</td></tr></table>',
        '<div style="color:#fff"><p style="color:#000">SEEN</p></div>',
        '<div style="background:url(x.png);color:white">SEEN</div>',
        '<p style="font-size:10px;opacity:0.9;color:#333">SEEN</p>',
        '<div style="max-height:0">SEEN</div>',
        "<style>@media (max-width:9px){.x{display:none} .y{display:none}} .z{color:red}</style><p class='x y'>SEEN</p>",
        "<style>.x .y{display:none}</style><p class=y>SEEN</p>",
        '<p style="broken;;:;color">SEEN</p>',
    ],
)
def test_what_can_be_seen_stays(html: str) -> None:
    assert html_as_text(html) == ("SEEN", [])


def test_nothing_is_loaded_and_pictures_are_told() -> None:
    text, notes = html_as_text(
        "<p>Hi</p><img src='https://t.example/open?id=1' width=1 height=1><img src='https://p.example/logo.png' alt='Logo'>"
        "<img src='cid:1' alt='Plan'><iframe src='https://x.example'>inner</iframe><object data='https://x.example'>o</object>"
        "<link rel=stylesheet href='https://x.example'><video src='https://x.example'></video><svg><a href='https://x.example'>s</a></svg>"
    )
    assert text == "Hi\n\n[Logo][Plan]"
    assert notes == [
        "left out: 1 invisible picture that would tell its sender when this is read",
        "left out: 1 picture on other machines",
    ]


def test_scripts_styles_and_forms_leave_nothing_but_words() -> None:
    text = text_of(
        "<head><title>t</title></head><style>p{}</style><script>x()</script><form action='https://x.example'>Name"
        "<input value=secret><select><option>o</select><textarea>a</textarea><button onclick=x()>Send</button></form>"
        "<!-- comment --><noscript>n</noscript><template>t</template>"
    )
    assert text.split() == ["NameSend"]


def test_quotes_are_marked() -> None:
    html = "<p>Yes.</p><div class=gmail_quote>On Monday Ann wrote:<blockquote>Shall we?<blockquote>When?</blockquote></blockquote></div><p>Bob</p>"
    assert text_of(html) == "Yes.\n\n> On Monday Ann wrote:\n> Shall we?\n> When?\n\nBob"
    assert text_of("a<blockquote>b<br>c</blockquote>d") == "a\n> b\n> c\nd"
    assert text_of("x\ue000y\ue001z") == "xyz"  # what marks quotes inside is nobody else's


def test_tables_and_lists_stay_readable() -> None:
    assert text_of("<table><tr><td>1</td><td>2</td></tr></table><ul><li>x<li>y</ul>") == "1  2\n\n  * x\n  * y"


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + "x",
        "<p><font><a href=x>" * 5_000 + "x",
        "<p>x<b>y</b></p>" * 40_000,
        "<style" * 100_000,
        "<style>" + "@" * 300_000,
        "<style>" + "{" * 300_000,
        "<script>" * 100_000,
        "<a href='https://x.example'>" + "a." * 200_000,
        "<div style='" + "a:b;" * 100_000 + "'>x",
        "<div class='" + "a " * 100_000 + "'>x",
        "<table>" * 3_000 + "x",
        "<![CDATA[" * 50_000,
        "&" * 20_000,
    ],
)
def test_no_shape_of_html_takes_long_or_fails(html: str) -> None:
    """What it takes is bounded by the worker's time; here it only has to end with text and, if it was cut, a note."""
    text, notes = html_as_text(html)
    assert len(text) <= len(html)
    assert all(notes)


def test_what_is_nested_too_deep_loses_its_links_and_says_so() -> None:
    text, notes = html_as_text(
        "<div>" * (limits.HTML_DEPTH_MAX + 1) + "<a href='https://x.example'>words</a><style>s</style>"
    )
    assert text == "words"
    assert "nested too deep" in notes[0]


TAGS = [
    "<p>",
    "</p>",
    "<div style='color:white'>",
    "<a href='https://x.example/'>",
    "</a>",
    "<img src=x alt=y>",
    "<blockquote>",
]
MORE = [
    "</blockquote>",
    "<table><tr><td>",
    "</table>",
    "<style>",
    ".a{display:none}",
    "</style>",
    "<!--",
    "a.example",
    "\ue000",
    "&lt;",
]


@given(st.lists(st.one_of(st.sampled_from(TAGS + MORE), st.text(max_size=8)), max_size=25))
def test_any_html_is_text(pieces: list[str]) -> None:
    text, notes = html_as_text("".join(pieces))
    assert "\ue000" not in text
    assert "\ue001" not in text
    assert all(notes)
