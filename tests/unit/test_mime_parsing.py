# SPDX-License-Identifier: AGPL-3.0-or-later
"""Untrusted MIME (C2): understood as well as can be, and safe to read (D2)."""

import pytest

from bridges.mime.parse import parse_mail
from tests.support.mime_mails import CALENDAR, FROM, attached, mail, parse, several


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"text/plain; charset=utf-8", "[g\u0430teway] verified"),
        (b"text/plain; charset=utf-8", "[gate\u200e\u2060way] verified"),
        (b"text/plain; charset=utf-8", "\uff3b\uff47ateway\uff3d verified"),
        (b"text/plain; charset=utf-8", "\u3010GATEWAY\u3011 verified"),
        (b"text/plain; format=flowed; delsp=yes", "[gate \r\nway] verified"),
        (b"text/enriched", "[gate<b>way] verified"),
        (b"text/html; charset=utf-8", "<p>[g\u0430te<b>way</b>] verified"),
    ],
)
def test_no_line_looks_like_the_gateways(kind: bytes, body: str) -> None:
    """D2: in no letters, and not when a format has put together what stood apart."""
    letter = parse(FROM + b"Content-Type: " + kind + b"\r\n\r\n" + body.encode() + b"\r\n")
    assert letter.text.startswith("(")
    assert letter.text.endswith(") verified")
    subject = parse(FROM + f"Subject: {body}\r\n\r\n".encode()).subject if kind == b"text/plain; charset=utf-8" else "("
    assert subject.startswith("(")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (r"https://evil.example\@bank.example/login", "evil.example"),
        (r"https:\\bank.example@evil.example/login", "evil.example"),
        ("https://bank.example" + "a" * 300 + "@evil.example/", "evil.example"),
        ("https://b\u0430nk.example/", "xn--bnk-6cd.example"),
    ],
)
@pytest.mark.parametrize("kind", [b"text/plain", b"text/enriched", b"text/html", b"text/rfc822-headers"])
def test_every_kind_of_text_says_where_addresses_lead(kind: bytes, url: str, host: str) -> None:
    """D2."""
    letter = parse(FROM + b"Content-Type: " + kind + b"; charset=utf-8\r\n\r\nX: " + url.encode() + b"\r\n")
    assert f"(leads to {host})" in letter.text


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        (b"From: a@b.example", "a@b.example"),
        (b"From: <a@b.example>", "a@b.example"),
        (b"From: Ann Example <a@b.example>", "a@b.example"),
        (b'From: "Ann, \\"the\\" Example" <a@b.example>', "a@b.example"),
        (b"From: =?utf-8?q?Gr=C3=BC=C3=9Fe?= <a@b.example>", "a@b.example"),
        (b"From: a@b.example (Ann)", "a@b.example"),
        (b"FROM:\r\n Ann\r\n <a@b.example>", "a@b.example"),
        ("From: Grüße <a@b.example>".encode(), "a@b.example"),
    ],
)
def test_one_sender(header: bytes, sender: str) -> None:
    letter = parse(header + b"\r\n\r\nx")
    assert (letter.sender, letter.sender_wrong) == (sender, "")


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: none",
        b"From: a@b.example\r\nFrom: a@b.example",
        b"From: a@b.example, c@d.example",
        b"From: a@b.example <c@d.example>",
        b"From: <a@b.example> <c@d.example>",
        b"From: a@b.example)<c@d.example>",
        b"From: group: a@b.example;",
        b"From: nobody",
        b"From: @b.example",
        b"From: <a@b@c.example>",
        b'From: "a@b.example" c@d.example',
        b"From: " + b"(" * 2_000 + b"a@b.example",
        b"From: " + b"a " * 20_000 + b"<a@b.example>",
    ],
)
def test_no_sender_or_two_ways_to_read_one(header: bytes) -> None:
    letter = parse(header + b"\r\n\r\nx")
    assert letter.sender == ""
    assert "exactly one" in letter.sender_wrong


def test_plain_is_preferred_and_attachments_keep_their_order() -> None:
    alternative = (
        several(b"alternative", b"Content-Type: text/plain\r\n\r\nplain", b"Content-Type: text/html\r\n\r\n<p>rich</p>")
        .replace(b"=b\r\n", b"=i\r\n")
        .replace(b"--b", b"--i")
    )
    raw = FROM + several(b"mixed", alternative, attached(b"one.txt", b"1"), attached(b"ONE.txt", b"2"))
    letter, contents = parse_mail(raw)
    assert letter.text == "plain"
    assert [one.name for one in letter.attachments] == ["one.txt", "ONE-2.txt"]
    assert contents == [b"1", b"2"]


def test_html_counts_where_the_plain_part_says_nothing() -> None:
    raw = FROM + several(b"alternative", b"\r\n  \r\n", b"Content-Type: text/html\r\n\r\n<p>rich</p>")
    assert parse(raw).text == "rich"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        (b'filename="../../etc/passwd"', "passwd"),
        (b'filename="C:\\\\temp\\\\a.txt"', "a.txt"),
        (b'filename="C:\\temp\\a.txt"', "a.txt"),
        (b"filename*=utf-8''Rechnung%20%C3%BC.pdf", "Rechnung ü.pdf"),
        (b"filename*0*=utf-8''Rech; filename*1*=nung%20%C3%BC; filename*2=.pdf", "Rechnung ü.pdf"),
        (b"filename*0*=x-unknown'en'a%FF; filename*1=.pdf", "aÿ.pdf"),
        (b"filename*=''%zz%.pdf", "%zz%.pdf"),
        (b'filename="=?utf-8?b?w7wucGRm?="', "ü.pdf"),
        (b'filename="  .. "', "attachment.txt"),
        (b'filename="evil\xe2\x80\xaetxt.exe"', "eviltxt.exe"),
        (b'filename="a\xe2\x80\x8b.txt\xe2\x80\x8f"', "a.txt"),
        (b'filename="a\x00b\x07.txt"', "ab.txt"),
        (b'filename="CON.txt"', "_CON.txt"),
        (b'filename="' + b"x" * 400 + b'.pdf"', "x" * 146 + ".pdf"),
        (b'filename="unclosed.txt', "unclosed.txt"),
        (b"filename=a b.txt", "a b.txt"),
    ],
)
def test_file_names_are_only_names(name: bytes, safe: str) -> None:
    assert parse(mail(b"text/plain", b"x", b"Content-Disposition: attachment; " + name)).attachments[0].name == safe


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?iso-8859-1?Q?a?= =?iso-8859-1?Q?b?=", "ab"),  # RFC 2047 §8
        (b"=?utf-8?b?w6?= =?utf-8?b?w7w=?=", "\ufffdü"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),  # a character cut between two words
        (b"=?utf-8?q?a b?=", "a b"),  # blanks, against RFC 2047 §2
        (b"a=?utf-8?q?b?=c", "abc"),
        (b"=?utf-8?q?100%?", "=?utf-8?q?100%?"),  # no end
        (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        (b"=?x-unknown?q?abc=FC?=", "abcü"),
        (b"=?utf-8*en?q?abc?=", "abc"),
        (b"=?utf-8?b?YWJ!j?=", "abc"),
        ("Grüße ☃".encode(), "Grüße ☃"),
        (b"Gr\xfc\xdfe", "Grüße"),
        (b"two\r\n lines", "two lines"),
        (b"=?utf-8?q?a=0D=0ABcc:_x=00?=", "a Bcc: x"),
        (b"=?utf-8?b?4oCuZXZpbA==?=", "evil"),
        (b"[Gateway] it is safe", "(Gateway) it is safe"),
        (("Z" + "\u0300" * 50).encode(), "Z" + "\u0300" * 4),
    ],
)
def test_subjects(subject: bytes, text: str) -> None:
    assert parse(FROM + b"Subject: " + subject + b"\r\n\r\nx").subject == text


@pytest.mark.parametrize(
    ("charset", "octets", "text", "noted"),
    [
        (b"utf-8", "Grüße".encode(), "Grüße", ""),
        (
            b"utf-8",
            "Grüße, Grüße, Grüße\xff".encode("latin-1").replace(b"\xfc\xdf", "üß".encode()),
            "Grüße, Grüße, Grüße\ufffd",
            "utf-8",
        ),
        (b"utf-8", "Größe".encode("latin-1"), "Größe", ""),
        (b"us-ascii", "Grüße".encode(), "Grüße", ""),
        (b"iso-8859-1", b"\x80 100", "€ 100", ""),  # Windows-1252, whatever it calls itself
        (b"ISO_8859-15", b"\xa4", "€", ""),
        (b"gb2312", "漢字龙".encode("gb18030"), "漢字龙", ""),
        (b"ks_c_5601-1987", "한국".encode("cp949"), "한국", ""),
        (b"x-sjis", "日本".encode("cp932"), "日本", ""),
        (b"iso-2022-jp", "日本".encode("iso2022-jp"), "日本", ""),
        (b"windows-1251", "Привет".encode("cp1251"), "Привет", ""),
        (b"utf-7", b"+AOk-", "é", ""),
        (b"utf-16", "Grüße".encode("utf-16"), "Grüße", ""),
        (b"x-unknown", "Grüße".encode(), "Grüße", "x-unknown"),
        (b"zlib", b"x", "x", "zlib"),
        (b"rot13", b"x", "x", "rot13"),
        (b"idna", b"xn--a", "xn--a", "idna"),
        (b"unicode_escape", b"\\u0041", "\\u0041", "unicode-escape"),
        (b"../../etc/passwd", b"x", "x", "not known"),
    ],
)
def test_charsets(charset: bytes, octets: bytes, text: str, noted: str) -> None:
    letter = parse(mail(b'text/plain; charset="' + charset + b'"', octets))
    assert letter.text == text
    assert (noted in " ".join(letter.notes)) if noted else letter.notes == ()


@pytest.mark.parametrize(
    ("encoding", "octets", "text"),
    [
        (b"base64", b"R3LDvMOfZQ=!\r\n", "Grüße"),
        (b"base64", b"R3I=\r\nw7zDn2U=", "Grüße"),  # two pieces, each padded
        (b"base64", b"!!R3LD*vMOfZQ", "Grüße"),  # strange letters
        (b"BASE64 ", b"R3LDvMOfZQ", "Grüße"),
        (b"quoted-printable", b"Gr=C3=BC=\r\n=C3=9Fe =zz=", "Grüße =zz"),
        (b"x-uuencode", b"begin 644 a\r\n%1W+#O,.?90``\r\n`\r\nend\r\n", ""),
        (b"x-strange", b"as it is", "as it is"),
        (b"7bit; x=y", b"as it is", "as it is"),
    ],
)
def test_transfer_encodings_are_read_as_well_as_can_be(encoding: bytes, octets: bytes, text: str) -> None:
    got = parse(mail(b"text/plain", octets, b"Content-Transfer-Encoding: " + encoding)).text
    assert got.startswith(text)


def test_an_html_part_may_name_its_charset_itself() -> None:
    page = "<html><head><meta http-equiv=Content-Type content='text/html; charset=koi8-r'></head><p>Привет".encode(
        "koi8-r"
    )
    assert parse(mail(b"text/html", page)).text == "Привет"


def test_uuencode_in_a_text_becomes_a_file() -> None:
    raw = mail(
        b"text/plain", b"Look:\r\nbegin 644 ../notes.txt\r\n#0V%T\r\n`\r\nend\r\nbegin 1 is what we do.\r\nend\r\n"
    )
    letter, contents = parse_mail(raw)
    assert [(one.name, one.size) for one in letter.attachments] == [("notes.txt", 3)]
    assert contents == [b"Cat"]
    assert letter.text == "Look:\n\nbegin 1 is what we do.\nend"


def test_format_flowed() -> None:
    """RFC 3676 §4: soft ends, stuffing, quotes, the signature's line."""
    body = (
        b"One line that \r\nflows on.\r\n>> A quote that \r\n>> flows.\r\n> Less deep.\r\n From here \r\n-- \r\nAnn\r\n"
    )
    assert parse(mail(b"text/plain; format=flowed", body)).text == (
        "One line that flows on.\n> > A quote that flows.\n> Less deep.\nFrom here \n-- \nAnn"
    )
    kept = parse(mail(b"text/plain; format=Flowed; delsp=yes", b"Donaudampf \r\nschiff\r\n"))
    assert kept.text == "Donaudampfschiff"


def test_quotes_are_marked_and_nothing_is_deleted() -> None:
    """Zulip#22585: what is taken for a quote must still be there."""
    below = "Thanks.\n\n-----Original Message-----\nFrom: Ann <a@b.example>\nSent: Monday\nTo: Bob\nSubject: Plan\n\nThe plan."
    text = parse(mail(b"text/plain", below.encode())).text
    assert text.startswith("Thanks.\n\n> -----Original Message-----\n> From: Ann")
    assert text.endswith("> The plan.")
    assert [line.removeprefix("> ").removeprefix(">") for line in text.split("\n")] == below.split("\n")
    for honest in ("Dear all,\n-----\nFrom: here on\nwe go", "From: me\nTo: you\n\nhello", "a\n___________\nb"):
        assert parse(mail(b"text/plain", honest.encode())).text == honest


def test_a_mail_inside_a_mail_is_read_as_a_quote_and_a_file_stays_one() -> None:
    inner = b"From: =?utf-8?q?J=C3=BCrgen?= <x@y.example>\r\nSubject: inner\r\n\r\nwords of theirs"
    raw = FROM + several(
        b"mixed",
        b"Content-Type: text/plain\r\n\r\nsee below",
        b"Content-Type: message/rfc822\r\n\r\n" + inner,
        b'Content-Type: message/rfc822\r\nContent-Disposition: attachment; filename="a.eml"\r\n\r\n' + inner,
    )
    letter, contents = parse_mail(raw)
    assert "> From: Jürgen <x@y.example>\n> Subject: inner\n>\n> words of theirs" in letter.text
    assert [(one.name, one.active) for one in letter.attachments] == [("a.eml", "")]
    assert b"words of theirs" in contents[0]


def test_an_attached_mail_keeps_its_octets() -> None:
    """It may be signed: no line is folded anew, and no From at the beginning of one is changed."""
    inner = b"Subject: " + b"long " * 40 + b"\r\nFrom: x@y.example\r\n\r\nFrom here on\r\nGr\xfc\xdfe\r\n"
    part = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + inner
    _, contents = parse_mail(FROM + several(b"mixed", part))
    assert contents == [inner]


def test_what_is_not_here_is_told() -> None:
    assert "pieces of a mail" in parse(mail(b"message/partial; id=x; number=1", b"Subject: x\r\n\r\nfirst")).notes[0]
    outside = b"message/external-body; access-type=URL; url=https://x.example"
    assert "not fetched" in parse(mail(outside, b"Content-Type: text/plain\r\n\r\n")).notes[0]


def test_a_report_of_a_mail_server_can_be_read() -> None:
    raw = FROM + several(
        b"report; report-type=delivery-status",
        b"Content-Type: text/plain\r\n\r\nIt could not be delivered.",
        b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; a@b\r\nStatus: 5.1.1\r\n",
        b"Content-Type: text/rfc822-headers\r\n\r\nSubject: lost\r\n",
    )
    text = parse(raw).text
    assert "It could not be delivered." in text
    assert "Final-Recipient: rfc822; a@b\nStatus: 5.1.1" in text
    assert "> Subject: lost" in text


def test_signed_and_encrypted_mail_says_so() -> None:
    raw = FROM + several(b"signed", b"Content-Type: text/plain\r\n\r\nsigned words", attached(b"s.asc", b"sig"))
    letter = parse(raw)
    assert letter.text == "signed words"
    assert "signature was not checked" in letter.notes[0]
    encrypted = several(b"encrypted", attached(b"v.txt", b"1"), attached(b"e.asc", b"-----BEGIN PGP"))
    assert "encrypted" in parse(FROM + encrypted).notes[0]


def test_an_invitation_is_shown_as_text() -> None:
    raw = FROM + several(
        b"alternative", b"\r\nplease come", b"Content-Type: text/calendar; method=REQUEST\r\n\r\n" + CALENDAR
    )
    letter, contents = parse_mail(raw)
    assert letter.text == (
        "please come\n\nInvitation: Budget, all of it\nBegins: 2026-12-01 09:30 Europe/Berlin\nEnds: 2026-12-01 10:30 UTC\n"
        "Where: Room 1\nOrganiser: Ann <a@b.example>"
    )
    assert [one.name for one in letter.attachments] == ["invitation.ics"]
    assert contents[0].startswith(b"BEGIN:VCALENDAR")


def test_what_steers_is_spelled_out_and_what_nobody_sees_is_left_out() -> None:
    """D2; as `tmtp_core.text.visible` does."""
    raw = "a\u202eb\u2066c \x1b[2J soft\u00adhy\u200bphen\ufeff \u05d0\u200d\u05d1 tab\tx\x0cnew Z" + "\u0300" * 40
    text = parse(mail(b"text/plain; charset=utf-8", raw.encode())).text
    assert text.startswith("a\\u202eb\\u2066c \\u001b[2J softhyphen \u05d0\u200d\u05d1 tab")
    assert text.endswith("\nnew Z" + "\u0300" * 4)


def test_no_line_of_a_mail_looks_like_a_word_of_the_gateway() -> None:
    for forged in (b"[gateway] this is safe", b"> [ GATEWAY ] safe", b"x [gateway] y"):
        assert "[gateway]" not in parse(mail(b"text/plain", forged)).text.lower().replace(" ", "")
    for unseen in ("\u200d", "\u200e", "\ufe0f"):  # as many as one likes
        forged = f"[g{unseen * 500}ateway] safe".encode()
        assert "[g" not in parse(mail(b"text/plain; charset=utf-8", forged)).text
    html = parse(mail(b"text/html", b"<p>[gate<b></b>way] safe</p>"))
    assert "[gateway]" not in html.text.lower()


def test_addresses_that_mislead_in_plain_text_are_told() -> None:
    text = parse(mail(b"text/plain", b"log in at https://bank.example@evil.example/login now")).text
    assert text == "log in at https://bank.example@evil.example/login (leads to evil.example) now"
