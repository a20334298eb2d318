# SPDX-License-Identifier: AGPL-3.0-or-later
"""The account log (B4) judges every history as a literal model of its rules does."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.account_log_model import HOUR_MS, Limits
from tests.support.log_histories import ACTS, Drawn, compare, drawn_entries, random_history
from tmtp_core import limits


def test_the_limits_are_the_documents() -> None:
    devices = (limits.NODES_PER_ACCOUNT_MAX, limits.RECOVERY_DEVICES_MAX)
    assert Limits(*devices, limits.LOG_RECORDS_ORDINARY_MAX, limits.LOG_RECORDS_MAX) == Limits()
    assert limits.LOG_ALONE_MS == 72 * HOUR_MS


@given(st.lists(drawn_entries, max_size=25), st.lists(st.integers(0, 1_000), min_size=3, max_size=12))
def test_the_product_judges_as_the_model_does(history: list[Drawn], choices: list[int]) -> None:
    compare(history, choices)


def test_generated_histories_take_and_refuse_every_act() -> None:
    """A comparison that only ever refuses compares nothing."""
    counts = [compare(*random_history(seed)) for seed in range(200)]
    taken = sum((one.taken for one in counts), Counter[str]())
    refused = sum((one.refused for one in counts), Counter[str]())
    assert min(taken[act] for act in ACTS) > 40
    assert min(refused[act] for act in ACTS) > 40


@pytest.mark.slow
def test_thousands_of_histories_are_judged_alike() -> None:
    """500 by day; 10,000 in a round of the night."""
    for seed in range(settings().max_examples * 5):
        compare(*random_history(seed))
