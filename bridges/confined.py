# SPDX-License-Identifier: AGPL-3.0-or-later
"""Inside a worker: what a process gives up before it looks at anything, and how it is asked (`workers.py`).

An order is its length and that of the octets that come with it, eight octets each, big-endian; then both. An answer is
its length, eight octets; then the answer, and whatever octets it says follow.
"""

import ctypes
import resource
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Final

READY: Final = b"ready\n"
"""What a worker says before its first order."""

ORDER_LENGTHS: Final = struct.Struct(">QQ")
ANSWER_LENGTH: Final = struct.Struct(">Q")
STANDARD_DESCRIPTORS: Final = 3
_PR_SET_NO_NEW_PRIVS: Final = 38


def leave_signals_to_parent() -> None:
    """Ctrl-C, and systemd's word to all of a unit, are for the parent, which finishes its mails first."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)


def give_up_rights(memory_bytes: int, descriptors: int = STANDARD_DESCRIPTORS) -> None:
    """No file that grows, no process, no core dump, no more memory and descriptors than these.

    With the standard descriptors alone it can open no file and no socket.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    for closed in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(closed, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


def serve(answer: Callable[[bytes, bytes], tuple[bytes, Sequence[bytes]]], cpu_s: int) -> None:
    """Answer orders until the other end closes. `answer`: from an order and its octets; what it says, and what follows.

    Each has `cpu_s` seconds of CPU; beyond them the kernel ends this process.
    """
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    while lengths := orders.read(ORDER_LENGTHS.size):
        order_bytes, octets_bytes = ORDER_LENGTHS.unpack(lengths)
        order, octets = orders.read(order_bytes), orders.read(octets_bytes)
        _allow_cpu(cpu_s)
        said, following = answer(order, octets)
        answers.write(ANSWER_LENGTH.pack(len(said)) + said)
        for one in following:
            answers.write(one)
        answers.flush()


def _allow_cpu(seconds: int) -> None:
    """So much more CPU time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, resource.RLIM_INFINITY))
