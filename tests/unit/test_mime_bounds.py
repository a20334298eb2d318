# SPDX-License-Identifier: AGPL-3.0-or-later
"""Untrusted MIME (C2): a letter or a reason by name, within bounds, never a crash."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import limits
from bridges.mime import Reason, Unparsable
from bridges.mime.parse import Parsed, parse_mail
from bridges.smtp.store.delivered import bare_id
from tests.support.mime_mails import FROM, attached, mail, parse, several


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
    files = b"Content-Type: application/octet-stream; name=x.eml\r\n\r\n" * 21  # mails by their names only
    assert reason_of(FROM + files + b"\r\nx") is Reason.DEPTH
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
