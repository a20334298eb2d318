# SPDX-License-Identifier: AGPL-3.0-or-later
"""A member's answer as a mail: whatever anybody wrote, the headers are ours and the octets are plain (C5)."""

import re
from email.message import EmailMessage
from email.parser import BytesParser, Parser
from email.policy import SMTP, SMTPUTF8

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridges import limits
from bridges.smtp.answers.composing import Answer, File, mail_of, read_answer
from bridges.smtp.store.conversations import Conversation
from tmtp_core.wire.payload import Attached, PostHead, encode_post_head

OURS = "<0123456789abcdef0123456789abcdef@example.org>"
THREAD = Conversation("smtp-1", "support@example.org", "ann@partner.example", "<9@p>", ("<1@p>", "<2@p>"), "An order")
FIELDS = [
    "Message-ID", "In-Reply-To", "References", "From", "To", "Subject", "Date", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding",
]  # fmt: skip

anything = st.text(st.characters() | st.sampled_from('\r\n\0\t\x1b\u2028\u202e:;,<>@"\\()=?'), max_size=200)


def made(
    answer: Answer, conversation: Conversation = THREAD, alias: str = "Support Desk"
) -> tuple[bytes, EmailMessage]:
    """The octets, and the mail as a mail program reads it."""
    octets = mail_of(answer, conversation, alias, OURS, 1_800_000_000_000)
    mail = BytesParser(policy=SMTP).parsebytes(octets)
    assert isinstance(mail, EmailMessage)
    return octets, mail


@settings(max_examples=settings.default.max_examples // 2)
@given(anything, anything, anything, anything, st.lists(st.tuples(anything, st.binary(max_size=300)), max_size=3))
def test_nothing_steers_a_header_and_everything_arrives(
    subject: str, theirs: str, alias: str, text: str, files: list[tuple[str, bytes]]
) -> None:
    attached = tuple(File(name, content) for name, content in files)
    for thread in ("smtp-1", "another"):
        conversation = THREAD._replace(subject=theirs)
        octets, mail = made(Answer(thread, subject, text, attached), conversation, alias)
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[^\x00-\x7f]|\x00", octets)
        assert max(map(len, octets.split(b"\r\n"))) <= 998
        expected = [name for name in FIELDS if thread == "smtp-1" or name not in {"In-Reply-To", "References"}]
        if attached:
            expected.remove("Content-Transfer-Encoding")
        assert sorted(mail.keys()) == sorted(expected)
        assert [one.addr_spec for one in mail["From"].addresses] == ["support@example.org"]
        assert [one.addr_spec for one in mail["To"].addresses] == ["ann@partner.example"]
        assert mail["Message-ID"] == OURS
        body = mail.get_body(("plain",))
        assert body is not None
        text = text.encode(errors="replace").decode()
        kept = [one for one in text if one in "\n\t\r" or not re.match("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", one)]
        assert re.sub(r"\s", "", "".join(kept)) == re.sub(r"\s", "", body.get_content())
        contents = [one.get_payload(decode=True) for one in mail.iter_attachments()]
        assert contents == [content for _, content in files]
        names = [one.get_filename() for one in mail.iter_attachments()]
        assert all(names)
        assert len({name.casefold() for name in names}) == len(names)
        assert not any(re.search(r'[\x00-\x1f\u202e"/\\<>]', name) for name in names)


def test_ids_of_any_length_stand_as_they_are() -> None:
    """In encoded words no mail program would know them again."""
    long = [f"<{'x' * 240}{number}@p>" for number in range(limits.ANCESTORS_MAX)]
    octets, mail = made(Answer("smtp-1", "", "x"), THREAD._replace(message_id=long[-1], ancestors=tuple(long[:-1])))
    assert mail["References"].split() == long
    assert mail["In-Reply-To"] == long[-1]
    assert b"=?" not in octets


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("Hello", "Re: Hello"), ("Re: Hello", "Re: Hello"), ("AW: Hallo", "AW: Hallo"), ("", "Re: (no subject)"),
     ("Regards", "Re: Regards"), ("Größe ☃", "Re: Größe ☃")],
)  # fmt: skip
def test_the_subject_is_that_of_the_conversation(theirs: str, ours: str) -> None:
    _, mail = made(Answer("smtp-1", "[SMTP: ann@partner.example] mine", "x"), THREAD._replace(subject=theirs))
    assert mail["Subject"] == ours


def test_an_address_outside_ascii_is_written_as_it_is() -> None:
    """The relay is asked for SMTPUTF8 then (RFC 6531)."""
    octets = mail_of(Answer("", "", "x"), THREAD._replace(address="änn@partner.example"), "Desk", OURS, 0)
    mail = Parser(policy=SMTPUTF8).parsestr(octets.decode())
    assert mail["To"].addresses[0].addr_spec == "änn@partner.example"


@pytest.mark.parametrize("address", ["a b@x.example", "a@x.example\r\nBcc: b@x.example", "", "no address", "a@b, c@d"])
def test_what_is_no_address_makes_no_mail(address: str) -> None:
    with pytest.raises(ValueError):
        mail_of(Answer("", "", "x"), THREAD._replace(address=address), "Desk", OURS, 0)


def test_a_post_is_taken_apart_as_clients_put_it_together() -> None:
    head = encode_post_head(
        PostHead("smtp-1", "Desk", "Re: x", attach=(Attached("u:a.txt", 3), Attached("f:form", 0), Attached("u:b", 2)))
    )
    data = head + "Grüße".encode() + b"abc" + b"de"
    answer = read_answer(data, len(head), len(data))
    assert answer == Answer("smtp-1", "Re: x", "Grüße", (File("a.txt", b"abc"), File("form", b""), File("b", b"de")))
    assert read_answer(head, len(head), len(data)) == Answer("smtp-1", "Re: x", "")
    assert read_answer(b"no head", 0, 7) == Answer("", "", "no head")
    for wrong, datahead, datalen in ((b"{}", 3, 2), (b"[]", 2, 2), (head, len(head), len(head))):
        with pytest.raises(ValueError):
            read_answer(wrong, datahead, datalen)
