from __future__ import annotations

import numpy as np
import pytest

from dprune_cli.core.errors import UsageError
from dprune_cli.io.keys import hash_keys
from dprune_cli.pickers.base import PICKERS
from dprune_cli.pickers.random import Random
from dprune_cli.pickers.top import Top

VALUES = np.array([0.2, 0.9, 0.5, 0.5, 0.1, 0.5])
HASHES = np.array([1, 2, 30, 10, 3, 20], np.uint64)


def tie(rows):
    return HASHES[rows]


@pytest.mark.parametrize(
    ("end", "count", "rows"),
    [
        ("high", 2, [1, 3]),  # of the three 0.5 the smallest hash
        ("high", 3, [1, 3, 5]),
        ("low", 3, [0, 3, 4]),
        ("middle", 2, [3, 5]),  # sorted: 4 0 3 5 2 1
        ("middle", 3, [0, 3, 5]),
        ("middle", 4, [0, 2, 3, 5]),
    ],
)
def test_top_by_hand(end, count, rows):
    assert Top(end=end).pick(VALUES, count, tie, 6).tolist() == rows


def test_the_metadata_give_the_end_unless_the_user_did():
    assert Top().pick(VALUES, 1, tie, 6).tolist() == [1]
    assert Top().oriented("low").pick(VALUES, 1, tie, 6).tolist() == [4]
    assert Top(end="high").oriented("low") == Top(end="high")
    assert PICKERS.make("top:end=low").oriented("high").pick(VALUES, 1, tie, 6).tolist() == [4]
    with pytest.raises(UsageError, match="end=up is none of high, low, middle"):
        PICKERS.make("top:end=up")


def test_top_does_not_ask_for_hashes_without_a_tie():
    def never(rows):
        raise AssertionError(rows)

    assert Top().pick(np.array([3.0, 1.0, 2.0]), 2, never, 3).tolist() == [0, 2]


def test_top_needs_values():
    with pytest.raises(ValueError, match="ranks by values"):
        Top().pick(None, 1, tie, 6)


def test_random_takes_the_smallest_hashes_and_ignores_values():
    assert Random().pick(None, 3, tie, 6).tolist() == [0, 1, 4]
    assert Random().pick(VALUES, 3, tie, 6).tolist() == [0, 1, 4]


def test_random_is_nested_and_even():
    hashes = hash_keys([f"train/{number:06d}" for number in range(4000)], seed=3)
    small = Random().pick(None, 400, lambda rows: hashes[rows], 4000)
    large = Random().pick(None, 2000, lambda rows: hashes[rows], 4000)
    assert set(small.tolist()) <= set(large.tolist())
    # A quarter's count has variance 1000 * 1/2 * 1/2 * 3/4, so this is 4.7 standard deviations.
    quarters = np.bincount(large // 1000, minlength=4)
    assert np.abs(quarters - 500).max() < 64
