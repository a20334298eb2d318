# SPDX-License-Identifier: AGPL-3.0-or-later
"""Count the instructions of the hot paths, compare them with the counts of the tree, and on demand keep them there.

python -m tests.instructions              # takes about 20 seconds
python -m tests.instructions --update     # when a change is meant to cost what it costs
"""

import argparse
import sys

from tests.instructions.counting import NotCounted, circumstances, counted, keep, kept, valgrind


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description="How many instructions the hot paths take, for one post.")
    parser.add_argument("--update", action="store_true", help="keep the counts in the tree, for others to compare with")
    given = parser.parse_args()
    if valgrind() is None:
        sys.exit("valgrind is missing. On Debian or Ubuntu: apt-get install valgrind")
    try:
        counts = counted()
    except NotCounted as failed:
        sys.exit(f"The hot paths could not be counted:\n{failed}")
    before = kept().get(circumstances(), {})
    print(circumstances())
    for name, count in counts.items():
        change = f"{count / before[name] - 1:+8.1%}" if name in before else "     new"
        print(f"{count:>10,} {change}  {name}")
    if given.update:
        keep(counts)


if __name__ == "__main__":
    main()
