# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others wrote is shown safely: nothing runs, nothing loads, nothing is styled, links say where they lead (B6, D2).

Each hostile text is rendered, and the HTML read as a browser does: by lxml's reader, element by element, against a list
of what may be there.
"""

import asyncio
import io
import re
import unicodedata
from pathlib import Path

import lxml.html
import pytest
import segno
from hypothesis import given, settings
from hypothesis import strategies as st

from tmtp_client import limits
from tmtp_client.engine.code_reading import CodeReader
from tmtp_client.engine.rendering import plain, render, target_of
from tmtp_client.engine.rendering_process import Renderer

ALLOWED = {
    "a": {"href", "rel"},
    "ol": {"start", "dir"},
    "td": {"align", "dir"},
    "th": {"align", "dir"},
    "span": {"class"},
    **{tag: {"dir"} for tag in ("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "li")},
    **{tag: set() for tag in ("bdi", "br", "code", "em", "hr", "pre", "s", "strong", "table", "tbody", "thead", "tr")},
}
UNSEEN = re.compile(
    "[\u202a-\u202e\u2066-\u2069\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def check(html: str) -> None:
    """Nothing in it but what may be."""
    tree = lxml.html.fragment_fromstring(html, create_parent="div")
    for element in tree.iterdescendants():
        assert element.tag in ALLOWED, (element.tag, html[:500])
        assert set(element.attrib) <= ALLOWED[element.tag], (element.attrib, html[:500])
        if element.tag == "a":
            href = element.get("href")
            assert href is not None, html[:500]
            assert re.match(r"(https?|tmtp)://[A-Za-z0-9.\[\]:-]+([/?#]|$)|mailto:[^?\s]+@[^?\s]+$", href, re.I), href
            assert element.get("rel") == "noopener noreferrer nofollow"
        assert element.get("class", "link-host") in {"link-host", "link-host differs"}
        assert element.get("dir", "auto") == "auto"
        assert element.get("align", "left") in {"left", "center", "right"}
    assert not UNSEEN.search(html), html[:500]
    assert html.count("<") < 200_000
    assert not re.search("[\u0300-\u036f]{5}", html)


SCRIPTS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//x.example/a.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe src=https://x.example></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=https://x.example></object>",
    "<embed src=https://x.example>",
    "<link rel=stylesheet href=https://x.example>",
    "<style>@import 'https://x.example';</style>",
    "<p style=background:url(https://x.example)>x</p>",
    "<base href=https://x.example/>",
    "<meta http-equiv=refresh content='0;url=https://x.example'>",
    "<form action=https://x.example><input name=q><button>go</button></form>",
    "<video src=https://x.example autoplay></video>",
    "<audio src=https://x.example></audio>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<textarea></textarea><script>alert(1)</script>",
    "<title></title><script>",
    "<!--><script>alert(1)</script-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?><script>",
    "<a href='javascript:alert(1)' onclick=alert(1)>x</a>",
    "<x onfocus=alert(1) autofocus tabindex=1>",
    "</div></div><script>alert(1)</script>",
    "<plaintext>",
    "<xmp><script>alert(1)</script></xmp>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "<div style='position:fixed;inset:0;z-index:9'>over everything</div>",
    "<marquee>x</marquee>",
    "<input type=image src=https://x.example>",
    "<picture><source srcset=https://x.example></picture>",
    "<link rel=prefetch href=https://x.example>",
]
AROUND = [
    "{}",
    "text {} text",
    "> {}",
    "- {}",
    "# {}",
    "    {}",
    "`{}`",
    "```\n{}\n```",
    "|a|b|\n|-|-|\n|{}|x|",
    "**{}**",
    "[{}](https://a.example)",
    "![{}](https://a.example/p.png)",
    "[x](https://a.example '{}')",
    "~~{}~~",
    "``` {}\nx\n```",
]

TARGETS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java&#115;cript:alert(1)",
    "java%73cript:alert(1)",
    "&#1;javascript:alert(1)",
    "javascript&colon;alert(1)",
    "javascript&#58;alert(1)",
    "jav&#x09;ascript:alert(1)",
    "vbscript:x",
    "data:text/html;base64,PHNjcmlwdD4=",
    "data:image/png;base64,AAAA",
    "data:image/svg+xml,<svg onload=alert(1)>",
    "file:///etc/passwd",
    "//x.example/a",
    "/relative",
    "relative",
    "../up",
    "#part",
    "?query",
    "",
    "about:blank",
    "blob:https://a.example/1",
    "view-source:https://a.example",
    "chrome://settings",
    "ws://a.example",
    "ftp://a.example",
    "tel:112",
    "sms:112",
    "intent://a#Intent;end",
    "ms-word:ofe|u|https://a.example",
    "smb://a.example/x",
    "\\\\a.example\\share",
    "https:a.example",
    "https:/a.example",
    "https:///a.example",
    "https:\\\\a.example",
    "https://",
    "https://?x",
    "https://@",
    "https://good.example@evil.example/",
    "https://good.example:x@evil.example/",
    "https://good.example\\@evil.example/",
    "https://good.example%00.evil.example/",
    "https://good.example&#9;.evil.example/",
    "https://good.example%2f.evil.example/",
    "https://ex%61mple.com/",
    "https://-a.example/",
    "https://a b.example/",
    "https://[::1",
    "https://a.example:99999999/",
    "https://a.example:/x@b",
    "mailto:",
    "mailto:a",
    "mailto:a@",
    "mailto:a@b@c.example",
    "mailto:%22x%22@a.example",
    "tmtp:x",
    "https://" + "a" * 5000 + ".example",
    "https://a.example/" + "a" * 5000,
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("script", SCRIPTS)
def test_no_markup_of_the_writer_is_markup(script: str, around: str) -> None:
    html = render(around.format(script))
    check(html)
    links = lxml.html.fragment_fromstring(html, create_parent="div").xpath(".//a[not(contains(@href, 'a.example'))]")
    assert all(one.text_content() == one.get("href") for one in links)  # an address that stands in the text, and is it


@pytest.mark.parametrize("form", ["[x]({})", "[x](<{}>)", "<{}>", "![x]({})", "[x]\n\n[x]: {}", "[![x]({})]({})"])
@pytest.mark.parametrize("target", TARGETS)
def test_links_lead_nowhere_but_to_the_web_to_mail_and_to_services(target: str, form: str) -> None:
    html = render(form.format(target, target))
    check(html)
    for link in lxml.html.fragment_fromstring(html, create_parent="div").iterfind(".//a"):
        assert "evil" not in link.get("href") or "evil" in re.match(r"\w+://([^/?#]*)", link.get("href"))[1]  # type: ignore[index]
    if target in TARGETS[:-1]:
        assert target_of(target) is None


def test_a_link_says_where_it_leads_unless_its_words_do() -> None:
    def shown(text: str) -> list[tuple[str, str]]:
        tree = lxml.html.fragment_fromstring(render(text), create_parent="div")
        return [(one.get("class"), one.text_content()) for one in tree.iterfind(".//span")]

    differs, host = "link-host differs", "link-host"
    for same in (
        "<https://a.example/x>",
        "[a.example](https://a.example)",
        "[https://A.example/y](https://a.example/x)",
        "[a.example/x](http://a.example:8/)",
        "<me@a.example>",
        "[](https://a.example)",
        "[me@a.example](mailto:me@a.example?bcc=you@b.example)",
    ):
        assert shown(same) == [], same
    assert shown("[click](https://evil.example/a.example)") == [(host, "(evil.example)")]
    assert shown("[**a.example**](https://evil.example)") == [(differs, "(evil.example)")]
    assert shown("[https://a.example](https://a.example.evil.example)") == [(differs, "(a.example.evil.example)")]
    assert shown("[a.example\u2069](https://evil.example)") == [(differs, "(evil.example)")]
    assert shown("[![a.example](https://b.example/p)](https://evil.example)")[-1][1] == "(evil.example)"
    # Letters that look like others, of one script or of two: the name as it goes over the wire.
    assert shown("<https://аpple.com>") == [(differs, "(xn--pple-43d.com)")]
    assert shown("[https://аррӏе.com](https://аррӏе.com)") == [(differs, "(xn--80ak6aa92e.com)")]
    assert shown("[xn--pple-43d.com](https://xn--pple-43d.com)") == [(differs, "(xn--pple-43d.com)")]
    assert shown("[a.example](mailto:me@evil.example)") == [(differs, "(me@evil.example)")]
    assert shown("[join](tmtp://evil.example:4433/x#k)") == [(host, "(evil.example)")]
    assert "bcc" not in render("[m](mailto:a@b.example?bcc=c@d.example&attach=/etc/passwd)")


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see https://a.example/x?y=1#z.", ["https://a.example/x?y=1#z"]),
        ("(https://a.example/w_(x)) and http://b.example:8080!", ["https://a.example/w_(x)", "http://b.example:8080"]),
        ("(see https://a.example)", ["https://a.example"]),
        ("HTTPS://A.example, *https://b.example*", ["HTTPS://A.example", "https://b.example"]),
        ("- https://a.example/a_b_c\n- x", ["https://a.example/a_b_c"]),
        ("https://xn--pple-43d.com", ["https://xn--pple-43d.com"]),
        # What two programs could read differently, or what goes on behind it in other letters, is a text.
        ("https://a.example@evil.example/", []),
        ("https://a.example\u0430.evil.example", []),
        ("https://a.example\u3002evil.example https://\u0430pple.com", []),
        ("https://a.example\\@evil.example", []),
        ("javascript:https://a.example xhttps://a.example //a.example www.a.example https:// https://-", []),
        ("`https://a.example`", []),
        ("    https://a.example", []),
        ("[https://a.example](https://b.example)", ["https://b.example"]),
    ],
)
def test_a_bare_address_is_a_link_to_what_it_says(text: str, links: list[str]) -> None:
    html = render(text)
    check(html)
    tree = lxml.html.fragment_fromstring(html, create_parent="div")
    found = list(tree.iterfind(".//a"))
    assert [one.get("href") for one in found] == links
    if "[" not in text:
        assert [one.text_content() for one in found] == links
        assert ("(xn--" in tree.text_content()) == ("xn--" in text)


def test_a_picture_is_a_link_and_never_loaded() -> None:
    html = render("![a *cat*](https://t.example/p.png 'title') ![](http://t.example/1x1.gif)")
    check(html)
    assert "<img" not in html
    assert html.count("<a ") == 2
    assert "[a cat]" in html
    assert "title" not in html


def test_commonmark_with_tables_strikethrough_and_tasks() -> None:
    text = "# T\n\n1. *a*\n2. **b**\n\n> q\n\n- [ ] open\n- [x] done\n- [y] no\n\n|l|r|\n|:-|-:|\n|1|~~2~~|\n\n`c`  \nx\n\n```py\nif a < b: pass\n```\n\n3. c\n\n---\n"
    html = render(text)
    check(html)
    for part in (
        "<h1",
        "<em>a</em>",
        "<strong>b</strong>",
        "<blockquote",
        "\u2610 open",
        "\u2611 done",
        "[y] no",
        '<th align="left"',
        '<td align="right"',
        "<s>2</s>",
        "<code>c</code><br>",
        "<pre><code>if a &lt; b: pass\n</code></pre>",
        '<ol start="3"',
        "<hr>",
    ):
        assert part in html, part
    assert render("") == ""


@pytest.mark.parametrize(
    "sign",
    [
        "\u202e",
        "\u202d",
        "\u202b",
        "\u2066",
        "\u2067",
        "\u2069",
        "\u200b",
        "\u2060",
        "\ufeff",
        "\x00",
        "\x1b[31m",
        "\x9b",
        "\ue000",
        "\U000e0041",
        "\ud800",
        "\u2028",
    ],
)
@pytest.mark.parametrize(
    "around", ["a{}b", "`a{}b`", "```\n{}\n```", "[a{}b](https://a.example)", "|a|\n|-|\n|{}|", "# {}"]
)
def test_no_sign_steers_or_hides(sign: str, around: str) -> None:
    for text in (around.format(sign), around.format("".join(f"&#x{ord(one):x};" for one in sign))):
        html = render(text)
        check(html)
        html.encode()
        assert not any(unicodedata.category(one) in {"Cc", "Co", "Cs"} for one in html if one != "\n")
        check(plain(text))


def test_marks_that_pile_up_are_cut_and_words_keep_theirs() -> None:
    assert (
        render("Z" + "\u0301" * 100).count("\u0301") == 0
        or render("Z" + "\u0301" * 100).count("\u0301") <= limits.COMBINING_MARKS_MAX
    )
    assert "e\u0302\u0301" in render("e\u0302\u0301") or "\u1ebf" in render("e\u0302\u0301")


PATHOLOGICAL = [
    "[" * 60_000,
    "[a](" * 15_000,
    '[]("' * 15_000,
    "![" * 30_000,
    "*_" * 30_000,
    "*a **b " * 8_000,
    "**a" * 20_000,
    "a**b" + "c* " * 20_000,
    "`a``b" * 12_000,
    "".join("`" * n + " " for n in range(340)),
    ">" * 60_000,
    "> " * 30_000 + "x",
    (">" * 200 + "a\n") * 300,
    "- " * 30_000,
    "".join(" " * (2 * n) + "* a\n" for n in range(240)),
    "1. " * 20_000,
    "|a" * 8_000 + "\n" + "|-" * 8_000 + "\n" + "|\n" * 8_000,
    "a|b\n-|-\n" * 7_000,
    "~~a" * 20_000,
    "~" * 60_000,
    "<" * 60_000,
    "<!--" * 15_000,
    "<a " * 20_000,
    "&" * 60_000,
    "&amp" * 15_000,
    "\\" * 60_000,
    "[a]: b\n" * 8_000,
    "".join(f"[a{n}]: /x\n" for n in range(5_000)) + "[a1] " * 1000,
    "[a" * 20_000 + "]" * 20_000,
    "a@b.example " * 5_000,
    "<https://a.example> " * 3_000,
    "[аpple.com](https://аpple.com) " * 2_000,
    "#" * 60_000,
    "# a\n" * 15_000,
    "```\n" * 15_000,
    "\n" * 60_000,
    " " * 60_000,
    "\t" * 60_000,
    "\u0301" * 60_000,
    "&#x202e;" * 8_000,
    "a  \n" * 15_000,
    "x" * 60_000,
    "(" * 60_000,
    "[](" + "(" * 60_000,
    "[](<" * 15_000,
    "x" * (limits.RENDER_MAX_CHARACTERS + 1),
    "<b>" * (limits.PLAIN_MAX_CHARACTERS // 2),
]


async def test_a_text_made_to_burn_time_costs_a_bounded_time_and_the_next_one_is_rendered() -> None:
    """The bound is the process's end: a text for which half a second is too short stands as it was written."""
    renderer = Renderer(deadline_s=0.5)
    try:
        for text in PATHOLOGICAL:
            html = (await renderer.render(text)).html
            check(html)
            assert len(html) <= 8 * limits.PLAIN_MAX_CHARACTERS
        assert "<strong>b</strong>" in (await renderer.render("a **b** " * 200)).html
    finally:
        await renderer.close()


async def test_a_text_that_takes_too_long_stands_as_it_was_written() -> None:
    renderer = Renderer(deadline_s=0.0)
    try:
        html = (await renderer.render("**a**\n\n" * 2_000)).html
        assert html == plain("**a**\n\n" * 2_000)
        assert (await renderer.render("**a**")).html == '<p dir="auto"><strong>a</strong></p>\n'
    finally:
        await renderer.close()


async def test_no_code_of_the_folder_in_which_the_engine_was_started_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B6: whoever starts it among somebody else's files is not made to run them."""
    for name in ("tmtp_client", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('it ran')", "utf-8")
    monkeypatch.chdir(tmp_path)
    renderer = Renderer()
    try:
        assert "<strong>" in (await renderer.render("**a** " * 300)).html
    finally:
        await renderer.close()
    picture = io.BytesIO()
    segno.make_qr("tmtp://chat.example:4433").save(picture, kind="png", scale=6, border=4)
    assert await CodeReader().read(picture.getvalue(), "invitation") == "tmtp://chat.example:4433"


async def test_a_process_that_dies_is_replaced_and_one_who_gives_up_disturbs_nobody() -> None:
    renderer = Renderer()
    long = "**a** " * 300
    try:
        wanted = (await renderer.render(long)).html
        assert "<strong>" in wanted
        assert renderer._process is not None
        renderer._process.kill()
        await renderer._process.wait()
        assert (await renderer.render(long)).html == plain(long)
        assert (await renderer.render(long)).html == wanted
        asking = asyncio.create_task(renderer.render("[](" * 10_000))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        several = await asyncio.gather(*(renderer.render(f"{long}{n}") for n in range(5)))
        assert [one.html[-6:-4] for one in several] != []
        assert all(f"{n}</p>" in one.html for n, one in enumerate(several))
    finally:
        await renderer.close()
        await renderer.close()


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "[",
                "]",
                "(",
                ")",
                "<",
                ">",
                "!",
                "*",
                "_",
                "~~",
                "`",
                "|",
                "-",
                "\n",
                "\n\n",
                " ",
                "    ",
                "#",
                "https://a.example",
                "javascript:x",
                "mailto:a@b.example",
                "onclick=x",
                "<script>",
                "&#x202e;",
                "&lt;",
                '"',
                "'",
                "\\",
                "[x]: ",
                ":",
                "\u202e",
                "аpple.com",
                "x",
                "1. ",
                "- [ ] ",
                "> ",
            ]
        ),
        max_size=25,
    ).map("".join)
)
def test_whatever_is_written_is_safe(text: str) -> None:
    check(render(text))
    check(plain(text))
