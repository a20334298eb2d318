# SPDX-License-Identifier: AGPL-3.0-or-later
"""Untrusted MIME (C2): understood or refused with a reason, within bounds, never a crash."""

import base64
import bz2
import codecs
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import limits
from bridges.mime import Letter, Reason, Unparsable
from bridges.mime.parse import Parsed, parse_mail
from bridges.smtp.store.delivered import bare_id

FROM = b"From: Orders <orders@partner.example>\r\n"


def parse(raw: bytes) -> Letter:
    return parse_mail(raw).letter


def mail(kind: bytes, body: bytes, *headers: bytes) -> bytes:
    """A mail of one part."""
    return b"".join((FROM, b"Content-Type: ", kind, b"\r\n", *(header + b"\r\n" for header in headers), b"\r\n", body))


def several(kind: bytes, *parts: bytes) -> bytes:
    """A part of parts; each of these is a header, a blank line and a body."""
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return b"Content-Type: multipart/" + kind + b"; boundary=b\r\n\r\n" + body + b"--b--\r\n"


def attached(name: bytes, content: bytes, kind: bytes = b"application/octet-stream") -> bytes:
    """A part that is a file."""
    head = b"Content-Type: " + kind + b'\r\nContent-Disposition: attachment; filename="' + name + b'"\r\n'
    return head + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content)


def gzipped(content: bytes) -> bytes:
    """Without a time in it, so that a test has the same name in each process that runs tests."""
    return gzip.compress(content, mtime=0)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return out.getvalue()


def relation(kind: str, mode: str = "External") -> bytes:
    name = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/" + kind
    return (
        f'<Relationships><Relationship Id="r" Type="{name}" Target="x" TargetMode="{mode}"/></Relationships>'.encode()
    )


def document(relations: bytes = b"<Relationships/>", **more: bytes) -> bytes:
    """A Word document; in the names of more parts `__` is a dot, as with `zipped`, or a slash between folders."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/_rels/settings.xml.rels", relations)
        for name, content in more.items():
            folder, _, file = name.rpartition("__")[0].rpartition("__")
            archive.writestr(f"{folder.replace('__', '/')}/{file}.{name.rpartition('__')[2]}", content)
    return out.getvalue()


PROGRAM = b"MZ" + bytes(200)
MAIL_WITH_PROGRAM = FROM + b"Content-Type: application/octet-stream; name=a.exe\r\n\r\nMZ\r\n"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (b"a.pdf", b"%PDF-1.7\n<</OpenAction<</S/JavaScript/JS(x)>>>>", "programs in it"),
        (b"a.pdf", b"%PDF-1.7\n<</OpenAction<</S/L#61unch/F(x)>>>>", "programs in it"),
        (b"a.docx", document(relation("attachedTemplate")), "loads something"),
        (b"a.docx", document(relation("image")), "loads something"),
        (b"a.docx", document(relation("image").decode().encode("utf-16")), "loads something"),
        (b"a.docx", document(b"<!DOCTYPE x>" + relation("hyperlink")), "loads something"),
        (b"a.docx", document(b"<"), "loads something"),
        (b"a.docx", document(word__embeddings__x1__bin=PROGRAM), "programs in it"),
        (b"a.xlsx", document(xl__macrosheets__sheet1__xml=b"<x/>"), "programs in it"),
        (b"a.eml", MAIL_WITH_PROGRAM, "a mail; in it 'a.exe'"),
        (b"a.zip", zipped(a__eml=b"x"), "not looked into"),
        (b"a.msg", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "can hold macros"),
        (b"a.vcf", PROGRAM, "a program"),
        (b"a.ics", PROGRAM, "a program"),
        (b"a.zip", zipped(a__exe=PROGRAM) + zipped(a__txt=b"x"), "broken archive"),
    ],
)
def test_what_hides_what_it_does_is_active(name: bytes, content: bytes, reason: str) -> None:
    """D2."""
    letter = parse(FROM + several(b"mixed", attached(name, content)))
    assert reason in letter.attachments[0].active, letter.attachments


def test_an_attached_mail_in_base64_was_not_looked_into() -> None:
    """RFC 2046 §5.2.1 forbids that, and some programs undo it."""
    letter = parse(FROM + several(b"mixed", attached(b"a.eml", MAIL_WITH_PROGRAM, b"message/rfc822")))
    assert "not looked into" in letter.attachments[0].active


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


def tarred(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


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


CALENDAR = (
    b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nSUMMARY:Budget\\, all of\r\n  it\r\n"
    b'DTSTART;TZID=Europe/Berlin:20261201T093000\r\nDTEND:20261201T103000Z\r\nORGANIZER;CN="Ann":mailto:a@b.example\r\n'
    b"LOCATION:Room 1\r\nBEGIN:VALARM\r\nDESCRIPTION:ring\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


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
    html = parse(mail(b"text/html", b"<p>[gate<b></b>way] safe</p>"))
    assert "[gateway]" not in html.text.lower()


def test_addresses_that_mislead_in_plain_text_are_told() -> None:
    text = parse(mail(b"text/plain", b"log in at https://bank.example@evil.example/login now")).text
    assert text == "log in at https://bank.example@evil.example/login (leads to evil.example) now"


# -- attachments that could do something -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "kind", "content", "reason"),
    [
        (b"a.exe", b"application/octet-stream", b"x", "program"),
        (b"invoice.pdf.EXE ", b"application/pdf", b"x", "program"),
        (b"a.exe.", b"application/pdf", b"x", "program"),
        (b"invoice.pdf", b"application/pdf", b"MZ\x90", "program"),
        (b"a", b"application/octet-stream", b"\x7fELF\x02", "program"),
        (b"a.ps1", b"text/plain", b"x", "script"),
        (b"a", b"application/octet-stream", b"#!/bin/sh\n", "script"),
        (b"a.html", b"text/html", b"<p>", "page"),
        (b"picture.png", b"image/svg+xml", b"x", "page"),
        (b"picture.png", b"image/png", b"<svg onload=x()>", "page"),
        (b"a.lnk", b"application/octet-stream", b"x", "link"),
        (b"a.dat", b"application/octet-stream", b"L\x00\x00\x00\x01\x14\x02\x00", "link"),
        (b"a.iso", b"application/octet-stream", b"x", "disk"),
        (b"a.dat", b"application/octet-stream", b"\x00" * 0x8001 + b"CD001", "disk"),
        (b"a.docm", b"application/msword", b"x", "macros"),
        (
            b"a.docx",
            b"application/msword",
            zipped(**{"[Content_Types]__xml": b"", "word/vbaProject__bin": b""}),
            "macros",
        ),
        (
            b"a.xls",
            b"application/x",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "_VBA_PROJECT".encode("utf-16-le"),
            "macros",
        ),
        (b"a.rtf", b"application/rtf", b"{\\rtf1{\\object\\objdata 01}}", "macros"),
        (b"a.zip", b"application/zip", zipped(readme__txt=b"x", setup__exe=b"x"), "'setup.exe', a program"),
        (b"a.zip", b"application/zip", zipped(inner__zip=zipped(x__js=b"x")), "'x.js'"),
        (b"a.zip", b"application/zip", b"PK\x03\x04broken", "cannot look|broken"),
        (b"a.zip", b"application/zip", zipped(mimetype=b"x", x__js=b"x"), "'x.js'"),  # no document, whatever is in it
        (b"a.gz", b"application/x", gzipped(b"harmless") + gzipped(b"MZ"), "broken"),
        (b"a.tar.gz", b"application/x", gzipped(tarred(setup__exe=b"x")), "'setup.exe'"),
        (b"a.tgz", b"application/x", gzipped(tarred(setup__exe=b"x")), "'setup.exe'"),
        (b"a.exe.xz", b"application/x", lzma.compress(b"x"), "'a.exe'"),
        (b"a.bz2", b"application/x", bz2.compress(b"\x7fELF"), "a program"),
        (b"a.zip", b"application/zip", b"no archive", "broken"),
        (b"a.rar", b"application/x", b"x", "nobody can look into"),
        (b"a.dat", b"application/x", b"7z\xbc\xaf\x27\x1c", "nobody can look into"),
    ],
)
def test_active_attachments_are_known_with_a_reason(name: bytes, kind: bytes, content: bytes, reason: str) -> None:
    letter = parse(FROM + several(b"mixed", attached(name, content, kind)))
    assert any(one in letter.attachments[0].active for one in reason.split("|")), letter.attachments


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"plan.pdf", b"%PDF-1.7"),
        (b"page.txt", b"<html> is how a page begins"),
        (b"invoice.xml", b"<?xml version='1.0'?><Invoice/>"),
        (b"photo.jpg", b"\xff\xd8\xff\xe0"),
        (b"a.zip", zipped(readme__txt=b"x", photo__jpg=b"x")),
        (b"a.docx", zipped(**{"[Content_Types]__xml": b"", "word/document__xml": b"<w/>"})),
        (b"data.csv", b"#!a;b"),
        (b"log.txt.gz", gzipped(b"lines")),
        (b"photos.tar", tarred(photo__jpg=b"x")),
        (b"unknown", b"\x00\x01"),
        (b"form.pdf", b"%PDF-1.7\n<</Type/Catalog/OpenAction[3 0 R/Fit]/Names<</JSx 1>>>>"),
        (b"link.docx", document(relation("hyperlink"))),
        (b"picture.docx", document(relation("image", "Internal"), word__media__image1__svg=b" " * 1_024 + b"<svg/>")),
        (b"a.eml", FROM + b"\r\nJust words.\r\n"),
    ],
)
def test_what_does_nothing_is_not_called_active(name: bytes, content: bytes) -> None:
    assert parse(FROM + several(b"mixed", attached(name, content))).attachments[0].active == ""


def test_archives_with_a_password_or_a_bomb_inside_are_active() -> None:
    plain = bytearray(zipped(a__txt=b"x"))
    for at in (plain.find(b"PK\x03\x04") + 6, plain.find(b"PK\x01\x02") + 8):
        plain[at] |= 1
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.txt", bytes(limits.ARCHIVE_LOOKED_INTO_MAX_BYTES + 1))
    letter = parse(FROM + several(b"mixed", attached(b"p.zip", bytes(plain)), attached(b"b.zip", bomb.getvalue())))
    assert ["password" in letter.attachments[0].active, "too large" in letter.attachments[1].active] == [True, True]


def test_a_mail_that_holds_a_program_is_as_active_as_that() -> None:
    inner = several(b"mixed", attached(b"setup.exe", b"MZ")).replace(b"=b\r\n", b"=i\r\n").replace(b"--b", b"--i")
    part = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\nSubject: Look\r\n" + inner
    one = parse(FROM + several(b"mixed", part)).attachments[0]
    assert (one.name, one.active) == ("Look.eml", "a mail; in it 'setup.exe', a program")


# -- bounds ------------------------------------------------------------------------------------------------------------
def reason_of(raw: bytes) -> Reason:
    with pytest.raises(Unparsable) as refused:
        parse_mail(raw)
    assert str(refused.value)
    return refused.value.reason


def test_every_bound_has_a_name() -> None:
    multipart = FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    assert reason_of(multipart + b"--b\r\n\r\nx\r\n" * (limits.MIME_PARTS_MAX + 1) + b"--b--\r\n") is Reason.PARTS
    assert parse(multipart + b"--b\r\n\r\nx\r\n" * (limits.MIME_PARTS_MAX - 1) + b"--b--\r\n").text
    nest = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(21))
    assert reason_of(FROM + nest + b"\r\nx") is Reason.DEPTH
    mails = b"Content-Type: message/rfc822\r\n\r\n" * 21
    assert reason_of(FROM + mails + b"\r\nx") is Reason.DEPTH
    assert reason_of(mail(b"text/plain", b"begin 644 a\r\n#0V%T\r\n`\r\nend\r\n" * 1_001)) is Reason.PARTS
    assert reason_of(FROM + b"X: " + b"x" * limits.MIME_HEADER_MAX_BYTES + b"\r\n\r\nx") is Reason.HEADER
    assert reason_of(multipart + b"--b\r\nX: " + b"x" * limits.MIME_HEADER_MAX_BYTES + b"\r\n\r\nx") is Reason.HEADER


def test_more_than_a_mail_may_unpack_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_MIN_BYTES", 100)
    monkeypatch.setattr(limits, "UNPACKED_SHARE_MAX", 0.1)
    assert reason_of(FROM + several(b"mixed", attached(b"a.dat", bytes(1_000)))) is Reason.SIZE


def test_a_text_too_long_to_read_is_whole_in_an_attachment() -> None:
    body = b"0123456789abcdef" * (limits.TEXT_MAX_CHARACTERS // 16) + b"the end"
    got: Parsed = parse_mail(mail(b"text/plain", body))
    assert len(got.letter.text) == limits.TEXT_MAX_CHARACTERS
    assert got.contents == [body]
    assert "text.txt" in got.letter.notes[0]


def test_references_oldest_first_and_bounded() -> None:
    many = b" ".join(b"<%d@x>" % number for number in range(500))
    letter = parse(FROM + b"Message-ID: <own@x>\r\nReferences: " + many + b"\r\nIn-Reply-To: <last@x> junk\r\n\r\nx")
    assert letter.references[0] == "0@x"
    assert letter.references[-1] == "last@x"
    assert len(letter.references) == limits.REFERENCES_MAX
    assert bare_id(letter) == "own@x"


# -- anything at all ---------------------------------------------------------------------------------------------------
HEADS = [
    b"",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Subject: =?",
    b"Content-Type: text/html\r\n\r\n",
    b"Content-Type: text/plain; format=flowed; charset=",
    b"Content-Type: text/calendar\r\n\r\nBEGIN:VEVENT\r\n",
    b"Content-Type: application/ms-tnef\r\n\r\n\x78\x9f\x3e\x22\x01\x00",
    b"Content-Type: application/zip; name=",
    b"Content-Type: message/rfc822\r\nContent-Disposition: attachment; filename*0*=",
    b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n",
    b"Content-Transfer-Encoding: base64\r\n\r\n",
    b"Content-Transfer-Encoding: uuencode\r\n\r\nbegin 644 a\r\n",
    b"References: ",
]
PIECES = [
    b"--b\r\n",
    b"--b--",
    b"\r\n",
    b"=?utf-8?q?",
    b"?=",
    b'"',
    b";",
    b"=",
    b"<p style='",
    b"<a href=",
    b"%",
    b"*0*=",
    b">",
]


def test_an_attached_multipart_without_a_boundary_is_kept() -> None:
    letter, (content,) = parse_mail(
        FROM
        + b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n"
        + b"Content-Type: multipart/mixed\r\n\r\nx\x9f>"
    )
    assert [one.name for one in letter.attachments] == ["message.eml"]
    assert content.startswith(b"Content-Type: multipart/mixed")


@given(
    st.sampled_from(HEADS),
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(PIECES), st.sampled_from(HEADS)), max_size=12),
)
def test_anything_is_a_letter_or_unparsable(head: bytes, tail: list[bytes]) -> None:
    try:
        letter, contents = parse_mail(FROM + head + b"".join(tail))
    except Unparsable as unparsable:
        assert str(unparsable)
        return
    letter.text.encode()
    assert [len(content) for content in contents] == [one.size for one in letter.attachments]
    assert all(one.name and not set(one.name) & set("/\\\x00\r\n") for one in letter.attachments)
    assert len({one.name.casefold() for one in letter.attachments}) == len(letter.attachments)
    assert "[gateway]" not in letter.text


@pytest.mark.parametrize("name", ["mbcs", "oem", "dbcs", "idna", "zlib", "no-such"])
def test_a_strangers_charset_is_never_looked_up(name: str) -> None:
    """Python looks for files where it knows a name and not the codec, which a worker behind its doors cannot."""
    asked: list[str] = []

    def search(wanted: str) -> None:
        asked.append(wanted)

    codecs.register(search)
    try:
        letter = parse(FROM + f"Content-Type: text/plain; charset={name}\r\n\r\n".encode() + b"h\xe9\r\n")
    finally:
        codecs.unregister(search)
    assert "h\u00e9" in letter.text
    assert asked == []
