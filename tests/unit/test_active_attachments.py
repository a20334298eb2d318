# SPDX-License-Identifier: AGPL-3.0-or-later
"""Attachments that could do something (C2, D2): each known, with a reason, whatever it is called and wrapped in."""

import bz2
import io
import lzma
import zipfile

import pytest

from bridges import limits
from tests.support.mime_mails import (
    FROM,
    MAIL_WITH_PROGRAM,
    PROGRAM,
    attached,
    document,
    gzipped,
    parse,
    relation,
    several,
    tarred,
    zipped,
)


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
