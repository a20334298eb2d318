# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mails made by hand, part by part."""

import base64
import gzip
import io
import tarfile
import zipfile

from bridges.mime import Letter
from bridges.mime.parse import parse_mail

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


def tarred(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


CALENDAR = (
    b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nSUMMARY:Budget\\, all of\r\n  it\r\n"
    b'DTSTART;TZID=Europe/Berlin:20261201T093000\r\nDTEND:20261201T103000Z\r\nORGANIZER;CN="Ann":mailto:a@b.example\r\n'
    b"LOCATION:Room 1\r\nBEGIN:VALARM\r\nDESCRIPTION:ring\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
