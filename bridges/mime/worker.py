# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker process: `python -m bridges.mime.worker`. A mail in, a letter and its attachments out (`letter.py`).

Before it reads the first mail it gives up what it does not need: it cannot open a file or a socket, start a process, or
use more memory than its bound. Who breaks into it has one mail at a time, and the pipe back. It has 2 seconds of CPU
for each mail; whoever started it kills it when it is late.
"""

import contextlib
import ctypes
import encodings
import importlib
import pkgutil
import resource
import signal
import sys
from typing import BinaryIO, Final

import msgspec

from bridges import limits
from bridges.mime.charsets import CODECS
from bridges.mime.letter import LENGTH_BYTES, READY, Answer, Order, Reason, Unparsable
from bridges.mime.parse import parse_mail

_STANDARD_DESCRIPTORS: Final = 3
_PR_SET_NO_NEW_PRIVS: Final = 38
_REHEARSAL: Final = (
    b"From: =?utf-8?q?=C3=BC?= <a@b.example>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<style>p{}</style><p>x<table><tr><td>y</table><ul><li>z</ul>\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment; filename*=utf-8''x\r\n\r\n"
    b"Subject: y\r\n\r\nz\r\n"
    b"--b\r\nContent-Type: application/ms-tnef\r\n\r\n\x78\x9f\x3e\x22\r\n"
    b"--b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==\r\n--b--\r\n"
)


def main() -> None:
    """Serve until the other end closes."""
    for one in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C, and systemd's word to all of a unit, are for the parent
        signal.signal(one, signal.SIG_IGN)
    _load_everything()
    _give_up_rights()
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    while length := orders.read(LENGTH_BYTES):
        order = msgspec.json.decode(orders.read(int.from_bytes(length)), type=Order)
        mail = orders.read(order.size)
        _allow_cpu()
        _serve(mail, answers)


def _load_everything() -> None:
    """What Python would load only when it is needed, which is when no file can be opened any more."""
    for module in pkgutil.iter_modules(encodings.__path__):  # the standard library looks up whatever a mail names
        with contextlib.suppress(ImportError):  # those of other systems
            importlib.import_module(f"encodings.{module.name}")
    for name in CODECS:
        b"x".decode(name, "replace")
    parse_mail(_REHEARSAL)


def _give_up_rights() -> None:
    memory = limits.PARSE_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_STANDARD_DESCRIPTORS, _STANDARD_DESCRIPTORS))


def _allow_cpu() -> None:
    """Another mail's worth of CPU time; beyond it the kernel ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + limits.PARSE_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _serve(mail: bytes, answers: BinaryIO) -> None:
    answer, contents = _answer(mail)
    encoded = msgspec.json.encode(answer)
    answers.write(len(encoded).to_bytes(LENGTH_BYTES))
    answers.write(encoded)
    for content in contents:
        answers.write(content)
    answers.flush()


def _answer(mail: bytes) -> tuple[Answer, list[bytes]]:
    try:
        letter, contents = parse_mail(mail)
    except Unparsable as unparsable:
        return Answer(reason=unparsable.reason, wrong=str(unparsable)), []
    except MemoryError:
        return Answer(reason=Reason.MEMORY, wrong="it needs more memory to read than a mail may"), []
    except (OSError, ImportError):
        raise  # ours: something was not loaded; the parent says "try again"
    except Exception as error:  # whatever a hostile mail makes of the parser, it is an answer
        return Answer(reason=Reason.MALFORMED, wrong=f"it is malformed ({type(error).__name__})"), []
    return Answer(letter=letter), contents


if __name__ == "__main__":
    main()
