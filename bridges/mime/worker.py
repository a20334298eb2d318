# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker process: `python -m bridges.mime.worker`. One JSON order a line in, one JSON answer a line out.

It has no network to speak of, little memory, and 2 seconds of CPU for each mail; whoever started it kills it
when it is late.
"""

import resource
import signal
import sys
from pathlib import Path

import msgspec

from bridges import limits
from bridges.mime.letter import READY, Answer, Order, Unparsable
from bridges.mime.parse import parse_mail


def main() -> None:
    """Serve until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    resource.setrlimit(resource.RLIMIT_AS, (limits.PARSE_MEMORY_BYTES, limits.PARSE_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    decoder = msgspec.json.Decoder(Order)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        _allow_cpu()
        sys.stdout.buffer.write(msgspec.json.encode(_answer(decoder.decode(line))) + b"\n")
        sys.stdout.buffer.flush()


def _allow_cpu() -> None:
    """Another mail's worth of CPU time; beyond it the kernel ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + limits.PARSE_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _answer(order: Order) -> Answer:
    try:
        return Answer(letter=parse_mail(Path(order.path).read_bytes(), Path(order.folder)))
    except Unparsable as unparsable:
        return Answer(wrong=str(unparsable))
    except MemoryError:
        return Answer(wrong="it needs more memory to read than a mail may")
    except OSError:
        raise  # ours: the spool; the parent says "try again"
    except Exception as error:  # whatever a hostile mail makes of the parser, it is an answer
        return Answer(wrong=f"it is malformed ({type(error).__name__})")


if __name__ == "__main__":
    main()
