# SPDX-License-Identifier: AGPL-3.0-or-later
"""No hot path takes a tenth more instructions than it did when its count was kept last."""

import pytest

from tests.instructions.counting import UPDATE, circumstances, counted, kept, valgrind

_CHANGE_MAX = 0.10


@pytest.mark.skipif(valgrind() is None, reason="valgrind is not installed")
@pytest.mark.skipif(circumstances() not in kept(), reason=f"not counted yet with {circumstances()}: {UPDATE}")
def test_no_hot_path_takes_a_tenth_more_instructions_than_before() -> None:
    before = kept()[circumstances()]
    counts = counted()
    assert counts.keys() == before.keys()
    changes = {name: counts[name] / before[name] - 1 for name in counts}
    rises = [f"{name}: {counts[name]:,} ({change:+.1%})" for name, change in changes.items() if change > _CHANGE_MAX]
    assert not rises, f"find out why, or keep it where it is meant: {UPDATE}"
    falls = [f"{name}: {counts[name]:,} ({change:+.1%})" for name, change in changes.items() if change < -_CHANGE_MAX]
    assert not falls, f"well done; keep it, or a later rise goes unnoticed: {UPDATE}"
