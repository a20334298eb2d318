# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mails that others have collected to break parsers with (C2): each is read, or what is wrong with it has a name."""

import asyncio
import base64
from collections import Counter
from pathlib import Path

import pytest

from bridges import limits
from bridges.mime import Unparsable
from bridges.mime.pool import ParserPool
from bridges.mime.readable import readable
from tests.support import torture

# How many mails each collection holds at least. All of them can be parsed.
COLLECTIONS = {"cpython": 45, "flufl.bounce": 110, "hyperkitty": 15, "mail-parser": 15, "wildduck": 5}
TNEF_FILES = 15


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is not how busy this machine is."""
    monkeypatch.setattr(limits, "PARSE_WALL_S", 60.0)


@pytest.mark.parametrize("collection", COLLECTIONS)
async def test_all_of_them_are_read_or_named(collection: str, tmp_path: Path) -> None:
    mails = await asyncio.to_thread(torture.mails, collection)
    if not mails:
        pytest.skip(
            f"the mails of {collection} could not be had: no package index, or libpython3.11-testsuite is missing"
        )
    pool = ParserPool()
    reasons: Counter[str] = Counter()
    empty: list[str] = []
    try:
        for number, mail in enumerate(mails):
            folder = tmp_path / str(number)
            try:
                letter = await pool.parse(mail.octets, folder)
            except Unparsable as unparsable:
                reasons[f"{mail.name}: {unparsable.reason}"] += 1
                continue
            assert letter.text == readable(letter.text), mail.name
            assert [Path(one.path).stat().st_size for one in letter.attachments] == [
                one.size for one in letter.attachments
            ]
            if not letter.text and not letter.attachments:
                empty.append(mail.name)
    finally:
        await pool.stop()
    assert len(mails) >= COLLECTIONS[collection]
    assert reasons == {}
    assert len(empty) <= len(mails) // 5, empty  # a few are header and nothing else


async def test_winmail_dat_is_unpacked(tmp_path: Path) -> None:
    """Each of tnefparse's own examples in a mail: what is inside is passed on under its own name, or it stays as it came."""
    files = [(name, octets) for name, octets in torture.members("tnefparse") if name.endswith(".tnef")]
    if not files:
        pytest.skip("the examples of tnefparse could not be had: no package index")
    pool = ParserPool()
    got: dict[str, list[str]] = {}
    try:
        for name, octets in files:
            example = Path(name).stem
            folder = tmp_path / example
            head = b"From: a@b.example\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n"
            encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
            raw = head + b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded
            letter = await pool.parse(raw, folder)
            got[example] = [one.name for one in letter.attachments]
            assert letter.text or letter.attachments, example
    finally:
        await pool.stop()
    assert len(got) >= TNEF_FILES
    assert got["one-file"] == ["AUTHORS"]
    assert got["two-files"] == ["AUTHORS", "README"]
    assert got["body"] == []
    assert got["rtf"] == ["winmail.dat"]  # only Outlook's own form of text, which nobody else reads
    assert len(set(got["duplicate_filename"])) == len(got["duplicate_filename"]) > 1
