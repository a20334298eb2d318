# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker process: `python -m bridges.mime.worker`. A mail in, a letter and its attachments out (`letter.py`).

Before it reads the first mail it gives up what it does not need: it cannot open a file or a socket, start a process, or
use more memory than its bound. Who breaks into it has one mail at a time, and the pipe back. It has 2 seconds of CPU
for each mail; whoever started it kills it when it is late.
"""

import contextlib
import encodings
import importlib
import pkgutil
from typing import Final

import msgspec

from bridges import limits
from bridges.confined import give_up_rights, leave_signals_to_parent, serve
from bridges.mime.charsets import CODECS
from bridges.mime.letter import Answer, Reason, Unparsable
from bridges.mime.parse import parse_mail

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
    leave_signals_to_parent()
    _load_everything()
    give_up_rights(limits.PARSE_MEMORY_BYTES)
    serve(_serve, limits.PARSE_CPU_S)


def _load_everything() -> None:
    """What Python would load only when it is needed, which is when no file can be opened any more."""
    for module in pkgutil.iter_modules(encodings.__path__):  # the standard library looks up whatever a mail names
        with contextlib.suppress(ImportError):  # those of other systems
            importlib.import_module(f"encodings.{module.name}")
    for name in CODECS:
        b"x".decode(name, "replace")
    parse_mail(_REHEARSAL)


def _serve(order: bytes, mail: bytes) -> tuple[bytes, list[bytes]]:
    answer, contents = _answer(mail)
    return msgspec.json.encode(answer), contents


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
