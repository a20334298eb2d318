# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the QR codes in a picture say (B7): an invitation that somebody photographed, or a text that adds a device (B4).

Decoders of pictures are where hostile files strike. So each picture has a process of its own, without rights, with a
bound on its memory and its time (`tmtp_client.engine.code_reading_process`); what comes back is a list of texts or a
word for what is wrong, and of that nothing is believed but its form.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tmtp_client import limits
from tmtp_client.api import problems
from tmtp_client.trust import linking
from tmtp_core.wire.address import parse_address

Wanted = Literal["invitation", "link"]
Wrong = Literal["none", "kind", "pixels", "broken", "memory"]


class Read(Struct, frozen=True, forbid_unknown_fields=True):
    """What the process answers: the codes' texts, each once, or what is wrong."""

    codes: tuple[str, ...] = ()
    wrong: Wrong = "none"


_PROGRAM: Final = "tmtp_client.engine.code_reading_process"
_PIECE_BYTES: Final = 64 << 10
_LONG: Final = "this picture takes too long to read: make it smaller"
_AT_ITS_TIME: Final = frozenset({-24, -9})  # SIGXCPU, then SIGKILL: setrlimit(2)
_MEGAPIXELS: Final = limits.CODE_PICTURE_MAX_PIXELS // 1_000_000
_WRONG: Final = {
    "kind": "this is no PNG, JPEG, GIF or WebP picture",
    "pixels": f"this picture has more than {_MEGAPIXELS} million pixels: make it smaller",
    "broken": "this picture is broken: save it once more, or take another",
    "memory": "this picture takes too much memory: make it smaller",
}


class CodeReader:
    """One picture at a time."""

    def __init__(self, deadline_s: float = limits.CODE_DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._turn = asyncio.Lock()

    async def read(self, picture: bytes, wanted: Wanted) -> str:
        """The one text in this picture that is wanted. Raises `ProblemError` that says what is wrong with it."""
        if len(picture) > limits.CODE_PICTURE_MAX_BYTES:
            raise too_large()
        async with self._turn:
            read = await self._ask(picture)
        if read.wrong != "none":
            raise problems.usage(_WRONG[read.wrong], "picture")
        return chosen(read.codes, wanted)

    async def _ask(self, picture: bytes) -> Read:
        """A process that has this picture's time and no more."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", _PROGRAM),  # -P: no code from here
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a decoder's complaints: of no use to a person
        )
        try:
            async with asyncio.timeout(self._deadline_s):
                answer, _ = await asyncio.gather(_taken(process), _given(process, picture))
        except TimeoutError:
            raise problems.usage(_LONG, "picture") from None
        finally:
            await _ended(process)
        if process.returncode in _AT_ITS_TIME:
            raise problems.usage(_LONG, "picture")
        try:
            return msgspec.json.decode(answer, type=Read)
        except msgspec.MsgspecError:  # it ended itself, or was made to say something else
            return Read(wrong="broken")


async def _given(process: asyncio.subprocess.Process, picture: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):  # it has seen enough
        process.stdin.write(picture)
        await process.stdin.drain()
    process.stdin.close()


async def _taken(process: asyncio.subprocess.Process) -> bytes:
    """What it answers, and not more than it may."""
    assert process.stdout is not None
    answer = b""
    while len(answer) <= limits.CODE_ANSWER_MAX_BYTES and (piece := await process.stdout.read(_PIECE_BYTES)):
        answer += piece
    return answer


def too_large() -> problems.ProblemError:
    """Of a picture that is not even looked at."""
    return problems.usage(f"this picture is larger than {limits.CODE_PICTURE_MAX_BYTES >> 20} MiB", "picture")


def chosen(codes: Sequence[str], wanted: Wanted) -> str:
    """The one of these texts that is wanted. Raises `ProblemError` where there is none, or more than one."""
    if not codes:
        raise problems.usage(
            "there is no QR code in this picture, or it is too small or too blurred to be read: come closer, and hold "
            "still",
            "picture",
        )
    fits = [one for one in codes if _IS[wanted](one)]
    if len(fits) == 1:
        return fits[0]
    if wanted == "invitation":
        if fits:
            raise problems.usage(
                f"there are {len(fits)} invitations in this picture: take one that shows yours only", "picture"
            )
        raise problems.usage("the QR code in this picture is no invitation to a service", "picture")
    if fits:
        raise problems.usage(
            f"there are {len(fits)} texts for adding a device in this picture: take one only", "picture"
        )
    raise problems.usage("the QR code in this picture is not for adding a device", "picture")


def _is_invitation(text: str) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return text.startswith("tmtp://")


_IS: Final[dict[Wanted, Callable[[str], bool]]] = {"invitation": _is_invitation, "link": linking.is_text}


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Gone, whatever it was doing; its streams are closed."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(OSError):
            await process.communicate()
