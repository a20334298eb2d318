# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many files and sockets this process may have open (RLIMIT_NOFILE), and what is kept of them for files."""

import contextlib
import resource

from tmtp_core import limits


def raise_descriptors_max() -> int:
    """Raise the soft limit to the hard one; how many there may be now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems call a hard limit unlimited and mean less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return descriptors_max()


def descriptors_max() -> int:
    """The soft limit."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else 1 << 31


def is_for_files(descriptor: int) -> bool:
    """Whether a new descriptor is one of the last: a socket that got it gives it back.

    The system gives the lowest that is free, so it tells how many are in use.
    """
    most = descriptors_max()
    return descriptor >= most - min(limits.DESCRIPTORS_FOR_FILES, most // 4)
