# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures with QR codes as strangers make them: whatever comes, the process that reads it is bounded, and the answer is a
sentence (B7). The pictures of real cards are in tests/browser/test_client_invitation_picture.py.
"""

import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Final

import pytest
import segno
from PIL import Image

from tests.support.client_engine import Person
from tests.support.instance import running_instance
from tests.support.terminal import Terminal, link
from tmtp_client import limits
from tmtp_client.api import operations as o
from tmtp_client.api.client import Local
from tmtp_client.api.problems import ProblemError
from tmtp_client.api.running import running
from tmtp_client.engine.code_reading import CodeReader, Wanted
from tmtp_client.trust.linking import is_text

LINK: Final = "tmtp://chat.example.org:4433#pin=sha256:abcdefgh&invite=0123456789abcdef"
SEED: Final = 7


def code(text: str, scale: int = 6) -> bytes:
    out = io.BytesIO()
    segno.make_qr(text, error="m").save(out, kind="png", scale=scale, border=4)
    return out.getvalue()


def many(texts: list[str]) -> bytes:
    """Side by side, five in a row."""
    pictures = [Image.open(io.BytesIO(code(text, 4))).convert("L") for text in texts]
    edge = max(one.width for one in pictures)
    whole = Image.new("L", (5 * edge, -(-len(texts) // 5) * edge), 255)
    for place, one in enumerate(pictures):
        whole.paste(one, (place % 5 * edge, place // 5 * edge))
    out = io.BytesIO()
    whole.save(out, "PNG")
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that says it is so large, and is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" * (1 + width // 8)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row * 64) for _ in range(height // 64)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def wrong(picture: bytes, wanted: Wanted = "invitation") -> str:
    with pytest.raises(ProblemError) as refused:
        await CodeReader().read(picture, wanted)
    assert (refused.value.problem.code, refused.value.problem.field) == ("usage", "picture")
    return str(refused.value)


async def test_an_invitation_is_read() -> None:
    assert await CodeReader().read(code(LINK), "invitation") == LINK


async def test_among_other_codes_the_one_that_is_wanted_is_taken() -> None:
    picture = many(["https://example.com/menu", LINK, "WIFI:S:Guests;;", "tmtp-link-1:abc"])
    assert await CodeReader().read(picture, "invitation") == LINK
    assert await CodeReader().read(picture, "link") == "tmtp-link-1:abc"
    assert is_text("tmtp-link-1:abc")


async def test_the_same_code_twice_is_one() -> None:
    assert await CodeReader().read(many([LINK, LINK]), "invitation") == LINK


async def test_of_twenty_invitations_none_is_taken() -> None:
    picture = many([f"{LINK}{number:02}" for number in range(20)])
    assert await wrong(picture) == "there are 20 invitations in this picture: take one that shows yours only"


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (b"", "this is no PNG, JPEG, GIF or WebP picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this is no PNG, JPEG, GIF or WebP picture"),
        (b"%PDF-1.7\n", "this is no PNG, JPEG, GIF or WebP picture"),
        (code(LINK)[:300], "this picture is broken: save it once more, or take another"),
        (code("https://example.com"), "the QR code in this picture is no invitation to a service"),
        (code("tmtp://"), "the QR code in this picture is no invitation to a service"),
        (code("chat.example.org:4433"), "the QR code in this picture is no invitation to a service"),
        (bomb(20_000, 19_968), "this picture has more than 64 million pixels: make it smaller"),
        (bomb(65_000, 64_960), "this picture has more than 64 million pixels: make it smaller"),
    ],
    ids=["nothing", "svg", "pdf", "cut", "url", "scheme", "bare", "bomb", "large bomb"],
)
async def test_what_is_no_picture_of_an_invitation_is_told_in_words(picture: bytes, words: str) -> None:
    assert await wrong(picture) == words


async def test_what_is_as_large_as_may_be_is_looked_at() -> None:
    """Sixty million pixels, in 8 kB, with nothing on them: within the bounds of memory and time."""
    assert "there is no QR code" in await wrong(bomb(8_000, 7_936))


async def test_a_picture_that_is_too_long_is_not_looked_at() -> None:
    assert await wrong(bytes(limits.CODE_PICTURE_MAX_BYTES + 1)) == "this picture is larger than 16 MiB"


async def test_one_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ProblemError, match="takes too long to read"):
        await CodeReader(deadline_s=0.001).read(code(LINK), "invitation")
    assert await CodeReader().read(code(LINK), "invitation") == LINK


async def test_damaged_pictures_never_bring_more_than_a_sentence() -> None:
    """Octets changed, cut and doubled at random, replayable by the seed."""
    chance = random.Random(SEED)
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(code(LINK))).convert("RGB").save(jpeg, "JPEG")
    for whole in (code(LINK), jpeg.getvalue()):
        for _ in range(4):
            harmed = bytearray(whole)
            for _ in range(chance.randint(1, 12)):
                harmed[chance.randrange(8, len(harmed))] = chance.randrange(256)
            del harmed[chance.randrange(len(harmed) // 2, len(harmed)) :]
            try:
                assert await CodeReader().read(bytes(harmed), "invitation") == LINK
            except ProblemError as refused:
                assert refused.problem.code == "usage"


def test_the_process_can_write_nothing_and_start_nothing() -> None:
    """The rights that it gives up before it looks at an octet."""
    program = (
        "import os, sys\n"
        "from tmtp_client.engine import code_reading_process as process\n"
        "process._give_up_rights()\n"
        "try:\n    open(sys.argv[1], 'w').write('x' * 10_000)\nexcept OSError as error:\n    print(error.errno)\n"
        "import resource\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[1], resource.getrlimit(resource.RLIMIT_NPROC)[1])\n"
    )
    path = Path("/dev/shm/never-written")
    run = subprocess.run(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{program}", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    path.unlink(missing_ok=True)
    assert run.stdout.split() == ["27", str(limits.CODE_MEMORY_MAX_BYTES), "0"]  # EFBIG


async def test_a_program_names_a_file(tmp_path: Path) -> None:
    """`codes.read`, as `tmtp join --picture` asks it."""
    path = tmp_path / "card.png"
    path.write_bytes(code(LINK))
    async with running(tmp_path / "home") as engine:
        person = Person(Local(engine.dispatcher, engine.home), engine)
        assert (await person("codes.read", o.ReadCode(str(path), "invitation"))).text == LINK
        with pytest.raises(ProblemError, match=r"card\.jpg: No such file"):
            await person("codes.read", o.ReadCode(str(tmp_path / "card.jpg"), "invitation"))
        with pytest.raises(ProblemError, match="say the whole path"):
            await person("codes.read", o.ReadCode("card.png", "invitation"))


async def test_an_account_from_a_picture_on_a_command_line(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "service") as service:
        card, menu = tmp_path / "card.png", tmp_path / "menu.png"
        card.write_bytes(code(link(service)))
        menu.write_bytes(code("https://example.com/menu"))
        ada = Terminal(tmp_path / "ada")
        refused = await ada.run("join", "--picture", str(menu), "--alias", "Ada Lovelace")
        assert (refused.code, "is no invitation to a service" in refused.err) == (2, True)
        both = await ada.run("join", link(service), "--picture", str(card), "--alias", "Ada Lovelace")
        assert (both.code, "or give a picture of its QR code" in " ".join(both.err.split())) == (2, True)
        ran = await ada.does("join", "--picture", str(card), "--alias", "Ada Lovelace")
        assert "You are Ada Lovelace on Test Site" in ran.out
