# SPDX-License-Identifier: AGPL-3.0-or-later
"""What nobody foresaw is said to whoever runs the engine, without a word of what was written."""

import sys
import traceback


def report(what: str, error: BaseException) -> None:
    """Where it happened and of which kind it was; never its words, which may be a message's."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
    sys.stderr.write(f"{what}: {type(error).__name__} at {' < '.join(reversed(places))}\n")
